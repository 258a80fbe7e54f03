"""Propagated labels changed by hand, with both windows open: the results table follows."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QTableView
from skimage.measure import regionprops

from amounts import thorough
from napari_sam3_assistant.viewer.binding import find_binding
from napari_sam3_assistant.widgets.fields.save import TITLE

LABELS = "SAM3 propagated preview labels"
LEFT_BALL, RIGHT_BALL = (50, 40), (70, 105)
SHAPE = (9, 120, 150)


def balls():
    """Two bright balls of radius 20 on slices 1 to 7 of 9: (9, 120, 150) uint8."""
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    stack = np.full(SHAPE, 30, np.uint8)
    for cy, cx in (LEFT_BALL, RIGHT_BALL):
        stack[((z - 4) * 5) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 < 400] = 200
    return stack


def propagate(user):
    user.choose_in("task", "3D/video propagation")
    user.viewer.dims.set_current_step(0, 4)
    user.settle()
    user.choose_in("tool", "Points (positive/negative)")
    user.click("create_prompt_layer")
    image = user.viewer.layers["image"]
    user.click_at(image, (4, *LEFT_BALL))
    user.click("new_object")
    user.click_at(image, (4, *RIGHT_BALL))
    user.run()


def rows(advanced):
    """Frame, object and area of all rows, in their order of frames."""
    return sorted(tuple(int(row[place]) for place in (2, 3, 5)) for row in advanced.cells())


def truth(labels):
    """The same of the labels, by scikit-image."""
    found = [(frame, one) for frame in range(SHAPE[0]) for one in regionprops(labels[frame])]
    return [(frame, one.label, int(one.area)) for frame, one in found]


@pytest.mark.parametrize("on_disk", [thorough(False), True])
def test_what_is_changed_in_mask_operations_or_painted(open_advanced, on_disk):
    advanced = open_advanced(balls())
    user = advanced.user
    if on_disk:
        find_binding(user.viewer).adapter.stacks.in_memory = 1000
    propagate(user)
    user.click("tracks_layer")
    layer = user.viewer.layers[LABELS]
    assert isinstance(layer.data, np.ndarray) is not on_disk
    before = np.array(layer.data)
    assert rows(advanced) == truth(before)
    assert user.results == "Propagated labels: 2 objects. Video session ready."
    main = user.widget
    _, masks = user.viewer.window.add_plugin_dock_widget("napari-sam3-assistant", TITLE)

    def press(name):
        user.widget = masks
        user.click(name)
        user.wait(lambda: masks.findChild(object, "mask_cancel").isHidden())
        user.widget = main

    def follows():
        user.wait(lambda: rows(advanced) == truth(np.array(layer.data)))

    masks.show_cleanup()
    press("analyze")
    table = masks.findChild(QTableView, "component_table")
    values = [table.model().index(row, 1).data() for row in range(table.model().rowCount())]
    table.selectRow(values.index("2"))
    press("delete_components")
    assert 2 not in np.array(layer.data)
    follows()
    user.wait(lambda: user.results == "Propagated labels: 1 object. Video session ready.")
    user.wait(lambda: set(user.viewer.layers["SAM3 propagated tracks"].data[:, 0]) == {1})
    press("mask_undo")
    follows()
    assert np.array_equal(layer.data, before)
    user.wait(lambda: user.results == "Propagated labels: 2 objects. Video session ready.")
    user.wait(lambda: set(user.viewer.layers["SAM3 propagated tracks"].data[:, 0]) == {1, 2})

    # A stroke on a slice that had nothing, and back, by napari's brush.
    user.viewer.layers.selection.active = layer
    user.viewer.dims.set_current_step(0, 8)
    user.look_at_all()
    layer.mode, layer.brush_size, layer.selected_label = "paint", 8, 9
    user.drag(layer, (8, 60, 60), (8, 60, 70), (8, 60, 80))
    assert 9 in np.array(layer.data[8])
    follows()
    assert rows(advanced)[-1][:2] == (8, 9)
    user.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    user.wait(lambda: not np.array(layer.data[8]).any())
    follows()


def test_napari_takes_a_stroke_back_by_itself(open_advanced):
    advanced = open_advanced(balls())
    user = advanced.user
    propagate(user)
    layer = user.viewer.layers[LABELS]
    before = rows(advanced)
    user.viewer.layers.selection.active = layer
    layer.mode, layer.brush_size, layer.selected_label = "paint", 8, 2
    user.look_at_all()
    user.drag(layer, (4, 30, 30), (4, 30, 50))
    user.wait(lambda: rows(advanced) == truth(layer.data))
    assert rows(advanced) != before
    layer.undo()
    user.wait(lambda: rows(advanced) == before)
    user.click("clear_results")
    assert rows(advanced) == []
    layer.redo()
    user.wait(lambda: rows(advanced) == truth(layer.data))


def test_the_rows_are_there_again_when_the_dock_is_opened_again(open_advanced):
    advanced = open_advanced(balls())
    user = advanced.user
    propagate(user)
    user.close_dock()
    layer = user.viewer.layers[LABELS]
    layer.data[2] = 0
    layer.refresh()
    user.open()
    again = type(advanced)(user)
    user.wait(lambda: rows(again) == truth(layer.data))
    assert user.results == "Propagated labels: 2 objects. Their session has ended."
