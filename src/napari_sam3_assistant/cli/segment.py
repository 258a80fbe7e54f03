"""``napari-sam3 segment``, ``scan``, ``info`` and ``demo``: one image, a plane or all of it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant import api
from napari_sam3_assistant.cli.arguments import (
    Answer,
    TerminalReporter,
    add_engine,
    add_everything,
    add_image,
    add_json,
    add_output,
    add_overwrite,
    add_plane,
    add_repeated,
    add_series,
    add_table,
    add_text,
    add_tiles,
    check_replaceable,
    chosen_engine,
    everything_argument,
    parse_numbers,
    parse_path,
    parse_signed,
    plane_arguments,
    print_line,
    seeds_file,
    write_objects,
)
from napari_sam3_assistant.core.axes import guess_axes
from napari_sam3_assistant.core.display import view_of_array
from napari_sam3_assistant.core.images import ImageSource
from napari_sam3_assistant.core.plurals import plural_of
from napari_sam3_assistant.errors import ExportError, ImageError
from napari_sam3_assistant.io.exports import save_overlay
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.io.labels import check_ending, save_labels
from napari_sam3_assistant.io.outputs import check_apart, check_folder, check_output

if TYPE_CHECKING:
    import argparse

    from napari_sam3_assistant.api import LoadedImage


def add_segment(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "segment",
        help="segment one plane of an image",
        description=(
            "Segment one plane of an image. Beside the labels a note, LABELS.json, says how they "
            "were made; 'napari-sam3 rerun' makes them again."
        ),
        epilog=(
            "Examples: napari-sam3 segment cells.tif -o labels.tif --text 'bright cells' "
            "--table cells.csv; napari-sam3 segment stack.tif --plane 12 -o cell.tif "
            "--point 120,85,+ --point 130,85,-"
        ),
    )
    add_image(parser)
    add_output(parser, "LABELS", "file for the labels: .tif, .png or .npy")
    add_table(parser)
    add_overwrite(parser)
    add_json(parser)
    prompts = parser.add_argument_group("prompts, in pixels, y before x")
    add_repeated(prompts, "--point", "Y,X,+|-", "a click: + on the object, - off it")
    add_repeated(prompts, "--box", "Y0,X0,Y1,X1", "a box around one object")
    add_repeated(
        prompts, "--exemplar", "Y0,X0,Y1,X1[,+|-]", "a box around an example of what to find"
    )
    prompts.add_argument(
        "--mask", type=parse_path, metavar="FILE", help="image, non-zero where painted"
    )
    prompts.add_argument(
        "--labels",
        type=parse_path,
        metavar="FILE",
        help="labels of another tool, or COCO or GeoJSON of QuPath: each object is a mask prompt "
        "of its own and keeps its number",
    )
    prompts.add_argument(
        "--as-painted",
        action="store_true",
        help="take --mask or --labels as the objects that they are, whatever the image shows",
    )
    add_text(prompts)
    prompts.add_argument(
        "--examples",
        type=parse_path,
        metavar="FOLDER",
        help="experimental: what looks like the examples that were kept of other images "
        "(sam3_examples, by Add Example or api.add_example)",
    )
    add_everything(parser)
    add_engine(parser)
    add_plane(parser)
    parser.set_defaults(command=run_segment)


def run_segment(chosen: argparse.Namespace) -> int:
    """Segment the image that was named."""
    read = [path for path in (chosen.image, chosen.mask, chosen.labels) if path]
    read += seeds_file(chosen)
    check_output(chosen.output, *read)
    check_ending(chosen.output)
    if chosen.table is not None:
        check_output(chosen.table, chosen.output, *read)
    check_replaceable(chosen, chosen.output, chosen.table)
    began = time.monotonic()
    with Answer(chosen) as answer:
        with TerminalReporter() as reporter, chosen_engine(chosen) as engine:
            result = api.segment(
                chosen.image,
                output=chosen.output,
                overwrite=chosen.overwrite,
                points=[parse_signed(text, 2, "--point") for text in chosen.point],
                boxes=[parse_numbers(text, (4,), "--box") for text in chosen.box],
                exemplars=[parse_signed(text, 4, "--exemplar") for text in chosen.exemplar],
                everything=everything_argument(chosen),
                mask=chosen.mask,
                labels=chosen.labels,
                as_painted=chosen.as_painted,
                text=chosen.text,
                examples=chosen.examples,
                series=chosen.series,
                reporter=reporter,
                **engine,
                **plane_arguments(chosen),
            )
        seconds = time.monotonic() - began
        answer.found(result, " in", seconds)
        answer.file(chosen.output)
        write_objects(chosen.table, result, answer)
    return 0


def add_scan(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "scan",
        help="find objects in all of a large image, tile by tile",
        description=(
            "Find objects in all of a large image, tile by tile, or in every plane of a stack "
            "(--plane all). A scan that was stopped goes on where it was when the same command is "
            "given again."
        ),
        epilog=(
            "Example: napari-sam3 scan slide.svs -o nuclei.zarr --text 'bright nuclei' "
            "--table nuclei.csv"
        ),
    )
    add_image(parser)
    add_output(parser, "LABELS.zarr", "OME-Zarr folder for the labels")
    add_table(parser)
    add_overwrite(parser)
    add_json(parser)
    prompts = parser.add_argument_group("prompts, in pixels, y before x")
    add_text(prompts)
    add_repeated(
        prompts, "--exemplar", "Y0,X0,Y1,X1[,+|-]", "a box around an example of what to find"
    )
    add_tiles(parser)
    add_everything(parser)
    add_engine(parser)
    add_plane(parser, several=True)
    parser.set_defaults(command=run_scan)


def run_scan(chosen: argparse.Namespace) -> int:
    """Scan the image that was named."""
    check_folder(chosen.output)
    check_apart(chosen.output, *seeds_file(chosen))
    if chosen.table is not None:
        check_output(chosen.table, chosen.image, chosen.output, *seeds_file(chosen))
    check_replaceable(chosen, chosen.output, chosen.table)
    began = time.monotonic()
    with Answer(chosen) as answer:
        with TerminalReporter() as reporter, chosen_engine(chosen) as engine:
            result = api.scan(
                chosen.image,
                output=chosen.output,
                text=chosen.text,
                exemplars=[parse_signed(text, 4, "--exemplar") for text in chosen.exemplar],
                everything=everything_argument(chosen),
                tile=chosen.tile,
                overlap=chosen.overlap,
                overwrite=chosen.overwrite,
                series=chosen.series,
                reporter=reporter,
                **engine,
                **plane_arguments(chosen, several=True),
            )
        on_tiles = f" in {result.tiles} {plural_of(result.tiles, 'tile')},"
        seconds = time.monotonic() - began
        answer.found(result, on_tiles, seconds)
        answer.file(result.path)
        write_objects(chosen.table, result, answer)
    return 0


def add_info(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "info",
        help="what is in an image file, and how it is read",
        description=(
            "Say which images are in a file, and of one its axes, type, size of a pixel and "
            "levels, how it is read, and what would be segmented. Of most formats no pixels are "
            "read."
        ),
        epilog="Example: napari-sam3 info cells.ome.tif --series 2",
    )
    add_image(parser)
    add_series(parser.add_argument_group("what to look at"))
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.set_defaults(command=run_info)


def run_info(chosen: argparse.Namespace) -> int:
    """Print what is in the file."""
    image = read_image(chosen.image, chosen.series, lazy_bytes=0)
    described = _describe(str(chosen.image), image)
    if chosen.json:
        print_line(json.dumps(described))
        return 0
    how = "piece by piece" if described["lazy"] else "as a whole"
    print_line(f"{described['file']}: {described['format']}, read by {described['library']}, {how}")
    for number, choice in enumerate(image.choices):
        print_line(f"series {number}: {choice}{' (taken)' if number == image.series else ''}")
    print_line(f"type: {described['dtype']}")
    for axis in image.axes:
        size = f", {axis.scale:g} {axis.unit} a pixel" if axis.unit else ""
        print_line(f"axis {axis.name or '?'}: {axis.length}{size}")
    if image.smaller:
        print_line(
            "levels: " + ", ".join(" x ".join(map(str, level)) for level in described["levels"])
        )
    print_line(f"by default: {described['default']}")
    for note in image.notes:
        print_line(f"note: {note}")
    return 0


def _describe(file: str, image: LoadedImage) -> dict[str, Any]:
    """Return what is known of an image, as JSON takes it."""
    lazy = not isinstance(image.data, np.ndarray) or isinstance(image.data, np.memmap)
    return {
        "file": file,
        "format": image.format,
        "library": image.library,
        "lazy": lazy,
        "series": [{"name": choice.name, "shape": list(choice.shape)} for choice in image.choices],
        "taken": image.series,
        "dtype": str(image.data.dtype),
        "axes": [
            {"name": axis.name, "length": axis.length, "scale": axis.scale, "unit": axis.unit,
             "origin": axis.origin}
            for axis in image.axes
        ],
        "rgb": image.rgb,
        "levels": [list(map(int, level.shape)) for level in image.levels],
        "default": _explain_default(image),
        "notes": list(image.notes),
    }  # fmt: skip


def _explain_default(image: LoadedImage) -> str:
    """Return what is segmented by default, without options for planes and channels."""
    try:
        axes = guess_axes(image.data.shape, rgb=image.rgb, axis_labels=image.axis_labels)
        source = ImageSource(image.data, axes)
    except ImageError as error:
        return str(error)
    height, width = source.plane_shape
    parts = [f"a plane of {height} x {width} pixels", axes.reason]
    if source.has_channels:
        parts.append(f"its {source.channels} channels together")
    planes = [
        f"{image.axes[at].name or f'axis {at}'} (0 to {source.shape[at] - 1})"
        for at in axes.leading
    ]
    if any(size > 1 for size in source.leading_shape):
        parts.append(f"segment and scan need --plane for {', '.join(planes)}")
    return "; ".join(parts)


def add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "demo",
        help="segment scikit-image's coins as a first try",
        epilog="Example: napari-sam3 demo -o first-try",
    )
    parser.add_argument(
        "-o",
        "--output-folder",
        type=parse_path,
        default=Path("napari-sam3-demo"),
        metavar="FOLDER",
        help="where to write (default: %(default)s)",
    )
    add_json(parser)
    parser.set_defaults(command=run_demo)


def run_demo(chosen: argparse.Namespace) -> int:
    """Segment the coins and write labels and an overlay."""
    from skimage.data import coins

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
    with Answer(chosen) as answer:
        answer.found(result, " in", seconds)
        for path in (labels, overlay):
            answer.file(path)
    return 0
