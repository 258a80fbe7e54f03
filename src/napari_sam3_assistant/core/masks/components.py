"""Connected components of labels, by runs: stretches of equal pixels in a row.

Labels as runs: stretches of equal pixels in a row.

A labelled image has far fewer runs than pixels, and everything about its components follows
from the runs with a few vectorised steps: connected components by joining runs that overlap in
neighbouring rows (He, Chao, Suzuki, "A run-based two-scan labeling algorithm", IEEE TIP 17(5),
2008), areas, boxes, centroids. Runs of separate blocks join by concatenation, so components of a
lazy array are found block by block, exactly as in a whole array.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from napari_sam3_assistant.core.masks.labels import (
    Connectivity,
    box_shape,
    check_labels,
    read,
    split_blocks,
    whole_box,
)
from napari_sam3_assistant.core.progress import NullReporter, Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.core.masks.labels import Box, LabelArray, Positions
    from napari_sam3_assistant.core.progress import Reporter


if TYPE_CHECKING:
    Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Components:
    """Components, ordered by label and then by their first pixel.

    Parameters
    ----------
    runs : Runs
        All runs of all components.
    of_run : ndarray, shape (r,), dtype intp
        To which component each run belongs, from 0.
    values : ndarray, shape (n,)
        Label of each component.
    areas : ndarray, shape (n,), dtype int64
        Number of pixels.
    centroids : ndarray, shape (n, ndim), dtype float
        Mean pixel coordinates.
    lows, highs : ndarray, shape (n, ndim), dtype int64
        Bounding boxes: first pixel, and one past the last.
    """

    runs: Runs
    of_run: Indices
    values: npt.NDArray[np.integer[Any]]
    areas: Positions
    centroids: npt.NDArray[np.float64]
    lows: Positions
    highs: Positions

    def __len__(self) -> int:
        return len(self.values)

    def runs_of(self, which: npt.ArrayLike) -> Runs:
        """Return the runs of some components, by indices or by a mask."""
        chosen = np.zeros(len(self), bool)
        chosen[np.asarray(which)] = True
        return self.runs.take(chosen[self.of_run])

    def box(self, index: int) -> Box:
        """Return the bounding box of a component."""
        return tuple(
            slice(int(low), int(high))
            for low, high in zip(self.lows[index], self.highs[index], strict=True)
        )

    def image(self, numbers: npt.NDArray[Any], box: Box) -> npt.NDArray[Any]:
        """Return an array of a box in which each component's pixels hold its number.

        Parameters
        ----------
        numbers : ndarray, shape (n,)
            One number a component.
        box : tuple of slice
            Any part of the labels.
        """
        runs, which = crop_runs(self.runs, box)
        return paint_runs(runs, numbers[self.of_run[which]], box)


def find_components(
    labels: AnyArray,
    connectivity: Connectivity = Connectivity.FACES,
    box: Box | None = None,
    reporter: Reporter | None = None,
    *,
    apart: Sequence[int] = (),
) -> Components:
    """Return the connected components of equal labels.

    Parameters
    ----------
    labels : array-like of int, shape (..., H, W)
        In memory or lazy; read block by block.
    connectivity : Connectivity
        Which neighbours count.
    box : tuple of slice, optional
        The part to look at.
    reporter : Reporter, optional
        Receives the progress.
    apart : sequence of int
        The axes before rows and columns along which a component ends with each place.

    Raises
    ------
    MaskError
        If they are no labels.
    """
    reporter = reporter or NullReporter()
    runs = find_runs(labels, box, reporter=reporter, message="Finding components")
    reporter.report(Progress(0, 0, f"Joining {runs.starts.size} runs"))
    ndim = len(runs.shape)
    axes = [axis for axis in range(ndim - 1) if axis not in apart]
    return group_runs(runs, connectivity.rank(ndim), axes)


def group_runs(runs: Runs, rank: int, axes: Sequence[int] | None = None) -> Components:
    """Return the components of runs.

    Parameters
    ----------
    runs : Runs
        The runs, in order.
    rank : int
        Along how many axes touching pixels may differ.
    axes : sequence of int, optional
        The leading axes along which components go on; by default all.
    """
    first, second = touching_pairs(runs, rank, axes)
    same = runs.values[first] == runs.values[second]
    of_run = connect_pairs(runs.starts.size, first[same], second[same])
    count = int(of_run.max()) + 1 if of_run.size else 0
    begin = np.zeros(count, np.intp)
    begin[of_run[::-1]] = np.arange(of_run.size)[::-1]
    order = np.lexsort((runs.starts[begin], runs.values[begin]))
    place = np.empty(count, np.intp)
    place[order] = np.arange(count)
    return _measure_runs(runs, place[of_run], runs.values[begin[order]])


def join_components(components: Components, first: Indices, second: Indices) -> Components:
    """Return components of which some pairs, by their indices, are one."""
    group = connect_pairs(len(components), first, second)
    _, begin, of_one = np.unique(group, return_index=True, return_inverse=True)
    place = np.argsort(np.argsort(begin))  # they are in order by their first component
    of_run = place[of_one][components.of_run]
    return _measure_runs(components.runs, of_run, components.values[np.sort(begin)])


def connect_pairs(count: int, first: Indices, second: Indices) -> Indices:
    """Return for each of ``count`` things the number of the group that pairs tie it to."""
    if count == 0:
        return np.zeros(0, np.intp)
    # csgraph of SciPy before 1.12 takes 32-bit indices only.
    pairs = (first.astype(np.int32), second.astype(np.int32))
    ties = coo_array((np.ones(first.size, bool), pairs), shape=(count, count))
    groups: Indices = connected_components(ties, directed=False)[1].astype(np.intp)
    return groups


def _measure_runs(runs: Runs, of_run: Indices, values: npt.NDArray[Any]) -> Components:
    count, ndim = len(values), len(runs.shape)
    lengths = runs.lengths
    areas = np.bincount(of_run, lengths, count).astype(np.int64)
    centroids = np.zeros((count, ndim))
    lows, highs = np.zeros((2, count, ndim), np.int64)
    left = runs.starts % runs.shape[-1]
    spans = [(axis, axis + 1) for axis in runs.coordinates()] + [(left, left + lengths)]
    for axis, (low, high) in enumerate(spans):
        middle = (low + high - 1) / 2
        centroids[:, axis] = np.bincount(of_run, middle * lengths, count) / np.maximum(areas, 1)
        lows[:, axis] = runs.shape[axis]
        np.minimum.at(lows[:, axis], of_run, low)
        np.maximum.at(highs[:, axis], of_run, high)
    return Components(runs, of_run, values, areas, centroids, lows, highs)


def crop_runs(runs: Runs, box: Box) -> tuple[Runs, Indices]:
    """Return what of runs lies in a box, and which runs these are."""
    lowest, highest = (
        int(np.ravel_multi_index(corner, runs.shape))
        for corner in ([side.start for side in box], [side.stop - 1 for side in box])
    )
    first = int(np.searchsorted(runs.stops, lowest, side="right"))
    last = int(np.searchsorted(runs.starts, highest, side="right"))
    near = runs.take(np.arange(first, last))
    inside = np.ones(near.starts.size, bool)
    for coordinate, side in zip(near.coordinates(), box[:-1], strict=True):
        inside &= (coordinate >= side.start) & (coordinate < side.stop)
    row = near.rows * runs.shape[-1]
    starts = np.maximum(near.starts, row + box[-1].start)
    stops = np.minimum(near.stops, row + box[-1].stop)
    inside &= starts < stops
    which = np.flatnonzero(inside)
    return Runs(runs.shape, starts[which], stops[which], near.values[which]), which + first


def paint_runs(runs: Runs, numbers: npt.NDArray[Any], box: Box) -> npt.NDArray[Any]:
    """Return an array of a box in which the pixels of each run hold its number, others 0."""
    shape = tuple(side.stop - side.start for side in box)
    image = np.zeros(shape, numbers.dtype)
    flat = image.reshape(-1)
    rows = runs.rows
    local = [
        coordinate - side.start
        for coordinate, side in zip(runs.coordinates(), box[:-1], strict=True)
    ]
    columns = runs.starts - rows * runs.shape[-1] - box[-1].start
    starts = np.ravel_multi_index(local, shape[:-1]) * shape[-1] + columns
    lengths = runs.lengths
    flat[expand_ranges(starts, lengths)] = np.repeat(numbers, lengths)
    return image


@dataclass(frozen=True, slots=True, eq=False)
class Runs:
    """Runs of equal labels, in the order of their pixels. No run goes beyond its row.

    Parameters
    ----------
    shape : tuple of int
        Shape of the array.
    starts, stops : ndarray, shape (n,), dtype int64
        First pixel, and one past the last, as positions in C order.
    values : ndarray, shape (n,), dtype int64 or the labels' own
        The labels.
    """

    shape: tuple[int, ...]
    starts: Positions
    stops: Positions
    values: npt.NDArray[np.integer[Any]]

    @property
    def lengths(self) -> Positions:
        """Number of pixels of each run."""
        return self.stops - self.starts

    @property
    def rows(self) -> Positions:
        """Number of the row in which each run lies, over all leading axes."""
        return self.starts // self.shape[-1]

    def take(self, which: npt.NDArray[Any]) -> Runs:
        """Return some of the runs, by indices or by a mask."""
        return Runs(self.shape, self.starts[which], self.stops[which], self.values[which])

    def coordinates(self) -> list[Positions]:
        """Return for each leading axis where the runs' rows lie."""
        return [np.asarray(axis) for axis in np.unravel_index(self.rows, self.shape[:-1])]


def find_runs(
    labels: AnyArray,
    box: Box | None = None,
    *,
    background: bool = False,
    only: int | None = None,
    reporter: Reporter | None = None,
    message: str = "Reading labels",
) -> Runs:
    """Return the runs of labels, read block by block.

    Parameters
    ----------
    labels : array-like of int, shape (..., H, W)
        In memory or lazy.
    box : tuple of slice, optional
        The part to look at. Positions are of the whole array all the same.
    background : bool
        Whether to include runs of 0.
    only : int, optional
        The one label to look for; by default all.
    reporter : Reporter, optional
        Receives the progress.
    message : str
        What it is told.

    Raises
    ------
    MaskError
        If they are no labels.
    """
    check_labels(labels)
    shape = tuple(int(size) for size in labels.shape)
    box = whole_box(shape) if box is None else box
    reporter = reporter or NullReporter()
    parts = []
    pieces = split_blocks(labels, box) if 0 not in box_shape(box) else []
    for done, piece in enumerate(pieces):
        reporter.report(Progress(done, len(pieces), message))
        block = read(labels, piece)
        if only is not None:
            block = np.where(block == only, block, block.dtype.type(0))
        parts.append(_runs_of_block(block, piece, shape, background=background))
    if not parts:
        nothing = np.zeros(0, np.int64)
        return Runs(shape, nothing, nothing, nothing)
    return _join_blocks(shape, parts)


def _runs_of_block(
    labels: LabelArray, box: Box, shape: tuple[int, ...], *, background: bool
) -> tuple[Positions, Positions, npt.NDArray[Any]]:
    width = labels.shape[-1]
    flat = np.ascontiguousarray(labels).reshape(-1)
    breaks = np.empty(flat.size, bool)
    np.not_equal(flat[1:], flat[:-1], out=breaks[1:])
    breaks[::width] = True
    starts = np.flatnonzero(breaks)
    values = flat[starts]
    stops = np.append(starts[1:], flat.size)
    if not background:
        kept = values != 0
        starts, stops, values = starts[kept], stops[kept], values[kept]
    if labels.dtype.kind == "b":
        values = values.astype(np.uint8)
    begins = to_array_positions(starts, box, shape)
    ends: Positions = np.add(begins, stops - starts, dtype=np.int64)
    return begins, ends, values


def to_array_positions(positions: Positions, box: Box, shape: Sequence[int]) -> Positions:
    """Return positions in a whole array of pixels that are counted in a box of it."""
    local = box_shape(box)
    rows = positions // local[-1]
    leading = np.unravel_index(rows, local[:-1])
    moved = [axis + side.start for axis, side in zip(leading, box[:-1], strict=True)]
    first = np.ravel_multi_index(moved, tuple(shape[:-1])).astype(np.int64) * shape[-1]
    return np.asarray(first + box[-1].start + positions - rows * local[-1])


def _join_blocks(
    shape: tuple[int, ...], parts: list[tuple[Positions, Positions, npt.NDArray[Any]]]
) -> Runs:
    starts = np.concatenate([part[0] for part in parts])
    stops = np.concatenate([part[1] for part in parts])
    values = np.concatenate([part[2] for part in parts])
    if starts.size and (np.diff(starts) < 0).any():
        order = np.argsort(starts, kind="stable")
        starts, stops, values = starts[order], stops[order], values[order]
    # Runs that a block's edge cut in two become one again.
    begins = np.ones(starts.size, bool)
    begins[1:] = (
        (starts[1:] != stops[:-1]) | (values[1:] != values[:-1]) | (starts[1:] % shape[-1] == 0)
    )
    if begins.all():
        return Runs(shape, starts, stops, values)
    ends = np.append(begins[1:], [True])
    return Runs(shape, starts[begins], stops[ends], values[begins])


def touching_pairs(
    runs: Runs, rank: int, axes: Sequence[int] | None = None
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the pairs of runs in different rows of which pixels touch, each pair once.

    Parameters
    ----------
    runs : Runs
        The runs, in order.
    rank : int
        Along how many axes touching pixels may differ: 1 for faces, ndim for corners too.
    axes : sequence of int, optional
        The leading axes along which they may differ; by default all.

    Returns
    -------
    first, second : ndarray of int, shape (n,)
        Indices of runs, whatever their values.
    """
    ndim, width = len(runs.shape), runs.shape[-1]
    allowed = set(range(ndim - 1) if axes is None else axes)
    rows = runs.rows
    left, right = runs.starts - rows * width, runs.stops - rows * width
    coordinates = runs.coordinates()
    firsts, seconds = [np.zeros(0, np.intp)], [np.zeros(0, np.intp)]
    for step in _half_neighbourhood(ndim - 1, rank, allowed):
        reach = int(np.count_nonzero(step) < rank)
        inside = np.ones(rows.size, bool)
        delta = 0
        for axis, size, coordinate in zip(step, runs.shape, coordinates, strict=False):
            delta = delta * size + axis
            if axis:
                inside &= (coordinate + axis >= 0) & (coordinate + axis < size)
        which = np.flatnonzero(inside)
        base = (rows[which] + delta) * width
        lowest = base + np.maximum(left[which] - reach, 0)
        highest = base + np.minimum(right[which] + reach, width)
        begin = np.searchsorted(runs.stops, lowest, side="right")
        end = np.searchsorted(runs.starts, highest, side="left")
        count = np.maximum(end - begin, 0)
        firsts.append(np.repeat(which, count))
        seconds.append(expand_ranges(begin, count))
    return np.concatenate(firsts), np.concatenate(seconds)


def expand_ranges(starts: Positions, lengths: Positions) -> Positions:
    """Return ``start, start + 1, ...`` of each stretch, one after the other."""
    total = int(lengths.sum())
    if total == 0:
        return np.zeros(0, np.int64)
    kept = lengths > 0
    starts, lengths = starts[kept], lengths[kept]
    steps = np.ones(total, np.int64)
    steps[0] = starts[0]
    ends = np.cumsum(lengths)[:-1]
    steps[ends] = starts[1:] - (starts[:-1] + lengths[:-1] - 1)
    return np.cumsum(steps, out=steps)


def _half_neighbourhood(ndim: int, rank: int, allowed: set[int]) -> list[tuple[int, ...]]:
    """Return steps between rows, of each pair of opposite ones the positive one."""
    choices = [(-1, 0, 1) if axis in allowed else (0,) for axis in range(ndim)]
    zero = (0,) * ndim
    return [
        step
        for step in itertools.product(*choices)
        if step > zero and np.count_nonzero(step) <= rank
    ]
