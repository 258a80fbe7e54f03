"""What is shown and hidden by ranges of values, without a window."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3_assistant.core.axes import guess_axes
from napari_sam3_assistant.core.images import PlaneRef
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import (
    ObjectRecord,
    Provenance,
    Segmentation,
    apply_edit,
    paint_labels,
)
from napari_sam3_assistant.session.filtering import explain_hidden, filter_preview
from napari_sam3_assistant.session.values import ColumnRange, PlaneTarget, Preview

WHOLE = Region.whole((24, 30))
MADE_BY = Provenance("builtin", "Built-in", "1", "cpu", 0.35)


def value_of(record, column):
    return record.score if column == "Score" else record.area


def of_objects(objects):
    target = PlaneTarget("key", "cells", guess_axes((24, 30)), PlaneRef(()), (24, 30))
    found = Segmentation(paint_labels(objects, WHOLE), tuple(objects), WHOLE, MADE_BY)
    return Preview(target, found, 1.0)


@st.composite
def results(draw):
    """Objects that may overlap, with scores or without."""
    objects = []
    for number in range(1, draw(st.integers(1, 8)) + 1):
        y, x = draw(st.integers(0, 20)), draw(st.integers(0, 26))
        height, width = draw(st.integers(1, 24 - y)), draw(st.integers(1, 30 - x))
        score = draw(st.none() | st.floats(0, 1))
        box = Region(y, x, y + height, x + width)
        objects.append(ObjectRecord(number, np.ones((height, width), bool), box, score))
    return objects


RANGES = st.tuples(
    st.sampled_from(["Score", "Area"]),
    st.floats(0, 300) | st.floats(0, 1),
    st.floats(0, 300) | st.just(math.inf),
).map(lambda given: ColumnRange(*given))


@given(results(), st.lists(RANGES, max_size=4))
def test_nothing_is_lost_and_what_is_shown_is_as_if_alone_found(objects, steps):
    first = shown = of_objects(objects)
    for one in steps:
        shown = filter_preview(shown, (one,), value_of)
        wanted = [record for record in objects if one.holds(value_of(record, one.column))]
        assert list(shown.segmentation.objects) == wanted
        assert {*shown.segmentation.objects, *shown.hidden} == set(objects)
        assert np.array_equal(shown.segmentation.labels, paint_labels(wanted, WHOLE))
    back = filter_preview(shown, (), value_of)
    assert back.segmentation.objects == first.segmentation.objects
    assert np.array_equal(back.segmentation.labels, first.segmentation.labels)
    assert back.hidden == ()


def square(number, y, score):
    return ObjectRecord(number, np.ones((4, 4), bool), Region(y, 2, y + 4, 6), score)


def test_a_range_holds_its_ends_and_what_has_no_value():
    one = ColumnRange("Score", 0.25, 0.75)
    held = [one.holds(value) for value in (0.25, 0.75, None, 0.2499, 0.7501)]
    assert held == [True, True, True, False, False]


def test_what_comes_back_does_not_take_the_number_of_what_was_painted_meanwhile():
    preview = of_objects([square(1, 0, 0.9), square(2, 10, 0.2)])
    less = filter_preview(preview, (ColumnRange("Score", 0.5, math.inf),), value_of)
    # napari proposes the highest number and 1: that of the object which is hidden.
    painted = less.segmentation.labels.copy()
    painted[20:22, 20:25] = 2
    edited = apply_edit(less.segmentation, painted, (slice(0, 24), slice(0, 30)))
    less = Preview(less.target, edited, 1.0, ranges=less.ranges, hidden=less.hidden)

    back = filter_preview(less, (), value_of)

    assert [record.id for record in back.segmentation.objects] == [1, 2, 3]
    assert (back.segmentation.labels[20:22, 20:25] == 2).all()
    assert (back.segmentation.labels[10:14, 2:6] == 3).all()


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.0, math.inf, ""),
        (0.5, math.inf, "Only 1 of 2 objects were kept: Score 0.5 or more."),
        (-math.inf, 0.5, "Only 1 of 2 objects were kept: Score 0.5 or less."),
        (0.5, 0.95, "Only 1 of 2 objects were kept: Score 0.5 to 0.95."),
    ],
)
def test_the_note_says_what_was_left_out(low, high, said):
    preview = of_objects([square(1, 0, 0.9), square(2, 10, 0.2)])
    less = filter_preview(preview, (ColumnRange("Score", low, high),), value_of)
    assert explain_hidden(less) == said
