"""What the user does while the mask operations work: nothing of it is lost, and undo is exact."""

import threading

import numpy as np
import pytest

from napari_sam3_assistant.core.masks.operations import Operation
from napari_sam3_assistant.errors import MaskError
from napari_sam3_assistant.mask_operations.model import SaveMode, Scope


def labels():
    made = np.zeros((40, 60), np.uint16)
    made[5:30, 5:20] = 1
    made[8:25, 30:50] = 2
    made[35, 55] = 3
    return made


def smaller(bench):
    bench.cleanup.apply(Operation.SHRINK)


# -- painting ------------------------------------------------------------------------------


@pytest.mark.parametrize("at_once", [0, 100_000])
def test_a_stroke_during_which_an_operation_ends_comes_before_it(bench, at_once):
    bench.binding.session.edits.at_once = at_once
    begin = labels()
    layer = bench.add(begin)
    layer.brush_size = 6
    bench.model.stroke = True
    with layer.block_history():
        layer.paint((34, 30), 7)
        smaller(bench)  # sees what is painted by now
        bench.settle()
        layer.paint((34, 40), 7)
        # As on the canvas: the viewer hears of the end first, and napari tells then what it was.
        bench.model.stroke = False
    bench.settle()
    assert np.count_nonzero(layer.data == 1) < np.count_nonzero(begin == 1)

    bench.cleanup.undo()
    assert "Undid: shrink labels" in bench.settle()
    assert layer.data[34, 30] == 7
    bench.cleanup.undo()
    assert "Undid: painting" in bench.settle()
    np.testing.assert_array_equal(layer.data, begin)


# -- one thing after the other -------------------------------------------------------------


class Gate:
    """Labels in a file that are read when the test says so."""

    def __init__(self, array):
        self.array, self.open = array, threading.Event()
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim
        self.size, self.read_only, self.chunks = array.size, False, array.shape

    def __getitem__(self, key):
        if threading.current_thread() is not threading.main_thread():
            assert self.open.wait(240)
        return self.array[key]

    def __setitem__(self, key, value):
        self.array[key] = value

    def __array__(self, dtype=None, copy=None):
        return np.array(self.array, dtype)


@pytest.fixture
def gate(bench):
    made = Gate(labels())
    layer = bench.viewer.add_labels(made, name="slow")
    bench.model.target = bench.key(layer)
    yield made
    made.open.set()


def test_what_was_asked_for_is_not_dropped_for_the_next_thing(bench, gate, tmp_path):
    bench.model.output, bench.model.path = "slow", str(tmp_path / "out.tif")
    bench.collection.export()

    with pytest.raises(MaskError, match="The export is not finished"):
        smaller(bench)
    with pytest.raises(MaskError, match="The export is not finished"):
        bench.cleanup.show_preview(Operation.SHRINK)
    assert bench.model.previewing is None
    gate.open.set()
    bench.settle()

    assert (tmp_path / "out.tif").exists()
    smaller(bench)
    assert "changed" in bench.settle()


def test_what_only_shows_something_makes_room(bench, gate):
    bench.cleanup.analyze()
    bench.cleanup.show_preview(Operation.SHRINK)
    smaller(bench)
    gate.open.set()

    assert "Shrink labels: changed" in bench.settle()


def test_cancel_makes_room_too(bench, gate):
    smaller(bench)
    bench.binding.session.cancel()
    bench.cleanup.analyze()
    gate.open.set()

    assert "3 connected components" in bench.settle()
    np.testing.assert_array_equal(gate.array, labels())


# -- the window is closed ------------------------------------------------------------------


def test_what_is_being_written_when_the_window_closes_is_written_and_drawn(bench):
    bench.binding.session.edits.at_once = 0
    layer = bench.add(labels())
    smaller(bench)
    while layer.editable:
        bench.deliver_one()

    bench.binding.close()
    bench.settle()

    assert layer.editable
    assert np.count_nonzero(layer.data == 1) == 23 * 13
    shown = np.array(layer._slice.image.view)  # noqa: SLF001 - what napari draws
    layer.refresh()
    np.testing.assert_array_equal(shown, layer._slice.image.view)  # noqa: SLF001


# -- other labels in the layer -------------------------------------------------------------


def test_edits_are_forgotten_when_the_labels_get_another_type(bench):
    layer = bench.add(labels().astype(np.int64) * 100)
    bench.model.values_text, bench.model.new_value = "300", 0
    bench.cleanup.apply(Operation.MERGE_VALUES)
    bench.settle()

    layer.data = layer.data.astype(np.uint8)

    assert not bench.model.can_undo
    with pytest.raises(MaskError, match="nothing to undo"):
        bench.cleanup.undo()


def test_an_object_is_not_written_into_labels_that_came_meanwhile(bench):
    preview = bench.add(labels(), name="preview")
    bench.model.class_name = "cell"
    bench.collection.save_accepted()
    bench.settle()
    accepted = bench.viewer.layers["cell_preview"]
    preview.data[0, 0] = 9
    bench.model.save_mode = SaveMode.REPLACE
    bench.collection.save_accepted()
    accepted.data = np.zeros((7, 9), np.uint16)

    assert "has got other labels meanwhile" in bench.settle()
    assert not accepted.data.any()


def test_an_edit_is_done_though_the_analysed_part_is_drawn_no_more(bench):
    layer = bench.add(labels())
    drawn = bench.viewer.add_shapes([np.array([[0, 0], [0, 59], [39, 59], [39, 0]])])
    bench.model.scope = Scope.DRAWN
    bench.cleanup.analyze()
    bench.settle()
    bench.model.selected = (0,)
    bench.cleanup.delete_selected()
    bench.settle()
    bench.viewer.layers.remove(drawn)

    bench.cleanup.undo()

    assert "Undid: delete selected components" in bench.settle()
    np.testing.assert_array_equal(layer.data, labels())
    assert bench.model.components_stale
