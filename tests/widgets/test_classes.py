"""Classes by the keyboard, the one line in both modes, and its dialog."""

import numpy as np
from napari.utils import DirectLabelColormap
from qtpy.QtCore import QModelIndex, QPointF, Qt
from qtpy.QtGui import QAction, QColor, QDropEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QColorDialog,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QLabel,
    QLineEdit,
    QPushButton,
    QTableView,
    QTableWidget,
    QTreeView,
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


def tree(user):
    return visible(user, QTreeView, "class_tree")


def tree_rows(user, *, objects=False):
    """Return the classes of the tree from its top, and their indices; or the objects."""
    user.settle()
    view, found = tree(user), {}

    def walk(parent):
        for row in range(view.model().rowCount(parent)):
            at = view.model().index(row, 0, parent)
            if (view.model().row_at(at) is not None) == objects:
                found[at.data()] = at
            walk(at)

    walk(QModelIndex())
    return found


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
    assert not user.widget.findChild(QTreeView, "class_tree").isVisible()
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
    # The colour of the current class, by the keyboard alone.
    chosen = QColor("#0080ff")
    monkeypatch.setattr(QColorDialog, "getColor", lambda *_: chosen)
    colour = dialog.findChild(QAbstractButton, "class_colour")
    colour.setFocus()
    QTest.keyClick(colour, Key.Key_Space)
    buttons = dialog.findChild(QDialogButtonBox)
    QTest.mouseClick(
        buttons.button(QDialogButtonBox.StandardButton.Save), Qt.MouseButton.LeftButton
    )
    user.settle()
    assert [(one.id, one.name) for one in read_classes(file)] == [(2, "tumour"), (1, "nucleus")]
    assert next(iter(read_classes(file))).colour == chosen.getRgb()[:3]

    user.look_at_all()
    for key, pixel in ((Key.Key_1, (30, 40)), (Key.Key_2, (85, 110))):
        user.press(key)
        assert points.mode == "add", "a digit is no mode any more"
        user.click_at(image, pixel)
        user.wait(lambda: user.has(PREVIEW) and not user.is_running)
        user.press(Key.Key_K)
    assert list(user.viewer.layers[ACCEPTED].features["class"]) == ["tumour", "nucleus"]
    assert list(tree_rows(user)) == ["none", "1  tumour (1)", "2  nucleus (1)"]
    assert visible(user, QLabel, "object_class").text() == "nucleus"

    # The row that is marked gets another class; undo takes that back. A French keyboard has digits
    # with Shift.
    user.press(Key.Key_N)
    assert model.picked.record.id == 1
    user.press(Key.Key_2, Qt.KeyboardModifier.ShiftModifier)
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
    assert list(tree_rows(user)) == ["none", "1  tumour (1)", "2  nucleus (1)"]
    # All chosen rows go, and come back by one step.
    table.selectAll()
    QTest.keyClick(table, Key.Key_Delete)
    user.settle()
    assert not kept.data.any()
    user.press(Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert list(tree_rows(user)) == ["none", "1  tumour (1)", "2  nucleus (1)"]
    action = next(iter(user.widget.findChildren(QAction, "colour_by_class")))
    assert not action.isChecked()


def click_row(user, at, modifier=Qt.KeyboardModifier.NoModifier):
    view = tree(user)
    view.scrollTo(at)
    place = view.visualRect(at).center()
    QTest.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, modifier, place)
    user.settle()


def drop(user, rows, onto):
    """Do what Qt does where the mouse is let go over a row; QDrag itself holds a test up."""
    view = tree(user)
    view.scrollTo(onto)
    data = view.model().mimeData(rows)
    at = QPointF(view.visualRect(onto).center())
    none = Qt.KeyboardModifier.NoModifier
    event = QDropEvent(at, Qt.DropAction.MoveAction, data, Qt.MouseButton.LeftButton, none)
    assert view.model().canDropMimeData(data, Qt.DropAction.MoveAction, -1, -1, onto)
    view.dropEvent(event)
    user.settle()


def test_the_tree_of_classes_goes_to_objects_and_changes_their_class(open_window, discs, tmp_path):
    file = tmp_path / "classes.csv"
    file.write_text(
        "id,name,color,parent\n1,cell,,\n2,nucleus,,cell\n3,tumour: positive,,\n",
        encoding="utf-8",
    )
    user = open_window(discs)
    session, model = user.widget.binding.session, user.widget.binding.model
    session.classes.file.choose(file)
    user.press(Qt.Key.Key_P)
    image = user.viewer.layers["image"]
    user.look_at_all()
    for key, pixel in ((Key.Key_1, (30, 40)), (Key.Key_2, (85, 110))):
        user.press(key)
        user.click_at(image, pixel)
        user.wait(lambda: user.has(PREVIEW) and not user.is_running)
        user.press(Key.Key_K)
    kept = user.viewer.layers[ACCEPTED]
    assert list(kept.features["class"]) == ["cell", "nucleus"]
    # A class has those of its kinds, too; those of none are apart. A heading is no class.
    rows = tree_rows(user)
    assert list(rows) == [
        "none",
        "1  cell (2)",
        "2  nucleus (1)",
        "other (1)",
        "tumour",
        "3  positive",
    ]
    click_row(user, rows["tumour"])
    assert model.object_class == "nucleus"
    click_row(user, rows["3  positive"])
    assert model.object_class == "tumour: positive"
    assert visible(user, QLabel, "object_class").text() == "tumour: positive"

    # To its object, and another class for it by a key; undo takes that back.
    view = tree(user)
    view.expand(rows["2  nucleus (1)"])
    (name, at), *_ = tree_rows(user, objects=True).items()
    assert name.startswith("2, ")
    click_row(user, at)
    assert model.picked.record.id == 2
    QTest.keyClick(view, Key.Key_3)
    user.settle()
    assert list(kept.features["class"]) == ["cell", "tumour: positive"]
    assert list(tree_rows(user)) == [
        "none",
        "1  cell (1)",
        "2  nucleus",
        "other (1)",
        "tumour (1)",
        "3  positive (1)",
    ]
    user.press(Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert list(kept.features["class"]) == ["cell", "nucleus"]

    # Both are dragged at once onto a class, and onto none; a heading takes nothing.
    for title, names in (
        ("3  positive", ["tumour: positive"] * 2),
        ("none", ["", ""]),
    ):
        dragged = list(tree_rows(user, objects=True).values())
        assert len(dragged) == 2
        drop(user, dragged, tree_rows(user)[title])
        assert [{"-": ""}.get(one, one) for one in kept.features["class"]] == names
    heading = tree_rows(user)["tumour"]
    data = view.model().mimeData(tree_rows(user, objects=True).values())
    assert not view.model().dropMimeData(data, Qt.DropAction.MoveAction, -1, -1, heading)
    for _ in range(2):
        user.press(Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert list(kept.features["class"]) == ["cell", "nucleus"]

    # Where filters hide some, it says how many are on show.
    user.choose("text_segmentation")
    user.type_phrase("bright objects")
    user.wait(lambda: user.has(PREVIEW) and not user.is_running)
    assert not any(" of " in name for name in tree_rows(user))
    session.filtering.show_range("Object ID", 1, 1)
    user.settle()
    assert any("(1 of 4)" in name for name in tree_rows(user))

    # Narrow as a dock may be, nothing of it is cut but long names.
    assert view.height() <= 7 * view.sizeHintForRow(0) + 2 * view.frameWidth()


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
    user.viewer.layers["stardist"].scale = (2, 2)  # as where a file's scale was lost
    shown = dialog()
    lay = shown.findChild(QAbstractButton, "lay_on_image")
    assert lay.isVisible()
    QTest.mouseClick(lay, Qt.MouseButton.LeftButton)
    assert not lay.isVisible()
    QTest.mouseClick(shown.findChild(QAbstractButton, "accept_labels"), Qt.MouseButton.LeftButton)
    user.wait(lambda: user.has(ACCEPTED) and not user.is_running)
    np.testing.assert_array_equal(user.viewer.layers[ACCEPTED].data > 0, labels > 0)
