"""The mask operations as a person uses them, in napari's dock."""

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QApplication,
    QComboBox,
    QFileDialog,
    QLabel,
    QListWidget,
    QTabWidget,
)

from napari_sam3_assistant.mask_operations.tables import ArrayTable, component_columns

LEFT, RIGHT = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton
PREVIEW = "SAM3 preview labels"
CONTROL, SHIFT = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier


def data(curator, name=PREVIEW):
    return np.asarray(curator.viewer.layers[name].data)


def test_from_a_preview_to_an_exported_final_mask(curator, masks, tmp_path):
    hint = curator.widget.findChild(QLabel, "merge_hint")
    assert hint.text().startswith("Nothing to merge yet.")
    curator.tab("Accepted Objects")
    curator.type_in("class_name", "cell")
    curator.type_in("class_value", "5")
    curator.type_in("object_name", "object_001")
    curator.click("save_accepted")
    assert curator.status == "✓ Saved accepted object layer: cell_object_001."
    curator.type_in("object_name", "object_002")
    curator.type_in("label", "4")
    curator.type_in("class_name", "ring")
    curator.type_in("class_value", "7")
    curator.click("save_accepted")

    curator.tab("Class Merge")
    curator.type_in("class_filter", "nothing of this name")
    assert hint.text().startswith("No accepted object is of this class.")
    curator.type_in("class_filter", "")
    assert hint.text().startswith("Tick the accepted objects.")
    curator.tick("merge_layers", "cell_object_001 (cell = 5)")
    curator.tick("merge_layers", "ring_object_002 (ring = 7)")
    ring = np.count_nonzero(masks == 4)
    overlap = curator.widget.findChild(QLabel, "merge_overlap").text()
    assert overlap == f"Overlap: the ticked objects share {ring} pixels."
    curator.type_in("merge_output", "work")
    curator.click("merge_accepted")
    assert set(np.unique(data(curator, "work"))) == {0, 5, 7}

    curator.tab("Mask Cleanup")
    curator.choose("target", "work")
    curator.click("analyze")
    assert len(curator.rows()) == 6
    curator.set_number("minimum", "10")
    curator.click("apply_remove_small")
    curator.set_number("hole_size", "0")
    curator.click("apply_fill_holes")
    assert data(curator, "work")[85, 110] == 7
    assert len(curator.rows()) == 4

    curator.tab("Final Merge / Export")
    curator.tick("final_layers", "work")
    curator.choose("merge_mode", "Instance: objects 1 to N")
    curator.choose("export_format", "TIFF")
    curator.type_in("path", str(tmp_path / "final.png"))
    curator.click("merge_and_export")
    curator.qtbot.waitUntil(lambda: "Exported" in curator.status, timeout=240_000)

    written = tifffile.imread(tmp_path / "final.tif")
    assert written.max() == 4
    np.testing.assert_array_equal(written, data(curator, "final_training_mask"))
    np.testing.assert_array_equal(written != 0, data(curator, "work") != 0)


def test_messages_are_shown_in_the_window(curator):
    curator.tab("Final Merge / Export")
    curator.click("merge_final")

    assert curator.status == "✕ Select at least one class mask layer."


def test_undo_works_in_the_dock(curator, masks):
    curator.tab("Mask Cleanup")
    assert not curator.button("mask_undo").isEnabled()

    curator.click("apply_remove_small")
    assert not (data(curator) == 9).any()
    curator.click("mask_undo")

    np.testing.assert_array_equal(data(curator), masks)
    curator.click("mask_redo")
    assert not (data(curator) == 9).any()


def test_the_table_sorts_and_deletes(curator, masks):
    curator.tab("Mask Cleanup")
    curator.click("analyze")
    assert [row[:3] for row in curator.rows()[-2:]] == [["5", "9", "1"], ["6", "9", "1"]]

    curator.sort_by(2)
    areas = [int(row[2]) for row in curator.rows()]
    assert areas in (sorted(areas), sorted(areas, reverse=True))
    assert areas != [int(row[2]) for row in sorted(curator.rows(), key=lambda row: int(row[0]))]
    row = next(at for at, row in enumerate(curator.rows()) if row[1] == "2")
    curator.click_row(row)
    assert curator.chosen_rows() == ["2"]
    curator.click("delete_components")

    assert not (data(curator) == 2).any()
    assert np.count_nonzero(data(curator) == 1) == np.count_nonzero(masks == 1)
    assert len(curator.rows()) == 5


def test_the_value_table_changes_values(curator):
    curator.tab("Mask Cleanup")
    curator.click("analyze")
    tables = curator.widget.findChild(QTabWidget, "cleanup_tables")
    tables.setCurrentIndex(1)
    values = tables.currentWidget()
    assert ["9", "2"] in curator.rows(values)
    values.selectRow(curator.rows(values).index(["9", "2"]))
    curator.type_in("new_value", "3")

    curator.click("change_selected")

    assert data(curator)[5, 5] == 3


def test_a_live_preview_follows_the_number(curator, masks):
    curator.tab("Mask Cleanup")
    curator.click("preview_remove_small")
    assert curator.status == "Remove small objects would change 2 pixels."
    assert data(curator, "SAM3 mask changes").sum() == 2

    curator.set_number("minimum", "600")
    curator.qtbot.waitUntil(lambda: "would change 2 pixels" not in curator.status, timeout=240_000)
    curator.wait_for_end()

    below = sum(np.count_nonzero(masks == value) for value in (4, 9))
    assert f"would change {below} pixels" in curator.status
    np.testing.assert_array_equal(data(curator), masks)
    curator.click("preview_remove_small")
    assert not curator.viewer.layers["SAM3 mask changes"].visible


def test_the_preview_of_chosen_rows_follows_them(curator, masks):
    curator.tab("Mask Cleanup")
    curator.click("analyze")
    curator.click("preview_delete_selected")
    assert curator.status.startswith("✕ Select component rows to delete.")

    curator.click_row(1)
    curator.qtbot.waitUntil(lambda: "would change" in curator.status, timeout=240_000)
    curator.wait_for_end()
    second = np.count_nonzero(masks == 2)
    assert curator.status == f"Delete selected components would change {second} pixels."
    shown = data(curator, "SAM3 mask changes")
    assert np.count_nonzero(shown == 1) == second

    curator.type_in("new_value", "7")
    assert curator.button("change_selected").text() == "Change Selected To 7"
    curator.click("preview_change_selected")
    assert curator.status == f"Change selected components would change {second} pixels."
    curator.click("change_selected")
    assert np.count_nonzero(data(curator) == 7) == second
    assert not curator.viewer.layers["SAM3 mask changes"].visible


def test_lists_follow_the_viewer(curator):
    curator.tab("Mask Cleanup")
    curator.viewer.add_labels(np.zeros((4, 4), np.uint8), name="new")
    assert curator.listed("target") == ["new", PREVIEW]
    curator.viewer.layers["new"].name = "newer"
    assert curator.listed("target") == ["newer", PREVIEW]
    curator.viewer.layers.remove("newer")
    assert curator.listed("target") == [PREVIEW]


def test_the_layer_is_removed_in_the_middle(curator):
    curator.tab("Mask Cleanup")
    curator.click("analyze")
    QTest.mouseClick(curator.button("apply_smooth"), LEFT)
    curator.viewer.layers.remove(PREVIEW)
    curator.wait_for_end()

    assert curator.rows() == []
    assert curator.listed("target") == []
    assert not curator.button("mask_undo").isEnabled()
    assert not curator.button("apply_smooth").isEnabled()


@pytest.fixture
def two_layers(at_canvas):
    """A layer of ones above the discs, both ticked; the upper one wins."""
    curator = at_canvas
    curator.viewer.add_labels(np.ones((120, 150), np.uint8), name="all")
    curator.tab("Final Merge / Export")
    for name in ("all", PREVIEW):
        curator.tick("final_layers", name)
    curator.click("merge_final")
    assert (data(curator, "final_training_mask") == 1).all()
    return curator


def listed(curator):
    ticks = curator.widget.findChild(QListWidget, "final_layers")
    return [ticks.item(row).text() for row in range(ticks.count())]


def test_priority_is_dragged_with_the_mouse(two_layers):
    curator = two_layers
    assert listed(curator) == ["final_training_mask", "all", PREVIEW]

    curator.drag_row("final_layers", PREVIEW, "all")

    assert listed(curator) == ["final_training_mask", PREVIEW, "all"]
    curator.click("merge_final")
    assert data(curator, "final_training_mask")[85, 40] == 3
    assert (data(curator, "final_training_mask") == 1).any()


def test_priority_by_the_buttons_and_by_the_keyboard(two_layers):
    curator = two_layers
    ticks = curator.widget.findChild(QListWidget, "final_layers")
    ticks.setCurrentRow(curator.row_of("final_layers", PREVIEW))

    curator.click("priority_up")
    assert listed(curator) == ["final_training_mask", PREVIEW, "all"]
    assert ticks.currentItem().text() == PREVIEW
    curator.click("priority_down")
    assert listed(curator) == ["final_training_mask", "all", PREVIEW]
    for _ in range(3):  # also from the top it stays where it is
        QTest.keyClick(ticks, Qt.Key.Key_Up, Qt.KeyboardModifier.AltModifier)
    assert listed(curator) == [PREVIEW, "final_training_mask", "all"]
    QTest.keyClick(ticks, Qt.Key.Key_Down, Qt.KeyboardModifier.AltModifier)
    assert listed(curator) == ["final_training_mask", PREVIEW, "all"]

    curator.click("merge_final")
    assert data(curator, "final_training_mask")[85, 40] == 3


def test_what_was_made_is_taken_back_and_done_again_in_the_window(curator):
    curator.tab("Accepted Objects")
    assert not curator.button("undo_accepted").isEnabled()
    curator.type_in("class_name", "cell")
    curator.type_in("object_name", "one")
    curator.click("save_accepted")
    assert curator.button("undo_accepted").toolTip() == (
        "Take back: save accepted object (“cell_one”)"
    )

    curator.click("undo_accepted")
    assert "cell_one" not in curator.viewer.layers
    assert curator.status == "✓ Undid: save accepted object on “cell_one”."
    assert not curator.button("undo_accepted").isEnabled()
    curator.click("redo_accepted")

    assert curator.viewer.layers["cell_one"].metadata["class_name"] == "cell"
    curator.tab("Class Merge")
    curator.tick("merge_layers", "cell_one (cell = 1)")
    curator.click("merge_accepted")
    curator.click("undo_merge")
    assert "class_working_mask" not in curator.viewer.layers
    assert "cell_one" in curator.viewer.layers


def test_chosen_rows_stay_chosen_when_many_rows_are_sorted(curator):
    many = np.arange(1, 90 * 90 + 1, dtype=np.uint32).reshape(90, 90)
    curator.viewer.add_labels(np.kron(many, np.eye(2, dtype=np.uint32)), name="many")
    curator.tab("Mask Cleanup")
    curator.choose("target", "many")
    curator.click("analyze")
    table = curator.table

    table.selectAll()
    curator.sort_by(3)

    chosen = table.selectionModel().selectedRows()
    assert len(chosen) == table.model().rowCount()
    table.selectRow(5)
    number = curator.chosen_rows()
    curator.sort_by(3)
    assert curator.chosen_rows() == number


# -- on the canvas ------------------------------------------------------------------------


def test_right_click_deletes_and_ctrl_z_brings_back(at_canvas, masks):
    curator = at_canvas
    curator.tab("Mask Cleanup")
    assert curator.widget.findChild(QComboBox, "right_click_what").currentText() == "label"
    curator.click("right_click")
    assert "armed" in curator.status
    layer = curator.viewer.layers[PREVIEW]

    curator.click_at(layer, (30, 110), RIGHT)

    assert not (layer.data == 2).any()
    assert "Removed label value 2" in curator.status
    curator.press(Qt.Key.Key_Z, CONTROL)
    np.testing.assert_array_equal(layer.data, masks)
    curator.press(Qt.Key.Key_Z, CONTROL | SHIFT)
    assert not (layer.data == 2).any()


def test_right_click_can_delete_one_component(at_canvas):
    curator = at_canvas
    curator.tab("Mask Cleanup")
    curator.choose("right_click_what", "component")
    curator.click("right_click")
    layer = curator.viewer.layers[PREVIEW]

    curator.click_at(layer, (5, 5), RIGHT)

    assert np.argwhere(layer.data == 9).tolist() == [[110, 75]]


def test_hand_painting_between_operations_is_taken_back(at_canvas, masks):
    curator = at_canvas
    curator.tab("Mask Cleanup")
    layer = curator.viewer.layers[PREVIEW]
    layer.mode = "paint"
    layer.selected_label = 12
    layer.brush_size = 6
    curator.drag(layer, (60, 70), (60, 75), (60, 80))
    assert (layer.data == 12).any()
    painted = layer.data.copy()
    curator.click("apply_remove_small")

    curator.click("mask_undo")
    np.testing.assert_array_equal(layer.data, painted)
    curator.click("mask_undo")

    np.testing.assert_array_equal(layer.data, masks)


def test_an_object_in_the_viewer_selects_its_row_and_a_row_goes_to_its_object(at_canvas):
    curator = at_canvas
    curator.tab("Mask Cleanup")
    curator.click("analyze")
    layer = curator.viewer.layers[PREVIEW]

    curator.click_at(layer, (85, 40))
    assert curator.chosen_rows() == ["3"]
    curator.click_row(1, double=True)

    camera = getattr(curator.viewer, "scene", curator.viewer).camera
    assert tuple(camera.center)[-2:] == pytest.approx((30, 110), abs=0.1)
    assert "Located component 2, label 2" in curator.status


# -- opening ------------------------------------------------------------------------------


def test_the_heads_of_components_are_short_and_their_tooltips_whole():
    heads, _ = component_columns(None)
    table, roles = ArrayTable(heads), (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole)
    shown, told = (
        [table.headerData(at, Qt.Orientation.Horizontal, role) for at in range(len(heads))]
        for role in roles
    )
    assert shown == ["ID", "Label", "Area", "Y", "X", "BBox"]
    assert told == ["Component ID", "Label", "Area", "Centroid Y", "Centroid X", "BBox"]


def test_mask_ops_opens_a_floating_window_and_uses_it_again(viewer, qtbot):
    _, main = viewer.window.add_plugin_dock_widget("napari-sam3-assistant", "SAM3 Assistant")
    button = main.findChild(QAbstractButton, "mask_ops")

    QTest.mouseClick(button, LEFT)

    dock, widget = viewer.window.add_plugin_dock_widget(
        "napari-sam3-assistant", "SAM3 Mask Operations"
    )
    assert dock.isFloating()
    assert (dock.width(), dock.height()) == (780, 720)
    tabs = widget.findChild(QTabWidget, "mask_tabs")
    assert tabs.tabText(tabs.currentIndex()) == "Mask Cleanup"
    dock.resize(420, 720)
    qtbot.waitUntil(lambda: widget.width() <= 420, timeout=240_000)
    assert tabs.tabBar().sizeHint().width() <= tabs.width(), "the tabs need arrows"
    assert "\n" in tabs.tabText(0)
    dock.resize(780, 720)
    qtbot.waitUntil(lambda: "\n" not in tabs.tabText(0), timeout=240_000)
    tabs.setCurrentIndex(0)
    QTest.mouseClick(button, LEFT)
    assert viewer.window.add_plugin_dock_widget(
        "napari-sam3-assistant", "SAM3 Mask Operations"
    ) == (dock, widget)
    assert tabs.tabText(tabs.currentIndex()) == "Mask Cleanup"


def test_closing_lets_go_of_the_viewer(curator):
    viewer = curator.viewer
    callbacks = len(viewer.mouse_drag_callbacks)
    curator.dock.destroyOnClose()
    for _ in range(3):
        QApplication.sendPostedEvents()
        QApplication.processEvents()

    assert len(viewer.mouse_drag_callbacks) == callbacks - 2
    viewer.add_labels(np.zeros((4, 4), np.uint8))


def test_formats_that_will_work_are_offered_and_say_what_they_do_not_hold(curator, masks):
    curator.tab("Final Merge / Export")
    curator.type_in("output", PREVIEW)
    assert len(curator.listed("export_format")) == 11
    assert "Tracks: GEFF" not in curator.listed("export_format")
    curator.choose("export_format", "YOLO segmentation")
    assert note(curator).startswith("YOLO holds outlines in one plane of the image")

    stack = curator.viewer.add_labels(np.stack([masks, masks]), name="stack", scale=(-1, 1, 1))
    curator.type_in("output", "stack")

    assert "“stack” is a stack. Choose another format." in note(curator)
    curator.choose("export_format", "TIFF")
    assert "The layer is flipped in napari (along z)" in note(curator)
    offered = curator.listed("export_format")
    assert not {"YOLO segmentation", "PNG (one plane)"} & set(offered)
    assert "Tracks: GEFF" in offered
    curator.choose("export_format", "OME-Zarr")
    assert note(curator).startswith("The planes have no name and are taken for slices of a volume")
    stack.axis_labels = ("t", "y", "x")
    curator.choose("export_format", "Tracks: GEFF")
    assert note(curator) == ""


def note(curator):
    return curator.widget.findChild(QLabel, "format_note").text()


def test_an_export_is_proposed_beside_the_image(curator, tmp_path, monkeypatch, napari_reads):
    tifffile.imwrite(tmp_path / "cells.tif", np.zeros((120, 150), np.uint8))
    curator.viewer.open(tmp_path / "cells.tif", plugin="napari")
    asked = []
    chosen = (str(tmp_path / "new" / "mine"), "")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *told: asked.append(told) or chosen)
    curator.tab("Final Merge / Export")
    curator.type_in("output", PREVIEW)

    curator.click("browse")
    curator.click("export")

    assert asked[0][2:] == (str(tmp_path / "cells_labels.tif"), "TIFF (*.tif)")
    assert (tmp_path / "new" / "mine.tif").exists()
