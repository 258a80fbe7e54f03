"""Edits that are written by a job: in order, whole, and with the user at the canvas meanwhile."""

import numpy as np
import pytest
import zarr

from napari_sam3_assistant.core.masks.operations import Operation, RemoveSmall
from napari_sam3_assistant.errors import MaskError
from napari_sam3_assistant.mask_operations import edits as mask_edits

SIDE = 24


@pytest.fixture(autouse=True)
def by_jobs(monkeypatch):
    """Have every edit written by a job, as large ones are."""
    monkeypatch.setattr(mask_edits, "_AT_ONCE", 0)


def random_labels(seed):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 5, (SIDE // 4, SIDE // 4)).astype(np.uint16)
    labels = np.kron(coarse, np.ones((4, 4), np.uint16))
    labels[rng.random(labels.shape) < 0.05] = 6
    return labels


def paint(layer, rng):
    layer.brush_size = int(rng.integers(1, 8))
    with layer.block_history():
        for _ in range(int(rng.integers(1, 4))):
            layer.paint(tuple(rng.integers(0, SIDE, 2)), int(rng.integers(0, 8)))


def choose(stage, rng):
    stage.model.remove_small = RemoveSmall(int(rng.integers(2, 40)))
    stage.model.values_text = f"{rng.integers(1, 7)}, {rng.integers(1, 7)}"
    stage.model.new_value = int(rng.integers(0, 9))
    operations = (
        Operation.REMOVE_SMALL,
        Operation.MERGE_VALUES,
        Operation.SHRINK,
        Operation.EXPAND,
    )
    return operations[rng.integers(len(operations))]


def act(stage, layer, rng):
    """Do one thing at random, without waiting for what is going on."""
    kind = rng.choice(["operation", "paint", "undo", "redo", "deliver", "settle"])
    try:
        if kind == "operation":
            stage.cleanup.apply(choose(stage, rng))
        elif kind == "paint" and layer.editable:
            paint(layer, rng)
        elif kind in {"undo", "redo"}:
            getattr(stage.cleanup, kind)()
        elif kind == "deliver":
            stage.deliver_one()
        elif kind == "settle":
            stage.settle()
    except MaskError as error:
        refusals = ("nothing to", "being written", "is not finished")
        if not any(known in str(error) for known in refusals):
            raise


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_done_in_whatever_order_all_of_it_is_taken_back(stage, seed):
    rng = np.random.default_rng(seed)
    begin = random_labels(seed)
    layer = stage.add(begin)

    for _ in range(40):
        act(stage, layer, rng)
    stage.settle()
    while stage.model.can_redo:
        stage.cleanup.redo()
        stage.settle()
    end = layer.data.copy()
    assert (end != begin).any()

    while stage.model.can_undo:
        stage.cleanup.undo()
        stage.settle()
    np.testing.assert_array_equal(layer.data, begin)
    while stage.model.can_redo:
        stage.cleanup.redo()
        stage.settle()
    np.testing.assert_array_equal(layer.data, end)
    assert layer.editable


def start_writing(stage):
    """Apply an operation and deliver until its edit is being written."""
    stage.cleanup.apply(Operation.SHRINK)
    layer = stage.binding.adapter.layer(stage.model.target)
    while layer.editable:
        assert stage.model.running, "it was written without a lock"
        stage.deliver_one()
    return layer


def test_nobody_paints_while_an_edit_is_written_and_the_tool_comes_back(stage):
    stage.add(random_labels(1)).mode = "paint"

    layer = start_writing(stage)
    assert str(layer.mode) == "pan_zoom"
    stage.settle()

    assert layer.editable
    assert str(layer.mode) == "paint"


def test_a_script_that_changes_pixels_meanwhile_is_taken_back_first(stage):
    begin = random_labels(2)
    stage.add(begin)
    layer = start_writing(stage)
    layer.data_setitem((np.array([0, 9]), np.array([0, 9])), [40, 41])
    stage.settle()

    stage.cleanup.undo()
    assert "Undid: painting" in stage.settle()
    stage.cleanup.undo()
    stage.settle()

    np.testing.assert_array_equal(layer.data, begin)
    assert not stage.model.can_undo


def test_what_the_user_erased_before_the_edit_was_written_is_not_of_the_edit(stage):
    begin = np.zeros((SIDE, SIDE), np.uint16)
    begin[3, 3] = begin[9, 9] = 5
    layer = stage.add(begin)
    stage.model.remove_small = RemoveSmall(4)
    stage.model.stroke = True
    stage.cleanup.apply(Operation.REMOVE_SMALL)
    stage.settle()
    layer.data_setitem((np.array([3]), np.array([3])), 0)
    stage.model.stroke = False
    stage.settle()
    assert not layer.data.any()

    stage.cleanup.undo()
    assert "remove small" in stage.settle()
    assert np.argwhere(layer.data).tolist() == [[9, 9]]
    stage.cleanup.undo()
    stage.settle()

    np.testing.assert_array_equal(layer.data, begin)


def test_undo_asked_for_while_an_edit_is_written_is_done_after_it(stage):
    begin = random_labels(3)
    stage.add(begin)
    stage.cleanup.apply(Operation.EXPAND)
    stage.settle()
    layer = start_writing(stage)

    stage.cleanup.undo()
    stage.cleanup.undo()
    stage.settle()

    np.testing.assert_array_equal(layer.data, begin)


def test_another_operation_waits_with_a_sentence(stage):
    stage.add(random_labels(3))
    start_writing(stage)

    with pytest.raises(MaskError, match="still being written"):
        stage.cleanup.apply(Operation.EXPAND)
    stage.settle()


def test_an_edit_waits_for_the_end_of_a_stroke(stage):
    begin = random_labels(4)
    layer = stage.add(begin)
    stage.model.stroke = True
    stage.cleanup.apply(Operation.SHRINK)
    stage.settle()
    np.testing.assert_array_equal(layer.data, begin)
    with pytest.raises(MaskError, match="You are painting"):
        stage.cleanup.undo()

    stage.model.stroke = False
    stage.settle()

    assert (layer.data != begin).any()


def test_a_layer_that_is_removed_while_an_edit_is_written(stage):
    stage.add(random_labels(5))
    layer = start_writing(stage)
    stage.viewer.layers.remove(layer)
    stage.settle()

    assert stage.model.target == ""
    assert not stage.model.can_undo
    other = stage.add(random_labels(6))
    stage.cleanup.apply(Operation.SHRINK)
    stage.settle()
    assert stage.model.can_undo
    assert other.editable


def test_labels_that_are_replaced_while_an_edit_is_written(stage):
    stage.add(random_labels(5))
    layer = start_writing(stage)
    fresh = random_labels(6)
    layer.data = fresh.copy()
    stage.settle()

    np.testing.assert_array_equal(layer.data, fresh)
    assert not stage.model.can_undo
    assert layer.editable


def test_what_is_shown_is_what_was_written(stage, monkeypatch):
    from napari_sam3_assistant.viewer import label_pixels as mask_display

    monkeypatch.setattr(mask_display, "PART_PIXELS", 3 * SIDE)
    layer = stage.add(random_labels(7).astype(np.uint32))
    parts = []
    layer.events.labels_update.connect(lambda event: parts.append(event.data.shape))

    stage.cleanup.apply(Operation.SHRINK)
    stage.settle()

    assert len(parts) > 4
    assert max(rows for rows, _ in parts) <= 4
    shown = np.array(layer._slice.image.view)  # noqa: SLF001 - what napari draws
    layer.refresh()
    np.testing.assert_array_equal(shown, layer._slice.image.view)  # noqa: SLF001


def test_zarr_labels_are_locked_while_they_are_written(stage):
    lazy = zarr.create_array({}, shape=(SIDE, SIDE), chunks=(8, 8), dtype="uint16")
    begin = random_labels(8)
    lazy[:] = begin
    layer = stage.viewer.add_labels(lazy)
    stage.model.target = stage.key(layer)

    start_writing(stage)
    stage.settle()
    assert (lazy[:] != begin).any()
    assert layer.editable
    stage.cleanup.undo()
    stage.settle()
    np.testing.assert_array_equal(lazy[:], begin)
