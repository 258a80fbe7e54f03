"""Outlines of labels: smoother, larger, smaller."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.core.masks.neighbourhood import (
    anywhere,
    ball,
    edit_by_tiles,
    eroded,
    everywhere,
    extremes,
    reach_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.masks.edits import LabelEdit
    from napari_sam3_assistant.core.masks.labels import Box, LabelArray
    from napari_sam3_assistant.core.masks.neighbourhood import Offsets
    from napari_sam3_assistant.core.progress import Reporter


def smooth(
    labels: Any,  # noqa: ANN401 - arrays of numpy, zarr and others
    radius: float,
    spacing: Sequence[float] | None = None,
    box: Box | None = None,
    reporter: Reporter | None = None,
) -> LabelEdit:
    """Return the edit that smooths each label: opening, then closing, with a ball.

    No label takes pixels of another, and objects go on beyond the edge of the labels, so they
    keep their border there.

    Parameters
    ----------
    labels : array-like of int, shape (..., H, W)
        In memory or lazy.
    radius : float
        Radius of the ball, in the unit of the spacing.
    spacing : sequence of float, optional
        Size of a pixel along each axis; by default 1. ``inf`` leaves an axis out.
    box : tuple of slice, optional
        The part to work on.
    reporter : Reporter, optional
        Is told of the progress.

    Raises
    ------
    MaskError
        If the radius reaches no other pixel.
    """
    offsets = ball(radius, spacing or [1.0] * labels.ndim)
    margin = [4 * most for most in reach_of(offsets)]
    change = partial(_smoothed, offsets=offsets)
    return edit_by_tiles(labels, "smooth mask", margin, change, box, reporter)


def shrink(
    labels: Any,  # noqa: ANN401
    distance: float,
    spacing: Sequence[float] | None = None,
    box: Box | None = None,
    reporter: Reporter | None = None,
) -> LabelEdit:
    """Return the edit that makes each label smaller by a distance; parameters as for smoothing.

    Labels that touch get a gap between them. The edge of the array takes nothing away.
    """
    offsets = ball(distance, spacing or [1.0] * labels.ndim)
    change = partial(eroded, offsets=offsets)
    return edit_by_tiles(labels, "shrink labels", reach_of(offsets), change, box, reporter)


def expand(
    labels: Any,  # noqa: ANN401
    distance: float,
    spacing: Sequence[float] | None = None,
    box: Box | None = None,
    reporter: Reporter | None = None,
) -> LabelEdit:
    """Return the edit that makes each label larger by a distance; parameters as for smoothing.

    A background pixel gets the nearest label within the distance. Labels take nothing from each
    other.
    """
    spacing = spacing or [1.0] * labels.ndim
    margin = reach_of(ball(distance, spacing))
    change = partial(_expanded, distance=distance, spacing=spacing, margin=margin)
    return edit_by_tiles(labels, "expand labels", margin, change, box, reporter)


def _expanded(
    tile: LabelArray, distance: float, spacing: Sequence[float], margin: Sequence[int]
) -> LabelArray:
    inner = _inner(tile.shape, margin)
    if tile[inner].all():
        return tile[inner]
    # The distance along an axis that is left out is so large that nothing comes from there.
    sampling = [1e9 if math.isinf(size) else size for size in spacing]
    far, nearest = ndi.distance_transform_edt(tile == 0, sampling, return_indices=True)
    grown: LabelArray = np.where(
        far[inner] <= distance * (1 + 1e-9),
        tile[tuple(axis[inner] for axis in nearest)],
        tile.dtype.type(0),
    )
    return grown


def _inner(shape: Sequence[int], margin: Sequence[int]) -> tuple[slice, ...]:
    return tuple(slice(more, size - more) for more, size in zip(margin, shape, strict=True))


def _smoothed(tile: LabelArray, offsets: Offsets) -> LabelArray:
    reach = reach_of(offsets)
    core = eroded(tile, offsets)
    # What an opening keeps lies in the label that it was eroded from, so one pass is for all.
    opened = np.where(
        anywhere(core != 0, offsets),
        tile[_inner(tile.shape, [2 * most for most in reach])],
        tile.dtype.type(0),
    )
    inner = [2 * most for most in reach]
    result = opened[_inner(opened.shape, inner)].copy()
    if opened.any():
        original = tile[_inner(tile.shape, [4 * most for most in reach])]
        _close(result, opened, original, offsets)
    return result


def _close(result: LabelArray, opened: LabelArray, original: LabelArray, offsets: Offsets) -> None:
    """Add to ``result`` what the closing of each label adds to the opened ones.

    A pixel joins a label if each ball that holds the pixel meets the label. Where all those
    balls meet one label only, that is the one; where some meet several, it is looked up label
    by label.
    """
    # Above every label, so that the background never is the least one.
    nothing = True if opened.dtype == bool else np.iinfo(opened.dtype.name).max
    least = np.where(opened == 0, nothing, opened)
    low, _ = extremes(least, offsets)
    _, high = extremes(opened, offsets)
    met = everywhere(high != 0, offsets)
    candidates = met & (result == 0)
    if not candidates.any():
        return
    single = np.where(low == high, high, opened.dtype.type(0))
    fewest, most = extremes(single, offsets)
    sure = candidates & (fewest == most) & (most != 0)
    allowed = (original == 0) | (original == most)
    result[sure & allowed] = most[sure & allowed]
    unsure = candidates & ~sure
    if unsure.any():
        _close_one_by_one(result, opened, original, unsure, offsets)


def _close_one_by_one(
    result: LabelArray,
    opened: LabelArray,
    original: LabelArray,
    unsure: npt.NDArray[np.bool_],
    offsets: Offsets,
) -> None:
    # A pixel of the result is, in ``opened``, two radii further from each edge.
    twice = [2 * most for most in reach_of(offsets)]
    near = np.zeros(opened.shape, bool)
    near[_inner(opened.shape, twice)] = unsure
    values = np.unique(opened[ndi.maximum_filter(near, [2 * most + 1 for most in twice])])
    for value, box in _boxes(opened, values[values != 0]):
        # A closing never leaves the bounding box.
        part = tuple(
            slice(min(max(side.start - most, 0), size), min(max(side.stop - most, 0), size))
            for side, most, size in zip(box, twice, result.shape, strict=True)
        )
        if not unsure[part].any():
            continue
        around = tuple(
            slice(side.start, side.stop + 2 * most) for side, most in zip(part, twice, strict=True)
        )
        closed = everywhere(anywhere(opened[around] == value, offsets), offsets)
        mine = original[part]
        added = closed & unsure[part] & (result[part] == 0) & ((mine == 0) | (mine == value))
        result[part][added] = value


def _boxes(labels: LabelArray, values: npt.NDArray[Any]) -> list[tuple[Any, Box]]:
    """Return the bounding boxes of some labels, in ascending order."""
    places = np.searchsorted(values, labels)
    places[places == values.size] = 0
    index = np.where(values[places] == labels, places + 1, 0)
    return list(zip(values, ndi.find_objects(index), strict=True))
