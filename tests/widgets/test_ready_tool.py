"""A button that looks active is active: the first click is a prompt, and a positive one."""

import numpy as np
from qtpy.QtCore import Qt

from napari_sam3_assistant import api

POINTS, PREVIEW = "SAM3 points", "SAM3 preview labels"
CLICK = (30, 40)


def points_of(user, image):
    """The points layer of an image."""
    return next(
        layer
        for layer in user.viewer.layers
        if layer.name.startswith(POINTS)
        and layer.metadata.get("sam3_image") == str(image.unique_id)
    )


def test_the_first_click_on_an_image_that_is_opened_later_is_a_prompt(open_window, discs):
    user = open_window()
    for number in range(3):
        user.viewer.add_image(discs, name=f"image {number}")
    user.look_at_all()
    last = user.viewer.layers["image 2"]

    user.click_at(last, CLICK)
    user.run()

    assert len([layer for layer in user.viewer.layers if layer.name.startswith(POINTS)]) == 1
    assert len(points_of(user, last).data) == 1
    assert user.preview[CLICK] == 1


def test_the_image_chosen_in_the_list_is_the_one_that_is_clicked_on_and_stays_chosen(
    open_window, discs
):
    other = discs[::-1].copy()
    user = open_window(other)
    lower = user.viewer.layers["image"]
    upper = user.viewer.add_image(discs, name="upper")
    user.settle()
    user.viewer.layers.selection.active = upper

    user.choose_in("image", "image")
    user.click_at(lower, CLICK)
    user.viewer.layers.selection.active = points_of(user, lower)
    for image in (upper, lower):
        image.visible = False
        image.visible = True
    user.viewer.layers.move(0, 1)
    for _ in range(2):
        user.run()
        np.testing.assert_array_equal(user.preview, api.segment(other, points=[CLICK]).labels)
    user.click("accept")

    assert user.combo("image").currentText() == "image"


def test_a_layer_that_is_selected_in_napari_stays_selected(open_window, discs):
    user = open_window(discs)
    upper = user.viewer.add_image(discs, name="upper")
    user.settle()

    for image in (user.viewer.layers["image"], upper):
        user.viewer.layers.selection.active = image
        user.settle()
        assert user.viewer.layers.selection.active is image
        assert user.combo("image").currentText() == image.name
        assert user.text_of("hint") == (
            f"“{image.name}” is selected. Press Create Prompt Layer to go on with prompts."
        )
    user.click("create_prompt_layer")
    assert user.text_of("hint").startswith("Click on one object.")
    user.click_at(upper, CLICK)
    assert len(points_of(user, upper).data) == 1


def test_a_click_on_a_layer_that_draws_nothing_says_why_and_the_tool_mends_it(open_window, discs):
    user = open_window(discs)
    image, tools = user.viewer.layers["image"], (("points", "points"), ("box", "boxes"))
    for tool, name in (*tools, ("mask", "mask prompt")):
        user.click(f"tool_{tool}")
        layer = user.viewer.layers[f"SAM3 {name}"]
        for state, setting in (
            ("is hidden", {"visible": False}),
            ("is locked", {"editable": False}),
            ("only moves the view now", {"mode": "pan_zoom"}),
        ):
            for field, value in setting.items():
                setattr(layer, field, value)
            user.drag(image, CLICK, (60, 60))  # the view
            user.look_at_all()
            assert "Create Prompt Layer" not in user.status
            user.click_at(image, CLICK)
            assert user.status == (
                f"⚠ “{layer.name}” {state}. Press Create Prompt Layer to go on with prompts."
            )
            assert not np.any(layer.data)

            user.click(f"tool_{tool}" if state == "is locked" else "create_prompt_layer")
            assert (layer.visible, layer.editable) == (True, True)
            assert layer.mode in ("add", "add_rectangle", "paint")
            assert "Create Prompt Layer" not in user.status
    user.click("tool_points")
    user.click_at(image, CLICK)
    assert len(points_of(user, image).data) == 1


def test_the_first_click_after_opening_the_widget_and_after_each_object_is_a_prompt(
    open_window, discs
):
    user = open_window(discs)
    image = user.viewer.layers["image"]

    user.click_at(image, CLICK)
    user.run()

    np.testing.assert_array_equal(user.preview, api.segment(discs, points=[CLICK]).labels)
    assert "SAM3 points" in user.viewer.layers.selection.active.name

    user.viewer.layers.selection.active = user.viewer.layers[PREVIEW]

    user.click("accept")
    user.click_at(image, (85, 110))
    user.run()

    np.testing.assert_array_equal(user.preview, api.segment(discs, points=[(85, 110)]).labels)

    # The next object begins with a positive point.
    user.click("accept")
    user.click_at(image, (85, 40))
    user.press(Qt.Key.Key_T)
    user.click_at(image, (85, 75))
    user.run()
    assert user.chosen("next_positive") == ["Negative"]

    user.click("accept")
    assert user.chosen("next_positive") == ["Positive"]
    user.click_at(image, (30, 110))
    assert list(points_of(user, image).features["polarity"]) == ["positive"]

    user.press(Qt.Key.Key_T)
    points = points_of(user, image)
    points.selected_data = {0}
    points.remove_selected()
    assert user.chosen("next_positive") == ["Positive"]
    user.press(Qt.Key.Key_T)
    user.click_at(image, (85, 75))
    assert list(points.features["polarity"]) == ["negative"]
    user.undo()
    assert user.chosen("next_positive") == ["Positive"]
