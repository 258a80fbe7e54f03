"""Results of which the user has changed pixels: objects follow the labels on show."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import (
    ObjectRecord,
    Provenance,
    Segmentation,
    apply_edit,
    paint_labels,
)

MADE_BY = Provenance("builtin", "Built-in", "1", "cpu", 0.35)
SHAPE = (9, 11)
ORIGIN = (20, 30)
WHOLE = (slice(0, SHAPE[0]), slice(0, SHAPE[1]))


def found_of(labels, scores=None):
    """Return the result of a region at ORIGIN with these labels."""
    objects = []
    for id_ in np.unique(labels[labels > 0]).tolist():
        score = (scores or {}).get(id_, 0.1 * id_)
        mask = labels == id_
        objects.append(
            ObjectRecord.from_mask(id_, mask, offset=ORIGIN, score=score, text=f"kind {id_}")
        )
    region = Region.whole(labels.shape).shift(*ORIGIN)
    return Segmentation(labels.astype(np.uint32), tuple(objects), region, MADE_BY)


def squares():
    labels = np.zeros(SHAPE, np.uint32)
    labels[1:4, 1:4], labels[1:4, 6:10], labels[6:8, 2:9] = 1, 2, 3
    return labels


def check(found, shown):
    """Each object's mask and box are those of its label."""
    np.testing.assert_array_equal(found.labels, shown)
    assert [one.id for one in found.objects] == np.unique(shown[shown > 0]).tolist()
    for one in found.objects:
        mask = shown == one.id
        assert one.region == Region.around(mask).shift(*ORIGIN)
        np.testing.assert_array_equal(one.mask, mask[Region.around(mask).slices])
    np.testing.assert_array_equal(paint_labels(found.objects, found.region), shown)


def test_nothing_has_changed():
    assert apply_edit(found_of(squares()), squares(), WHOLE) is None


def test_a_deleted_object_is_gone_and_the_others_are_the_same():
    found, shown = found_of(squares()), squares()
    shown[shown == 2] = 0
    after = apply_edit(found, shown, WHOLE)
    check(after, shown)
    assert [one is old for one, old in zip(after.objects, found.objects[::2], strict=True)] == [
        True,
        True,
    ]


def test_a_merged_and_a_relabelled_object_keep_score_and_phrase():
    found, shown = found_of(squares()), squares()
    shown[shown == 2] = 1
    shown[shown == 3] = 70_000
    after = apply_edit(found, shown, WHOLE)
    check(after, shown)
    assert [(one.id, one.score, one.text) for one in after.objects] == [
        (1, pytest.approx(0.1), "kind 1"),
        (70_000, pytest.approx(0.3), "kind 3"),
    ]


def test_what_is_painted_on_the_background_has_no_score():
    found, shown = found_of(squares()), squares()
    shown[8, 10] = 9
    after = apply_edit(found, shown, (slice(8, 9), slice(10, 11)))
    check(after, shown)
    assert (after.objects[-1].score, after.objects[-1].text) == (None, "")


def test_numbers_that_change_places_take_their_scores_along():
    found, shown = found_of(squares()), squares()
    shown = np.choose(shown, [0, 3, 1, 2]).astype(np.uint32)
    after = apply_edit(found, shown, WHOLE)
    check(after, shown)
    assert [one.text for one in after.objects] == ["kind 2", "kind 3", "kind 1"]


def test_what_lies_below_another_object_stays_but_where_it_was_changed():
    below = ObjectRecord(1, np.ones((4, 6), bool), Region(20, 30, 24, 36), 0.9)
    above = ObjectRecord(2, np.ones((4, 3), bool), Region(20, 33, 24, 36), 0.8)
    region = Region.whole(SHAPE).shift(*ORIGIN)
    found = Segmentation(paint_labels((below, above), region), (below, above), region, MADE_BY)
    shown = found.labels.copy()
    shown[0] = 0  # the first row of both
    after = apply_edit(found, shown, WHOLE)
    assert [one.area for one in after.objects] == [18, 9]
    assert apply_edit(after, shown, WHOLE) is None


@given(st.data())
def test_random_edits_in_a_row(data):
    """Whatever is changed, and wherever, the objects are those of the labels on show."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    labels = rng.integers(0, 4, SHAPE) * rng.integers(0, 2, SHAPE)
    found = found_of(labels)
    shown = found.labels.copy()
    for _ in range(data.draw(st.integers(1, 4))):
        y, x = sorted(rng.integers(0, SHAPE[0] + 1, 2)), sorted(rng.integers(0, SHAPE[1] + 1, 2))
        where = (slice(*map(int, y)), slice(*map(int, x)))
        piece = shown[where]
        values = rng.choice([0, 1, 2, 3, 8, 2**32 - 1], piece.shape)
        piece[...] = np.where(rng.random(piece.shape) < rng.random(), values, piece)
        if rng.random() < 0.3:
            shown[shown == 3] = rng.choice([0, 1, 12])
            where = WHOLE
        before = {one.id: one for one in found.objects}
        same = np.array_equal(found.labels, shown)
        untouched = {id_ for id_ in before if np.array_equal(found.labels == id_, shown == id_)}
        after = apply_edit(found, shown, where)
        assert (after is None) == same
        if after is not None:
            check(after, shown)
            assert all(one is before[one.id] for one in after.objects if one.id in untouched)
            found = after
