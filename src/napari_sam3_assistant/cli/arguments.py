"""What the commands have in common: options, reading what was typed, progress in a terminal."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
import time
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

from napari_sam3_assistant import api
from napari_sam3_assistant.core.options import DEFAULT_THRESHOLD, TileOptions
from napari_sam3_assistant.core.paths import expand_user, is_address
from napari_sam3_assistant.core.plurals import part_of, plural_of, pluralize
from napari_sam3_assistant.core.progress import format_duration
from napari_sam3_assistant.engines.device import AUTO, PRECISIONS
from napari_sam3_assistant.errors import (
    ExportError,
    ImageError,
    NameTaken,
    PromptError,
    Sam3AssistantError,
)
from napari_sam3_assistant.io.exports import write_table
from napari_sam3_assistant.io.label_files import read_labels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from napari_sam3_assistant.api import (
        FolderRow,
        PrecomputedRow,
        ScanResult,
        Segmentation,
    )
    from napari_sam3_assistant.core.progress import Progress


class Answer(AbstractContextManager["Answer"]):
    """The output of a command: lines as they come, or with ``--json`` one object at the end.

    As a context manager it prints that object, unless the work failed before a file was written.

    Parameters
    ----------
    chosen : Namespace
        What was typed.
    """

    def __init__(self, chosen: argparse.Namespace) -> None:
        self._as_json = bool(chosen.json)
        self._facts: dict[str, Any] = {"notes": [], "files": []}

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._as_json and (kind is None or self._facts["files"]):
            print_line(json.dumps(self._facts))

    def say(self, line: str, **facts: object) -> None:
        """Print a line, or keep what it is about by names."""
        self._facts |= facts
        if not self._as_json:
            print_line(line)

    def note(self, line: str) -> None:
        """Print what the user should know."""
        self._facts["notes"].append(line)
        self.say(line)

    def file(self, path: Path) -> None:
        """Print the name of a file that was written."""
        self._facts["files"].append(str(path))
        self.say(str(path))

    def row(self, line: str, row: FolderRow | PrecomputedRow) -> None:
        """Print what became of an image of a folder."""
        self._facts.setdefault("rows", []).append(asdict(row))
        self.say(line)

    def found(self, result: Segmentation | ScanResult, on_tiles: str, seconds: float) -> None:
        """Print how many objects were found, where (such as `` in 4 tiles``), and what to know."""
        number, engine = len(result.objects), result.engine.title
        objects = f"{number} {plural_of(number, 'object')}{on_tiles}"
        self.say(
            f"{objects} {seconds:.2f} s ({engine})",
            objects=number, seconds=round(seconds, 3), engine=engine,
        )  # fmt: skip
        for note in result.notes:
            self.note(note)


def add_table(parser: argparse.ArgumentParser) -> None:
    """Add the table of objects."""
    parser.add_argument(
        "--table", "--csv", type=parse_path, metavar="FILE.csv", help="write the objects as CSV"
    )


def write_objects(path: Path | None, found: Segmentation | ScanResult, answer: Answer) -> None:
    """Write a row for each object, where a table was asked for."""
    if path is None:
        return
    # Of a scan of a stack the table says in which plane each object lies.
    stack = found if isinstance(found, api.ScanResult) else None
    axes = [] if stack is None else [axis.name for axis in stack.axes[:-2]]
    write_table(
        path,
        (*axes, "id", "text", "score", "stability", "area", "y0", "x0", "y1", "x1"),
        (
            (
                *(() if stack is None else stack.plane_of(record.id)),
                record.id,
                record.text,
                record.score,
                record.stability,
                record.area,
                *record.region.box,
            )
            for record in found.objects
        ),
    )
    answer.file(path)


def add_pattern(parser: argparse.ArgumentParser) -> None:
    """Add which files of a folder are meant."""
    parser.add_argument(
        "--pattern",
        default="*",
        help="which files, as '*.tif', or '**/*' for all folders below (default: %(default)s)",
    )


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the choice of who reads the answer."""
    parser.add_argument(
        "--json", action="store_true", help="print the answer as one JSON object, for scripts"
    )


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Add the choice to replace what is there."""
    parser.add_argument(
        "--overwrite", action="store_true", help="replace files that exist, without asking"
    )


def check_replaceable(chosen: argparse.Namespace, *paths: Path | None) -> None:
    """Ask whether what exists may be replaced, where somebody can answer."""
    there = [str(path) for path in paths if path is not None and os.path.lexists(path)]
    if not there or chosen.overwrite:
        return
    names = make_printable(", ".join(there))
    message = f"{names} {'exists' if len(there) == 1 else 'exist'} already."
    if sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty():
        sys.stderr.write(f"{message} Replace? [y/N] ")
        sys.stderr.flush()
        chosen.overwrite = sys.stdin.readline().strip().lower() in ("y", "yes")
        if chosen.overwrite:
            return
    raise NameTaken(message, "Choose another name, or give --overwrite to replace.")


def print_line(line: str) -> None:
    """Print a line at once; the work goes on where nobody reads it any more (``| head``)."""
    TerminalReporter.wipe()
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
    """Return a path; ``~`` is the user's folder, also where the shell leaves it as it is."""
    if not text or "\0" in text:
        raise Sam3AssistantError(f"'{text}' is not a path.", "Give the name of a file or a folder.")
    return expand_user(text)


def parse_image(text: str) -> Path | str:
    """Return a path, or the address of an image on a server as it is."""
    return text if is_address(text) else parse_path(text)


def parse_numbers(text: str, lengths: tuple[int, ...], option: str) -> list[float]:
    """Read numbers with commas between them."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise PromptError(
            f"{option} {text}: these are not numbers with commas between them.",
            f"Write it like {option} 10,20 without spaces.",
        ) from error
    if lengths and len(values) not in lengths:
        allowed = " or ".join(map(str, lengths))
        raise PromptError(
            f"{option} {text}: {pluralize(len(values), 'number')}, but {allowed} are needed.",
            "Give the command --help to see how it is written.",
        )
    return values


def parse_whole_numbers(text: str, lengths: tuple[int, ...], option: str) -> list[int]:
    """Read whole numbers with commas between them, as :func:`parse_numbers` does."""
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
    """Add what chooses the engine, its encodings and the threshold."""
    engine = add_engine_choice(parser)
    engine.add_argument(
        "--encodings",
        type=parse_path,
        metavar="FOLDER",
        help="keep encodings of SAM there, and take those that 'napari-sam3 precompute' made",
    )
    engine.add_argument(
        "--threshold",
        type=float,
        default=DEFAULT_THRESHOLD,
        help="detection threshold, 0 to 1 (default: %(default)s)",
    )
    engine.add_argument(
        "--diameter",
        metavar="LENGTH",
        help="the usual diameter of what a phrase or everything looks for, as 30, 30px or 12um "
        "(where the file tells the size of a pixel); helps the built-in engine",
    )


def add_engine_choice(parser: argparse.ArgumentParser) -> argparse._ArgumentGroup:
    """Add what chooses the engine alone."""
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
    add_compute(engine)
    return engine


def add_compute(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add the server that does the work."""
    parser.add_argument(
        "--compute",
        metavar="FILE",
        help="have a server do the work: the connection file that 'napari-sam3 serve' wrote, or "
        "tcp://127.0.0.1:8786 for one on this machine",
    )


def add_precision(
    parser: argparse.ArgumentParser | argparse._ArgumentGroup, default: str | None, subject: str
) -> None:
    """Add what chooses the number format, and say what is the default."""
    parser.add_argument(
        "--precision",
        default=default,
        choices=PRECISIONS,
        help=f"number format of SAM's image encoder (default: {subject})",
    )


_LOOKED_BY = ("threshold", "diameter")


@contextmanager
def chosen_engine(chosen: argparse.Namespace, *, video: bool = False) -> Iterator[dict[str, Any]]:
    """Give the engine and what it looks by, as the functions of the API take them."""
    about = {
        "model_folder": chosen.model_folder,
        "device": chosen.device,
        "precision": chosen.precision,
    }
    name = chosen.engine
    # What only encodes looks for nothing.
    choices = {name: value for name, value in vars(chosen).items() if name in _LOOKED_BY}
    if chosen.compute is None:
        name = name or api.engine_for(chosen.model_folder, video=video)
        if chosen.encodings is None:
            yield {"engine": name, **choices, **about}
            return
    with api.open_engine(
        name, compute=chosen.compute, encodings_folder=chosen.encodings, **about
    ) as engine:
        yield {"engine": engine, **choices}


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
        "-o",
        "--output",
        action=once(),
        type=parse_path,
        required=required,
        metavar=metavar,
        help=meaning,
    )


def once(in_place_of: argparse.Action | None = None) -> type[argparse.Action]:
    """Return what refuses an output that is given twice, of which argparse takes the last.

    ``in_place_of``: an argument without a name that this option stands for.
    """

    class Once(argparse.Action):
        def __call__(
            self,
            parser: argparse.ArgumentParser,
            namespace: argparse.Namespace,
            values: object,
            option_string: str | None = None,
        ) -> None:
            if getattr(namespace, self.dest) is not None:
                parser.error(f"{self.metavar} was given twice")
            if in_place_of is not None:
                in_place_of.required = False
            setattr(namespace, self.dest, values)

    return Once


def add_repeated(group: argparse._ArgumentGroup, option: str, metavar: str, meaning: str) -> None:
    """Add an option that may be given more than once."""
    group.add_argument(
        option, action="append", default=[], metavar=metavar, help=f"{meaning}; may be repeated"
    )


def add_text(group: argparse._ArgumentGroup) -> None:
    """Add the phrase."""
    group.add_argument("--text", help="a short phrase, such as 'nucleus'")


_NUMBERS = {
    "points_per_side": ("N", "points along each side of the image"),
    "pred_iou_thresh": ("X", "least predicted IoU of a mask, 0 to 1"),
    "stability_score_thresh": ("X", "least stability of a mask, 0 to 1"),
    "crop_n_layers": ("N", "layers of crops that are looked at as well, for small objects"),
    "min_mask_region_area": ("PX", "holes and pieces with fewer pixels go"),
}


def add_everything(parser: argparse.ArgumentParser) -> None:
    """Add the wish for all objects, and how models that take clicks find them."""
    group = parser.add_argument_group("everything, without any other prompt")
    group.add_argument(
        "--everything",
        action="store_true",
        help="find all objects: at a grid of points by a SAM, by itself the built-in engine",
    )
    for name, (metavar, meaning) in _NUMBERS.items():
        default = getattr(api.Everything(), name)
        group.add_argument(
            f"--{name.replace('_', '-')}",
            type=type(default),
            default=default,
            metavar=metavar,
            help=f"{meaning} (default: %(default)s)",
        )
    group.add_argument(
        "--seeds",
        default="grid",
        metavar="grid|builtin|FILE",
        help="where a SAM is asked: at the grid, where the built-in engine finds objects, or in "
        "the middle of each label of a file (default: %(default)s)",
    )


def seeds_file(chosen: argparse.Namespace) -> list[Path]:
    """Return the file of labels whose middles are asked for, if one is named."""
    return [] if chosen.seeds in set(api.Seeds) else [parse_path(chosen.seeds)]


def everything_argument(chosen: argparse.Namespace) -> bool | api.Everything:
    """Return how everything is to be found, as the functions of the API take it."""
    if not chosen.everything:
        return False
    named, points = chosen.seeds in set(api.Seeds), None
    if not named:
        labels = read_labels(parse_path(chosen.seeds)).pixels()
        if labels.ndim != 2 or labels.dtype.kind not in "iub":
            raise ImageError(
                f"{chosen.seeds} holds no plane of labels.", "Give a label image of rows, columns."
            )
        points = api.label_seeds(labels)
    return api.Everything(
        **{name: getattr(chosen, name) for name in _NUMBERS},
        seeds=api.Seeds(chosen.seeds) if named else api.Seeds.GRID,
        joining=api.Joining(getattr(chosen, "joining", api.Joining.OVERLAP)),
        points=points,
    )


_ALL_PLANES = "all"


def add_plane(
    parser: argparse.ArgumentParser, leading: str = "each leading axis", *, several: bool = False
) -> None:
    """Add what chooses the plane, or ``several``, and its contrast."""
    plane = parser.add_argument_group("what to look at")
    how = f"index along {leading}"
    how += f", or {_ALL_PLANES}: every plane, one after another" if several else ""
    plane.add_argument("--plane", metavar="I,J,...", help=how)
    add_series(plane)
    plane.add_argument("--channel-axis", type=int, metavar="AXIS", help="default: found out")
    plane.add_argument("--channel", type=int, help="one channel (default: all together)")
    plane.add_argument("--contrast", metavar="LOW,HIGH", help="intensities of black and white")


def add_look(parser: argparse.ArgumentParser) -> None:
    """Add what is looked at of every image of a folder."""
    look = parser.add_argument_group("what to look at")
    add_series(look, several=True)
    look.add_argument("--channel-axis", type=int, metavar="AXIS", help="default: found out")
    look.add_argument("--channel", type=int, help="one channel (default: all together)")
    look.add_argument("--contrast", metavar="LOW,HIGH", help="intensities of black and white")


def _parse_contrast(chosen: argparse.Namespace) -> tuple[float, float] | None:
    if chosen.contrast is None:
        return None
    low, high = parse_numbers(chosen.contrast, (2,), "--contrast")
    return low, high


def look_arguments(chosen: argparse.Namespace) -> dict[str, Any]:
    """Return what :func:`add_look` asked for, as the functions of the API take it."""
    return {
        "contrast": _parse_contrast(chosen),
        "channel_axis": chosen.channel_axis,
        "channel": chosen.channel,
        "series": chosen.series,
    }


def add_series(group: argparse._ArgumentGroup, *, several: bool = False) -> None:
    """Add what chooses an image of a file that holds several, or some of them."""
    which = "which images of files that hold several, such as positions: all, 0,3-5 (numbers from "
    which += "0), or a name or pattern as 'Pos*'; each gets its own labels (default: the largest)"
    one = "which image of a file that holds several: its number from 0, or its name (default: the "
    one += "largest)"
    group.add_argument(
        "--series",
        type=lambda text: int(text) if re.fullmatch(r"-?\d{1,9}", text, re.ASCII) else text,
        metavar="WHICH" if several else "N",
        help=which if several else one,
    )


def plane_arguments(chosen: argparse.Namespace, *, several: bool = False) -> dict[str, Any]:
    """Return the plane that was chosen, as the functions of the API take it."""
    plane = chosen.plane
    if plane is not None and not (several and plane == _ALL_PLANES):
        plane = parse_whole_numbers(plane, (), "--plane")
    return {
        "plane": plane,
        "contrast": _parse_contrast(chosen),
        "channel_axis": chosen.channel_axis,
        "channel": chosen.channel,
    }


def explain_row(row: FolderRow) -> str:
    """Return the line that is printed of an image of a folder."""
    name = f"{row.image} - {row.phrase}" if row.phrase else row.image
    if row.status in ("failed", "left out"):
        return f"{name}: {row.status}. {row.message}"
    objects = pluralize(row.objects or 0, "object")
    return f"{name}: {objects}, {row.status}: {row.labels}{row.message and f' ({row.message})'}"


def add_tiles(parser: argparse.ArgumentParser, if_any: str = "") -> None:
    """Add how a large image is cut; ``if_any`` says what a tile does, where there may be none."""
    tiles = parser.add_argument_group("tiles")
    tiles.add_argument(
        "--tile",
        type=int,
        default=None if if_any else TileOptions().size,
        metavar="PIXELS",
        help=if_any or "side of a tile (default: %(default)s)",
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
    """Writes progress to standard error: one line that is written over, or lines into a log.

    In a file or a pipe, such as the log of a cluster's job, a line comes once in a while only, so
    that short work has none. As a context manager it takes the line away.

    Parameters
    ----------
    clock : callable
        Returns seconds.
    """

    EVERY = 15.0
    """Seconds between two lines of a log."""
    _width: ClassVar[int] = 0  # there is one terminal

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = self._last = clock()

    def __exit__(self, *_: object) -> None:
        self.wipe()

    @classmethod
    def wipe(cls) -> None:
        """Take the line away, for another one to be printed there."""
        if cls._width:
            sys.stderr.write(f"\r{' ' * cls._width}\r")
            sys.stderr.flush()
            TerminalReporter._width = 0

    def report(self, progress: Progress) -> None:
        """Show the progress, where somebody looks on."""
        message = make_printable(progress.message)
        if sys.stderr.isatty():
            message = message[: max(1, shutil.get_terminal_size().columns - 1)]
            sys.stderr.write(f"\r{message.ljust(self._width)}")
            sys.stderr.flush()
            TerminalReporter._width = len(message)
        elif self._clock() - self._last >= self.EVERY:
            self._last = self._clock()
            passed = format_duration(self._last - self._began)
            done, total = progress.done, progress.total
            counts = not total or re.search(rf"\b\d+ of {total}\b", message)
            share = "" if counts else f" ({part_of(done, total)})"
            sys.stderr.write(f"{passed}: {message}{share}\n")
            sys.stderr.flush()

    def check(self) -> None:
        """Go on; Ctrl+C stops the work by itself."""
