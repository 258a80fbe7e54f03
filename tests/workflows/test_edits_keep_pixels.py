"""No operation on labels changes a pixel that it does not name, whatever the labels.

What an operation names is told here by scipy, pixel by pixel, never by the operation's own code.
"""

import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage as ndi

from napari_sam3_assistant.core.masks.cleanup import assign_components, delete_at, delete_components
from napari_sam3_assistant.core.masks.components import find_components
from napari_sam3_assistant.core.masks.labels import Connectivity, whole_box
from napari_sam3_assistant.core.masks.merge import MergeMode, MergeSource, OverlapRule, merge
from napari_sam3_assistant.core.masks.objects import Classes
from napari_sam3_assistant.core.masks.operations import (
    Expand,
    FillHoles,
    KeepLargest,
    LabelsPart,
    MergeValues,
    Operation,
    RemoveSmall,
    Renumber,
    Shrink,
    Smooth,
    Split,
)
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.errors import MaskError
from napari_sam3_assistant.workflows.edit_masks import compute_edit, overlay


def patches(shape, seed, density):
    """Labels 0 to 3 in clumps that touch by faces, by corners, and enclose each other."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(1, 4, [size // 3 + 1 for size in shape])
    coarse *= rng.random(coarse.shape) < density
    labels = coarse
    for axis in range(len(shape)):
        labels = labels.repeat(3, axis)
    labels = labels[tuple(map(slice, shape))]
    return (labels * (rng.random(shape) < 0.9)).astype(np.uint8)


@st.composite
def boxes(draw, shape):
    return tuple(
        slice(low := draw(st.integers(0, size - 1)), draw(st.integers(low + 1, size)))
        for size in shape
    )


@st.composite
def requests(draw, operation):
    shapes = [(26, 31), (1, 22, 21), (5, 12, 11), (5, 1, 19), (3, 2, 9, 8)]
    shape = draw(st.sampled_from(shapes))
    labels = patches(shape, draw(st.integers(0, 10**6)), draw(st.sampled_from([0.3, 0.6, 0.95])))
    box = None
    if draw(st.integers(0, 2)) == 2 and operation is not Operation.RENUMBER:
        box = draw(boxes(shape))
    chosen = {
        Operation.REMOVE_SMALL: st.builds(RemoveSmall, st.integers(1, 12)),
        Operation.FILL_HOLES: st.builds(FillHoles, st.integers(0, 12)),
        Operation.SMOOTH: st.builds(Smooth, st.sampled_from([1, 1.5, 2])),
        Operation.KEEP_LARGEST: st.builds(KeepLargest, st.booleans()),
        Operation.SPLIT: st.builds(Split, st.sampled_from([1, 2, 4])),
        Operation.EXPAND: st.builds(Expand, st.sampled_from([1, 1.5, 2.5])),
        Operation.SHRINK: st.builds(Shrink, st.sampled_from([1, 1.5, 2.5])),
        Operation.RENUMBER: st.builds(Renumber, st.booleans()),
        Operation.MERGE_VALUES: st.builds(
            MergeValues,
            st.lists(st.integers(0, 3), min_size=1, max_size=2).map(tuple),
            st.integers(0, 4),
        ),
    }[operation]
    spacing = (1.0,) * len(shape)
    connectivity = draw(st.sampled_from(list(Connectivity)))
    return draw(chosen), LabelsPart(labels, spacing, box, connectivity, draw(aparts(len(shape))))


def aparts(ndim):
    """Axes along which each place counts for itself, such as time in (z, t, y, x)."""
    every = st.sets(st.integers(0, ndim - 3)) if ndim > 2 else st.just(())
    return every.map(lambda axes: tuple(sorted(axes)))


def places(labels, apart):
    """Where what counts for itself lies in labels: an index for NumPy each."""
    for index in np.ndindex(*(labels.shape[axis] for axis in apart)):
        at = dict(zip(apart, index, strict=True))
        yield tuple(at.get(axis, slice(None)) for axis in range(labels.ndim))


def components(labels, connectivity, apart=()):
    """Number each component of equal labels, from 1."""
    if apart:
        numbers = np.zeros(labels.shape, int)
        for place in places(labels, apart):
            own = components(labels[place], connectivity)
            numbers[place] = np.where(own > 0, own + numbers.max(), 0)
        return numbers
    structure = ndi.generate_binary_structure(labels.ndim, connectivity.rank(labels.ndim))
    numbers = np.zeros(labels.shape, int)
    for value in np.unique(labels[labels > 0]):
        found, _ = ndi.label(labels == value, structure)
        numbers[found > 0] = found[found > 0] + numbers.max()
    return numbers


def near_another(labels, radius):
    """Return where a pixel within a radius holds another label than the pixel itself."""
    reach = math.floor(radius)
    wide = np.pad(labels, reach, mode="edge")
    found = np.zeros(labels.shape, bool)
    for step in product(range(-reach, reach + 1), repeat=labels.ndim):
        if sum(part * part for part in step) <= radius * radius:
            moved = tuple(
                slice(reach + part, reach + part + size)
                for part, size in zip(step, labels.shape, strict=True)
            )
            found |= wide[moved] != labels
    return found


def removes_small(labels, after, chosen, part):
    numbers = components(labels, part.connectivity)
    small = np.bincount(numbers.reshape(-1)) < chosen.minimum
    return (labels != 0) & small[numbers], after == 0


def keeps_largest(labels, after, chosen, part):
    numbers = components(labels, part.connectivity)
    for value in np.unique(labels[labels > 0]) if chosen.per_label else [None]:
        mine = labels == value if value is not None else labels > 0
        areas = np.bincount(numbers[mine])
        if areas.size:
            # Of several of the same size one stays.
            assert np.bincount(numbers[mine & (after != 0)]).max(initial=0) == areas.max()
    return labels != 0, after == 0


def fills_holes(labels, after, chosen, part):
    del chosen, part
    return labels == 0, np.isin(after, np.unique(labels))


def smooths(labels, after, chosen, part):
    del part
    # No label takes pixels of another.
    return near_another(labels, chosen.radius), (after == 0) | (labels == 0)


def expands(labels, after, chosen, part):
    del part
    return (labels == 0) & near_another(labels, chosen.distance), np.isin(after, labels)


def shrinks(labels, after, chosen, part):
    del part
    return (labels != 0) & near_another(labels, chosen.distance), after == 0


def splits(labels, after, chosen, part):
    """The foreground stays as it is, and each part lies in one component."""
    del chosen
    numbers = components(labels, part.connectivity)
    for value in np.setdiff1d(after, labels):
        assert len(np.unique(numbers[after == value])) == 1
    new = after > labels.max()
    return labels != 0, (after != 0) & ((after == labels) | new)


def renumbers(labels, after, chosen, part):
    """Objects stay apart, and stay objects."""
    objects = components(labels, part.connectivity, part.apart)
    before = objects if chosen.by_component else labels
    pairs = np.unique(np.stack([before[labels > 0], after[labels > 0]]), axis=1)
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
    return labels != 0, after != 0


def merges_values(labels, after, chosen, part):
    del part
    return np.isin(labels, chosen.values), after == chosen.new_value


NAMED = {
    Operation.REMOVE_SMALL: removes_small,
    Operation.FILL_HOLES: fills_holes,
    Operation.SMOOTH: smooths,
    Operation.KEEP_LARGEST: keeps_largest,
    Operation.SPLIT: splits,
    Operation.EXPAND: expands,
    Operation.SHRINK: shrinks,
    Operation.RENUMBER: renumbers,
    Operation.MERGE_VALUES: merges_values,
}


def written(edit, labels):
    after = labels.copy()
    edit.write(after)
    back = after.copy()
    edit.write(back, forward=False)
    np.testing.assert_array_equal(back, labels)
    return after


@pytest.mark.parametrize("operation", NAMED)
def test_what_an_operation_does_not_name_stays(operation):
    @given(requests(operation))
    def check(request):
        chosen, part = request
        labels = part.labels.copy()
        try:
            (edit,) = compute_edit(chosen, part, NullReporter())
        except MaskError:
            return  # a radius that reaches no pixel in a plane
        np.testing.assert_array_equal(part.labels, labels)
        after = written(edit, labels)
        outside = np.ones(labels.shape, bool)
        outside[part.box or whole_box(labels.shape)] = False
        np.testing.assert_array_equal(after[outside], labels[outside])
        if part.apart and operation in APART:
            return  # what it does is told by the test below
        if part.box is not None:
            # What is a component, a hole or an edge is another thing in a part.
            if operation is Operation.SPLIT:
                np.testing.assert_array_equal(after != 0, labels != 0)
            return
        named, allowed = NAMED[operation](labels, after, chosen, part)
        changed = after != labels
        assert not (changed & ~named).any()
        assert allowed[changed].all()
        if operation in (Operation.REMOVE_SMALL, Operation.MERGE_VALUES):
            assert allowed[named].all()

    check()


APART = (
    Operation.REMOVE_SMALL,
    Operation.FILL_HOLES,
    Operation.SMOOTH,
    Operation.KEEP_LARGEST,
    Operation.SPLIT,
    Operation.EXPAND,
    Operation.SHRINK,
)


@pytest.mark.parametrize("operation", APART)
def test_what_counts_apart_is_changed_as_if_it_were_alone(operation, tmp_path_factory):
    @given(requests(operation), st.sampled_from([None, 1, 2]))
    def check(request, chunk):
        chosen, part = request
        labels = part.labels
        if chunk:
            folder = tmp_path_factory.mktemp("labels") / "labels.zarr"
            chunks = (*(chunk for _ in labels.shape[:-2]), 7, 8)
            stored = zarr.open_array(
                folder, mode="w", shape=labels.shape, chunks=chunks, dtype=labels.dtype
            )
            stored[...] = labels
            part = replace(part, labels=stored)
        kept = [axis for axis in range(labels.ndim) if axis not in part.apart]
        box = part.box or whole_box(labels.shape)
        right = labels.copy()
        for place in places(labels, part.apart):
            if not all(box[a].start <= place[a] < box[a].stop for a in part.apart):
                continue
            alone = LabelsPart(
                labels[place].copy(),
                tuple(part.spacing[axis] for axis in kept),
                None if part.box is None else tuple(part.box[axis] for axis in kept),
                part.connectivity,
            )
            right[place] = written(chosen.edit(alone, NullReporter()), alone.labels)
        after = written(chosen.edit(part, NullReporter()), labels)
        if operation is not Operation.SPLIT:
            np.testing.assert_array_equal(after, right)
            return
        # The same parts of each component, whichever new labels they have.
        objects = components(labels, part.connectivity, part.apart)
        trios = np.unique(np.stack([objects, after, right]).reshape(3, -1), axis=1)
        for pairs in (trios[:2], trios[::2]):
            assert np.unique(pairs, axis=1).shape == (2, trios.shape[1])

    check()


@pytest.mark.parametrize("operation", [one for one in NAMED if one is not Operation.MERGE_VALUES])
def test_the_highest_labels_of_a_type_are_labels_as_others(operation):
    @given(
        requests(operation), st.sampled_from([np.uint8, np.int16, np.uint32, np.int64, np.uint64])
    )
    def check(request, dtype):
        chosen, part = request
        lift = np.iinfo(dtype).max - dtype(100)
        low = part.labels.astype(dtype)
        high = np.where(low > 0, low + lift, dtype(0))
        try:
            right = written(chosen.edit(part, NullReporter()), low)
        except MaskError:
            return  # a radius that reaches no pixel in a plane
        after = written(chosen.edit(replace(part, labels=high), NullReporter()), high)
        added = dtype(0) if operation is Operation.RENUMBER else lift
        np.testing.assert_array_equal(after, np.where(right > 0, right + added, dtype(0)))

    check()


def test_every_operation_is_looked_at():
    of_components = {Operation.DELETE_SELECTED, Operation.CHANGE_SELECTED}
    assert set(NAMED) | of_components == set(Operation)


@given(
    st.integers(0, 10**6),
    st.sampled_from([(13, 17), (4, 9, 8), (2, 3, 6, 5)]),
    st.sampled_from(list(Connectivity)),
    st.data(),
)
def test_components_that_are_not_chosen_stay(seed, shape, connectivity, data):
    labels = patches(shape, seed, 0.6)
    apart = data.draw(aparts(len(shape)))
    numbers = components(labels, connectivity, apart)
    found = find_components(labels, connectivity, apart=apart)
    assert len(found) == numbers.max()
    if not len(found):
        return
    which = data.draw(st.sets(st.integers(0, len(found) - 1), max_size=4))
    firsts = [np.unravel_index(found.runs_of([one]).starts[0], shape) for one in which]
    named = np.isin(numbers, [numbers[first] for first in firsts])
    for edit, value in (
        (delete_components(found, sorted(which), labels.dtype), 0),
        (assign_components(found, sorted(which), 9, labels.dtype), 9),
    ):
        np.testing.assert_array_equal(written(edit, labels), np.where(named, value, labels))


@given(
    st.integers(0, 10**6),
    st.sampled_from([(13, 17), (4, 9, 8), (2, 3, 6, 5)]),
    st.sampled_from(list(Connectivity)),
    st.data(),
)
def test_a_click_deletes_what_lies_under_it_and_nothing_outside_the_part(
    seed, shape, connectivity, data
):
    labels = patches(shape, seed, 0.6)
    at = tuple(data.draw(st.integers(0, size - 1)) for size in shape)
    part = data.draw(st.sampled_from([whole_box(shape), data.draw(boxes(shape))]))
    apart = data.draw(aparts(len(shape)))
    inside = np.zeros(shape, bool)
    inside[part] = True
    numbers = np.zeros(shape, int)
    numbers[part] = components(labels[part], connectivity, apart)
    for component in (False, True):
        if not inside[at]:
            with pytest.raises(MaskError, match="does not lie in the part"):
                delete_at(labels, at, connectivity, part, component=component, apart=apart)
            continue
        same = (numbers == numbers[at]) if component else (labels == labels[at])
        gone = same & inside & (labels[at] != 0)
        edit = delete_at(labels, at, connectivity, part, component=component, apart=apart)
        np.testing.assert_array_equal(written(edit, labels), np.where(gone, 0, labels))


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 3), st.booleans())
def test_labels_that_are_not_written_over_stay(first, second, label, replace):
    source, target = patches((11, 14), first, 0.5), patches((11, 14), second, 0.5)
    (edit,) = overlay(source, target, label, NullReporter(), replace=replace)
    taken = source if label == 0 else np.where(source == label, source, 0)
    right = taken if replace else np.where(taken != 0, taken, target)
    np.testing.assert_array_equal(written(edit, target), right)


@given(
    hnp.arrays(np.uint8, (3, 6, 7), elements=st.integers(0, 2)),
    st.sampled_from(list(MergeMode)),
    st.sampled_from(list(OverlapRule)),
)
def test_a_merge_holds_every_pixel_that_one_source_claims(stack, mode, rule):
    sources = [
        MergeSource(f"layer {at}", plane, Classes({at + 1: "x"}, every=at + 1))
        for at, plane in enumerate(stack)
    ]
    before = stack.copy()
    merged = merge(sources, mode, rule)
    np.testing.assert_array_equal(stack, before)
    claimed = (stack != 0).sum(axis=0)
    lost = claimed > 1 if rule is OverlapRule.BACKGROUND else np.zeros(claimed.shape, bool)
    np.testing.assert_array_equal(merged.labels != 0, (claimed != 0) & ~lost)
