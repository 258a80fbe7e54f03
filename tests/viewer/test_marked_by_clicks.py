"""A click on an object marks it, whichever label the layer has selected."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the tests are not a package
from layouts import drag

from napari_sam3_assistant.core.prompts import Task

PREVIEW, ACCEPTED = "SAM3 preview labels", "SAM3 live accepted labels"


@pytest.fixture
def discs():
    """Three discs on a dark plane of 60 x 120 pixels."""
    y, x = np.ogrid[:60, :120]
    inside = [(y - 30) ** 2 + (x - at) ** 2 <= 100 for at in (20, 60, 100)]
    return np.where(np.any(inside, axis=0), 200, 30).astype(np.uint8)


@pytest.mark.parametrize("mode", ["pan_zoom", "pick"])
@pytest.mark.parametrize("is_accepted", [False, True])
def test_a_click_marks_the_object_whatever_label_is_selected(
    viewer, binding, run, discs, is_accepted, mode
):
    viewer.add_image(discs, name="cells")
    binding.model.task = Task.EVERYTHING
    run()
    if is_accepted:
        binding.session.accept()
    layer = viewer.layers[ACCEPTED if is_accepted else PREVIEW]
    viewer.layers.selection.active = layer
    layer.mode = mode
    for selected in range(4):
        for at in (20, 60, 100):
            layer.selected_label = selected
            binding.model.picked = None
            drag(viewer, (30, at))
            assert binding.model.picked is not None, (selected, at)
            assert binding.model.picked.record.id == layer.data[30, at], (selected, at)
