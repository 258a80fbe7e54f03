"""``napari-sam3 info``: what is in a file, how it is read, and what would be segmented."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.cli.arguments import add_image, add_series, print_line
from napari_sam3_assistant.core.axes import guess_axes
from napari_sam3_assistant.core.images import ImageSource
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.images import read_image

if TYPE_CHECKING:
    import argparse

    from napari_sam3_assistant.api import LoadedImage


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "info",
        help="what is in an image file, and how it is read",
        description=(
            "Say which images are in a file, and of one its axes, type, size of a pixel and "
            "levels, how it is read, and what would be segmented. Of most formats no pixels are "
            "read."
        ),
        epilog="Example: napari-sam3 info cells.czi --series 2",
    )
    add_image(parser)
    add_series(parser.add_argument_group("what to look at"))
    parser.add_argument("--json", action="store_true", help="print it as JSON")
    parser.set_defaults(command=run)


def run(chosen: argparse.Namespace) -> int:
    """Print what is in the file."""
    image = read_image(chosen.image, chosen.series, lazy_bytes=0)
    told = _describe(str(chosen.image), image)
    if chosen.json:
        print_line(json.dumps(told))
        return 0
    how = "piece by piece" if told["lazy"] else "as a whole"
    print_line(f"{told['file']}: {told['format']}, read by {told['library']}, {how}")
    for number, one in enumerate(image.choices):
        print_line(f"series {number}: {one}{' (taken)' if number == image.series else ''}")
    print_line(f"type: {told['dtype']}")
    for axis in image.axes:
        size = f", {axis.scale:g} {axis.unit} a pixel" if axis.unit else ""
        print_line(f"axis {axis.name or '?'}: {axis.length}{size}")
    if image.smaller:
        print_line("levels: " + ", ".join(" x ".join(map(str, one)) for one in told["levels"]))
    print_line(f"by default: {told['default']}")
    return 0


def _describe(file: str, image: LoadedImage) -> dict[str, Any]:
    """Return what is known of an image, as JSON takes it."""
    lazy = not isinstance(image.data, np.ndarray) or isinstance(image.data, np.memmap)
    return {
        "file": file,
        "format": image.format,
        "library": image.library,
        "lazy": lazy,
        "series": [{"name": one.name, "shape": list(one.shape)} for one in image.choices],
        "taken": image.series,
        "dtype": str(image.data.dtype),
        "axes": [
            {"name": one.name, "length": one.length, "scale": one.scale, "unit": one.unit,
             "origin": one.origin}
            for one in image.axes
        ],
        "rgb": image.rgb,
        "levels": [list(map(int, level.shape)) for level in image.levels],
        "default": _explain_default(image),
        "notes": list(image.notes),
    }  # fmt: skip


def _explain_default(image: LoadedImage) -> str:
    """Return what is segmented where the user says nothing of planes and channels."""
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
