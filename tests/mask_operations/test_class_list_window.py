"""A project's class list, and COCO files of others, in the window as a person uses it."""

import json

import numpy as np
import pytest
import tifffile
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QLabel,
    QLineEdit,
    QPushButton,
    QTableWidget,
)

from napari_sam3_assistant.io.class_list import read_classes

LEFT = Qt.MouseButton.LeftButton
LIST = "id,name,color\n3,cell,#ff0000\n9,ring,#0000ff\n"


@pytest.fixture
def classes(tmp_path, monkeypatch):
    """A list of two classes, which the file dialog gives."""
    path = tmp_path / "classes.csv"
    path.write_text(LIST)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    return path


def said(curator):
    return curator.widget.findChild(QLabel, "class_list").text()


def save(curator, label, class_name):
    curator.tab("Accepted Objects")
    curator.type_in("label", str(label))
    curator.type_in("class_name", class_name)
    curator.type_in("object_name", f"o{label}")
    curator.click("save_accepted")


def test_a_chosen_list_gives_the_values_everywhere(curator, masks, classes, tmp_path):
    curator.tab("Accepted Objects")
    curator.click("choose_classes")
    assert said(curator) == "Class list: 2 classes"
    save(curator, 1, "cell")
    value = curator.widget.findChild(QLineEdit, "class_value")
    assert (value.text(), value.isEnabled()) == ("3", False)
    save(curator, 4, "ring")
    save(curator, 2, "glia")
    assert curator.status.startswith("✕ The class list has no “glia”. It has cell, ring")

    curator.tab("Class Merge")
    curator.tick("merge_layers", "cell_o1 (cell = 3)")
    curator.tick("merge_layers", "ring_o4 (ring = 9)")
    curator.type_in("merge_output", "work")
    curator.click("merge_accepted")

    work = curator.viewer.layers["work"]
    assert set(np.unique(work.data)) == {0, 3, 9}
    np.testing.assert_allclose(work.get_color(3)[:3], (1, 0, 0))
    np.testing.assert_allclose(work.get_color(9)[:3], (0, 0, 1))
    curator.tab("Final Merge / Export")
    curator.type_in("output", "work")
    for text, name in (("COCO JSON, run lengths", "a.json"), ("YOLO segmentation", "a.txt")):
        curator.choose("export_format", text)
        curator.type_in("path", str(tmp_path / name))
        curator.click("export")
        assert "Exported" in curator.status
    told = json.loads((tmp_path / "a.json").read_text())
    assert {one["id"]: one["name"] for one in told["categories"]} == {3: "cell", 9: "ring"}
    lines = (tmp_path / "a.txt").read_text().splitlines()
    assert {line.split()[0] for line in lines} == {"0", "1"}


def test_what_was_accepted_before_gets_the_number_of_the_list(curator, classes):
    save(curator, 1, "cell")
    curator.click("choose_classes")
    curator.tab("Class Merge")
    curator.tick("merge_layers", "cell_o1 (cell = 1)")
    curator.type_in("merge_output", "work")
    curator.click("merge_accepted")
    assert set(np.unique(curator.viewer.layers["work"].data)) == {0, 3}

    curator.tab("Final Merge / Export")
    curator.type_in("output", "SAM3 preview labels")
    curator.choose("export_format", "COCO JSON, run lengths")
    curator.type_in("path", "x.json")
    curator.click("export")
    assert "is not known" in curator.status
    curator.click("forget_classes")
    assert said(curator) == "Class list: none"


def add_class(curator, name):
    curator.click("add_class")
    curator.settle()
    (editor,) = curator.widget.findChild(QTableWidget, "class_table").findChildren(QLineEdit)
    QTest.keyClicks(editor, name)
    QTest.keyClick(editor, Qt.Key.Key_Return)
    curator.settle()


def press_save(curator):
    buttons = curator.widget.findChild(QDialog, "class_list_dialog").findChild(QDialogButtonBox)
    QTest.mouseClick(buttons.button(QDialogButtonBox.StandardButton.Save), LEFT)
    curator.settle()


def test_a_list_is_made_and_edited_by_hand(curator, tmp_path, monkeypatch):
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(tmp_path / "made"), ""))
    file = tmp_path / "made.csv"

    curator.click("edit_classes")
    add_class(curator, "nucleus")
    add_class(curator, "dirt")
    press_save(curator)
    assert curator.status == f"✓ 2 classes of {file} have these numbers in every file now."
    assert read_classes(file).names == {1: "nucleus", 2: "dirt"}
    assert said(curator) == "Class list: 2 classes"

    curator.click("edit_classes")
    add_class(curator, "cell")
    add_class(curator, "dirt")
    press_save(curator)
    why = curator.widget.findChild(QLabel, "class_why").text()
    assert why.startswith("✕ Two classes of the list have the name “dirt”.")
    table = curator.widget.findChild(QTableWidget, "class_table")
    table.selectRow(3)
    curator.click("remove_class")
    press_save(curator)
    assert read_classes(file).names == {1: "nucleus", 2: "dirt", 3: "cell"}
    assert curator.widget.findChild(QDialog, "class_list_dialog") is None

    curator.click("take_back_classes")
    curator.settle()
    assert read_classes(file).names == {1: "nucleus", 2: "dirt"}
    assert said(curator) == "Class list: 2 classes"
    curator.click("take_back_classes")  # to before it was made
    curator.settle()
    assert said(curator) == "Class list: none"
    assert not curator.widget.findChild(QPushButton, "take_back_classes").isEnabled()


def coco(path, name, shape, *boxes):
    annotations = [
        {"image_id": 1, "category_id": of, "segmentation": [[x, y, x2, y, x2, y2, x, y2]]}
        for of, (y, x, y2, x2) in boxes
    ]
    images = [{"id": 1, "file_name": name, "height": shape[0], "width": shape[1]}]
    images.append({"id": 2, "file_name": "other.png", "height": 3, "width": 3})
    categories = [{"id": 1, "name": "cell"}, {"id": 2, "name": "ring"}]
    told = {"images": images, "categories": categories, "annotations": annotations}
    path.write_text(json.dumps(told))
    return path


def test_annotations_become_accepted_objects_of_the_image(
    curator, tmp_path, monkeypatch, napari_reads
):
    stack = tmp_path / "cells.tif"
    tifffile.imwrite(stack, np.zeros((4, 30, 40), np.uint8), photometric="minisblack")
    curator.viewer.open(stack, plugin="napari", scale=(2, 0.5, 0.5), translate=(7, 1, 2))
    image = curator.viewer.layers["cells"]
    curator.viewer.layers.selection.active = image
    curator.viewer.dims.set_point(0, 7 + 2 * 2)
    boxes = ((1, (2, 3, 8, 9)), (2, (10, 10, 12, 20)), (1, (20, 20, 25, 30)))
    path = coco(tmp_path / "a.json", "cells_2.tif", (30, 40), *boxes)
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))

    curator.tab("Accepted Objects")
    curator.click("import_annotations")
    curator.qtbot.waitUntil(lambda: "Imported" in curator.status, timeout=240_000)

    assert curator.status == "✓ Imported 3 objects of 2 classes from a.json."
    cells, rings = (curator.viewer.layers[f"{name}_cells_2"] for name in ("cell", "ring"))
    assert cells.data.shape == (1, 30, 40)
    np.testing.assert_array_equal(np.unique(cells.data), [0, 1, 3])
    assert (rings.data[0, 10:12, 10:20] == 2).all()
    np.testing.assert_allclose(cells.translate, (11, 1, 2))
    np.testing.assert_allclose(cells.scale, image.scale)
    curator.tab("Class Merge")
    curator.tick("merge_layers", "cell_cells_2 (cell = 1)")
    curator.tick("merge_layers", "ring_cells_2 (ring = 2)")
    curator.click("merge_accepted")
    curator.tab("Final Merge / Export")
    curator.type_in("output", "class_working_mask")
    curator.choose("export_format", "COCO JSON, run lengths")
    curator.type_in("path", str(tmp_path / "b.json"))
    curator.click("export")
    told = json.loads((tmp_path / "b.json").read_text())
    assert told["images"][0] == {"id": 1, "file_name": "cells_2.tif", "height": 30, "width": 40}
    assert sorted(one["area"] for one in told["annotations"]) == [20, 36, 50]


def test_annotations_of_another_image_are_refused(curator, tmp_path, monkeypatch):
    curator.viewer.add_image(np.zeros((30, 40), np.uint8), name="cells")
    path = coco(tmp_path / "a.json", "cells.png", (30, 41), (1, (1, 1, 5, 5)))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (str(path), ""))
    before = len(curator.viewer.layers)

    curator.tab("Accepted Objects")
    curator.viewer.layers.selection.active = curator.viewer.layers["cells"]
    curator.click("import_annotations")
    assert "30 x 41 pixels; the image has 30 x 40" in curator.status
    curator.viewer.layers["cells"].name = "unknown"
    curator.click("import_annotations")
    assert "no image “unknown”" in curator.status
    assert len(curator.viewer.layers) == before


def test_the_choice_is_kept_for_the_next_time(curator, classes, settings_file):
    def again(before):
        before.viewer.window.remove_dock_widget(before.dock)
        before.settle()
        return type(before)(before.viewer, before.qtbot)

    curator.click("choose_classes")
    second = again(curator)
    assert said(second) == "Class list: 2 classes"
    kept = classes.read_text()
    classes.unlink()
    third = again(second)
    assert said(third) == "Class list: none"
    assert "can't be read" in third.status
    classes.write_text(kept)
    assert said(again(third)) == "Class list: 2 classes"


def test_a_list_that_can_not_be_written_stays_in_the_dialog(curator, masks, tmp_path, monkeypatch):
    (tmp_path / "blocked").write_text("no folder")
    places = [tmp_path / "made.csv", tmp_path / "blocked" / "made.csv"]
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(places.pop()), ""))
    curator.click("edit_classes")
    add_class(curator, "nucleus")

    press_save(curator)
    assert curator.widget.findChild(QLabel, "class_why").text().startswith("✕ ")

    press_save(curator)
    assert read_classes(tmp_path / "made.csv").names == {1: "nucleus"}
