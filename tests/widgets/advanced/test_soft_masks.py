"""Soft masks in the viewer: hidden until asked for, of the objects on show, and at their place."""

import numpy as np
import pytest
from qtpy.QtWidgets import QTextEdit

from napari_sam3_assistant.core.results import max_probability

PREVIEW, SOFT = "SAM3 preview labels", "SAM3 preview masks"


def take_sam3(advanced, folder):
    model = advanced.main.binding.model
    model.engine, model.model_folder = "sam3-transformers", str(folder)
    model.threshold = 0.01


@pytest.fixture
def sam3(advanced, tiny_checkpoint):
    """A user in Advanced mode with the small SAM 3, which finds what it likes."""
    take_sam3(advanced, tiny_checkpoint)
    return advanced


def soft_layers(user):
    return [layer for layer in user.viewer.layers if layer.name.startswith(SOFT)]


def expected(preview):
    found = preview.segmentation
    return max_probability(found.objects, found.region)


def find(user, phrase="cell"):
    user.choose_in("task", "Text segmentation")
    user.type_phrase(phrase)
    user.wait_for_end()
    assert user.has(PREVIEW), user.status


def show(user):
    user.button("soft_masks").click()
    user.wait(lambda: all(layer.visible for layer in soft_layers(user)))


def test_hidden_until_asked_for_then_with_every_run_until_the_preview_goes(
    advanced, discs, tiny_checkpoint
):
    user, model = advanced.user, advanced.main.binding.model
    user.viewer.add_image(discs, name="image", scale=(0.5, 0.25), translate=(7, 9))
    find(user, "bright discs")
    box = user.button("soft_masks")
    assert not box.isEnabled()
    assert box.toolTip().endswith("gives no soft masks. Choose a SAM 3 engine.")
    assert soft_layers(user) == []

    take_sam3(advanced, tiny_checkpoint)
    find(user)
    (layer,) = soft_layers(user)
    assert (layer.name, layer.visible) == (SOFT, False)
    assert layer.data.max() == 0

    show(user)

    labels = user.viewer.layers[PREVIEW]
    np.testing.assert_array_equal(layer.data, expected(model.preview))
    assert layer.data.max() > 0.5
    assert (np.asarray(layer.data)[np.asarray(labels.data) > 0] > 0.49).all()
    assert tuple(layer.contrast_limits) == (0, 1)
    np.testing.assert_allclose(layer.scale, labels.scale)
    np.testing.assert_allclose(layer.translate, labels.translate)
    names = [one.name for one in user.viewer.layers]
    assert names.index("image") < names.index(SOFT) < names.index(PREVIEW)
    # A picture of ours is nothing to segment.
    assert [choice.name for choice in model.images] == ["image"]

    user.button("soft_masks").click()
    assert not layer.visible
    assert layer.data.strides == (0, 0)

    # The eye and the box are one.
    layer.visible = True
    assert user.button("soft_masks").isChecked()
    user.wait(lambda: layer.data.max() > 0.5)
    layer.visible = False
    assert not user.button("soft_masks").isChecked()
    user.button("soft_masks").click()
    user.wait(lambda: layer.visible)

    # It follows every run, and undo.
    user.choose_in("task", "2D segmentation")
    user.choose_in("tool", "Points (positive/negative)")
    user.click("create_prompt_layer")
    user.viewer.layers["SAM3 points"].add([(30, 40)])
    user.run()
    user.wait(lambda: np.array_equal(layer.data, expected(model.preview)))
    clicked = np.array(layer.data)
    user.click("undo")
    user.wait(lambda: np.array_equal(layer.data, expected(model.preview)))

    assert not np.array_equal(layer.data, clicked)
    assert layer.visible

    # One that was deleted comes back with the next run.
    user.viewer.layers.remove(SOFT)
    assert user.button("soft_masks").isChecked()
    find(user, "box")
    user.wait(lambda: user.has(SOFT) and user.viewer.layers[SOFT].visible)

    user.click("clear_preview")
    assert soft_layers(user) == []
    user.widget = advanced.main
    user.close_dock()
    user.open()
    assert user.button("soft_masks").isChecked()


def test_one_for_each_result_of_a_batch(sam3, discs):
    user, model = sam3.user, sam3.main.binding.model
    user.viewer.add_image(discs, name="A")
    user.viewer.add_image(discs[:, ::-1].copy(), name="B")
    user.choose_in("task", "Text segmentation")
    user.button("batch_images").click()
    user.widget.findChild(QTextEdit, "batch_text").setPlainText("cell\nbox")
    user.button("soft_masks").click()

    user.run()

    found = {f"{SOFT} [{preview.label}]": preview for preview in model.previews}
    assert len(found) == 4
    user.wait(lambda: len(model.soft_images) == 4)
    for name, preview in found.items():
        np.testing.assert_array_equal(user.viewer.layers[name].data, expected(preview))
        assert user.viewer.layers[name].visible


def test_of_a_region_of_a_large_image_on_its_slice(sam3):
    user, model = sam3.user, sam3.main.binding.model
    stack = np.random.default_rng(0).integers(0, 255, (3, 900, 1000), np.uint8)
    user.viewer.add_image(stack, name="image")
    user.viewer.dims.set_point(0, 1)
    user.click("create_prompt_layer")
    user.button("large_image").click()
    user.choose_in("roi_size", "512 x 512")
    user.viewer.layers["SAM3 points"].add([(1, 500, 600)])

    user.run()
    show(user)

    (layer,) = soft_layers(user)
    labels = user.viewer.layers[PREVIEW]
    assert layer.data.shape == labels.data.shape == (1, 512, 512)
    np.testing.assert_array_equal(layer.data[0], expected(model.preview))
    np.testing.assert_allclose(layer.translate, labels.translate)
