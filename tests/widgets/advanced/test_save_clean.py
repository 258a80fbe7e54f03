"""Save & Clean: version 4's section, and none of what the old plugin lost."""

import json

import numpy as np
import pytest
import tifffile
from qtpy.QtGui import QDesktopServices
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QFileDialog, QLineEdit, QTextEdit

from amounts import thorough

PREVIEW, SAVED = "SAM3 preview labels", "SAM3 saved labels"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder that the user chooses in the dialog."""
    chosen = tmp_path / "masks"
    chosen.mkdir()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(chosen))
    return chosen


def find_all(user, discs, name="cells", **layer):
    user.viewer.add_image(discs, name=name, **layer)
    user.choose_in("task", "Text segmentation")
    user.type_phrase("bright objects")
    user.wait_for_end()
    return np.array(user.viewer.layers[PREVIEW].data)


def save(user):
    user.click("save_clean")
    user.wait_for_end()


def test_save_and_clean(advanced, discs, folder, monkeypatch):
    user = advanced.user
    assert user.button("save_clean").toolTip() == "There is no preview to save yet"
    labels = find_all(user, discs, scale=(0.5, 0.25), units=("um", "um"))
    assert user.button("save_clean").toolTip() == "Choose an output folder first"
    user.click("choose_output_folder")
    user.viewer.layers[PREVIEW].data[0, 0] = 77

    save(user)

    labels[0, 0] = 77
    file = folder / "cells_mask_01.tif"
    np.testing.assert_array_equal(tifffile.imread(file), labels)
    np.testing.assert_array_equal(user.viewer.layers[SAVED].data, labels)
    assert not user.has(PREVIEW)
    assert user.status.startswith("✓ Saved cells_mask_01.tif. ")
    assert user.text_of("saved") == "Saved: cells_mask_01.tif"
    note = json.loads((folder / "cells_mask_01.tif.json").read_text())
    assert note["prompts"]["text"] == "bright objects"
    assert note["threshold"] == 0.35
    assert note["engine"]["engine"] == "builtin"
    assert note["axes"]["scale"] == [0.5, 0.25]
    opened = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    user.click("open_folder")
    assert opened == [str(folder)]

    user.run()
    assert user.has(PREVIEW)
    save(user)
    assert (folder / "cells_mask_02.tif").exists()


def test_every_preview_of_a_batch_is_saved(advanced, discs, folder):
    user = advanced.user
    user.viewer.add_image(discs, name="A")
    user.viewer.add_image(discs[::-1].copy(), name="B")
    user.choose_in("task", "Text segmentation")
    user.button("batch_images").click()
    lines = "bright discs\nbright spots"
    user.widget.findChild(QTextEdit, "batch_text").setPlainText(lines)
    user.run()
    shown = {layer.name: np.array(layer.data) for layer in previews(user)}
    assert len(shown) == 4
    user.click("choose_output_folder")

    save(user)

    files = {path.name for path in folder.iterdir() if path.suffix == ".tif"}
    assert files == {
        f"{image}_-_bright_{word}_mask_01.tif" for image in "AB" for word in ("discs", "spots")
    }
    for name, labels in shown.items():
        scope = name[len(PREVIEW) + 2 : -1]
        file = folder / f"{scope.replace(' ', '_')}_mask_01.tif"
        np.testing.assert_array_equal(tifffile.imread(file), labels)
        np.testing.assert_array_equal(user.viewer.layers[f"{SAVED} [{scope}]"].data, labels)
    assert previews(user) == []


def previews(user):
    return [layer for layer in user.viewer.layers if layer.name.startswith(PREVIEW)]


@pytest.mark.parametrize(("title", "ending"), [("NumPy (.npy)", ".npy"), thorough("PNG", ".png")])
def test_dots_survive_and_a_typed_name_stays(advanced, discs, folder, title, ending):
    user = advanced.user
    find_all(user, discs, name="exp1.0_A")
    user.click("choose_output_folder")
    user.choose_in("output_format", title)
    save(user)
    assert (folder / f"exp1.0_A_mask_01{ending}").exists()

    line = user.widget.findChild(QLineEdit, "output_name")
    QTest.keyClicks(line, "mine.v2")
    (folder / f"mine.v2{ending}").write_bytes(b"somebody's")
    user.run()
    user.viewer.add_image(discs, name="another")
    save(user)

    assert line.text() == "mine.v2"
    assert (folder / f"mine.v2{ending}").read_bytes() == b"somebody's"
    assert (folder / f"mine.v2_02{ending}").exists()


def test_a_folder_that_is_gone_is_made_again_where_it_can_be_and_is_remembered(
    advanced, discs, folder
):
    user = advanced.user
    labels = find_all(user, discs)
    user.click("choose_output_folder")
    folder.rmdir()
    folder.write_text("a file where the folder was")

    save(user)

    assert user.status.startswith("✕ ")
    assert "can't be written" in user.status
    assert user.has(PREVIEW)
    assert not user.has(SAVED)

    folder.unlink()
    save(user)
    np.testing.assert_array_equal(tifffile.imread(folder / "cells_mask_01.tif"), labels)

    user.choose_in("output_format", "PNG")
    user.widget = advanced.main
    user.close_dock()
    user.open()

    assert user.widget.findChild(QLineEdit, "output_folder").text() == str(folder)
    assert user.combo("output_format").currentText() == "PNG"
