"""Reading what was typed, and telling what came out."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from napari_sam3_assistant.errors import ExportError, PromptError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_sam3_assistant.api import Segmentation


def tell(result: Segmentation, seconds: float, *paths: Path) -> None:
    """Print what was found, in what time, and the files that were written."""
    number = len(result.objects)
    say(f"{number} object{'' if number == 1 else 's'} in {seconds:.2f} s ({result.engine.title})")
    for note in result.notes:
        say(note)
    for path in paths:
        say(str(path))


def say(line: str) -> None:
    """Print a line."""
    sys.stdout.write(f"{line}\n")


def writable_folder(path: Path) -> None:
    """Raise ExportError unless the folder of an output file is there."""
    if not path.parent.is_dir():
        raise ExportError(
            f"The output folder {path.parent} does not exist.", "Make it, or choose another one."
        )


def numbers(text: str, lengths: tuple[int, ...], option: str) -> list[float]:
    """Read numbers with commas between them.

    Parameters
    ----------
    text : str
        What was typed.
    lengths : tuple of int
        How many there may be; empty for any number.
    option : str
        The option's name, for the error.

    Raises
    ------
    PromptError
        If it can't be read so.
    """
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise PromptError(
            f"{option} {text}: these are not numbers with commas between them.",
            f"Write it like {option} 10,20 without spaces.",
        ) from error
    if lengths and len(values) not in lengths:
        wanted = " or ".join(map(str, lengths))
        raise PromptError(
            f"{option} {text}: {len(values)} numbers, but {wanted} are needed.",
            "See 'napari-sam3 segment --help'.",
        )
    return values


def signed(text: str, count: int, option: str) -> list[float]:
    """Read ``count`` numbers and, if it is there, a sign: 1 for ``+`` and 0 for ``-``."""
    head, _, sign = text.rpartition(",")
    if sign.strip() not in {"+", "-"}:
        return numbers(text, (count,), option)
    return [*numbers(head, (count,), option), float(sign.strip() == "+")]
