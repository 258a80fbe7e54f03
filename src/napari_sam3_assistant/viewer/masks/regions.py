"""Which part of a labels layer is on show, or drawn around."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels, Shapes

from napari_sam3_assistant.errors import MaskError
from napari_sam3_assistant.viewer.geometry import DataMap, World
from napari_sam3_assistant.viewer.roles import Role, role_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from napari.components import ViewerModel

    from napari_sam3_assistant.core.masks.labels import Box


def visible_box(viewer: ViewerModel, layer: Labels, shape: Sequence[int]) -> Box:
    """Return the pixels of a layer that the canvas shows, on the slice on show.

    Raises
    ------
    MaskError
        If it shows none.
    """
    factors = np.asarray(layer.downsample_factors[layer.data_level]) if layer.multiscale else 1
    low, high = np.asarray(layer.corner_pixels) * factors
    point = World.of(viewer).slice_of(layer, viewer.dims.ndisplay)
    sides = []
    for axis, size in enumerate(shape):
        if np.isnan(point[axis]):
            sides.append((max(int(low[axis]), 0), min(int(high[axis]) + 1, size)))
        else:
            at = int(np.round(point[axis]))
            sides.append((at, at + 1) if 0 <= at < size else (0, 0))
    return _box(sides, f"No pixel of “{layer.name}” is in view.", "Zoom or move to the masks.")


def drawn_box(viewer: ViewerModel, layer: Labels, shape: Sequence[int]) -> Box:
    """Return the pixels of a layer in the box around the selected shapes, or the latest one.

    Raises
    ------
    MaskError
        If nothing is drawn, or not on the layer.
    """
    drawings = [
        one
        for one in viewer.layers
        if isinstance(one, Shapes) and role_of(one) is not Role.PREVIEW_BOXES and one.nshapes
    ]
    if not drawings:
        raise MaskError(
            "There is no drawn region.", "Add a Shapes layer and draw a rectangle around the masks."
        )
    active = viewer.layers.selection.active
    shapes = active if active in drawings else drawings[-1]
    chosen = sorted(shapes.selected_data) or [shapes.nshapes - 1]
    corners = np.concatenate([np.asarray(shapes.data[index], float) for index in chosen])
    points = DataMap.between(shapes, layer, World.of(viewer))(corners)
    sides = [_side(points[:, axis], size) for axis, size in enumerate(shape)]
    return _box(
        sides, f"The drawn region holds no pixel of “{layer.name}”.", "Draw it on the masks."
    )


def _side(positions: npt.NDArray[np.float64], size: int) -> tuple[int, int]:
    """Return the pixels whose centres lie between positions; of a single one the nearest pixel."""
    low, high = float(positions.min()), float(positions.max())
    if high - low < 1e-6:
        low = high = round(low)
    return max(math.ceil(low), 0), min(math.floor(high) + 1, size)


def _box(sides: Sequence[tuple[int, int]], empty: str, hint: str) -> Box:
    if any(start >= stop for start, stop in sides):
        raise MaskError(empty, hint)
    return tuple(slice(start, stop) for start, stop in sides)
