"""Everything at one press: by the built-in engine, and by a small SAM 2.1 at a grid of points."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDoubleSpinBox, QFileDialog, QLabel, QSpinBox, QWidget
from superqt import QDoubleRangeSlider

from napari_sam3_assistant import api
from napari_sam3_assistant.workflows import everything

SHIFT = Qt.KeyboardModifier.ShiftModifier
PREVIEW = "SAM3 preview labels"


def test_the_built_in_engine_finds_all_discs_and_the_threshold_acts_afterwards(open_window, discs):
    user = open_window(discs)
    user.press(Qt.Key.Key_E, SHIFT)
    assert user.chosen("task") == ["Everything"]
    assert user.button("run_preview").isEnabled()
    assert not user.find(QWidget, "create_prompt_layer").isVisible()
    assert not user.find(QSpinBox, "points_per_side").isVisible()

    user.run()

    np.testing.assert_array_equal(user.preview, api.segment(discs, everything=True).labels)
    assert user.status.startswith("✓ Preview ready: 4 objects in ")
    assert ", score" in user.status
    assert user.status.endswith("from the image alone.")
    # One line says it once; what is done to the result since is told by the other one.
    assert not user.find(QLabel, "results").isVisible()
    user.press(Qt.Key.Key_N)
    user.press(Qt.Key.Key_Delete)
    assert user.results.startswith("Latest labels: 3 objects")
    assert user.find(QLabel, "results").isVisible()

    user.undo()
    assert len(user.viewer.layers[PREVIEW].features) == 4
    user.find(QDoubleSpinBox, "threshold").setValue(0.95)
    user.settle()
    scores = user.viewer.layers[PREVIEW].features["score"]
    assert (scores >= 0.95).all()

    # The status says nothing of layers that are gone.
    user.press(Qt.Key.Key_P)
    assert user.status == "Click on the object (layer “SAM3 points”)."
    user.viewer.layers.remove("SAM3 points")
    user.settle()
    assert user.status == "Layer “SAM3 points” is gone: choose the tool again to draw."
    user.press(Qt.Key.Key_P)
    assert "SAM3 points" in user.viewer.layers
    assert user.status.startswith("Click on the object")
    user.viewer.layers.clear()
    user.settle()
    assert user.status == "Ready"


@pytest.fixture
def sam2_folder(sam_folder):
    """Before any window: napari's fixture fails where a test is skipped after it."""
    return str(sam_folder("sam2_video"))


@pytest.fixture
def with_sam(sam2_folder, open_window, discs, monkeypatch):
    """The window on a small SAM 2.1, that keeps all masks: its weights are random."""
    user = open_window(discs)
    # The dialog is the system's own, which no test can reach with mouse and keyboard.
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: sam2_folder)
    user.click("choose_model_folder")
    user.wait(lambda: user.text_of("engine_badge").startswith("Engine: SAM 2.1"))
    user.look_at_all()
    user.choose("everything")
    user.click("mode_advanced")
    for name in ("pred_iou_thresh", "stability_score_thresh"):
        user.find(QDoubleSpinBox, name).setValue(0.0)
    user.find(QDoubleSpinBox, "box_nms_thresh").setValue(1.0)
    user.find(QSpinBox, "points_per_side").setValue(4)
    user.click("mode_simple")
    yield user
    vars(user).clear()


@pytest.mark.parametrize("gate", ["sam-transformers"], indirect=True)
def test_a_sam_is_asked_at_a_grid_and_what_it_found_is_filtered_without_a_run_or_kept_by_cancel(
    gate, with_sam, monkeypatch
):
    user = with_sam
    gate.opened.set()
    user.run()

    features = user.viewer.layers[PREVIEW].features
    scores = np.sort(features["score"].to_numpy(float))
    found = len(scores)
    assert found > 4
    assert features["stability"].between(0, 1).all()
    assert "SAM 2" in user.status

    slider = user.find(QDoubleRangeSlider, "filter_score")
    slider.setValue(((scores[1] + scores[2]) / 2, slider.value()[1]))
    count = user.widget.findChild(QLabel, "shown_count")
    user.wait(lambda: count.text() == f"{found - 2} of {found} shown")
    assert len(user.viewer.layers[PREVIEW].features) == found - 2
    user.click("clear_preview")

    gate.opened.clear()
    monkeypatch.setattr(everything, "_PARTIAL_S", -1.0)
    monkeypatch.setattr(everything, "_POINTS", 1)
    # One object, whose masks come one after the other.
    user.find(QDoubleSpinBox, "box_nms_thresh").setValue(0.7)
    user.click("run_preview")
    gate.passes.release(8)
    user.wait(lambda: user.has(PREVIEW) and "8 of 16 points, " in user.status)
    user.click("cancel")
    gate.opened.set()
    user.wait_for_end()
    assert user.preview.any()
    assert len(user.viewer.layers[PREVIEW].features) > 0
    user.undo()
    assert not user.has(PREVIEW)


def test_a_stack_is_found_slice_by_slice(open_window, discs):
    stack = np.stack([np.roll(discs, 2 * number, 1) for number in range(2)])
    user = open_window(stack, axis_labels=("z", "y", "x"))
    user.viewer.dims.set_current_step(0, 1)
    user.choose("3d_video_propagation", "everything")
    user.run()
    (layer,) = [one for one in user.viewer.layers if "propagated" in one.name]
    for result in api.track(stack, frame=1, everything=True):
        np.testing.assert_array_equal(np.asarray(layer.data[result.frame]), result.labels)
    assert np.unique(layer.data).tolist() == [0, 1, 2, 3, 4]
