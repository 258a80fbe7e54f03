"""The command line, ``napari-sam3``: reads arguments, calls the API, writes files."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant import __version__, api
from napari_sam3_assistant.core.options import DEFAULT_THRESHOLD
from napari_sam3_assistant.errors import ExportError, PromptError, Sam3AssistantError
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.io.labels import save_labels

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        The arguments; by default those of the process.

    Returns
    -------
    int
        0 when it worked, 2 when the input can't be used.
    """
    chosen = _parser().parse_args(arguments)
    try:
        return int(chosen.command(chosen))
    except Sam3AssistantError as error:
        sys.stderr.write(f"napari-sam3: {error}\n")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="napari-sam3", description="Segment images without opening a window."
    )
    parser.add_argument("--version", action="version", version=f"napari-sam3 {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_segment(commands.add_parser("segment", help="segment one plane of an image"))
    demo = commands.add_parser("demo", help="segment scikit-image's coins as a first try")
    demo.add_argument(
        "-o",
        "--output-folder",
        type=Path,
        default=Path("napari-sam3-demo"),
        metavar="FOLDER",
        help="where to write (default: %(default)s)",
    )
    demo.set_defaults(command=_demo)
    doctor = commands.add_parser("doctor", help="say what is installed and what is missing")
    doctor.set_defaults(command=_doctor)
    return parser


def _add_segment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", type=Path, metavar="IMAGE", help="TIFF, PNG, JPEG, NumPy or zarr")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        metavar="LABELS",
        help="file for the labels: .tif, .png or .npy",
    )
    prompts = parser.add_argument_group("prompts, in pixels, y before x")
    prompts.add_argument(
        "--point",
        action="append",
        default=[],
        metavar="Y,X,+|-",
        help="a click: + on the object, - off it; may be repeated",
    )
    prompts.add_argument(
        "--box",
        action="append",
        default=[],
        metavar="Y0,X0,Y1,X1",
        help="a box around one object; may be repeated",
    )
    prompts.add_argument(
        "--exemplar",
        action="append",
        default=[],
        metavar="Y0,X0,Y1,X1[,+|-]",
        help="a box around an example of what to find; may be repeated",
    )
    prompts.add_argument("--mask", type=Path, metavar="FILE", help="image, non-zero where painted")
    prompts.add_argument("--text", help="a short phrase, such as 'nucleus'")
    engine = parser.add_argument_group("engine")
    engine.add_argument("--engine", default="builtin", help="see 'napari-sam3 doctor'")
    engine.add_argument("--model-folder", type=Path, metavar="FOLDER", help="the SAM 3 weights")
    engine.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps")
    engine.add_argument(
        "--threshold",
        type=float,
        default=DEFAULT_THRESHOLD,
        help="detection threshold, 0 to 1 (default: %(default)s)",
    )
    plane = parser.add_argument_group("what to look at")
    plane.add_argument("--plane", metavar="I,J,...", help="index along each leading axis")
    plane.add_argument("--channel-axis", type=int, metavar="AXIS", help="default: found out")
    plane.add_argument("--channel", type=int, help="one channel (default: all together)")
    plane.add_argument("--contrast", metavar="LOW,HIGH", help="intensities of black and white")
    parser.set_defaults(command=_segment)


def _segment(chosen: argparse.Namespace) -> int:
    _writable_folder(chosen.output)
    image = read_image(chosen.image)
    contrast = None
    if chosen.contrast is not None:
        low, high = _numbers(chosen.contrast, (2,), "--contrast")
        contrast = (low, high)
    plane = chosen.plane and [int(value) for value in _numbers(chosen.plane, (), "--plane")]
    began = time.monotonic()
    result = api.segment(
        image.data,
        points=[_signed(text, 2, "--point") for text in chosen.point],
        boxes=[_numbers(text, (4,), "--box") for text in chosen.box],
        exemplars=[_signed(text, 4, "--exemplar") for text in chosen.exemplar],
        mask=None if chosen.mask is None else np.asarray(read_image(chosen.mask).data),
        text=chosen.text,
        engine=chosen.engine,
        model_folder=chosen.model_folder,
        device=chosen.device,
        threshold=chosen.threshold,
        contrast=contrast,
        plane=plane,
        channel_axis=chosen.channel_axis,
        channel=chosen.channel,
        axis_labels=image.axis_labels,
        rgb=image.rgb,
    )
    save_labels(result.labels, chosen.output)
    _tell(result, time.monotonic() - began, chosen.output)
    return 0


def _demo(chosen: argparse.Namespace) -> int:
    from skimage.data import coins

    from napari_sam3_assistant.core.views import view_of_array
    from napari_sam3_assistant.io.overlay import save_overlay

    folder: Path = chosen.output_folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(
            f"The folder {folder} can't be made ({error.strerror}).", "Choose another folder."
        ) from error
    image = coins()
    began = time.monotonic()
    result = api.segment(image, text="bright objects")
    seconds = time.monotonic() - began
    labels, overlay = folder / "coins_labels.tif", folder / "coins_overlay.png"
    save_labels(result.labels, labels)
    save_overlay(view_of_array(image).rgb(), result.labels, overlay)
    _tell(result, seconds, labels, overlay)
    return 0


def _doctor(chosen: argparse.Namespace) -> int:
    del chosen
    for line in api.doctor():
        _say(line)
    return 0


def _tell(result: api.Segmentation, seconds: float, *paths: Path) -> None:
    number = len(result.objects)
    _say(f"{number} object{'' if number == 1 else 's'} in {seconds:.2f} s ({result.engine.title})")
    for note in result.notes:
        _say(note)
    for path in paths:
        _say(str(path))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def _writable_folder(path: Path) -> None:
    if not path.parent.is_dir():
        raise ExportError(
            f"The output folder {path.parent} does not exist.", "Make it, or choose another one."
        )


def _numbers(text: str, lengths: tuple[int, ...], option: str) -> list[float]:
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


def _signed(text: str, count: int, option: str) -> list[float]:
    head, _, sign = text.rpartition(",")
    if sign.strip() not in {"+", "-"}:
        return _numbers(text, (count,), option)
    return [*_numbers(head, (count,), option), float(sign.strip() == "+")]
