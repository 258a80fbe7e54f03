"""Objects that share a label, cut apart: at their waists, or along a line."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage as ndi
from skimage.draw import line as draw_line
from skimage.feature import peak_local_max
from skimage.segmentation import watershed

from napari_sam3_assistant.core.masks.cleanup import touches_box_edge
from napari_sam3_assistant.core.masks.components import find_components
from napari_sam3_assistant.core.masks.edits import LabelEdit, changes_between
from napari_sam3_assistant.core.masks.labels import Connectivity, check_fits, read
from napari_sam3_assistant.core.progress import NullReporter, Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.core.masks.labels import Box
    from napari_sam3_assistant.core.progress import Reporter


_EVERY = 32


def split_touching(
    labels: AnyArray,
    distance: float,
    connectivity: Connectivity = Connectivity.FACES,
    spacing: Sequence[float] | None = None,
    box: Box | None = None,
    reporter: Reporter | None = None,
    *,
    highest: int | None = None,
) -> LabelEdit:
    """Return the edit that cuts components at their waists.

    Watershed on the distance to the outline, from its peaks. The largest part keeps the label,
    the others get new labels. No pixel becomes background or leaves it.

    Parameters
    ----------
    labels : array-like of int, shape (..., H, W)
        In memory or lazy.
    distance : float
        Least distance between the centres of two parts, in the unit of the spacing.
    connectivity : Connectivity
        Which neighbours belong together.
    spacing : sequence of float, optional
        Size of a pixel along each axis; by default 1. ``inf`` leaves an axis out.
    box : tuple of slice, optional
        The part to work on; components that reach its edge stay whole.
    reporter : Reporter, optional
        Is told of the progress.
    highest : int, optional
        The highest label in use; by default the highest one in the box.

    Raises
    ------
    MaskError
        If the new labels don't fit the labels' type.
    """
    reporter = reporter or NullReporter()
    spacing = spacing or [1.0] * labels.ndim
    found = find_components(labels, connectivity, box, reporter)
    if highest is None:
        highest = int(found.values.max(initial=0))
    thick = _is_thick(found.highs - found.lows, distance, spacing) & ~touches_box_edge(found, box)
    chosen = np.flatnonzero(thick)
    # Flooded by the same neighbours that make a component, so that every pixel is reached.
    structure = ndi.generate_binary_structure(labels.ndim, connectivity.rank(labels.ndim))
    masks = _ComponentMasks(labels, found, structure)
    parts = []
    for done, index in enumerate(chosen):
        if done % _EVERY == 0:
            reporter.report(Progress(done, chosen.size, "Splitting objects"))
        here, mask = masks.crop(int(index))
        pieces = _split_component(mask, structure, distance, spacing)
        count = int(pieces.max())
        if count < 2:
            continue
        numbers = _number_pieces(pieces, int(found.values[index]), highest)
        highest += count - 1
        check_fits(highest, labels.dtype)
        before = np.where(mask, found.values[index], 0).astype(labels.dtype)
        parts.append((here, before, numbers[pieces].astype(labels.dtype)))
    shape = tuple(int(size) for size in labels.shape)
    return LabelEdit.pack("split objects", shape, changes_between(parts, shape), labels.dtype)


def _number_pieces(
    pieces: npt.NDArray[np.int32], label: int, highest: int
) -> npt.NDArray[np.int64]:
    """Return the labels of pieces 0, 1, ...: the largest keeps its label, others get new ones."""
    sizes = np.bincount(pieces.reshape(-1))[1:]
    numbers = np.zeros(sizes.size + 1, np.int64)
    order = np.argsort(-sizes, kind="stable")
    numbers[order + 1] = [label, *range(highest + 1, highest + sizes.size)]
    return numbers


_REACH = 0.1
"""A hand that stops just before the edge means the edge: so much of a line is added at its ends."""
_LEAST_REACH = 2.0
_SLIVER = 0.01
"""A smaller share of an object is where the hand shook, and no part of its own."""


def split_along(
    mask: npt.NDArray[np.bool_], line: npt.NDArray[np.floating[Any]], label: int, highest: int
) -> npt.NDArray[np.int64] | None:
    """Return the labels of the parts that a line cuts an object into.

    No pixel becomes background. A line that stops just before the edge is taken to mean it.

    Parameters
    ----------
    mask : ndarray of bool, shape (h, w)
        The object.
    line : ndarray, shape (n, 2), dtype float
        Rows and columns in the mask, from one end of the line to the other.
    label : int
        The object's label, which the largest part keeps.
    highest : int
        The highest label in use; the other parts get the next ones, from the largest on.

    Returns
    -------
    ndarray of int64, shape (h, w), or None
        None where the line cuts nothing off.
    """
    cut = np.zeros(mask.shape, bool)
    ends = np.round(_reach_further(line)).astype(int)
    for (y0, x0), (y1, x1) in itertools.pairwise(ends):
        y, x = draw_line(y0, x0, y1, x1)
        inside = (y >= 0) & (y < mask.shape[0]) & (x >= 0) & (x < mask.shape[1])
        cut[y[inside], x[inside]] = True
    # By faces: a line of pixels that touch at their corners is a wall then.
    whole, before = ndi.label(mask)
    left, count = ndi.label(mask & ~cut)
    component = np.zeros(count + 1, np.intp)
    component[left] = whole
    component[0] = 0
    cut_apart = np.bincount(component[1:], minlength=before + 1) > 1
    sizes = np.bincount(left.reshape(-1), minlength=count + 1)
    pieces = np.flatnonzero(cut_apart[component])
    by_size = pieces[np.argsort(-sizes[pieces], kind="stable")]
    if by_size.size == 0:
        return None
    large = np.count_nonzero(sizes[by_size] >= _SLIVER * np.count_nonzero(mask))
    kept = by_size[: max(2, large)]
    numbers = np.zeros(count + 1, np.int32)
    numbers[kept] = np.arange(1, kept.size + 1)
    seeds = numbers[left]
    # The line itself, and what it has not cut, go with the part that is next to them.
    nearest = ndi.distance_transform_edt(seeds == 0, return_distances=False, return_indices=True)
    parts = np.where(mask, seeds[tuple(nearest)], 0)
    labels: npt.NDArray[np.int64] = _number_pieces(parts, label, highest)[parts]
    return labels


def _reach_further(line: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Return a line that goes on a little at both ends, the way that it has from end to end."""
    first, last = np.asarray(line[0], float), np.asarray(line[-1], float)
    length = float(np.hypot(*(last - first)))
    if length == 0:
        return np.asarray(line, float)
    more = (last - first) / length * max(_LEAST_REACH, _REACH * length)
    return np.concatenate([[first - more], line, [last + more]])


class _ComponentMasks:
    """Cuts single components out of labels."""

    def __init__(
        self, labels: AnyArray, components: AnyArray, structure: npt.NDArray[np.bool_]
    ) -> None:
        self._labels = labels
        self._found = components
        self._structure = structure
        self._begin = np.zeros(len(components), np.intp)
        self._begin[components.of_run[::-1]] = np.arange(components.of_run.size)[::-1]

    def crop(self, index: int) -> tuple[Box, npt.NDArray[np.bool_]]:
        """Return the box of a component and its pixels in it."""
        found = self._found
        box = found.box(index)
        same = read(self._labels, box) == found.values[index]
        if np.count_nonzero(same) == found.areas[index]:
            return box, same
        # Another component of the same label reaches into the box.
        seed = np.unravel_index(found.runs.starts[self._begin[index]], found.runs.shape)
        numbers = ndi.label(same, self._structure)[0]
        at = tuple(int(axis) - side.start for axis, side in zip(seed, box, strict=True))
        return box, numbers == numbers[at]


def _is_thick(
    sizes: npt.NDArray[Any], distance: float, spacing: Sequence[float]
) -> npt.NDArray[np.bool_]:
    """Return which components are long enough to hold two centres."""
    lengths = np.stack(
        [
            np.zeros(len(sizes)) if math.isinf(size) else sizes[:, axis] * size
            for axis, size in enumerate(spacing)
        ]
    )
    enough: npt.NDArray[np.bool_] = np.sqrt((lengths**2).sum(axis=0)) > distance
    return enough


def _split_component(
    mask: npt.NDArray[np.bool_],
    structure: npt.NDArray[np.bool_],
    distance: float,
    spacing: Sequence[float],
) -> npt.NDArray[np.int32]:
    """Return the parts of one component, numbered from 1."""
    sampling = [1e9 if math.isinf(size) else size for size in spacing]
    padded = np.pad(mask, 1)
    inner = (slice(1, -1),) * mask.ndim
    depth = ndi.distance_transform_edt(padded, sampling)[inner]
    finite = [size for size in spacing if not math.isinf(size)]
    apart = max(1, round(distance / min(finite)))
    # A plateau would give several peaks at one place.
    peaks = peak_local_max(
        ndi.gaussian_filter(depth, [0 if math.isinf(size) else 1 for size in spacing]),
        min_distance=apart,
        exclude_border=False,
        labels=mask.astype(np.uint8),
    )
    markers = np.zeros(mask.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    pieces: npt.NDArray[np.int32] = watershed(-depth, markers, structure, mask=mask)
    return pieces
