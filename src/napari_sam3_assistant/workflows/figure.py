"""A figure of a result for a paper or a talk: the image, outlines, a scale bar and a legend."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage
from skimage.measure import find_contours

from napari_sam3_assistant.core.axes import ome_symbol
from napari_sam3_assistant.core.display import Figure
from napari_sam3_assistant.core.plurals import pluralize
from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.core.results import ObjectRecord
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.atomic import atomic_write
from napari_sam3_assistant.io.outputs import make_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from napari_sam3_assistant.core.display import ImageView
    from napari_sam3_assistant.core.images import LazyArray, PixelSize
    from napari_sam3_assistant.core.masks.labels import PlaneOfLabels
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.regions import Region


_MOST_PIXELS = 8192 * 8192
_BAR_SHARE = 0.25
"""A scale bar takes so much of the width at most."""
_NICE = (1, 2, 5)


def choose_bar(width: int, pixel: PixelSize) -> tuple[float, str]:
    """Return a scale bar of a round length for a figure so many pixels wide."""
    most = width * _BAR_SHARE * pixel.width
    power = 10.0 ** math.floor(math.log10(most))
    length = max(nice * power for nice in _NICE if nice * power <= most * (1 + 1e-9))
    unit = pixel.unit if pixel.unit not in ("", "pixel") else "px"
    return length / pixel.width, f"{length:g} {unit if unit == 'px' else ome_symbol(unit)}"


@dataclass(frozen=True, slots=True, eq=False)
class LabelsOnShow:
    """Labels of a whole plane, and what is known of their objects.

    ``labels``: read by rows and columns when they are asked for.
    ``names``: what found an object, by its value.
    ``hidden``: objects that are not on show.
    """

    labels: LazyArray | PlaneOfLabels
    names: Mapping[int, str]
    hidden: Collection[int] = ()

    def read(self, region: Region) -> Iterator[ObjectRecord]:
        """Yield the objects on show in a region, as far as they lie in it."""
        pixels = np.asarray(self.labels[region.slices])
        values, places = np.unique(pixels, return_inverse=True)
        numbers = places.reshape(pixels.shape).astype(np.int32) + 1
        for value, box in zip(values.tolist(), ndimage.find_objects(numbers), strict=True):
            if value <= 0 or value in self.hidden:
                continue
            mask = pixels[box] == value
            offset = (box[0].start + region.y0, box[1].start + region.x0)
            record = ObjectRecord.from_mask(
                value, mask, offset=offset, text=self.names.get(value, "")
            )
            if record is not None:
                yield record


@dataclass(frozen=True, slots=True, eq=False)
class FigureRequest:
    """What a figure is made of.

    ``view``: the plane as it is shown.
    ``region``: the part of it that is drawn.
    ``pixel``: how large a pixel is.
    ``found``: objects with masks of their own.
    ``labels``: all others.
    """

    view: ImageView
    region: Region
    pixel: PixelSize
    found: Sequence[ObjectRecord] = ()
    labels: Sequence[LabelsOnShow] = ()


def make_figure(request: FigureRequest, reporter: Reporter) -> Figure:
    """Return the figure of a plane with the objects on show."""
    region, pixel = request.region, request.pixel
    if region.height * region.width > _MOST_PIXELS:
        raise ImageError(
            f"A figure of {region.height} x {region.width} pixels would be too large.",
            "Work on a region (large-image mode), and save a figure of that.",
        )
    counts: dict[str, int] = {}
    outlines = []
    read = (labels.read(region) for labels in request.labels)
    for record in itertools.chain(request.found, *read):
        reporter.check()
        text = record.text or "Objects"
        counts[text] = counts.get(text, 0) + 1
        inside = record.region.localise(region)
        # A border of background closes the lines of what touches the edge of its box.
        lines = find_contours(np.pad(record.mask, 1).astype(np.float32), 0.5)
        for line in lines:
            y, x = line.T - 0.5
            corners = np.column_stack((x + inside.x0, y + inside.y0))
            outlines.append((list(counts).index(text), corners))
    names = tuple(f"{text} ({pluralize(count, 'object')})" for text, count in counts.items())
    return Figure(
        request.view.rgb(region),
        tuple(outlines),
        names,
        choose_bar(region.width, pixel),
        pixel.height / pixel.width,
    )


def save_figure(
    request: FigureRequest,
    path: Path,
    draw: Callable[[Figure, str], bytes],
    reporter: Reporter,
) -> Iterator[Path]:
    """Write the figure of a plane and yield its path."""
    reporter.report(Progress(0, 1, f"Drawing {path.name}"))
    drawn = draw(make_figure(request, reporter), path.suffix.lower())
    make_folder(path)
    with atomic_write(path) as draft:
        draft.write_bytes(drawn)
    yield path
