"""``napari-sam3 scan``: find objects in all of a large image, tile by tile."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

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
    add_table,
    add_text,
    add_tiles,
    check_replaceable,
    chosen_engine,
    everything_argument,
    parse_signed,
    plane_arguments,
    write_objects,
)
from napari_sam3_assistant.core.plurals import plural_of
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
    add_plane(parser)
    parser.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> int:
    """Scan the image that was named."""
    check_folder(chosen.output)
    if chosen.table is not None:
        check_output(chosen.table, chosen.image, chosen.output)
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
                **plane_arguments(chosen),
            )
        where = f" in {result.tiles} {plural_of(result.tiles, 'tile')},"
        seconds = time.monotonic() - began
        answer.found(len(result.objects), where, seconds, result.engine.title)
        for note in result.notes:
            answer.note(note)
        answer.file(result.path)
        write_objects(chosen.table, result.objects, answer)
    return 0
