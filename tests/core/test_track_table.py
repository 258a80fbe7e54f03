"""The table of a propagation, and its tracks."""

import tracemalloc

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.core.lineage import Lineage, Relabel
from napari_sam3_assistant.core.masks.labels import PlaneOfLabels
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import MOST_ID
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord, Provenance
from napari_sam3_assistant.core.tracks import (
    COLUMNS,
    FrameResult,
    TrackScale,
    TrackTable,
    join_slices,
    measure_centroids,
    measure_frame,
)

ENGINE = Provenance("builtin", "Built-in", "1", "cpu", 0.5)
L_SHAPE = np.array([[1, 0], [1, 0], [1, 1]], bool)


def result(frame, objects, tracked=None):
    """Return the result of a frame of objects by id: mask, first row and column, score, text."""
    records = tuple(
        ObjectRecord.from_mask(id_, mask, offset=offset, score=score, text=text)
        for id_, (mask, offset, score, text) in objects.items()
    )
    ids = frozenset(objects) if tracked is None else frozenset(tracked)
    return FrameResult(frame, np.zeros((9, 9), np.uint32), records, ids, ENGINE)


def square(y, x):
    return (np.ones((3, 3), bool), (y - 1, x - 1), 0.5, "")


@pytest.fixture
def table():
    made = TrackTable()
    made.add(result(3, {7: (L_SHAPE, (10, 20), 0.98765, "cell, big"), 2: square(5, 6)}))
    made.add(result(2, {2: square(4, 6)}, tracked={2, 7}))
    return made


def test_rows_come_by_frame_and_object_with_area_and_centroid(table):
    rows = [(row.frame, row.object_id, row.area, row.y, row.x) for row in table.rows()]
    assert rows == [(2, 2, 9, 4.0, 6.0), (3, 2, 9, 5.0, 6.0), (3, 7, 4, 11.25, 20.25)]
    assert len(table) == 3


def test_cells_hold_pixels_and_lengths(table):
    scale = TrackScale.of(
        make_axes((9, 4, 5), names="tyx", scale=(2.0, 0.5, 0.25), units=("s", "um", "um"))
    )

    cells = list(table.cells(scale))

    assert dict(zip(COLUMNS, cells[2], strict=True)) == {
        "frame": 3,
        "object": 7,
        "area_px": 4,
        "y_px": 11.25,
        "x_px": 20.25,
        "position": "6",
        "y": "5.625",
        "x": "5.0625",
        "area": "0.5",
        "position_unit": "second",
        "unit": "micrometer",
        "score": 0.9877,
        "text": "cell, big",
        "parent": None,
    }
    assert next(table.cells())[5:11] == ("2", "4", "6", "9", "", "")


def test_a_frame_that_comes_again_replaces_what_was_looked_for(table):
    table.add(result(3, {7: square(1, 1)}))
    assert [(row.frame, row.object_id, row.y) for row in table.rows()] == [
        (2, 2, 4.0),
        (3, 2, 5.0),
        (3, 7, 1.0),
    ]

    table.add(result(3, {}, tracked={2, 7}))
    assert [row.frame for row in table.rows()] == [2]


def test_boxes_follow_what_was_looked_for(table):
    assert table.boxes_of(2) == {3: Region(4, 5, 7, 8), 2: Region(3, 5, 6, 8)}
    table.add(result(3, {}, tracked={2}))
    assert table.boxes_of(2) == {2: Region(3, 5, 6, 8)}
    assert table.boxes_of(7) == {3: Region(10, 20, 13, 22)}


def test_objects_and_frames_are_forgotten(table):
    table.remove(2, frames=[3, 8])
    assert [(row.frame, row.object_id) for row in table.rows()] == [(2, 2), (3, 7)]
    table.remove(2)
    assert [(row.frame, row.object_id) for row in table.rows()] == [(3, 7)]
    table.clear()
    assert (len(table), list(table.rows())) == (0, [])


def test_a_copy_stays_as_it_is(table):
    kept = table.copy()
    table.add(result(3, {}, tracked={2, 7}))
    table.add(result(9, {1: square(1, 1)}))
    assert [row.frame for row in kept.rows()] == [2, 3, 3]


def test_one_track_an_object(table):
    expected = [[2, 2, 4, 6], [2, 3, 5, 6], [7, 3, 11.25, 20.25]]
    np.testing.assert_array_equal(table.tracks(), expected)


def test_tracks_of_a_stack_with_other_axes(table):
    expected = [[2, 4, 2, 4, 6], [2, 4, 3, 5, 6]]
    np.testing.assert_array_equal(table.tracks((4, 0), 1, least=2), expected)


def test_a_daughter_names_its_parent_where_both_are_there(table):
    table.parents = {7: 2, 2: 9}
    assert table.links() == {7: 2}
    assert [row[-1] for row in table.cells()] == [None, None, 2]
    table.add(FrameResult(4, np.zeros((9, 9), np.uint32), (), frozenset(), ENGINE, parents={8: 7}))
    assert table.copy().parents == {7: 2, 2: 9, 8: 7}
    table.hidden = frozenset({2})
    assert table.links() == {}
    table.remove(7)
    table.relabel(2, 5, 3)
    assert (table.frames_of(2), table.frames_of(5)) == ((2,), (3,))


def test_tracks_of_nothing_have_their_columns():
    assert TrackTable().tracks((0, 5), 0).shape == (0, 5)


class _Counted:
    """Labels in chunks that know how often they were read."""

    def __init__(self, labels, chunks=(1, 4, 4)):
        self._labels = zarr.create_array({}, data=labels, chunks=chunks)
        self.shape, self.dtype, self.ndim = labels.shape, labels.dtype, labels.ndim
        self.chunks, self.read = self._labels.chunks, 0

    def __getitem__(self, box):
        self.read += 1
        return self._labels[box]


@given(
    arrays(np.uint16, (3, 9, 11), elements=st.sampled_from((0, 0, 1, 2, 700))),
    st.permutations(range(3)),
)
def test_centroids_are_those_of_the_labels_however_their_planes_lie(labels, order):
    rows, columns, other = order
    upright = np.transpose(labels, (other, rows, columns))[1]
    boxes = {one.object_id: one.region for one in measure_frame(0, upright)}
    boxes.pop(2, None)
    boxes[5] = Region(0, 0, 2, 2)  # which has no pixels
    plane = PlaneOfLabels(_Counted(labels), rows, columns, {other: 1})

    found = measure_centroids(plane, boxes, NullReporter())

    known = [one for one in measure_frame(0, upright) if one.object_id in boxes]
    assert {one.object_id: one.area for one in known} == {
        id_: n for id_, (n, _, _) in found.items()
    }
    for one in known:
        assert found[one.object_id][1:] == pytest.approx((one.y, one.x))


def test_no_more_is_read_for_centroids_than_the_blocks_with_objects():
    labels = np.zeros((1, 4000, 4000), np.uint8)
    labels[0, :2, :2], labels[0, -2:, -2:] = 1, 2
    lazy = _Counted(labels, (1, 1000, 4000))
    boxes = {1: Region(0, 0, 2, 2), 2: Region(3998, 3998, 4000, 4000)}
    found = measure_centroids(PlaneOfLabels(lazy, 1, 2, {0: 0}), boxes, NullReporter())
    assert found == {1: (4, 0.5, 0.5), 2: (4, 3998.5, 3998.5)}
    assert lazy.read == 2


@given(
    arrays(np.uint8, (3, 2, 4, 5), elements=st.integers(0, 3)),
    st.sampled_from((0, 1)),
)
def test_parts_on_several_slices_are_one_point_a_frame(labels, axis):
    parts = [
        (row.object_id, row.area, (t, z, row.y, row.x))
        for t, z in np.ndindex(3, 2)
        for row in measure_frame(0, labels[t, z])
    ]
    ids, areas, positions = zip(*parts, strict=True) if parts else ((), (), np.empty((0, 4)))
    tracks = join_slices(ids, areas, positions, axis)
    expected = []
    for id_ in range(1, 4):
        places = np.argwhere(labels == id_)
        frames = np.unique(places[:, axis]).tolist()
        means = [places[places[:, axis] == frame].mean(0) for frame in frames]
        expected += [(id_, *mean) for mean in means if len(frames) > 1]
    np.testing.assert_allclose(tracks, np.reshape(expected, (-1, 5)))


NUMBERS = (0, 1, 2, 300, 99_999, 100_000, MOST_ID, 2**32 - 1)


@given(
    arrays(np.uint32, (4, 5), elements=st.sampled_from(NUMBERS[:-1])),
    arrays(np.uint32, (4, 5), elements=st.sampled_from(NUMBERS)),
    st.sets(st.sampled_from(NUMBERS[1:])),
)
def test_a_frame_of_objects_of_any_numbers_takes_the_room_of_its_pixels(labels, before, sought):
    found = np.unique(labels[labels > 0]).tolist()
    objects = tuple(ObjectRecord.from_mask(id_, labels == id_) for id_ in found)
    frame = FrameResult(4, labels, objects, frozenset({*found, *sought}), ENGINE)
    for array in (labels, before):
        array.flags.writeable = False  # as of a file
    tracemalloc.start()
    try:
        renamed = frame.renamed(Lineage(relabelled=(Relabel(300, 2**32 - 1, 3),)))
        merged = renamed.over(before)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**20

    np.testing.assert_array_equal(renamed.labels, np.where(labels == 300, 2**32 - 1, labels))
    gone = np.isin(before, [*renamed.tracked])
    np.testing.assert_array_equal(
        merged, np.where(renamed.labels > 0, renamed.labels, np.where(gone, 0, before))
    )
