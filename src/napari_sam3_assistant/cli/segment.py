"""``napari-sam3 segment``: segment one plane of an image."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant import api
from napari_sam3_assistant.cli.arguments import numbers, signed, tell, writable_folder
from napari_sam3_assistant.core.options import DEFAULT_THRESHOLD
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.io.labels import save_labels

if TYPE_CHECKING:
    import argparse


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser("segment", help="segment one plane of an image")
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
    parser.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> int:
    """Segment the image that was named."""
    writable_folder(chosen.output)
    image = read_image(chosen.image)
    contrast = None
    if chosen.contrast is not None:
        low, high = numbers(chosen.contrast, (2,), "--contrast")
        contrast = (low, high)
    plane = chosen.plane and [int(value) for value in numbers(chosen.plane, (), "--plane")]
    began = time.monotonic()
    result = api.segment(
        image.data,
        points=[signed(text, 2, "--point") for text in chosen.point],
        boxes=[numbers(text, (4,), "--box") for text in chosen.box],
        exemplars=[signed(text, 4, "--exemplar") for text in chosen.exemplar],
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
    tell(result, time.monotonic() - began, chosen.output)
    return 0
