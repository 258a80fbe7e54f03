"""3D/video: after random edits of the labels the rows and the tracks are those of the labels."""

from dataclasses import replace

import geff
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.measure import regionprops
from tifffile import imread

from amounts import thorough
from napari_sam3_assistant.core.masks.objects import ExportFormat
from napari_sam3_assistant.core.masks.operations import Operation
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.results import ObjectRecord, Provenance
from napari_sam3_assistant.core.tracks import Direction, FrameResult, TrackTable, measure_frame
from napari_sam3_assistant.mask_operations.binding import mask_binding_for
from napari_sam3_assistant.viewer.roles import key_of
from napari_sam3_assistant.workflows.save import export_tracks

IDS = (0, 1, 2, 3, 7, 4_000_000_000)
OPERATIONS = (
    Operation.FILL_HOLES,
    Operation.EXPAND,
    Operation.SHRINK,
    Operation.KEEP_LARGEST,
    Operation.RENUMBER,
)
# Of the stack Z, Y, X: its axes, where a new one of length 2 comes, and where the sliders stand.
LAYOUTS = {"zyx": ((0, 1, 2), None, 6, (20, 20)), "yzx": ((1, 0, 2), None, 6, (20, 20))}
LAYOUTS |= {"tzyx": ((0, 1, 2), 0, 6, (20, 20)), "ztyx": ((0, 1, 2), 1, 6, (20, 20))}


@pytest.fixture
def open_masks():
    """Return a function that opens Mask Operations beside a bench."""
    opened = []

    def open_it(bench):
        opened.append(mask_binding_for(bench.viewer, bench.desk))
        opened[-1].acquire()
        opened[-1].model.target = key_of(bench.labels)
        return opened[-1]

    yield open_it
    for one in opened:
        one.release()


def propagate(open_bench, balls, layout, in_memory=1 << 31):
    """Return a bench with a propagation, and what gives its frames in the labels."""
    order, added, frame, spot = LAYOUTS[layout]
    stack = balls[4:9].transpose(order)
    if added is not None:
        stack = np.stack([stack, stack[::-1]], added)
    bench = open_bench(stack)
    bench.binding.adapter.stacks.in_memory = in_memory
    along = order.index(0) + (added == 0)
    if order != (0, 1, 2):
        bench.viewer.dims.order = (1, 0, 2)
    pixel = [1] * stack.ndim
    pixel[along] = frame - 4
    rest = [axis for axis in range(stack.ndim) if axis not in (along, added)]
    pixel[rest[0]], pixel[rest[1]] = spot
    for axis in {along, added} - {None}:
        bench.viewer.dims.set_point(axis, pixel[axis])
    bench.model.frame_axis = along
    bench.click(*pixel)
    assert bench.start().error is None
    key = [slice(None)] * stack.ndim
    if added is not None:
        key[added] = 1

    def frames():
        return np.moveaxis(np.array(bench.labels.data)[tuple(key)], along - (added == 0), 0)

    return bench, frames


def check(bench, labels):
    """Compare rows, boxes and tracks with what scikit-image finds."""
    truth = {
        (frame, int(id_)): regionprops((plane == id_).astype(np.uint8))[0]
        for frame, plane in enumerate(labels)
        for id_ in np.unique(plane[plane > 0])
    }
    table = {(row.frame, row.object_id): row for row in bench.propagation.tracks.rows()}
    assert table.keys() == truth.keys()
    for at, one in truth.items():
        row = table[at]
        assert (row.area, row.region.box) == (one.area, one.bbox)
        np.testing.assert_allclose((row.y, row.x), one.centroid)
    records = [row.record for row in bench.model.results]
    listed = [(one.id, one.area, one.region.box) for one in records]
    found = [(row.object_id, row.area, row.region.box) for row in table.values()]
    assert sorted(listed) == sorted(found)
    assert bench.model.propagated_ids == tuple(sorted({id_ for _, id_ in truth}))


def is_settled(bench, masks):
    return not (masks.model.running or bench.propagation.edited.waiting or bench.desk.waiting)


def change(bench, masks, rng):
    """Change the labels as a user or a script may."""
    layer, way = bench.labels, rng.integers(0, 7)
    shape = layer.data.shape
    if way == 0:
        count = int(rng.integers(1, 40))
        layer.data_setitem(
            tuple(rng.integers(0, size, count) for size in shape), int(rng.choice(IDS))
        )
    elif way == 1:
        layer.brush_size, layer.n_edit_dimensions = int(rng.integers(1, 9)), int(rng.integers(2, 4))
        layer.paint([int(rng.integers(0, size)) for size in shape], int(rng.choice(IDS)))
    elif way == 2:
        layer.undo()
    elif way == 3 and isinstance(layer.data, np.ndarray):
        low = [int(rng.integers(0, size)) for size in shape]
        box = tuple(slice(at, at + int(rng.integers(1, 20))) for at in low)
        new = layer.data.copy()
        new[box] = rng.choice(IDS)
        layer.data = new
    elif way == 4 and masks.model.can_redo:
        masks.session.cleanup.redo()
    elif way == 4 and masks.model.can_undo:
        masks.session.cleanup.undo()
    elif way == 5:
        masks.session.cleanup.apply(OPERATIONS[rng.integers(len(OPERATIONS))])
    elif way == 6:
        masks.session.cleanup.analyze()
        bench.desk.until(lambda: not masks.model.running)
        if masks.model.components and len(masks.model.components.values):
            masks.model.selected = (0,)
            masks.session.cleanup.delete_selected()


@pytest.mark.parametrize(
    ("layout", "on_disk"),
    [("zyx", True), thorough("yzx", False), thorough("tzyx", True), ("ztyx", False)],
)
def test_rows_boxes_tracks_and_count(open_bench, open_masks, balls, layout, on_disk):
    bench, frames = propagate(open_bench, balls, layout, in_memory=1000 if on_disk else 1 << 31)
    assert isinstance(bench.labels.data, np.ndarray) is not on_disk
    masks = open_masks(bench)

    @given(st.integers(0, 2**32 - 1))
    def edited(seed):
        rng = np.random.default_rng(seed)
        for _ in range(3):
            change(bench, masks, rng)
            bench.desk.until(lambda: is_settled(bench, masks))
        check(bench, frames())

    edited()


@pytest.mark.parametrize(
    ("layout", "on_disk"), [("zyx", True), ("yzx", False), ("tzyx", True), ("ztyx", False)]
)
def test_tracks_are_written_of_the_frames_that_were_followed(
    open_bench, balls, tmp_path, layout, on_disk
):
    bench, frames = propagate(open_bench, balls, layout, in_memory=1000 if on_disk else 1 << 31)
    layer = bench.labels
    layer.data_setitem(tuple(np.full(1, side - 1) for side in layer.data.shape), 9)
    bench.desk.until(lambda: not bench.propagation.edited.waiting)
    for name in ("01_RES", "a.geff"):
        bench.finish(bench.session.tracks.export(tmp_path / name, ".ctc"))

    table, seen = read_table(bench), frames()
    written = np.stack([imread(one) for one in sorted((tmp_path / "01_RES").glob("*.tif"))])
    assert np.array_equal(written, seen)
    graph, metadata = geff.read(tmp_path / "a.geff", structure_validation=True)
    frame = metadata.axes[0].name
    assert {(one[frame], one["seg_id"]): one["area"] for _, one in graph.nodes(data=True)} == table


def read_table(bench):
    """Return the pixels of each object on each frame, as the session has counted them."""
    return {(row.frame, row.object_id): row.area for row in bench.propagation.tracks.rows()}


def test_tracks_are_read_one_frame_at_a_time(open_bench, tmp_path):
    bench = open_bench()
    bench.click(6, 20, 20)
    bench.start()
    whole = bench.binding.adapter.stacks.pixels(bench.model.propagated)
    read = []

    def read_one(frame):
        read.append(frame)
        return whole.read(frame)

    lazy = replace(whole, read=read_one, labels=None)
    path = tmp_path / "a.geff"
    list(export_tracks(lazy, path, ExportFormat.GEFF, lazy.axes, NullReporter()))
    assert read == list(range(12))


def test_what_is_painted_where_no_run_has_been_stays(open_bench, balls):
    bench = open_bench(balls)
    bench.viewer.dims.set_point(0, 6)
    for number, (y, x) in enumerate(((20, 20), (40, 50)), 1):
        bench.click(6, y, x, on=number)
    bench.model.direction, bench.model.last_frame = Direction.FORWARD, 7
    bench.start()
    for frame in (11, 8):  # the run comes to the second alone, and begins there
        bench.viewer.dims.set_point(0, frame)
        bench.labels.brush_size = 3
        bench.labels.paint((frame, 30, 35), 9)
    painted = np.asarray(bench.labels.data) == 9
    bench.model.last_frame = 9

    bench.go_on()

    bench.desk.until(lambda: not bench.propagation.edited.waiting)
    np.testing.assert_array_equal(np.asarray(bench.labels.data) == 9, painted)
    assert bench.values(bench.labels.data)[8:] == [[1, 2, 9], [1, 2], [], [9]]
    assert [row.object_id for row in bench.propagation.tracks.on(8)] == [1, 2, 9]
    bench.session.saving.keep_all()
    bench.desk.until(lambda: not bench.model.running)
    saved = bench.viewer.layers["SAM3 saved propagated labels"]
    np.testing.assert_array_equal(saved.data, bench.labels.data)


def test_an_object_keeps_its_score_on_a_frame_and_its_phrase_on_all():
    table = TrackTable()
    labels = np.zeros((6, 6), np.uint32)
    labels[1:3, 1:3] = 5
    found = ObjectRecord.from_mask(5, labels > 0, score=0.7, text="cells")
    made_by = Provenance("builtin", "Built-in", "1", "cpu", 0.5)
    table.add(FrameResult(0, labels, (found,), frozenset({5}), made_by))
    labels[1, 1] = 0
    for frame in (0, 3):
        table.put(frame, measure_frame(frame, labels))
    told = [(row.frame, row.area, row.score, row.text) for row in table.rows()]
    assert told == [(0, 3, 0.7, "cells"), (3, 3, None, "cells")]


def test_only_the_frames_that_were_changed_are_read(open_bench):
    bench = open_bench()
    bench.binding.adapter.stacks.in_memory = 1000
    bench.click(6, 20, 20)
    bench.start()
    read = []
    pixels = bench.binding.adapter.stacks.pixels(bench.model.propagated).read
    bench.propagation.edited.add((3, 5), lambda frame: (read.append(frame), pixels(frame))[1])
    bench.desk.until(lambda: not bench.propagation.edited.waiting)
    assert read == [3, 5]
    bench.labels.data_setitem((np.array([4, 4]), np.array([1, 2]), np.array([3, 3])), 9)
    assert list(bench.propagation.edited.waiting) == [4]
    bench.desk.until(lambda: not bench.propagation.edited.waiting)
