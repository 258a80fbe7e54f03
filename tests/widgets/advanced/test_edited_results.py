"""Previews changed by hand, with both windows open: the results table follows."""

import numpy as np
from qtpy.QtWidgets import QLabel, QTableView

from napari_sam3_assistant.widgets.fields.save import TITLE

PREVIEW, ACCEPTED = "SAM3 preview labels", "SAM3 live accepted labels"
CENTRES = ((30, 40), (30, 110), (85, 40), (85, 110))


def ids(advanced):
    return [row[3] for row in advanced.cells()]


def find(user):
    user.choose_in("task", "Text segmentation")
    user.type_phrase("bright discs")
    user.wait_for_end()


def test_a_component_deleted_in_mask_operations(open_advanced, discs):
    advanced = open_advanced(discs)
    user = advanced.user
    find(user)
    assert ids(advanced) == ["1", "2", "3", "4"]
    main = user.widget
    _, masks = user.viewer.window.add_plugin_dock_widget("napari-sam3-assistant", TITLE)

    def press(name):
        user.widget = masks
        user.click(name)
        user.wait(lambda: masks.findChild(object, "mask_cancel").isHidden())
        user.widget = main

    masks.show_cleanup()
    press("analyze")
    table = masks.findChild(QTableView, "component_table")
    second = [table.model().index(row, 1).data() for row in range(4)].index("2")
    table.selectRow(second)
    press("delete_components")

    assert ids(advanced) == ["1", "3", "4"]
    assert user.results.startswith("Latest labels: 3 objects")
    boxes = user.viewer.layers["SAM3 preview boxes"]
    assert boxes.features["object_id"].tolist() == [1, 3, 4]
    press("mask_undo")
    assert ids(advanced) == ["1", "2", "3", "4"]
    assert "Undid" in masks.findChild(QLabel, "mask_status").text()


def test_what_is_painted_with_the_mouse_is_in_the_table_and_comes_back_by_undo(
    open_advanced, discs
):
    advanced = open_advanced(discs)
    user = advanced.user
    find(user)
    layer = user.viewer.layers[PREVIEW]
    user.viewer.layers.selection.active = layer
    layer.mode, layer.brush_size, layer.selected_label = "paint", 8, 9
    user.look_at_all()
    user.drag(layer, (60, 60), (60, 70), (60, 80))
    assert ids(advanced) == ["1", "2", "3", "4", "9"]
    assert advanced.cells()[-1][5] == str((layer.data == 9).sum())
    layer.mode = "fill"
    layer.selected_label = 0
    erased = str(layer.data[CENTRES[0]])
    user.click_at(layer, CENTRES[0])
    assert erased not in ids(advanced)
    painted = layer.data.copy()
    layer.mode = "pan_zoom"

    user.click("accept")
    assert not user.has(PREVIEW)
    np.testing.assert_array_equal(user.viewer.layers[ACCEPTED].data > 0, painted > 0)
    user.click("undo")
    np.testing.assert_array_equal(user.preview, painted)
    assert len(advanced.cells()) == 4
