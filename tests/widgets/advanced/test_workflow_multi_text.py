"""“Multi-Text Batch Mode” of the first manual, step by step, by mouse and keyboard."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QTextEdit

import needs
from amounts import thorough

PREVIEW = "SAM3 preview labels"
PHRASES = ("bright discs", "bright spots")


@pytest.mark.parametrize(
    "engine", ["builtin", thorough("sam3-transformers", marks=[needs.TORCH])], indirect=True
)
def test_multi_text_batch_mode(open_advanced, discs, engine):
    advanced = open_advanced(discs)
    user = advanced.user
    viewer = user.viewer
    viewer.layers["image"].name = "Image 1"
    viewer.add_image(np.ascontiguousarray(discs[:, ::-1]), name="Image 2")
    engine.choose(user)
    user.choose_in("image", "Image 1")
    # 1: the task.
    user.choose_in("task", "Text segmentation")
    # 2: one concept a line.
    box = user.widget.findChild(QTextEdit, "batch_text")
    for phrase in PHRASES:
        QTest.keyClicks(box, phrase)
        QTest.keyClick(box, Qt.Key.Key_Return)
    # 3: on the selected image only.
    user.run()
    assert_results(advanced, engine, ["Image 1"])
    # 4 and 5: on every open image.
    user.click("batch_images")
    user.run()
    assert_results(advanced, engine, ["Image 1", "Image 2"])


def assert_results(advanced, engine, names):
    """Every image and phrase has its labels and its rows, with ids that begin anew."""
    viewer = advanced.user.viewer
    shown = {layer.name for layer in viewer.layers if layer.name.startswith(PREVIEW)}
    expected = {
        (name, phrase): engine.labels(viewer.layers[name].data, text=phrase)
        for name in names
        for phrase in PHRASES
    }
    found = {pair: labels for pair, labels in expected.items() if labels.any()}
    assert found
    assert shown == {f"{PREVIEW} [{name} - {phrase}]" for name, phrase in found}
    rows = advanced.cells()
    for (name, phrase), labels in found.items():
        layer = viewer.layers[f"{PREVIEW} [{name} - {phrase}]"]
        np.testing.assert_array_equal(layer.data, labels)
        ids = [int(row[3]) for row in rows if row[:2] == (name, phrase)]
        assert ids == list(range(1, len(ids) + 1))
        assert set(np.unique(labels)) - {0} <= set(ids)
