"""What the commands have in common: options, reading what was typed, progress in a terminal."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant import api
from napari_sam3_assistant.core.options import DEFAULT_THRESHOLD, TileOptions
from napari_sam3_assistant.core.paths import expand_user
from napari_sam3_assistant.core.plurals import plural_of
from napari_sam3_assistant.engines.precision import AUTO, PRECISIONS
from napari_sam3_assistant.errors import ExportError, PromptError, Sam3AssistantError
from napari_sam3_assistant.io.images import is_address

if TYPE_CHECKING:
    import argparse
    from pathlib import Path

    from napari_sam3_assistant.api import Segmentation
    from napari_sam3_assistant.core.progress import Progress


def print_result(result: Segmentation, seconds: float, *paths: Path) -> None:
    """Print what was found, in what time, and the files that were written."""
    number = len(result.objects)
    print_line(f"{number} {plural_of(number, 'object')} in {seconds:.2f} s ({result.engine.title})")
    for note in result.notes:
        print_line(note)
    for path in paths:
        print_line(str(path))


def print_line(line: str) -> None:
    """Print a line at once; the work goes on where nobody reads it any more (``| head``).

    Raises
    ------
    ExportError
        If it can't be printed, such as into a file on a full disk.
    """
    try:
        sys.stdout.write(f"{make_printable(line)}\n")
        sys.stdout.flush()
    except OSError as error:
        # What is still in the buffer would be tried again, and fail, when Python ends.
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open to the end
        if not isinstance(error, BrokenPipeError):
            raise ExportError(
                f"What was found can't be printed: {error.strerror}.",
                "Print it elsewhere; the files that are finished stay.",
            ) from error


def parse_path(text: str) -> Path:
    """Return a path; ``~`` is the user's folder, also where the shell leaves it as it is.

    Raises
    ------
    Sam3AssistantError
        If there is no such user, or no path is written like this.
    """
    if not text or "\0" in text:
        raise Sam3AssistantError(f"'{text}' is no path.", "Give the name of a file or a folder.")
    return expand_user(text)


def parse_image(text: str) -> Path | str:
    """Return a path, or the address of an image on a server as it is.

    Raises
    ------
    Sam3AssistantError
        If no path is written like this.
    """
    return text if is_address(text) else parse_path(text)


def parse_numbers(text: str, lengths: tuple[int, ...], option: str) -> list[float]:
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


def parse_whole_numbers(text: str, lengths: tuple[int, ...], option: str) -> list[int]:
    """Read whole numbers with commas between them, as :func:`parse_numbers` does.

    Raises
    ------
    PromptError
        If it can't be read so.
    """
    values = parse_numbers(text, lengths, option)
    if not all(value.is_integer() for value in values):
        raise PromptError(f"{option} {text}: these are not whole numbers.", "Count from 0.")
    return [int(value) for value in values]


def parse_signed(text: str, count: int, option: str) -> list[float]:
    """Read ``count`` numbers and, if it is there, a sign: 1 for ``+`` and 0 for ``-``."""
    head, _, sign = text.rpartition(",")
    if sign.strip() not in {"+", "-"}:
        return parse_numbers(text, (count,), option)
    return [*parse_numbers(head, (count,), option), float(sign.strip() == "+")]


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add what chooses the engine."""
    engine = parser.add_argument_group("engine")
    engine.add_argument(
        "--engine",
        help="see 'napari-sam3 doctor' (default: the one that reads the model folder, "
        "without a folder the built-in one)",
    )
    engine.add_argument(
        "--model-folder", type=parse_path, metavar="FOLDER", help="the SAM 3 weights"
    )
    engine.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    add_precision(engine, AUTO, "by the hardware")
    engine.add_argument(
        "--threshold",
        type=float,
        default=DEFAULT_THRESHOLD,
        help="detection threshold, 0 to 1 (default: %(default)s)",
    )


def add_precision(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup, default: str | None, what: str
) -> None:
    """Add what chooses the number format, and say what is the default."""
    parser.add_argument(
        "--precision",
        default=default,
        choices=PRECISIONS,
        help=f"number format of SAM's image encoder (default: {what})",
    )


def engine_arguments(chosen: argparse.Namespace, *, video: bool = False) -> dict[str, Any]:
    """Return the engine that was chosen, as the functions of the API take it.

    Parameters
    ----------
    chosen : Namespace
        What was typed.
    video : bool
        Whether weights for 3D and video only will do.
    """
    return {
        "engine": chosen.engine or api.engine_for(chosen.model_folder, video=video),
        "model_folder": chosen.model_folder,
        "device": chosen.device,
        "precision": chosen.precision,
        "threshold": chosen.threshold,
    }


def add_image(parser: argparse.ArgumentParser) -> None:
    """Add the image to read."""
    parser.add_argument(
        "image",
        type=parse_image,
        metavar="IMAGE",
        help="a file of any format (see 'napari-sam3 info'), a zarr folder, or https:// of one",
    )


def add_output(
    parser: argparse.ArgumentParser, metavar: str, meaning: str, *, required: bool = True
) -> None:
    """Add the file to write, and what it is for."""
    parser.add_argument(
        "-o", "--output", type=parse_path, required=required, metavar=metavar, help=meaning
    )


def add_repeated(group: argparse._ArgumentGroup, option: str, metavar: str, meaning: str) -> None:
    """Add an option that may be given more than once."""
    group.add_argument(
        option, action="append", default=[], metavar=metavar, help=f"{meaning}; may be repeated"
    )


def add_text(group: argparse._ArgumentGroup) -> None:
    """Add the phrase."""
    group.add_argument("--text", help="a short phrase, such as 'nucleus'")


def add_plane(parser: argparse.ArgumentParser, leading: str = "each leading axis") -> None:
    """Add what chooses the plane and its contrast.

    Parameters
    ----------
    parser : ArgumentParser
        The command.
    leading : str
        Which axes need an index.
    """
    plane = parser.add_argument_group("what to look at")
    plane.add_argument("--plane", metavar="I,J,...", help=f"index along {leading}")
    add_series(plane)
    plane.add_argument("--channel-axis", type=int, metavar="AXIS", help="default: found out")
    plane.add_argument("--channel", type=int, help="one channel (default: all together)")
    plane.add_argument("--contrast", metavar="LOW,HIGH", help="intensities of black and white")


def add_series(group: argparse._ArgumentGroup) -> None:
    """Add what chooses an image of a file that holds several."""
    group.add_argument(
        "--series",
        type=int,
        metavar="N",
        help="which image of a file that holds several, from 0 (default: the largest)",
    )


def plane_arguments(chosen: argparse.Namespace) -> dict[str, Any]:
    """Return the plane that was chosen, as the functions of the API take it.

    Raises
    ------
    PromptError
        If numbers can't be read.
    """
    contrast = None
    if chosen.contrast is not None:
        low, high = parse_numbers(chosen.contrast, (2,), "--contrast")
        contrast = (low, high)
    plane = None if chosen.plane is None else parse_whole_numbers(chosen.plane, (), "--plane")
    return {
        "plane": plane,
        "contrast": contrast,
        "channel_axis": chosen.channel_axis,
        "channel": chosen.channel,
    }


def add_tiles(parser: argparse.ArgumentParser) -> None:
    """Add how a large image is cut."""
    tiles = parser.add_argument_group("tiles")
    tiles.add_argument(
        "--tile",
        type=int,
        default=TileOptions().size,
        metavar="PIXELS",
        help="side of a tile (default: %(default)s)",
    )
    tiles.add_argument(
        "--overlap",
        type=float,
        default=TileOptions().overlap,
        metavar="SHARE",
        help="what two tiles have in common, 0 to 0.5 (default: %(default)s)",
    )


def make_printable(text: str) -> str:
    """Return a text as one line that a terminal only shows: names may hold what it would obey."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


class TerminalReporter(AbstractContextManager["TerminalReporter"]):
    """Writes progress to standard error: one line that is written over, and nothing into a file.

    As a context manager it ends the line.
    """

    def __init__(self) -> None:
        self._width = 0

    def __exit__(self, *_: object) -> None:
        if self._width:
            sys.stderr.write("\n")

    def report(self, progress: Progress) -> None:
        """Show the progress, where somebody looks on."""
        if sys.stderr.isatty():
            message = make_printable(progress.message)
            sys.stderr.write(f"\r{message.ljust(self._width)}")
            sys.stderr.flush()
            self._width = len(message)

    def check(self) -> None:
        """Go on; Ctrl+C stops the work by itself."""
