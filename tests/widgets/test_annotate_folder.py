"""A folder is annotated by mouse and keys in a docked window."""

import csv

import numpy as np
import pytest
import tifffile
from napari.utils.notifications import notification_manager
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QComboBox, QDialog, QFileDialog, QFrame, QTableView
from skimage.draw import disk

from amounts import thorough
from napari_sam3_assistant.core.classes import ClassList, ObjectClass

COUNT = 4
CENTRES = ((30, 40), (85, 110))
UNITS = {2: "µm", 4: "mm"}


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A folder of images that count in pixels, in micrometres and in millimetres."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(1, COUNT + 1):
        image = np.full((120, 150), 50, np.uint8)
        for centre in CENTRES[: number % 2 + 1]:
            image[disk(centre, 14, shape=image.shape)] = 190
        metadata = {"axes": "YX"}
        if unit := UNITS.get(number):
            metadata |= {"PhysicalSizeX": 0.5, "PhysicalSizeXUnit": unit}
            metadata |= {"PhysicalSizeY": 0.5, "PhysicalSizeYUnit": unit}
        path = folder / f"a_long_name_of_an_experiment_{number}.tif"
        tifffile.imwrite(path, image, ome=number > 1, metadata=metadata)
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    return folder


def open_folder(user):
    user.choose("refinement")
    user.click("annotate_folder")
    user.wait(lambda: "1 of" in user.status)
    user.wait_for_end()


@pytest.fixture
def user(open_window, source):
    """Somebody with the folder open, in Live Points."""
    user = open_window()
    open_folder(user)
    yield user
    vars(user).clear()  # napari's fixture fails where its window is still held


def on_show(user):
    return [one.name for one in user.viewer.layers if "SAM3" not in one.name]


def test_a_folder_from_the_first_image_to_the_files_of_all(open_window, source):
    user = open_window()
    user.press(Qt.Key.Key_PageDown)
    assert "Annotate Folder" in user.status
    assert user.widget.findChild(QTableView, "annotation_table") is None

    warned = []
    notification_manager.notification_ready.connect(warned.append)
    open_folder(user)
    bar = user.find(QFrame, "annotation_bar")
    assert bar.isVisible()
    for number in range(1, COUNT + 1):
        (name,) = on_show(user)
        assert name.endswith(f"_{number}")
        user.click_at(user.viewer.layers[name], CENTRES[0])
        user.wait(lambda: user.preview is not None)
        user.wait_for_end()
        user.press(Qt.Key.Key_PageDown)
        place = f"{min(number + 1, COUNT)} of {COUNT}"
        user.wait(lambda place=place: user.text_of("annotation_place") == place)
        user.wait_for_end()
    assert "no other image" in user.status

    # Back by its key: what was accepted is there again.
    user.press(Qt.Key.Key_PageUp)
    user.wait(lambda: on_show(user)[0].endswith(f"_{COUNT - 1}"))
    user.wait_for_end()
    (accepted,) = (one for one in user.viewer.layers if "accepted" in one.name)
    assert set(np.unique(accepted.data)) == {0, 1}

    # The list goes to any image.
    user.click("annotation_list")
    window = user.window.findChild(QDialog, "annotation_images")
    table = window.findChild(QTableView, "annotation_table")
    assert [table.model().index(at, 1).data() for at in range(COUNT)] == ["done"] * COUNT
    cell = table.visualRect(table.model().index(1, 0))
    QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=cell.center())
    user.wait(lambda: on_show(user)[0].endswith("_2"))
    user.wait_for_end()
    window.close()

    user.click("annotation_finish")
    user.wait(lambda: "sam3_coco.json" in user.status)
    with (source / "sam3_labels" / "sam3_objects.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == COUNT
    assert not bar.isVisible()
    assert [one.message for one in warned] == [], "images that count in different units"


def test_the_bar_and_the_list_show_the_state_of_each_image(user, source):
    combo = user.combo("annotation_state")
    assert combo.currentText() == "Untouched"
    # A state that can't be written is not on show.
    file = source / "sam3_labels" / "sam3_annotation.jsonl"
    written = file.read_text("utf8")
    file.unlink()
    file.mkdir()
    user.choose_in("annotation_state", "Flagged")
    user.wait(lambda: "can't be written" in user.status)
    assert combo.currentText() == "Untouched"
    file.rmdir()
    file.write_text(written, "utf8")

    user.choose_in("annotation_state", "Flagged")
    user.wait(lambda: "flagged" in user.status)
    user.click("next_image")
    user.wait(lambda: "2 of" in user.text_of("annotation_place"))
    user.wait_for_end()
    user.click("previous_image")
    user.wait(lambda: "1 of" in user.text_of("annotation_place"))
    user.wait_for_end()
    assert combo.currentText() == "Flagged"

    name = "a_long_name_of_an_experiment_3.tif"
    (source / name).write_bytes(b"no image")
    for place in (2, 3):
        user.press(Qt.Key.Key_PageDown)
        user.wait(lambda place=place: user.text_of("annotation_place") == f"{place} of {COUNT}")
        user.wait_for_end()
    user.click("annotation_list")
    window = user.window.findChild(QDialog, "annotation_images")
    rows = window.findChild(QTableView, "annotation_table").model()
    told = [rows.index(at, 1).data() for at in range(COUNT)]
    assert told == ["flagged", "done", "can't be read", "untouched"]
    assert name in rows.index(2, 1).data(Qt.ItemDataRole.ToolTipRole)
    states = window.findChild(QComboBox, "annotation_filter")
    states.setCurrentText("Can't be read")
    states.activated.emit(states.currentIndex())
    assert [rows.index(at, 0).data() for at in range(rows.rowCount())] == [name]
    window.close()


# One task without a prompt layer, one with.
@pytest.mark.parametrize(
    "task",
    ["text_segmentation", "refinement", thorough("everything"), thorough("exemplar_segmentation")],
)
def test_with_and_without_a_prompt_layer_keys_do_what_they_promise_all_along(user, source, task):
    """An image is the selected layer where a task has no prompt layer: its own keys came first."""
    model = user.widget.binding.model
    model.class_list = ClassList(tuple(ObjectClass(id_, name) for id_, name in enumerate("ab", 1)))
    seen = []

    def press_all(moment):
        seen.append(f"{moment}, on {user.viewer.layers.selection.active}")
        layers, outlines = list(user.viewer.layers), user.widget.binding.adapter.outlines
        modes = [one.mode for one in layers]
        for key, name in ((Qt.Key.Key_2, "b"), (Qt.Key.Key_1, "a")):
            model.picked = None
            user.press(key)
            assert model.object_class == name, seen[-1]
            assert [one.mode for one in layers] == modes, seen[-1]
        user.press(Qt.Key.Key_O)
        assert user.widget.binding.adapter.outlines is not outlines, seen[-1]
        user.press(Qt.Key.Key_O)

    def turn(key, place):
        user.press(key)
        user.wait(lambda: user.text_of("annotation_place") == f"{place} of {COUNT}")
        user.wait_for_end()

    user.choose(task)
    press_all("on the first image")
    turn(Qt.Key.Key_PageDown, 2)
    press_all("after Next")
    model.picked = None
    if task == "text_segmentation":
        user.type_phrase("bright objects")
    elif task == "everything":
        user.press(Qt.Key.Key_R)
    elif task == "exemplar_segmentation":
        (y, x), image = CENTRES[0], user.viewer.layers[on_show(user)[0]]
        user.drag(image, (y - 16, x - 16), (y, x), (y + 16, x + 16))
    else:
        user.click_at(user.viewer.layers[on_show(user)[0]], CENTRES[0])
    user.wait(lambda: user.preview is not None and not user.is_running)
    press_all("after a run")
    user.press(Qt.Key.Key_K)
    user.wait(lambda: any("accepted" in one.name for one in user.viewer.layers))
    user.wait_for_end()
    press_all("after Accept")
    user.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    user.wait_for_end()
    press_all("after Undo")
    turn(Qt.Key.Key_PageUp, 1)
    press_all("after Previous")
    user.press(Qt.Key.Key_X)
    assert model.task == "text_segmentation", seen
