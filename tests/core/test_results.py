"""Objects keep their own cropped masks, and are painted into labels."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import (
    ObjectRecord,
    Provenance,
    Segmentation,
    paint_labels,
)
from napari_sam3_assistant.core.tracks import FrameResult


def record(id_, box):
    region = Region(*box)
    return ObjectRecord(id_, np.ones(region.shape, bool), region)


def test_a_record_is_cropped_to_its_pixels_and_placed_in_the_plane():
    mask = np.zeros((5, 6), bool)
    mask[1, 2] = mask[3, 3] = True

    found = ObjectRecord.from_mask(7, mask, offset=(100, 200), score=0.5, text="cell")

    assert (found.id, found.score, found.text) == (7, 0.5, "cell")
    assert found.bbox == (101, 202, 104, 204)
    assert found.area == 2
    np.testing.assert_array_equal(found.mask, [[1, 0], [0, 0], [0, 1]])
    assert found.mask.base is None  # a view would keep the whole mask in memory


def test_an_empty_mask_is_no_object():
    assert ObjectRecord.from_mask(1, np.zeros((3, 3), bool)) is None


def test_shift_moves_the_box_and_keeps_the_mask():
    moved = record(3, (1, 2, 3, 5)).shift(10, -2)

    assert moved.bbox == (11, 0, 13, 3)
    assert moved.area == 6


def test_the_later_object_is_on_top():
    labels = paint_labels([record(1, (0, 0, 2, 3)), record(2, (1, 1, 3, 4))], Region(0, 0, 3, 4))

    np.testing.assert_array_equal(labels, [[1, 1, 1, 0], [1, 2, 2, 2], [0, 2, 2, 2]])
    assert labels.dtype == np.uint32


def test_labels_cover_the_region_only():
    labels = paint_labels([record(5, (0, 0, 4, 4)), record(6, (9, 9, 12, 12))], Region(2, 3, 5, 6))

    np.testing.assert_array_equal(labels, [[5, 0, 0], [5, 0, 0], [0, 0, 0]])


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(1, 5), st.integers(1, 5)),
        max_size=4,
    ),
    st.integers(0, 8),
    st.integers(0, 8),
)
def test_painting_a_region_equals_cropping_the_painted_plane(boxes, y0, x0):
    objects = [
        record(number, (y, x, y + height, x + width))
        for number, (y, x, height, width) in enumerate(boxes, start=1)
    ]
    region = Region(y0, x0, y0 + 3, x0 + 4)

    np.testing.assert_array_equal(
        paint_labels(objects, region), paint_labels(objects, Region(0, 0, 12, 12))[region.slices]
    )


def test_only_the_pixels_of_the_mask_are_painted():
    ring = ObjectRecord(2, np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], bool), Region(0, 0, 3, 3))

    labels = paint_labels([record(1, (0, 0, 3, 4)), ring], Region(1, 0, 3, 4))

    np.testing.assert_array_equal(labels, [[2, 1, 2, 1], [2, 2, 2, 1]])


def test_a_result_is_told_in_one_line():
    """A notebook shows what a cell ends with: of a thousand objects pages of False."""
    objects = tuple(record(id_, (id_, 0, id_ + 99, 99)) for id_ in range(1, 1001))
    engine = Provenance("builtin", "Built-in", "1", "cpu", 0.5)
    labels = np.zeros((50, 60), np.uint32)

    shown = [
        repr(Segmentation(labels, objects, Region(0, 0, 50, 60), engine)),
        repr(FrameResult(7, labels, objects, frozenset(), engine)),
        repr(objects[0]),
    ]

    assert shown[:2] == [
        "<Segmentation: 1 000 objects in (0, 0, 50, 60), by Built-in>",
        "<FrameResult 7: 1 000 objects, by Built-in>",
    ]
    assert shown[2].startswith("ObjectRecord(id=1, region=Region(")
    assert max(map(len, shown)) < 150
