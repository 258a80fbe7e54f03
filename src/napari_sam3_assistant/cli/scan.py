"""``napari-sam3 scan``: find objects in all of a large image, tile by tile."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from napari_sam3_assistant import api
from napari_sam3_assistant.cli.arguments import (
    TerminalReporter,
    add_engine,
    add_image,
    add_output,
    add_plane,
    add_repeated,
    add_text,
    add_tiles,
    engine_arguments,
    parse_path,
    parse_signed,
    plane_arguments,
    print_line,
)
from napari_sam3_assistant.core.plurals import plural_of
from napari_sam3_assistant.io.exports import write_table
from napari_sam3_assistant.io.outputs import check_folder, check_output

if TYPE_CHECKING:
    import argparse


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "scan",
        help="find objects in all of a large image, tile by tile",
        description=(
            "Find objects in all of a large image, tile by tile. A scan that was stopped goes on "
            "where it was when the same command is given again."
        ),
    )
    add_image(parser)
    add_output(parser, "LABELS.zarr", "OME-Zarr folder for the labels")
    parser.add_argument(
        "--table", type=parse_path, metavar="FILE.csv", help="write the objects as CSV"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the labels if they exist")
    prompts = parser.add_argument_group("prompts, in pixels, y before x")
    add_text(prompts)
    add_repeated(
        prompts, "--exemplar", "Y0,X0,Y1,X1[,+|-]", "a box around an example of what to find"
    )
    add_tiles(parser)
    add_engine(parser)
    add_plane(parser)
    parser.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> int:
    """Scan the image that was named."""
    check_folder(chosen.output)
    if chosen.table is not None:
        check_output(chosen.table, chosen.image, chosen.output)
    began = time.monotonic()
    with TerminalReporter() as reporter:
        result = api.scan(
            chosen.image,
            output=chosen.output,
            text=chosen.text,
            exemplars=[parse_signed(text, 4, "--exemplar") for text in chosen.exemplar],
            tile=chosen.tile,
            overlap=chosen.overlap,
            overwrite=chosen.overwrite,
            series=chosen.series,
            reporter=reporter,
            **engine_arguments(chosen),
            **plane_arguments(chosen),
        )
    number, tiles = len(result.objects), result.tiles
    print_line(
        f"{number} {plural_of(number, 'object')} in {tiles} {plural_of(tiles, 'tile')}, "
        f"{time.monotonic() - began:.2f} s ({result.engine.title})"
    )
    for note in result.notes:
        print_line(note)
    print_line(str(result.path))
    if chosen.table is not None:
        write_table(
            chosen.table,
            ("id", "text", "score", "area", "y0", "x0", "y1", "x1"),
            ((one.id, one.text, one.score, one.area, *one.region.box) for one in result.objects),
        )
        print_line(str(chosen.table))
    return 0
