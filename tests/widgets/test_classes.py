"""Classes by the keyboard, the one line in both modes, and its dialog."""

import numpy as np
from napari.utils import DirectLabelColormap
from qtpy.QtCore import Qt
from qtpy.QtGui import QAction
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QLineEdit,
    QPushButton,
    QTableView,
    QTableWidget,
)
from tifffile import imwrite

from napari_sam3_assistant.io.class_list import read_classes

Key = Qt.Key
PREVIEW, ACCEPTED, POINTS = "SAM3 preview labels", "SAM3 live accepted labels", "SAM3 points"


def type_into(user, dialog, name):
    user.settle()
    (editor,) = dialog.findChild(QTableWidget, "class_table").findChildren(QLineEdit)
    QTest.keyClicks(editor, name)
    QTest.keyClick(editor, Key.Key_Return)
    user.settle()


def visible(user, kind, name):
    return next(one for one in user.widget.findChildren(kind, name) if one.isVisible())


def shown_combo(user):
    return visible(user, QComboBox, "object_class")


def edit(user):
    menu = visible(user, QPushButton, "edit_object_classes").menu()
    # By a click it runs a loop of its own.
    next(one for one in menu.actions() if one.objectName() == "menu_edit_classes").trigger()
    user.settle()
    return user.widget.findChild(QDialog, "class_list_dialog")


def test_a_list_is_made_and_objects_get_their_classes_by_keys(
    open_window, discs, tmp_path, monkeypatch
):
    file = tmp_path / "classes.csv"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, **__: (str(file), ""))
    user = open_window(discs)
    model, image = user.widget.binding.model, user.viewer.layers["image"]
    assert not shown_combo(user).isEnabled()
    user.press(Key.Key_P)
    points = user.viewer.layers[POINTS]
    user.press(Key.Key_3)
    assert points.mode == "select", "without a list the digits are napari's"
    user.press(Key.Key_2)
    assert points.mode == "add"

    dialog = edit(user)
    for name in ("nucleus", "tumour"):
        QTest.mouseClick(dialog.findChild(QAbstractButton, "add_class"), Qt.MouseButton.LeftButton)
        type_into(user, dialog, name)
    QTest.mouseClick(dialog.findChild(QAbstractButton, "class_up"), Qt.MouseButton.LeftButton)
    buttons = dialog.findChild(QDialogButtonBox)
    QTest.mouseClick(
        buttons.button(QDialogButtonBox.StandardButton.Save), Qt.MouseButton.LeftButton
    )
    user.settle()
    assert [(one.id, one.name) for one in read_classes(file)] == [(2, "tumour"), (1, "nucleus")]

    user.look_at_all()
    for key, pixel in ((Key.Key_1, (30, 40)), (Key.Key_2, (85, 110))):
        user.press(key)
        assert points.mode == "add", "a digit is no mode any more"
        user.click_at(image, pixel)
        user.wait(lambda: user.has(PREVIEW) and not user.is_running)
        user.press(Key.Key_K)
    assert list(user.viewer.layers[ACCEPTED].features["class"]) == ["tumour", "nucleus"]
    assert shown_combo(user).currentText() == "2  nucleus (1)"

    # The row that is marked gets another class; undo takes that back.
    user.press(Key.Key_N)
    assert model.picked.record.id == 1
    user.press(Key.Key_2)
    assert list(user.viewer.layers[ACCEPTED].features["class"]) == ["nucleus", "nucleus"]
    assert model.picked.record.id == 1
    user.press(Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert list(user.viewer.layers[ACCEPTED].features["class"]) == ["tumour", "nucleus"]

    user.press(Key.Key_C, Qt.KeyboardModifier.ShiftModifier)
    kept = user.viewer.layers[ACCEPTED]
    assert isinstance(kept.colormap, DirectLabelColormap)
    red, green, blue = model.class_list.colour(2)
    np.testing.assert_allclose(kept.get_color(1)[:3], np.array([red, green, blue]) / 255, atol=0.01)
    user.press(Key.Key_C, Qt.KeyboardModifier.ShiftModifier)
    assert not isinstance(kept.colormap, DirectLabelColormap)
    user.click("mode_advanced")
    table = visible(user, QTableView, "results_table")
    table.selectAll()
    QTest.keyClick(table, Key.Key_2)
    user.settle()
    assert list(kept.features["class"]) == ["nucleus", "nucleus"]
    assert len(table.selectionModel().selectedRows()) == 2
    user.press(Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert shown_combo(user).currentText() == "2  nucleus (1)"
    action = next(iter(user.widget.findChildren(QAction, "colour_by_class")))
    assert not action.isChecked()


def test_labels_of_another_tool_by_the_mouse(open_window, discs, tmp_path, monkeypatch):
    labels = np.zeros(discs.shape, np.uint16)
    labels[22:38, 32:48], labels[77:93, 102:118] = 5, 9
    imwrite(tmp_path / "stardist.tif", labels)
    file = str(tmp_path / "stardist.tif")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_, **__: (file, ""))
    user = open_window(discs)
    user.click("mode_advanced")

    def dialog():
        button = visible(user, QAbstractButton, "use_labels")
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)
        user.settle()
        return user.window.findChild(QDialog, "use_labels_dialog")

    shown = dialog()
    QTest.mouseClick(shown.findChild(QAbstractButton, "open_labels"), Qt.MouseButton.LeftButton)
    user.wait(lambda: user.has("stardist"))
    user.settle()
    assert shown.findChild(QComboBox, "other_labels").currentText() == "stardist"
    QTest.mouseClick(shown.findChild(QAbstractButton, "refine_labels"), Qt.MouseButton.LeftButton)
    user.wait(lambda: user.has(PREVIEW) and not user.is_running)
    assert set(np.unique(user.preview)) == {0, 5, 9}
    shown = dialog()
    QTest.mouseClick(shown.findChild(QAbstractButton, "accept_labels"), Qt.MouseButton.LeftButton)
    user.wait(lambda: user.has(ACCEPTED) and not user.is_running)
    np.testing.assert_array_equal(user.viewer.layers[ACCEPTED].data > 0, labels > 0)
