"""Holes in labels: what a label encloses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.core.masks.components import (
    Components,
    Runs,
    find_runs,
    group_runs,
    touching_pairs,
)
from napari_sam3_assistant.core.masks.edits import LabelEdit, changes_of_runs
from napari_sam3_assistant.core.masks.labels import Box, read, whole_box
from napari_sam3_assistant.core.progress import NullReporter, Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.core.masks.labels import Positions
    from napari_sam3_assistant.core.progress import Reporter


_EVERY = 128


def fill_holes(
    labels: AnyArray,
    maximum: int = 0,
    box: Box | None = None,
    reporter: Reporter | None = None,
    *,
    per_slice: bool = False,
) -> LabelEdit:
    """Return the edit that fills holes.

    A hole of a label is a region of anything but that label, connected by faces, that does not
    reach the edge of the labels (or of the box). Only its background is filled, other labels in
    it stay. Where holes of several labels lie in each other, the smallest one counts.

    Parameters
    ----------
    labels : array-like of int, shape (..., H, W)
        In memory or lazy.
    maximum : int, pixels
        Largest hole that is filled, other labels in it included; 0 for any size.
    box : tuple of slice, optional
        The part to work on.
    reporter : Reporter, optional
        Is told of the progress.
    per_slice : bool
        Whether each plane of rows and columns counts for itself, so that a tube is filled.
    """
    reporter = reporter or NullReporter()
    shape = tuple(int(size) for size in labels.shape)
    box = whole_box(shape) if box is None else box
    every = range(len(shape) - 2 if per_slice else 0, len(shape))
    # A plane of a stack has an axis of length 1, along which nothing is open; two axes are left.
    flat = [axis for axis in every[:-1] if shape[axis] == 1][: len(every) - 2]
    axes = [axis for axis in every if axis not in flat]
    runs = find_runs(labels, box, background=True, reporter=reporter, message="Looking for holes")
    empty = runs.values == 0
    gaps = group_runs(runs.take(empty), 1, axes[:-1])
    closed = _find_closed(gaps, box, axes)
    gap_of = np.full(runs.starts.size, -1, np.intp)
    gap_of[empty] = gaps.of_run
    lowest, highest = _labels_around(runs, gap_of, len(gaps), axes)
    alone = closed & (lowest == highest)
    small = (gaps.areas <= maximum) | (maximum == 0)
    owner = np.where(alone & small, highest, 0)
    unsure = np.flatnonzero(closed & (lowest < highest) & small)
    if unsure.size:
        rims = _find_rims(runs.take(~empty), axes)
        owner[unsure] = _find_innermost(labels, gaps, unsure, rims, axes, maximum, reporter)
    return LabelEdit.pack(
        "fill holes", shape, changes_of_runs(gaps.runs, owner[gaps.of_run]), labels.dtype
    )


def _find_closed(gaps: Components, box: Box, axes: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Return which gaps keep away from the edges of the box."""
    inside = np.ones(len(gaps), bool)
    for axis in axes:
        inside &= gaps.lows[:, axis] > box[axis].start
        inside &= gaps.highs[:, axis] < box[axis].stop
    return inside


def _labels_around(
    runs: Runs, gap_of: npt.NDArray[np.intp], count: int, axes: Sequence[int]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return the lowest and the highest label that touch each gap by a face."""
    first, second = touching_pairs(runs, 1, axes[:-1])
    beside = np.flatnonzero(
        (runs.stops[:-1] == runs.starts[1:]) & (runs.rows[:-1] == runs.rows[1:])
    )
    first, second = np.concatenate([first, beside]), np.concatenate([second, beside + 1])
    lowest = np.full(count, np.iinfo(runs.values.dtype).max, runs.values.dtype)
    highest = np.zeros(count, runs.values.dtype)
    for here, there in ((first, second), (second, first)):
        meets = (gap_of[here] >= 0) & (runs.values[there] != 0)
        gap, label = gap_of[here[meets]], runs.values[there[meets]]
        np.minimum.at(lowest, gap, label)
        np.maximum.at(highest, gap, label)
    return lowest, highest


def _find_rims(runs: Runs, axes: Sequence[int]) -> tuple[npt.NDArray[Any], Positions, Positions]:
    """Return the labels and the bounding boxes of their pixels, one a plane if these count."""
    left = runs.starts % runs.shape[-1]
    lows = np.stack([*runs.coordinates(), left], axis=1)
    highs = lows + 1
    highs[:, -1] += runs.lengths - 1
    fixed = lows[:, : axes[0]]
    keys = np.column_stack([fixed, runs.values.astype(np.uint64).view(np.int64)])
    group = np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1)
    count = int(group.max()) + 1
    low = np.full((count, lows.shape[1]), np.iinfo(np.int64).max)
    high = np.zeros_like(low)
    np.minimum.at(low, group, lows)
    np.maximum.at(high, group, highs)
    values = np.zeros(count, runs.values.dtype)
    values[group] = runs.values
    return values, low, high


def _find_innermost(
    labels: AnyArray,
    gaps: Components,
    unsure: npt.NDArray[np.intp],
    rims: tuple[npt.NDArray[Any], Positions, Positions],
    axes: Sequence[int],
    maximum: int,
    reporter: Reporter,
) -> npt.NDArray[Any]:
    """Return for gaps that several labels touch the label of the smallest hole around each."""
    values, lows, highs = rims
    best = np.full(len(unsure), np.iinfo(np.int64).max)
    owner = np.zeros(len(unsure), values.dtype)
    free = np.array([axis not in axes for axis in range(lows.shape[1])])
    # A hole lies strictly inside the bounding box of its label.
    low, high = gaps.lows[unsure] + free, gaps.highs[unsure] - free
    begin = np.zeros(len(gaps), np.intp)
    begin[gaps.of_run[::-1]] = np.arange(gaps.of_run.size)[::-1]
    first = gaps.runs.starts[begin[unsure]]
    seeds = np.stack(np.unravel_index(first, gaps.runs.shape), axis=1)
    # Gaps come in the order of their first pixels, so those of a box lie next to each other.
    since = np.searchsorted(first, np.ravel_multi_index(tuple(lows.T), gaps.runs.shape))
    until = np.searchsorted(first, np.ravel_multi_index(tuple((highs - 1).T), gaps.runs.shape))
    for index, value in enumerate(values):
        if index % _EVERY == 0:
            reporter.report(Progress(index, len(values), "Looking for holes"))
        near = slice(since[index], until[index])
        inside = ((low[near] > lows[index]) & (high[near] < highs[index])).all(axis=1)
        if not inside.any():
            continue
        crop = tuple(map(slice, lows[index].tolist(), highs[index].tolist()))
        regions, count = ndi.label(read(labels, crop) != value)
        size = np.bincount(regions.reshape(-1), minlength=count + 1)
        size[_at_border(regions, axes)] = 0
        candidates = np.flatnonzero(inside) + since[index]
        own = size[regions[tuple((seeds[candidates] - lows[index]).T)]]
        better = (own > 0) & (own < best[candidates]) & ((own <= maximum) | (maximum == 0))
        best[candidates[better]] = own[better]
        owner[candidates[better]] = value
    return owner


def _at_border(regions: npt.NDArray[Any], axes: Sequence[int]) -> npt.NDArray[Any]:
    sides = [np.take(regions, (0, -1), axis=axis).reshape(-1) for axis in axes]
    return np.unique(np.concatenate(sides))
