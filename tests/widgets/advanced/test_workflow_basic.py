"""“Basic Workflow” of the first manual, step by step, by mouse and keyboard."""

import numpy as np
import pytest
from qtpy.QtWidgets import QDockWidget

import needs
from amounts import thorough

PREVIEW, MASKS, BOXES = "SAM3 preview labels", "SAM3 preview masks", "SAM3 preview boxes"


@pytest.mark.parametrize(
    "engine", ["builtin", thorough("sam3-transformers", marks=[needs.TORCH])], indirect=True
)
def test_basic_workflow(open_advanced, discs, engine):
    # 1 to 3: an image is open, SAM3 Assistant comes from the plugin menu, Advanced is chosen.
    user = open_advanced(discs).user
    viewer = user.viewer
    engine.choose(user)
    # 4 and 5: the target image and a task.
    user.choose_in("image", "image")
    user.choose_in("task", "2D segmentation")
    user.choose_in("tool", "Points (positive/negative)")
    assert not user.button("run_preview").isEnabled()
    assert user.text_of("run_reason") == "Click on the object in the image first."
    # 6: a prompt layer, and prompts.
    user.click("create_prompt_layer")
    user.click_at(viewer.layers["image"], (30, 40))
    user.click("next_positive_False")
    user.click_at(viewer.layers["image"], (30, 75))
    # Without weights it runs by itself; those are loaded by the button.
    assert user.text_of("run_reason").startswith(("Ready to run.", "Press Run Preview: it loads"))
    # 7: run.
    user.run()
    # 8: inspect.
    clicks = viewer.layers["SAM3 points"].data
    expected = engine.labels(discs, points=[(*clicks[0], True), (*clicks[1], False)])
    np.testing.assert_array_equal(user.preview, expected)
    assert expected.any()
    (box,) = viewer.layers[BOXES].data
    rows, columns = (np.flatnonzero(expected.any(axis)) for axis in (1, 0))
    np.testing.assert_array_equal(box.min(axis=0) + 0.5, (rows[0], columns[0]))
    np.testing.assert_array_equal(box.max(axis=0) - 0.5, (rows[-1], columns[-1]))
    assert user.has(MASKS) == engine.has_weights
    # 9: the way to Mask Operations (Save & Clean has a test of its own).
    user.click("open_mask_operations")
    docks = user.window.findChildren(QDockWidget)
    assert any("SAM3 Mask Operations" in dock.windowTitle() for dock in docks)

    # Clear Preview removes the previews, and neither prompts nor saved labels.
    user.click("save")
    user.click("clear_preview")
    left = {layer.name for layer in viewer.layers}
    assert left - {BOXES} == {"image", "SAM3 points", "SAM3 saved labels"}
    assert len(viewer.layers[BOXES].data) == 0  # emptied, since to remove it crashes (napari#8471)
    np.testing.assert_array_equal(viewer.layers["SAM3 points"].data, clicks)
