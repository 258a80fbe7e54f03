"""Edits that are written by a job: in order, whole, and with the user at the canvas meanwhile."""

import numpy as np
import pytest
import zarr

from napari_sam3_assistant.core.masks.operations import Operation, RemoveSmall
from napari_sam3_assistant.errors import MaskError
from napari_sam3_assistant.viewer.label_pixels import PART_PIXELS

SIDE = 24


@pytest.fixture(autouse=True)
def by_jobs(bench):
    """Have every edit written by a job, as large ones are."""
    bench.binding.session.edits.at_once = 0


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


def choose(bench, rng):
    bench.model.remove_small = RemoveSmall(int(rng.integers(2, 40)))
    bench.model.values_text = f"{rng.integers(1, 7)}, {rng.integers(1, 7)}"
    bench.model.new_value = int(rng.integers(0, 9))
    operations = (
        Operation.REMOVE_SMALL,
        Operation.MERGE_VALUES,
        Operation.SHRINK,
        Operation.EXPAND,
    )
    return operations[rng.integers(len(operations))]


def act(bench, layer, rng):
    """Do one thing at random, without waiting for what is going on."""
    kind = rng.choice(["operation", "paint", "undo", "redo", "deliver", "settle"])
    try:
        if kind == "operation":
            bench.cleanup.apply(choose(bench, rng))
        elif kind == "paint" and layer.editable:
            paint(layer, rng)
        elif kind in {"undo", "redo"}:
            getattr(bench.cleanup, kind)()
        elif kind == "deliver":
            bench.deliver_one()
        elif kind == "settle":
            bench.settle()
    except MaskError as error:
        refusals = ("nothing to", "being written", "is not finished")
        if not any(known in str(error) for known in refusals):
            raise


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_done_in_whatever_order_all_of_it_is_taken_back(bench, seed):
    rng = np.random.default_rng(seed)
    begin = random_labels(seed)
    layer = bench.add(begin)

    for _ in range(40):
        act(bench, layer, rng)
    bench.settle()
    while bench.model.can_redo:
        bench.cleanup.redo()
        bench.settle()
    end = layer.data.copy()
    assert (end != begin).any()

    while bench.model.can_undo:
        bench.cleanup.undo()
        bench.settle()
    np.testing.assert_array_equal(layer.data, begin)
    while bench.model.can_redo:
        bench.cleanup.redo()
        bench.settle()
    np.testing.assert_array_equal(layer.data, end)
    assert layer.editable


def start_writing(bench):
    """Apply an operation and deliver until its edit is being written."""
    bench.cleanup.apply(Operation.SHRINK)
    layer = bench.binding.adapter.layer(bench.model.target)
    while layer.editable:
        assert bench.model.running, "it was written without a lock"
        bench.deliver_one()
    return layer


def test_nobody_paints_while_an_edit_is_written_and_the_tool_comes_back(bench):
    bench.add(random_labels(1)).mode = "paint"

    layer = start_writing(bench)
    assert str(layer.mode) == "pan_zoom"
    bench.settle()

    assert layer.editable
    assert str(layer.mode) == "paint"


def test_a_script_that_changes_pixels_meanwhile_is_taken_back_first(bench):
    begin = random_labels(2)
    bench.add(begin)
    layer = start_writing(bench)
    layer.data_setitem((np.array([0, 9]), np.array([0, 9])), [40, 41])
    bench.settle()

    bench.cleanup.undo()
    assert "Undid: painting" in bench.settle()
    bench.cleanup.undo()
    bench.settle()

    np.testing.assert_array_equal(layer.data, begin)
    assert not bench.model.can_undo


def test_what_the_user_erased_before_the_edit_was_written_is_not_of_the_edit(bench):
    begin = np.zeros((SIDE, SIDE), np.uint16)
    begin[3, 3] = begin[9, 9] = 5
    layer = bench.add(begin)
    bench.model.remove_small = RemoveSmall(4)
    bench.model.stroke = True
    bench.cleanup.apply(Operation.REMOVE_SMALL)
    bench.settle()
    layer.data_setitem((np.array([3]), np.array([3])), 0)
    bench.model.stroke = False
    bench.settle()
    assert not layer.data.any()

    bench.cleanup.undo()
    assert "remove small" in bench.settle()
    assert np.argwhere(layer.data).tolist() == [[9, 9]]
    bench.cleanup.undo()
    bench.settle()

    np.testing.assert_array_equal(layer.data, begin)


def test_undo_asked_for_while_an_edit_is_written_is_done_after_it(bench):
    begin = random_labels(3)
    bench.add(begin)
    bench.cleanup.apply(Operation.EXPAND)
    bench.settle()
    layer = start_writing(bench)

    bench.cleanup.undo()
    bench.cleanup.undo()
    bench.settle()

    np.testing.assert_array_equal(layer.data, begin)


def test_another_operation_waits_with_a_sentence(bench):
    bench.add(random_labels(3))
    start_writing(bench)

    with pytest.raises(MaskError, match="still being written"):
        bench.cleanup.apply(Operation.EXPAND)
    bench.settle()


def test_an_edit_waits_for_the_end_of_a_stroke(bench):
    begin = random_labels(4)
    layer = bench.add(begin)
    bench.model.stroke = True
    bench.cleanup.apply(Operation.SHRINK)
    bench.settle()
    np.testing.assert_array_equal(layer.data, begin)
    with pytest.raises(MaskError, match="You are painting"):
        bench.cleanup.undo()

    bench.model.stroke = False
    bench.settle()

    assert (layer.data != begin).any()


def test_a_layer_that_is_removed_while_an_edit_is_written(bench):
    bench.add(random_labels(5))
    layer = start_writing(bench)
    bench.viewer.layers.remove(layer)
    bench.settle()

    assert bench.model.target == ""
    assert not bench.model.can_undo
    other = bench.add(random_labels(6))
    bench.cleanup.apply(Operation.SHRINK)
    bench.settle()
    assert bench.model.can_undo
    assert other.editable


def test_labels_that_are_replaced_while_an_edit_is_written(bench):
    bench.add(random_labels(5))
    layer = start_writing(bench)
    fresh = random_labels(6)
    layer.data = fresh.copy()
    bench.settle()

    np.testing.assert_array_equal(layer.data, fresh)
    assert not bench.model.can_undo
    assert layer.editable


def test_what_is_shown_is_what_was_written(bench):
    side = 1200
    layer = bench.add(np.kron(random_labels(7), np.ones((side // SIDE,) * 2, np.uint32)))
    parts = []
    layer.events.labels_update.connect(lambda event: parts.append(event.data.shape))

    bench.cleanup.apply(Operation.SHRINK)
    bench.settle()

    assert len(parts) > 4
    assert max(rows for rows, _ in parts) <= PART_PIXELS // side + 1
    shown = np.array(layer._slice.image.view)  # noqa: SLF001 - what napari draws
    layer.refresh()
    np.testing.assert_array_equal(shown, layer._slice.image.view)  # noqa: SLF001


def test_zarr_labels_are_locked_while_they_are_written(bench):
    lazy = zarr.create_array({}, shape=(SIDE, SIDE), chunks=(8, 8), dtype="uint16")
    begin = random_labels(8)
    lazy[:] = begin
    layer = bench.viewer.add_labels(lazy)
    bench.model.target = bench.key(layer)

    start_writing(bench)
    bench.settle()
    assert (lazy[:] != begin).any()
    assert layer.editable
    bench.cleanup.undo()
    bench.settle()
    np.testing.assert_array_equal(lazy[:], begin)
