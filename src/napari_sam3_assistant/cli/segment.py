"""``napari-sam3 segment``: segment one plane of an image."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant import api
from napari_sam3_assistant.cli.arguments import (
    add_engine,
    add_image,
    add_output,
    add_plane,
    add_repeated,
    add_text,
    engine_arguments,
    parse_numbers,
    parse_path,
    parse_signed,
    plane_arguments,
    print_line,
    print_result,
)
from napari_sam3_assistant.core.display import view_of_array
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.io.labels import check_ending, save_labels
from napari_sam3_assistant.io.outputs import check_output

if TYPE_CHECKING:
    import argparse


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("segment", help="segment one plane of an image")
    add_image(parser)
    add_output(parser, "LABELS", "file for the labels: .tif, .png or .npy")
    prompts = parser.add_argument_group("prompts, in pixels, y before x")
    add_repeated(prompts, "--point", "Y,X,+|-", "a click: + on the object, - off it")
    add_repeated(prompts, "--box", "Y0,X0,Y1,X1", "a box around one object")
    add_repeated(
        prompts, "--exemplar", "Y0,X0,Y1,X1[,+|-]", "a box around an example of what to find"
    )
    prompts.add_argument(
        "--mask", type=parse_path, metavar="FILE", help="image, non-zero where painted"
    )
    add_text(prompts)
    add_engine(parser)
    add_plane(parser)
    parser.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> int:
    """Segment the image that was named."""
    check_output(chosen.output, chosen.image, *([chosen.mask] if chosen.mask else ()))
    check_ending(chosen.output)
    image = read_image(chosen.image, chosen.series)
    look: dict[str, Any] = {
        **plane_arguments(chosen),
        "axis_labels": image.axis_labels,
        "rgb": image.rgb,
    }
    for note in image.notes:
        print_line(note)
    began = time.monotonic()
    result = api.segment(
        image.data,
        points=[parse_signed(text, 2, "--point") for text in chosen.point],
        boxes=[parse_numbers(text, (4,), "--box") for text in chosen.box],
        exemplars=[parse_signed(text, 4, "--exemplar") for text in chosen.exemplar],
        mask=None if chosen.mask is None else read_image(chosen.mask).pixels(),
        text=chosen.text,
        **engine_arguments(chosen),
        **look,
    )
    axes = view_of_array(image.data, **look).channels[0].source.axes
    save_labels(result.labels, chosen.output, image.along((axes.y, axes.x)))
    print_result(result, time.monotonic() - began, chosen.output)
    return 0
