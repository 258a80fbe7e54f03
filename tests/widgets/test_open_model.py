"""SAM 2.1 in the window: fetched by one press, and clicked, boxed and followed with."""

import numpy as np
from qtpy.QtWidgets import QComboBox, QDialog, QFileDialog, QLineEdit, QPushButton

from napari_sam3_assistant import api

BUILTIN = "Engine: Built-in (no SAM 3 weights)"
PREVIEW = "SAM3 preview labels"


def test_an_open_model_is_fetched_by_one_press_and_used_by_mouse(
    sam2_hub, open_window, discs, tmp_path
):
    user = open_window(discs)
    image = user.viewer.layers["image"]
    folder = tmp_path / "models" / "sam2.1-tiny"
    assert user.text_of("engine_badge") == BUILTIN
    assert user.button("get_open_model").text() == "Get SAM 2.1 tiny (156 MB, open)"
    assert "Apache 2.0" in user.button("get_open_model").toolTip()
    assert sam2_hub.asked == []

    sam2_hub.gate.clear()
    user.click("get_open_model")
    user.wait(lambda: "file 1 of" in user.text_of("engine_badge"))
    assert user.button("get_open_model").text() == "Stop download"
    sam2_hub.gate.set()
    user.wait(lambda: user.text_of("engine_badge").startswith("Engine: SAM 2.1 (transformers)"))
    user.wait(lambda: not user.button("get_open_model").isVisible())
    assert sam2_hub.tokens == {""}

    def ours(**prompts):
        return api.segment(discs, model_folder=folder, device="cpu", **prompts)

    user.choose("2d_segmentation", "points")
    user.click_at(image, (30, 40))
    user.run()
    (click,) = user.viewer.layers["SAM3 points"].data
    np.testing.assert_array_equal(user.preview, ours(points=[tuple(click)]).labels)
    made = user.viewer.layers[PREVIEW].metadata["sam3_engine"]
    assert (made["engine"], made["title"]) == ("sam-transformers", "SAM 2.1 (transformers)")
    assert "SAM 3" not in user.status

    user.click("clear_preview")  # a box adds to the results on show
    user.click("tool_box")
    user.drag(image, (70, 20), (90, 40), (104, 58))
    user.run()
    (box,) = user.viewer.layers["SAM3 boxes"].data
    # Of the layer: the first pixel's centre is at 0; in Python it begins there.
    corners = [*(box.min(0) + 0.5), *(box.max(0) + 0.5)]
    np.testing.assert_array_equal(user.preview, ours(boxes=[corners]).labels)

    # Phrases and examples are refused before a run, with the way on.
    user.choose("text_segmentation")
    user.type_phrase("disc", enter=False)
    user.settle()
    assert not user.button("run_preview").isEnabled()
    assert user.button("run_preview").toolTip() == (
        "SAM 2.1 (transformers) does not take this prompt. It takes boxes, everything, mask, "
        "points. SAM 3 and the built-in engine take phrases and examples, too."
    )


def test_a_stack_is_followed(open_window, sam_folder, discs, monkeypatch):
    stack = np.stack([np.roll(discs, 2 * number, 1) for number in range(3)])
    folder = sam_folder("sam2_video")
    user = open_window(stack, axis_labels=("z", "y", "x"))
    user.viewer.dims.set_current_step(0, 0)
    # The dialog is the system's own, which no test can reach with mouse and keyboard.
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    user.click("choose_model_folder")
    user.wait(lambda: user.text_of("engine_badge").startswith("Engine: SAM 2.1"))
    user.look_at_all()
    user.choose("3d_video_propagation", "points")
    user.click_at(user.viewer.layers["image"], (0, 30, 40))
    user.run()

    assert "on 3 frames" in user.status
    (layer,) = [one for one in user.viewer.layers if "propagated" in one.name]
    (click,) = user.viewer.layers["SAM3 points"].data
    for result in api.track(
        stack, frame=0, points=[tuple(click[1:])], model_folder=folder, device="cpu"
    ):
        np.testing.assert_array_equal(np.asarray(layer.data[result.frame]), result.labels)
    assert layer.metadata["sam3_engine"]["title"] == "SAM 2.1 (transformers)"


def test_the_dialog_offers_the_models_with_size_and_licence(hub, user):
    user.click("download")
    dialog = user.widget.findChild(QDialog, "download_dialog")
    models = dialog.findChild(QComboBox, "download_model")
    offered = [models.itemText(number) for number in range(models.count())]
    assert offered[0] == "SAM 2.1 tiny (156 MB, open)"
    assert models.currentText() == "SAM 3 (3.4 GB, gated)"
    token, folder = (
        dialog.findChild(QLineEdit, f"download_{name}") for name in ("token", "folder")
    )
    assert token.isEnabled()

    models.setCurrentIndex(0)
    assert not token.isEnabled()
    assert folder.text().endswith("sam2.1-tiny")
    hub.repository = "facebook/sam2.1-hiera-tiny"
    hub.refusal = (404, {})
    hub.files = {"model.safetensors": b"x"}
    dialog.findChild(QPushButton, "start_download").click()
    user.wait(lambda: user.status.startswith("✕ "))
    assert hub.asked_for == ["model.safetensors"]
