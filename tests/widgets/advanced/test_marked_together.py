"""Row, picture, box and canvas mark the same object; under the pointer stands what it is."""

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QListView

PREVIEW, BOXES = "SAM3 preview labels", "SAM3 preview boxes"


def marked(user):
    """The objects whose boxes have another colour than most."""
    layer = user.viewer.layers[BOXES]
    colours = np.asarray(layer.edge_color)
    usual = np.median(colours, axis=0)
    return layer.features["object_id"][(colours != usual).any(1)].tolist()


def test_row_picture_box_and_canvas_mark_each_other(open_advanced, discs):
    opened = open_advanced(discs)
    user = opened.user
    user.choose_in("task", "Text segmentation")
    user.type_phrase("bright discs")
    user.wait_for_end()
    labels, boxes = user.viewer.layers[PREVIEW], user.viewer.layers[BOXES]
    pictures = user.widget.findChild(QListView, "gallery")
    assert marked(user) == []

    # A row.
    table = opened.table
    spot = table.visualRect(table.model().index(1, 3)).center()
    QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=spot)
    user.settle()
    assert marked(user) == [int(opened.cells()[1][3])] == [labels.selected_label]
    assert pictures.currentIndex().row() == 1

    # A box, by the select tool or any other that places nothing.
    user.look_at_all()
    user.viewer.layers.selection.active = boxes
    boxes.mode = "pan_zoom"
    user.click_at(boxes, (85, 110))
    wanted = int(labels.data[85, 110])
    assert marked(user) == [wanted]
    assert opened.cells()[opened.chosen_row][3] == str(wanted)
    assert pictures.currentIndex().row() == opened.chosen_row

    # The canvas; the run before and after does not mix up the colours.
    labels.mode = "pan_zoom"
    user.viewer.layers.selection.active = labels
    user.click_at(labels, (30, 40))
    assert marked(user) == [int(labels.data[30, 40])]
    user.click("run_preview")
    user.wait_for_end()
    assert marked(user) == []

    # Under the pointer: number, score, area, phrase.
    user.viewer.layers.selection.active = labels
    told = labels.get_status((30, 40), view_direction=None, dims_displayed=[0, 1], world=True)
    said = " ".join(map(str, told.values()))
    row = next(row for row in opened.cells() if row[3] == str(labels.data[30, 40]))
    assert f"area: {row[5]}" in said
    assert "score: 0." in said
    assert "prompt: bright discs" in said
    assert row[3] in said
