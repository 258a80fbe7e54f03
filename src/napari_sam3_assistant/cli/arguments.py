"""Reading what was typed, and telling what came out."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam3_assistant.cli.terminal import printable
from napari_sam3_assistant.errors import ExportError, PromptError, Sam3AssistantError

if TYPE_CHECKING:
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
    """Print a line at once; the work goes on where nobody reads it any more (``| head``).

    Raises
    ------
    ExportError
        If it can't be printed, such as into a file on a full disk.
    """
    try:
        sys.stdout.write(f"{printable(line)}\n")
        sys.stdout.flush()
    except OSError as error:
        # What is still in the buffer would be tried again, and fail, when Python ends.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open to the end
        if not isinstance(error, BrokenPipeError):
            raise ExportError(
                f"What was found can't be printed: {error.strerror}.",
                "Print it elsewhere; the files that are finished stay.",
            ) from error


def path_of(text: str) -> Path:
    """Return a path; ``~`` is the user's folder, also where the shell leaves it as it is.

    Raises
    ------
    Sam3AssistantError
        If there is no such user, or no path is written like this.
    """
    if not text or "\0" in text:
        raise Sam3AssistantError(f"'{text}' is no path.", "Give the name of a file or a folder.")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise Sam3AssistantError(f"{text}: {error}", "Write the folder out.") from error


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
            "Give the command --help to see how it is written.",
        )
    return values


def whole_numbers(text: str, lengths: tuple[int, ...], option: str) -> list[int]:
    """Read whole numbers with commas between them, as :func:`numbers` does.

    Raises
    ------
    PromptError
        If it can't be read so.
    """
    values = numbers(text, lengths, option)
    if not all(value.is_integer() for value in values):
        raise PromptError(f"{option} {text}: these are not whole numbers.", "Count from 0.")
    return [int(value) for value in values]


def signed(text: str, count: int, option: str) -> list[float]:
    """Read ``count`` numbers and, if it is there, a sign: 1 for ``+`` and 0 for ``-``."""
    head, _, sign = text.rpartition(",")
    if sign.strip() not in {"+", "-"}:
        return numbers(text, (count,), option)
    return [*numbers(head, (count,), option), float(sign.strip() == "+")]
