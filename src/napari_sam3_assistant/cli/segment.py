"""``napari-sam3 segment``: segment one plane of an image."""

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
    check_replaceable,
    chosen_engine,
    everything_argument,
    parse_numbers,
    parse_path,
    parse_signed,
    plane_arguments,
    write_objects,
)
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.io.labels import check_ending
from napari_sam3_assistant.io.outputs import check_output

if TYPE_CHECKING:
    import argparse


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
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
            "--table cells.csv; napari-sam3 segment stack.tif --plane 12 -o labels.tif "
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
    parser.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> int:
    """Segment the image that was named."""
    read = [one for one in (chosen.image, chosen.mask, chosen.labels) if one]
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
                mask=None if chosen.mask is None else read_image(chosen.mask).pixels(),
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
        answer.found(len(result.objects), " in", seconds, result.engine.title)
        for note in result.notes:
            answer.note(note)
        answer.file(chosen.output)
        write_objects(chosen.table, result.objects, answer)
    return 0
