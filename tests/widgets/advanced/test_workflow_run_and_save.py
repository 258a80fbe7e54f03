"""“Run and Save” of the first manual: a preview, Save & Clean, and on to the next."""

import json

import numpy as np
import pytest
import tifffile
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtGui import QDesktopServices
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QFileDialog, QLineEdit

import needs
from amounts import each_once

PREVIEW, SAVED = "SAM3 preview labels", "SAM3 saved labels"
ENGINES = ("builtin", pytest.param("sam3-transformers", marks=needs.TORCH))
READ = {
    "TIFF": (".tif", tifffile.imread),
    "NumPy (.npy)": (".npy", np.load),
}


@pytest.mark.parametrize(
    ("engine", "title"), each_once(ENGINES, ["TIFF", "NumPy (.npy)"]), indirect=["engine"]
)
def test_run_and_save(open_advanced, discs, engine, title, tmp_path, monkeypatch):
    user = open_advanced(discs).user
    viewer = user.viewer
    engine.choose(user)
    user.choose_in("tool", "Box")
    user.click("create_prompt_layer")
    user.drag(viewer.layers["image"], (12, 22), (30, 40), (48, 58))
    user.run()
    labels = np.array(user.preview)
    assert labels.any()

    # Output folder, output format, filename.
    folder = tmp_path / "masks"
    folder.mkdir()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    user.click("choose_output_folder")
    user.choose_in("output_format", title)
    QTest.keyClicks(user.widget.findChild(QLineEdit, "output_name"), "cells")
    user.click("save_clean")
    user.wait_for_end()

    # A saved layer and a file; no previews.
    ending, read = READ[title]
    np.testing.assert_array_equal(viewer.layers[SAVED].data, labels)
    np.testing.assert_array_equal(read(folder / f"cells{ending}"), labels)
    note = json.loads((folder / f"cells{ending}.json").read_text())
    assert note["engine"]["engine"] == engine.name
    assert not [layer for layer in viewer.layers if layer.name.startswith(PREVIEW)]
    # The model is gone from memory.
    assert not user.button("unload_model").isEnabled()
    assert user.status.startswith(f"✓ Saved cells{ending}. ")
    # Open Folder is at hand.
    opened = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    QTest.mouseClick(user.button("open_folder"), Qt.MouseButton.LeftButton)
    assert opened == [str(folder)]

    # With “Load model when running” the next run loads it again.
    assert user.button("load_when_running").isChecked()
    user.run()
    np.testing.assert_array_equal(user.preview, labels)
    assert user.button("unload_model").isEnabled() == engine.has_weights

    # And in another format.
    user.choose_in("output_format", "PNG")
    user.click("save_clean")
    user.wait_for_end()
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "cells.png")), labels)
