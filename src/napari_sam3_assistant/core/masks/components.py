"""Connected components of labels: one pass for all labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from napari_sam3_assistant.core.masks.labels import Connectivity
from napari_sam3_assistant.core.masks.runs import Runs, find_runs, spread, touching
from napari_sam3_assistant.core.progress import NullReporter, Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.masks.labels import Box, Positions
    from napari_sam3_assistant.core.progress import Reporter

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
            The box that the runs were looked for in.
        """
        return paint(self.runs, numbers[self.of_run], box)


def find_components(
    labels: Any,  # noqa: ANN401 - arrays of numpy, zarr and others
    connectivity: Connectivity = Connectivity.FACES,
    box: Box | None = None,
    reporter: Reporter | None = None,
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
        Is told of the progress.

    Raises
    ------
    MaskError
        If they are no labels.
    """
    reporter = reporter or NullReporter()
    runs = find_runs(labels, box, reporter=reporter, message="Finding components")
    reporter.report(Progress(0, 0, f"Joining {runs.starts.size} runs"))
    return components_of(runs, connectivity.rank(len(runs.shape)))


def components_of(runs: Runs, rank: int, axes: Sequence[int] | None = None) -> Components:
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
    first, second = touching(runs, rank, axes)
    same = runs.values[first] == runs.values[second]
    of_run = join(runs.starts.size, first[same], second[same])
    count = int(of_run.max()) + 1 if of_run.size else 0
    begin = np.zeros(count, np.intp)
    begin[of_run[::-1]] = np.arange(of_run.size)[::-1]
    order = np.lexsort((runs.starts[begin], runs.values[begin]))
    place = np.empty(count, np.intp)
    place[order] = np.arange(count)
    return _measured(runs, place[of_run], runs.values[begin[order]])


def join(count: int, first: Indices, second: Indices) -> Indices:
    """Return for each of ``count`` things the number of the group that pairs tie it to."""
    if count == 0:
        return np.zeros(0, np.intp)
    # csgraph of SciPy before 1.12 takes 32-bit indices only.
    pairs = (first.astype(np.int32), second.astype(np.int32))
    ties = coo_array((np.ones(first.size, bool), pairs), shape=(count, count))
    groups: Indices = connected_components(ties, directed=False)[1].astype(np.intp)
    return groups


def _measured(runs: Runs, of_run: Indices, values: npt.NDArray[Any]) -> Components:
    count, ndim = len(values), len(runs.shape)
    lengths = runs.lengths
    areas = np.bincount(of_run, lengths, count).astype(np.int64)
    centroids = np.zeros((count, ndim))
    lows, highs = np.zeros((2, count, ndim), np.int64)
    left = runs.starts % runs.shape[-1]
    spans = [(where, where + 1) for where in runs.coordinates()] + [(left, left + lengths)]
    for axis, (low, high) in enumerate(spans):
        middle = (low + high - 1) / 2
        centroids[:, axis] = np.bincount(of_run, middle * lengths, count) / np.maximum(areas, 1)
        lows[:, axis] = runs.shape[axis]
        np.minimum.at(lows[:, axis], of_run, low)
        np.maximum.at(highs[:, axis], of_run, high)
    return Components(runs, of_run, values, areas, centroids, lows, highs)


def paint(runs: Runs, numbers: npt.NDArray[Any], box: Box) -> npt.NDArray[Any]:
    """Return an array of a box in which the pixels of each run hold its number, others 0."""
    shape = tuple(side.stop - side.start for side in box)
    image = np.zeros(shape, numbers.dtype)
    flat = image.reshape(-1)
    rows = runs.rows
    local = [where - side.start for where, side in zip(runs.coordinates(), box[:-1], strict=True)]
    columns = runs.starts - rows * runs.shape[-1] - box[-1].start
    starts = np.ravel_multi_index(local, shape[:-1]) * shape[-1] + columns
    lengths = runs.lengths
    flat[spread(starts, lengths)] = np.repeat(numbers, lengths)
    return image
