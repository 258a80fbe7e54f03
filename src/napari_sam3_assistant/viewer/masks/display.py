"""Large changes of labels on the canvas, so that napari's window goes on answering."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.viewer.label_pixels import redraw

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.components import ViewerModel
    from napari.layers import Labels

    from napari_sam3_assistant.core.masks.labels import Box

PART_PIXELS = 1 << 18  # with more, drawing them without a graphics card takes over 50 ms at times


def redraw_in_parts(viewer: ViewerModel, layer: Labels, box: Box) -> Iterator[None]:
    """Draw a box of a layer again; yields where the event loop may have its turn.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer of the layer.
    layer : Labels
        The layer, its data changed already.
    box : tuple of slice
        What was changed.
    """
    data = layer.data
    for at, part in enumerate(_parts(viewer, layer, box)):
        if at:
            yield
        if layer.data is not data or not layer.visible:
            return  # napari draws the whole layer with its next data, or when it is shown
        redraw(layer, part)


def _parts(viewer: ViewerModel, layer: Labels, box: Box) -> Iterator[Box]:
    missing = viewer.dims.ndim - layer.ndim
    shown = [axis - missing for axis in viewer.dims.displayed if axis >= missing]
    whole = layer.multiscale or not isinstance(layer.data, np.ndarray) or viewer.dims.ndisplay == 3
    if whole or _is_drawn_smaller(layer) or not shown:
        yield box
        return
    first, *others = shown
    width = math.prod(box[axis].stop - box[axis].start for axis in others)
    step = max(1, PART_PIXELS // max(1, width))
    for start in range(box[first].start, box[first].stop, step):
        stop = min(start + step, box[first].stop)
        yield (*box[:first], slice(start, stop), *box[first + 1 :])


def _is_drawn_smaller(layer: Labels) -> bool:
    """Return whether the graphics card has no room for all pixels: then all is drawn each time."""
    drawn = layer._transforms["tile2data"].scale  # noqa: SLF001 - napari tells it nowhere else
    return not np.allclose(drawn, 1)
