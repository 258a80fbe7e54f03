"""The box "Encode while I draw", and a real viewer behind it."""

import numpy as np
import pytest
from qtpy.QtWidgets import QCheckBox

from napari_sam3_assistant.session.values import DeviceInUse, EncodeAhead


def box(user):
    return user.widget.findChild(QCheckBox, "encode_ahead")


@pytest.fixture
def sam3(user):
    user.widget.binding.model.engine = "sam3-transformers"
    return user


def test_the_built_in_engine_has_no_use_for_it(user):
    assert user.widget.binding.model.engine == "builtin"
    assert not box(user).isEnabled()
    user.widget.binding.model.engine = "sam3-transformers"
    assert box(user).isEnabled()


def test_it_follows_the_device_until_the_user_chooses(sam3):
    model = sam3.widget.binding.model
    assert not box(sam3).isChecked()
    model.device_in_use = DeviceInUse("cuda:0", "")
    assert box(sam3).isChecked()
    assert model.encode_ahead is EncodeAhead.AUTO
    box(sam3).click()
    assert model.encode_ahead is EncodeAhead.OFF
    model.device_in_use = DeviceInUse("cuda:1", "")
    assert not box(sam3).isChecked()


def test_the_choice_outlives_the_widget(sam3):
    box(sam3).click()
    sam3.close_dock()
    sam3.open()
    assert sam3.widget.binding.model.encode_ahead is EncodeAhead.ON
    assert box(sam3).isChecked()


def test_a_slice_is_encoded_while_the_user_clicks_on_it(sam3, tiny_checkpoint, model_calls):
    stack = np.random.default_rng(0).integers(0, 256, (3, 60, 80), np.uint8)
    sam3.viewer.add_image(stack, name="stack")
    binding = sam3.widget.binding
    binding.model.model_folder = str(tiny_checkpoint)
    sam3.viewer.dims.set_current_step(0, 0)
    sam3.choose("2d_segmentation", "points")
    points = sam3.viewer.layers.selection.active
    points.add((0, 20, 30))
    sam3.run()
    assert model_calls["encode"] == 1
    box(sam3).click()
    sam3.choose("2d_segmentation", "box")
    sam3.viewer.dims.set_current_step(0, 1)
    boxes = sam3.viewer.layers.selection.active
    boxes.add_rectangles(np.array([(1, 10, 10), (1, 10, 50), (1, 40, 50), (1, 40, 10)]))
    sam3.wait(lambda: model_calls["encode"] == 2)
    assert binding.model.preview is None or binding.model.preview.target.plane.leading == (0,)
    sam3.run()
    assert model_calls["encode"] == 2
    assert binding.model.preview.target.plane.leading == (1,)
