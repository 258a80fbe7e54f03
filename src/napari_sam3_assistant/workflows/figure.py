"""A figure of a result for a paper or a talk: the image, outlines, a scale bar and a legend."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from skimage.measure import find_contours

from napari_sam3_assistant.core.display import Figure
from napari_sam3_assistant.core.plurals import pluralize
from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.core.units import ome_symbol
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.atomic import atomic_write
from napari_sam3_assistant.io.outputs import make_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from napari_sam3_assistant.core.display import ImageView
    from napari_sam3_assistant.core.images import PixelSize
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.results import Segmentation


_MOST_PIXELS = 8192 * 8192
_BAR_SHARE = 0.25
"""A scale bar takes so much of the width at most."""
_NICE = (1, 2, 5)


def choose_bar(width: int, pixel: PixelSize) -> tuple[float, str]:
    """Return a scale bar of a round length for a figure so many pixels wide.

    Returns
    -------
    float
        Its length in pixels.
    str
        What it stands for.
    """
    most = width * _BAR_SHARE * pixel.width
    power = 10.0 ** math.floor(math.log10(most))
    length = max(nice * power for nice in _NICE if nice * power <= most * (1 + 1e-9))
    unit = pixel.unit if pixel.unit not in ("", "pixel") else "px"
    return length / pixel.width, f"{length:g} {unit if unit == 'px' else ome_symbol(unit)}"


def make_figure(
    view: ImageView, found: Segmentation, pixel: PixelSize, reporter: Reporter
) -> Figure:
    """Return the figure of a result: the part of the plane that it covers.

    Raises
    ------
    ImageError
        If it is too large for a picture, or can't be read.
    """
    region = found.region
    if region.height * region.width > _MOST_PIXELS:
        raise ImageError(
            f"A figure of {region.height} x {region.width} pixels would be too large.",
            "Work on a region (large-image mode), and save a figure of that.",
        )
    texts = [record.text or "Objects" for record in found.objects]
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    outlines = []
    for record, text in zip(found.objects, texts, strict=True):
        reporter.check()
        inside = record.region.localise(region)
        # A border of background closes the lines of what touches the edge of its box.
        lines = find_contours(np.pad(record.mask, 1).astype(np.float32), 0.5)
        for line in lines:
            y, x = line.T - 0.5
            corners = np.column_stack((x + inside.x0, y + inside.y0))
            outlines.append((numbers[text], corners))
    names = tuple(f"{text} ({pluralize(texts.count(text), 'object')})" for text in numbers)
    return Figure(
        view.rgb(region),
        tuple(outlines),
        names,
        choose_bar(region.width, pixel),
        pixel.height / pixel.width,
    )


def save_figure(
    view: ImageView,
    found: Segmentation,
    pixel: PixelSize,
    path: Path,
    draw: Callable[[Figure, str], bytes],
    reporter: Reporter,
) -> Iterator[Path]:
    """Write the figure of a result and yield its path.

    Parameters
    ----------
    view : ImageView
        The plane as it is shown.
    found : Segmentation
        The result.
    pixel : PixelSize
        How large a pixel is.
    path : Path
        The file; replaced if it exists.
    draw : callable
        Returns a figure as a file with an ending, ``.png`` or ``.svg``; on this thread.
    reporter : Reporter
        Is told of the progress, and stops the work.

    Raises
    ------
    ImageError
        If it is too large for a picture, or can't be read.
    ExportError
        If the file can't be written; nothing is left behind then.
    """
    reporter.report(Progress(0, 1, f"Drawing {path.name}"))
    drawn = draw(make_figure(view, found, pixel, reporter), path.suffix.lower())
    make_folder(path)
    with atomic_write(path) as draft:
        draft.write_bytes(drawn)
    yield path
