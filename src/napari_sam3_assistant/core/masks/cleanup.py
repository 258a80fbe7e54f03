"""Operations on components and values, and cuts. Each returns the edit that would do it.

In a part of the labels, a component that reaches the part's edge is left alone: it may go on
outside.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage as ndi
from skimage.draw import line as draw_line
from skimage.feature import peak_local_max
from skimage.segmentation import watershed

from napari_sam3_assistant.core.masks.components import find_components, find_runs, group_runs
from napari_sam3_assistant.core.masks.edits import LabelEdit, changes_between, changes_of_runs
from napari_sam3_assistant.core.masks.labels import Connectivity, check_fits, read, whole_box
from napari_sam3_assistant.core.progress import NullReporter, Progress
from napari_sam3_assistant.errors import MaskError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.core.masks.components import Components, Runs
    from napari_sam3_assistant.core.masks.labels import Box
    from napari_sam3_assistant.core.progress import Reporter

FACES = Connectivity.FACES
RENUMBER = "renumber"
"""The action of edits after which each object is the same as before, with another number."""


def delete_components(
    components: Components, which: Sequence[int], dtype: npt.DTypeLike
) -> LabelEdit:
    """Return the edit that sets components to 0.

    Parameters
    ----------
    components : Components
        As they were found.
    which : sequence of int
        Their indices.
    dtype : data type
        Type of the labels.
    """
    return _make_edit("delete selected components", _runs_of(components, which), 0, dtype)


def assign_components(
    components: Components, which: Sequence[int], value: int, dtype: npt.DTypeLike
) -> LabelEdit:
    """Return the edit that gives components another label; parameters as for deleting.

    Raises
    ------
    MaskError
        If the value does not fit.
    """
    check_fits(value, dtype)
    return _make_edit("change selected components", _runs_of(components, which), value, dtype)


def remove_small(
    labels: AnyArray,
    minimum: int,
    connectivity: Connectivity = FACES,
    box: Box | None = None,
    reporter: Reporter | None = None,
    *,
    per_slice: bool = False,
) -> LabelEdit:
    """Return the edit that removes components of fewer pixels.

    Parameters
    ----------
    labels : array-like of int, shape (..., H, W)
        In memory or lazy.
    minimum : int, pixels
        Smallest area that stays.
    connectivity : Connectivity
        Which neighbours belong together.
    box : tuple of slice, optional
        The part to work on.
    reporter : Reporter, optional
        Receives the progress.
    per_slice : bool
        Whether each plane of a stack counts for itself.
    """
    found = find_components(labels, connectivity, box, reporter, per_slice=per_slice)
    small = (found.areas < minimum) & ~touches_box_edge(found, box, per_slice=per_slice)
    return _make_edit("remove small objects", found.runs_of(small), 0, labels.dtype)


def keep_largest(
    labels: AnyArray,
    connectivity: Connectivity = FACES,
    box: Box | None = None,
    reporter: Reporter | None = None,
    *,
    per_label: bool = False,
    per_slice: bool = False,
) -> LabelEdit:
    """Return the edit that keeps the largest component, overall or of each label.

    Of components of the same area the first one stays. Parameters as for :func:`remove_small`.
    """
    found = find_components(labels, connectivity, box, reporter, per_slice=per_slice)
    gone = ~touches_box_edge(found, box, per_slice=per_slice)
    groups = [found.values] if per_label else []
    groups += list(found.lows[:, :-2].T) if per_slice else []
    # Group by group the largest last; of equal ones the first one last.
    order = np.lexsort((-np.arange(len(found)), found.areas, *groups))
    last = np.ones(len(found), bool)
    last[:-1] = np.any([group[order][1:] != group[order][:-1] for group in groups], axis=0)
    gone[order[last]] = False
    return _make_edit("keep largest object", found.runs_of(gone), 0, labels.dtype)


def renumber(
    labels: AnyArray,
    connectivity: Connectivity = FACES,
    reporter: Reporter | None = None,
    *,
    by_component: bool = False,
    per_slice: bool = False,
) -> LabelEdit:
    """Return the edit that numbers labels 1, 2, ... without gaps, or each component anew.

    Parameters as for :func:`remove_small`.

    Raises
    ------
    MaskError
        If there are more than the labels' type can hold.
    """
    if by_component:
        found = find_components(labels, connectivity, None, reporter, per_slice=per_slice)
        runs, numbers = found.runs, found.of_run + 1
    else:
        runs = find_runs(labels, reporter=reporter)
        numbers = np.unique(runs.values, return_inverse=True)[1] + 1
    check_fits(int(numbers.max(initial=0)), labels.dtype)
    return LabelEdit.pack(RENUMBER, runs.shape, changes_of_runs(runs, numbers), labels.dtype)


def merge_values(
    labels: AnyArray,
    values: Sequence[int],
    new: int,
    box: Box | None = None,
    reporter: Reporter | None = None,
) -> LabelEdit:
    """Return the edit that gives all pixels of some labels one label.

    Parameters
    ----------
    labels : array-like of int, shape (..., H, W)
        In memory or lazy.
    values : sequence of int
        The labels to replace; 0 is the background.
    new : int
        The label that they get.
    box, reporter
        As for :func:`remove_small`.

    Raises
    ------
    MaskError
        If the new label does not fit the labels' type.
    """
    check_fits(new, labels.dtype)
    runs = find_runs(labels, box, background=0 in values, reporter=reporter)
    highest = np.iinfo(runs.values.dtype).max
    in_range = np.asarray([value for value in values if value <= highest], runs.values.dtype)
    chosen = runs.take(np.isin(runs.values, in_range))
    return _make_edit("relabel values", chosen, new, labels.dtype)


def delete_at(
    labels: AnyArray,
    pixel: Sequence[int],
    connectivity: Connectivity = FACES,
    box: Box | None = None,
    reporter: Reporter | None = None,
    *,
    component: bool = False,
    per_slice: bool = False,
) -> LabelEdit:
    """Return the edit that removes the label at a pixel, or only its component there.

    Parameters as for :func:`remove_small`; on background it changes nothing.

    Raises
    ------
    MaskError
        If the pixel does not lie in the part to work on.
    """
    value = int(labels[tuple(pixel)])
    shape = tuple(labels.shape)
    sides = zip(pixel, box or whole_box(shape), strict=True)
    if not all(side.start <= at < side.stop for at, side in sides):
        raise MaskError(
            "This pixel does not lie in the part that is worked on.",
            "Click inside that part, or choose “Whole layer”.",
        )
    # A pixel of the background belongs to no label: an empty box has no runs.
    part = (box or whole_box(shape)) if value else tuple(slice(0, 0) for _ in shape)
    if component and per_slice and value:
        part = (*(slice(at, at + 1) for at in pixel[:-2]), *part[-2:])
    runs = find_runs(labels, part, only=value, reporter=reporter)
    if component and runs.starts.size:
        at = int(np.searchsorted(runs.starts, np.ravel_multi_index(tuple(pixel), shape), "right"))
        of_run = group_runs(runs, connectivity.rank(len(shape))).of_run
        runs = runs.take(of_run == of_run[at - 1])
    return _make_edit("right-click delete", runs, 0, labels.dtype)


def touches_box_edge(
    components: Components, box: Box | None, *, per_slice: bool = False
) -> npt.NDArray[np.bool_]:
    """Return which components reach an edge of the box that is no edge of the labels.

    With ``per_slice`` they end with their plane.
    """
    out = np.zeros(len(components), bool)
    sides = list(enumerate(box or ()))
    for axis, side in sides[-2:] if per_slice else sides:
        if side.start > 0:
            out |= components.lows[:, axis] == side.start
        if side.stop < components.runs.shape[axis]:
            out |= components.highs[:, axis] == side.stop
    return out


def _runs_of(components: Components, which: Sequence[int]) -> Runs:
    """Return the runs of components by their indices, of which there may be none."""
    return components.runs_of(np.asarray(which, np.intp))


def _make_edit(action: str, runs: Runs, value: int, dtype: npt.DTypeLike) -> LabelEdit:
    after = np.full(runs.starts.size, value, np.dtype(dtype))
    return LabelEdit.pack(action, runs.shape, changes_of_runs(runs, after), dtype)


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
        Receives the progress.
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
        check_fits(highest + count - 1, labels.dtype)
        numbers = _number_pieces(pieces, int(found.values[index]), highest, labels.dtype)
        highest += count - 1
        before = np.zeros(mask.shape, labels.dtype)
        before[mask] = found.values[index]  # exactly: NumPy 1's ``where`` makes floats of uint64
        parts.append((here, before, numbers[pieces]))
    shape = tuple(int(size) for size in labels.shape)
    return LabelEdit.pack("split objects", shape, changes_between(parts, shape), labels.dtype)


def _number_pieces(
    pieces: npt.NDArray[np.int32], label: int, highest: int, dtype: npt.DTypeLike
) -> npt.NDArray[Any]:
    """Return the labels of pieces 0, 1, ...: the largest keeps its label, others get new ones."""
    sizes = np.bincount(pieces.reshape(-1))[1:]
    numbers = np.zeros(sizes.size + 1, dtype)
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
    labels: npt.NDArray[np.int64] = _number_pieces(parts, label, highest, np.int64)[parts]
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
    least = min(size for size in spacing if not math.isinf(size))
    # An axis that is left out has no length of its own.
    reach = [max(1, round(distance / (least if math.isinf(size) else size))) for size in spacing]
    # A plateau would give several peaks at one place.
    peaks = peak_local_max(
        ndi.gaussian_filter(depth, [0 if math.isinf(size) else 1 for size in spacing]),
        footprint=np.ones([2 * most + 1 for most in reach], bool),
        exclude_border=False,
        labels=mask.astype(np.uint8),
    )
    peaks = _keep_apart(peaks, reach)
    markers = np.zeros(mask.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    pieces: npt.NDArray[np.int32] = watershed(-depth, markers, structure, mask=mask)
    return pieces


def _keep_apart(peaks: npt.NDArray[np.intp], reach: Sequence[int]) -> npt.NDArray[np.intp]:
    """Return peaks without those that lie within the reach of one before them, along each axis.

    ``peak_local_max`` does so with one distance for all axes.
    """
    kept: list[npt.NDArray[np.intp]] = []
    waiting = peaks
    while len(waiting):
        kept.append(waiting[0])
        waiting = waiting[(np.abs(waiting - waiting[0]) >= reach).any(axis=1)]
    return np.array(kept, np.intp).reshape(-1, peaks.shape[1])
