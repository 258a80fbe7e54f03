"""What the user changes in the pixels of a preview: rows, boxes, features and undo follow."""

import queue

import numpy as np
import pytest

from napari_sam3_assistant.core.masks.operations import Operation
from napari_sam3_assistant.core.prompts import Task, Tool
from napari_sam3_assistant.mask_operations.binding import mask_binding_for
from napari_sam3_assistant.session.messages import format_results
from napari_sam3_assistant.session.results import format_row
from napari_sam3_assistant.session.settings import MemorySettings
from napari_sam3_assistant.viewer.binding import binding_for
from napari_sam3_assistant.viewer.roles import key_of

PREVIEW, BOXES = "SAM3 preview labels", "SAM3 preview boxes"
ACCEPTED = "SAM3 live accepted labels"
CENTRES = ((15, 15), (15, 45), (45, 15), (45, 45))


class Masks:
    """The mask operations on the preview; they work until nothing is left to do."""

    def __init__(self, viewer):
        self._calls = queue.SimpleQueue()
        self.binding = mask_binding_for(viewer, self._calls.put)
        self.model, self.cleanup = self.binding.model, self.binding.session.cleanup
        self.model.target = key_of(viewer.layers[PREVIEW])

    def settle(self):
        while self.model.running or not self._calls.empty():
            self._calls.get(timeout=240)()

    def choose(self, *values):
        self.cleanup.analyze()
        self.settle()
        found = self.model.components.values.tolist()
        self.model.selected = tuple(found.index(value) for value in values)

    def delete(self, *values):
        self.choose(*values)
        self.cleanup.delete_selected()
        self.settle()

    def change(self, value, *values):
        self.choose(*values)
        self.model.new_value = value
        self.cleanup.change_selected()
        self.settle()

    def undo(self):
        self.cleanup.undo()
        self.settle()


@pytest.fixture
def discs():
    """Four bright discs of radius 9: (60, 60) uint8."""
    y, x = np.ogrid[:60, :60]
    image = np.full((60, 60), 30, np.uint8)
    for cy, cx in CENTRES:
        image[(y - cy) ** 2 + (x - cx) ** 2 <= 81] = 200
    return image


@pytest.fixture
def found(viewer, binding, run, discs):
    """The binding, with a preview of four discs."""
    viewer.add_image(discs, name="cells")
    binding.model.task, binding.model.text = Task.TEXT, "bright discs"
    run()
    assert len(binding.model.results) == 4
    return binding


@pytest.fixture
def masks(found):
    made = Masks(found.viewer)
    made.binding.acquire()
    yield made
    made.binding.release()


def check(binding):
    """Rows, boxes, features and the line below the status are those of the labels on show."""
    layer, boxes = binding.viewer.layers[PREVIEW], binding.viewer.layers[BOXES]
    ids = np.unique(layer.data[layer.data > 0]).tolist()
    rows = {row.record.id: row for row in binding.model.results}
    assert sorted(rows) == ids
    assert sorted(layer.features["index"]) == ids
    assert sorted(boxes.features["object_id"]) == ids
    assert len(boxes.data) == len(ids)
    for outline, id_ in zip(boxes.data, boxes.features["object_id"], strict=True):
        at = np.argwhere(layer.data == id_)
        np.testing.assert_allclose(outline.min(0), at.min(0) - 0.5)
        np.testing.assert_allclose(outline.max(0), at.max(0) + 0.5)
    areas = dict(zip(layer.features["index"], layer.features["area"], strict=True))
    for id_, row in rows.items():
        assert format_row(row)[5] == str((layer.data == id_).sum()) == str(areas[id_])
    count = f"{len(ids)} object{'s' * (len(ids) != 1)}"
    line = format_results(binding.model.preview)
    assert line.startswith(f"Latest labels: {count}" if ids else "No objects found.")


def test_deleted_objects_leave_the_table_and_come_back_by_undo(found, masks):
    before = [format_row(row) for row in found.model.results]
    masks.delete(2, 3)
    assert [row.record.id for row in found.model.results] == [1, 4]
    check(found)
    masks.undo()
    assert [row.record.id for row in found.model.results] == [1, 2, 3, 4]
    check(found)
    assert [format_row(row)[3::2] for row in found.model.results] == [row[3::2] for row in before]


def test_chosen_rows_go_in_one_step(found):
    gone = [row for row in found.model.results if row.record.id in (2, 3)]
    found.session.drop(*gone)
    assert [row.record.id for row in found.model.results] == [1, 4]
    check(found)
    found.session.undo()
    assert [row.record.id for row in found.model.results] == [1, 2, 3, 4]
    check(found)


def test_merged_and_relabelled_objects(found, masks):
    masks.change(1, 2)
    assert [row.record.id for row in found.model.results] == [1, 3, 4]
    check(found)
    masks.change(300, 4)
    assert [row.record.id for row in found.model.results] == [1, 3, 300]
    assert found.model.results[-1].record.text == "bright discs"
    check(found)


@pytest.mark.parametrize(
    "operation", [Operation.EXPAND, Operation.SHRINK, Operation.RENUMBER, Operation.SPLIT]
)
def test_other_operations(found, masks, operation):
    if operation is Operation.RENUMBER:
        masks.delete(1)
    masks.cleanup.apply(operation)
    masks.settle()
    check(found)


def test_all_are_deleted_and_come_back(found, masks):
    masks.delete(1, 2, 3, 4)
    assert found.model.results == ()
    assert PREVIEW in found.viewer.layers
    check(found)
    masks.undo()
    assert len(found.model.results) == 4
    check(found)


def test_measurements_of_what_has_changed_are_gone_and_others_stay(found, masks):
    layer = found.viewer.layers[PREVIEW]
    layer.features = layer.features.assign(mine=["a", "b", "c", "d"])
    job = found.session.measuring.measure()
    assert job.wait(240)
    areas = dict(zip(layer.features["index"], layer.features["measured_area"], strict=True))
    masks.delete(2)
    masks.change(1, 3)
    assert [row.measured is None for row in found.model.results] == [True, False]
    features = layer.features.set_index("index")
    assert features["mine"].to_dict() == {1: "a", 4: "d"}
    assert np.isnan(features["measured_area"][1])
    assert features["measured_area"][4] == areas[4]


def test_the_chosen_row_stays_chosen(found, masks):
    found.actions.reveal(found.model.results[3])
    masks.delete(1)
    assert found.model.picked is found.model.results[2]
    masks.delete(4)
    assert found.model.picked is None


def paint(layer, position, value):
    """Paint as with the mouse: napari tells of a stroke at its end."""
    layer.brush_size = 7
    with layer.block_history():
        layer.paint(position, value)


def test_what_is_painted_stands_in_the_table_at_once(found):
    layer = found.viewer.layers[PREVIEW]
    paint(layer, (30, 30), 1)
    assert found.model.results[0].record.area == (layer.data == 1).sum()
    check(found)
    paint(layer, (30, 2), 9)
    assert [row.record.id for row in found.model.results] == [1, 2, 3, 4, 9]
    with layer.block_history():
        layer.fill(CENTRES[0], 0)
    assert len(found.model.results) == 4
    check(found)


def test_what_a_script_paints_stands_there_when_the_event_loop_has_its_turn(viewer, discs):
    calls = queue.SimpleQueue()
    binding = binding_for(viewer, calls.put, MemorySettings())
    viewer.add_image(discs, name="cells")
    binding.model.task, binding.model.text = Task.TEXT, "bright discs"
    binding.session.run()
    while binding.model.running:
        calls.get(timeout=240)()
    layer = viewer.layers[PREVIEW]
    layer.paint((30, 2), 9)  # napari tells of it before it writes
    while not calls.empty():
        calls.get()()
    assert 9 in [row.record.id for row in binding.model.results]
    check(binding)
    binding.close()


@pytest.mark.parametrize("event", [True, False])
def test_undo_of_accept_brings_the_painted_preview_back(found, event):
    layer = found.viewer.layers[PREVIEW]
    if event:
        paint(layer, (30, 30), 1)
    else:
        layer.data[28:33, 28:33] = 1  # by a script, which nobody tells of
    painted = layer.data.copy()

    found.session.accept()
    assert PREVIEW not in found.viewer.layers
    accepted = found.viewer.layers[ACCEPTED].data
    np.testing.assert_array_equal(accepted > 0, painted > 0)

    found.session.undo()
    np.testing.assert_array_equal(found.viewer.layers[PREVIEW].data, painted)
    assert not accepted.any()
    check(found)
    found.session.redo()
    np.testing.assert_array_equal(accepted > 0, painted > 0)


def test_a_click_after_painting_leaves_the_paint_as_it_is(viewer, binding, run, discs):
    viewer.add_image(discs, name="cells")
    binding.model.tool = Tool.POINTS
    binding.prompts.arm()
    points = viewer.layers.selection.active
    points.add(CENTRES[0])
    run()
    layer = viewer.layers[PREVIEW]
    paint(layer, (30, 30), 1)
    painted = layer.data.copy()

    assert len(points.data) == 0, "the click would make the object anew"
    points.add(CENTRES[1])
    run()

    assert layer.data[CENTRES[1]] == 2
    np.testing.assert_array_equal(layer.data == 1, painted == 1)
    binding.session.undo()
    binding.session.undo()
    np.testing.assert_array_equal(viewer.layers[PREVIEW].data, painted)
    check(binding)


def test_refining_starts_from_what_was_painted(found, run):
    layer = found.viewer.layers[PREVIEW]
    refined = int(layer.data[CENTRES[0]])
    found.session.refine(refined)
    paint(layer, (30, 2), 9)
    with layer.block_history():
        layer.fill(CENTRES[3], 0)
    found.prompts.arm()
    found.viewer.layers.selection.active.add(CENTRES[0])
    run()
    assert layer.data[30, 2] == 9
    assert layer.data[CENTRES[3]] == 0
    assert layer.data[CENTRES[0]] == refined
    assert "by hand" not in found.model.message.text
    check(found)


def test_on_a_slice_with_rows_and_columns_exchanged(viewer, binding, run, discs):
    viewer.add_image(np.stack([discs * 0, discs.T]), name="cells")
    viewer.dims.set_point(0, 1)
    binding.model.task, binding.model.text = Task.TEXT, "bright discs"
    run()
    masks = Masks(viewer)
    masks.binding.acquire()
    masks.delete(1)
    assert [row.record.id for row in binding.model.results] == [2, 3, 4]
    layer = viewer.layers[PREVIEW]
    box = viewer.layers[BOXES].data[0]
    at = np.argwhere(layer.data[0] == 2)
    np.testing.assert_allclose(box.min(0)[1:], at.min(0) - 0.5)
    assert set(box[:, 0]) == {1}
    masks.binding.release()
