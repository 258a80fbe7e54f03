"""Operations on components and values. Each returns the edit that would do it.

In a part of the labels, a component that reaches the part's edge is left alone: it may go on
outside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.core.masks.components import find_components, find_runs, group_runs
from napari_sam3_assistant.core.masks.edits import LabelEdit, changes_of_runs
from napari_sam3_assistant.core.masks.labels import Connectivity, check_fits, whole_box
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
    """
    found = find_components(labels, connectivity, box, reporter)
    small = (found.areas < minimum) & ~touches_box_edge(found, box)
    return _make_edit("remove small objects", found.runs_of(small), 0, labels.dtype)


def keep_largest(
    labels: AnyArray,
    connectivity: Connectivity = FACES,
    box: Box | None = None,
    reporter: Reporter | None = None,
    *,
    per_label: bool = False,
) -> LabelEdit:
    """Return the edit that keeps the largest component, overall or of each label.

    Of components of the same area the first one stays. Parameters as for :func:`remove_small`.
    """
    found = find_components(labels, connectivity, box, reporter)
    gone = ~touches_box_edge(found, box)
    group = found.values if per_label else np.zeros(len(found))
    # Group by group the largest last; of equal ones the first one last.
    order = np.lexsort((-np.arange(len(found)), found.areas, group))
    last = np.ones(len(found), bool)
    last[:-1] = group[order][1:] != group[order][:-1]
    gone[order[last]] = False
    return _make_edit("keep largest object", found.runs_of(gone), 0, labels.dtype)


def renumber(
    labels: AnyArray,
    connectivity: Connectivity = FACES,
    reporter: Reporter | None = None,
    *,
    by_component: bool = False,
    apart: Sequence[int] = (),
) -> LabelEdit:
    """Return the edit that numbers labels 1, 2, ... without gaps, or each component anew.

    Parameters as for :func:`~napari_sam3_assistant.core.masks.components.find_components`.

    Raises
    ------
    MaskError
        If there are more than the labels' type can hold.
    """
    if by_component:
        found = find_components(labels, connectivity, None, reporter, apart=apart)
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
    apart: Sequence[int] = (),
) -> LabelEdit:
    """Return the edit that removes the label at a pixel, or only its component there.

    Parameters as for :func:`~napari_sam3_assistant.core.masks.components.find_components`; on
    background it changes nothing.

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
    if component and value:
        part = tuple(
            slice(at, at + 1) if axis in apart else side
            for axis, (at, side) in enumerate(zip(pixel, part, strict=True))
        )
    runs = find_runs(labels, part, only=value, reporter=reporter)
    if component and runs.starts.size:
        at = int(np.searchsorted(runs.starts, np.ravel_multi_index(tuple(pixel), shape), "right"))
        of_run = group_runs(runs, connectivity.rank(len(shape))).of_run
        runs = runs.take(of_run == of_run[at - 1])
    return _make_edit("right-click delete", runs, 0, labels.dtype)


def touches_box_edge(components: Components, box: Box | None) -> npt.NDArray[np.bool_]:
    """Return which components reach an edge of the box that is no edge of the labels."""
    out = np.zeros(len(components), bool)
    for axis, side in enumerate(box or ()):
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
