"""Which objects of neighbouring slices or times are one, and which divide."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.draw import disk
from skimage.measure import regionprops

from napari_sam3_assistant.core.linking import Followed, LinkedFrame, join_slices, link_times
from napari_sam3_assistant.core.results import ObjectRecord

SHAPE = (240, 300)


def frame_of(labels):
    """Return a frame as scikit-image measures its labels."""
    found = regionprops(labels)
    return LinkedFrame(
        labels.astype(np.uint32),
        np.array([one.label for one in found], np.uint32),
        np.array([one.area for one in found], float),
        np.array([one.centroid for one in found], float).reshape(-1, 2),
    )


def draw(discs):
    """Return the labels of discs by id: y, x, radius."""
    labels = np.zeros(SHAPE, np.int32)
    for id_, (y, x, radius) in discs.items():
        labels[disk((y, x), radius, shape=SHAPE)] = id_
    return labels


@st.composite
def cells(draw_):
    """Cells far from each other: before and after they moved, with some divided, lost and new."""
    grid = [(y + x % 17 - 8, x + y % 13 - 6) for y in (40, 120, 199) for x in (40, 114, 187, 260)]
    places = draw_(st.permutations(grid))
    # Were most of them others, all might as well have moved with the stage.
    kinds = draw_(st.lists(st.sampled_from(["goes on", "divides"]), min_size=5, max_size=9))
    kinds += draw_(st.lists(st.sampled_from(["lost", "new"]), max_size=2))
    before, after, partner, divisions = {}, {}, {}, {}
    for number, (kind, (y, x)) in enumerate(zip(kinds, places, strict=False), 1):
        dy, dx = draw_(st.integers(-9, 9)), draw_(st.integers(-9, 9))
        if kind != "new":
            before[number] = (y, x, 12)
        if kind == "divides":
            up, down = 100 + number, 200 + number
            after[up], after[down] = (y + dy / 3, x - 10, 8.5), (y + dy / 3, x + 10, 8.5)
            divisions[number] = {up, down}
        elif kind != "lost":
            after[100 + number] = (y + dy, x + dx, 12)
            if kind == "goes on":
                partner[100 + number] = number
    return before, after, partner, divisions


@given(cells())
def test_cells_are_followed_through_moves_and_divisions(drawn):
    before, after, partner, divisions = drawn

    found, divided = link_times(frame_of(draw(before)), frame_of(draw(after)), 0.25)

    assert found == partner
    assert {mother: set(both) for mother, both in divided.items()} == divisions


@given(
    st.tuples(st.integers(-40, 40), st.integers(-60, 60)),
    st.integers(0, 2**32 - 1),
)
def test_a_stage_that_drifts_changes_nothing(by, seed):
    rng = np.random.default_rng(seed)
    where = [(y, x) for y in (60, 80, 100) for x in (70, 100, 130)]
    discs = {
        number: (y + rng.integers(-2, 3), x + rng.integers(-2, 3), 7)
        for number, (y, x) in enumerate(where, 1)
        if rng.random() < 0.7
    }
    moved = {id_ + 50: (y + by[0], x + by[1], r) for id_, (y, x, r) in discs.items()}

    found, divided = link_times(frame_of(draw(discs)), frame_of(draw(moved)), 0.25)

    there = set(np.unique(draw(moved)).tolist()) - {0}
    whole = {id_ for id_ in moved if id_ in there}
    assert not divided
    if len(discs) > 4 and len(whole) == len(moved):  # fewer may fit elsewhere as well
        assert found == {id_ + 50: id_ for id_ in discs}


def random_labels(seed):
    rng = np.random.default_rng(seed)
    return np.kron(rng.integers(0, 6, (6, 7)), np.ones((3, 4), int)).astype(np.int32)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_each_object_is_in_one_link_at_most(one, other):
    before, after = frame_of(random_labels(one)), frame_of(random_labels(other))

    partner, divisions = link_times(before, after, 0.25)

    daughters = [id_ for both in divisions.values() for id_ in both]
    later, earlier = [*partner, *daughters], [*partner.values(), *divisions]
    for taken, frame in ((later, after), (earlier, before)):
        assert len(taken) == len(set(taken))
        assert set(taken) <= set(frame.ids.tolist())
    joined = join_slices(before, after, 0.25)
    assert len(set(joined.values())) == len(joined)
    for new, old in joined.items():
        a, b = before.labels == old, after.labels == new
        assert (a & b).sum() >= 0.25 * (a | b).sum()
    assert len(join_slices(after, before, 0.25)) == len(joined)


@pytest.mark.parametrize("empty", ["before", "after", "both"])
def test_nothing_goes_on_in_nothing(empty):
    some, none = frame_of(draw({3: (50, 50, 9)})), frame_of(draw({}))
    pair = (none if empty != "after" else some, none if empty != "before" else some)
    assert link_times(*pair, 0.25) == ({}, {})
    assert join_slices(*pair, 0.25) == {}


def test_a_missed_object_is_kept_with_its_own_size_under_others():
    before = frame_of(draw({1: (50, 50, 12), 2: (100, 100, 9)}))
    here = frame_of(draw({2: (100, 100, 9), 3: (50, 60, 12)}))
    both = here.add_missed(before, [1])
    assert both.ids.tolist() == [2, 3, 1]
    assert both.areas[2] == before.areas[0] > np.count_nonzero(both.labels == 1) > 0
    np.testing.assert_array_equal(both.labels[here.labels > 0], here.labels[here.labels > 0])


def test_a_condensed_mother_lies_between_daughters_as_large_as_she_is():
    before = draw({1: (100, 100, 10)})
    apart = draw({8: (100, 86, 9.8), 9: (100, 114, 9.8)})
    beside = draw({8: (100, 101, 9.8), 9: (100, 123, 9.8)})  # a neighbour that came into sight
    assert link_times(frame_of(before), frame_of(apart), 0.25)[1] == {1: (8, 9)}
    assert link_times(frame_of(before), frame_of(beside), 0.25) == ({8: 1}, {})


def sections(*balls):
    """Return the slices of balls (z, y, x, radius), drawn as one thing where they touch."""
    z, y, x = np.ogrid[:40, :60, :60]
    inside = np.zeros((40, 60, 60), bool)
    for cz, cy, cx, radius in balls:
        inside |= (z - cz) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 <= radius**2
    return [ObjectRecord.from_mask(1, one) for one in inside if one.any()]


def ends(slices, ahead=6):
    """Return before which slices an object is told to have ended."""
    found, followed = [], Followed()
    for number, record in enumerate(slices):
        if followed.has_ended(slices[number : number + ahead]):
            found.append(number)
            followed = Followed()
        followed.add(record, sure=True)
    return found


@given(
    st.floats(6, 9),
    st.floats(0.8, 1.0),
    st.floats(0, 2 * np.pi),
    st.booleans(),
)
def test_what_lies_askew_behind_another_thing_is_told_apart_where_it_is_thinnest(
    radius, share, way, forward
):
    aside = 0.9 * radius
    y, x = 30 + aside * np.sin(way), 30 + aside * np.cos(way)
    slices = sections((11, 30, 30, radius), (11 + 1.8 * radius, y, x, share * radius))
    slices = slices if forward else slices[::-1]
    (found,) = ends(slices)
    areas = [record.area for record in slices]
    assert areas[found] <= 1.15 * min(areas[found - 3 : found + 4])


@given(st.floats(4, 15), st.floats(0, 3), st.floats(0, 3))
def test_one_thing_does_not_end_before_its_end(radius, askew, dent):
    slices = sections((18, 30, 30, radius), (18 + askew, 30 + dent, 30, radius))
    assert ends(slices) == []
    # On one slice much of it was missed.
    middle = len(slices) // 2
    mask = slices[middle].mask.copy()
    mask[: mask.shape[0] // 3] = False
    slices[middle] = ObjectRecord.from_mask(1, mask, offset=slices[middle].region.box[:2])
    assert ends(slices) == []
