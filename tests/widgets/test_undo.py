"""Prompts, runs and acceptances are taken back and done again, by keys and by buttons."""

import numpy as np

from napari_sam3_assistant import api

POINTS, ACCEPTED = "SAM3 points", "SAM3 live accepted labels"


def points_of(user):
    return user.viewer.layers[POINTS].data.round().astype(int).tolist()


def test_keys_on_the_canvas_over_several_levels_and_with_the_prompt_layer_deleted(
    open_window, discs
):
    user = open_window(discs)
    image = user.viewer.layers["image"]
    user.choose("2d_segmentation", "points")
    user.click("live")  # on a slow machine a run of its own comes before the press, and is a step
    user.click_at(image, (30, 40))
    user.run()
    first = user.preview.copy()
    user.click_at(image, (85, 110))
    user.run()
    second = user.preview.copy()
    assert not np.array_equal(first, second)

    user.undo()
    np.testing.assert_array_equal(user.preview, first)
    assert points_of(user) == [[30, 40], [85, 110]]
    user.undo()
    assert points_of(user) == [[30, 40]]
    np.testing.assert_array_equal(user.preview, first)
    user.undo()
    assert user.preview is None
    assert points_of(user) == [[30, 40]]
    user.undo()
    assert points_of(user) == []
    assert not user.button("undo").isEnabled()

    for _ in range(4):
        user.redo()
    assert points_of(user) == [[30, 40], [85, 110]]
    np.testing.assert_array_equal(user.preview, second)
    assert not user.button("redo").isEnabled()

    # With the prompt layer deleted the steps are still there.
    user.viewer.layers.remove(POINTS)
    for _ in range(3):
        user.undo()
    for _ in range(3):
        user.redo()
    np.testing.assert_array_equal(user.preview, second)

    # A new prompt ends what could be redone.
    user.undo()
    user.undo()
    assert user.button("redo").isEnabled()
    user.choose("2d_segmentation", "points")
    user.click_at(image, (30, 110))
    assert not user.button("redo").isEnabled()
    assert points_of(user) == [[30, 110]], "in a new layer"


def test_buttons_take_back_a_box_and_keys_a_stroke_in_one_step(open_window, discs):
    user = open_window(discs)
    image = user.viewer.layers["image"]
    user.choose("2d_segmentation", "box")
    user.click("live")
    user.drag(image, (10, 20), (30, 40), (50, 60))
    drawn = np.array(user.viewer.layers["SAM3 boxes"].data[0])
    user.run()

    user.click("undo")
    assert user.preview is None
    user.click("undo")
    assert len(user.viewer.layers["SAM3 boxes"].data) == 0
    assert not user.button("undo").isEnabled()

    user.click("redo")
    np.testing.assert_allclose(user.viewer.layers["SAM3 boxes"].data[0], drawn)
    user.click("redo")
    # A mouse draws between pixels, and pixel 0 begins half a pixel before its centre.
    box = tuple(np.round([*drawn.min(axis=0) + 0.5, *drawn.max(axis=0) + 0.5], 6).tolist())
    np.testing.assert_array_equal(user.preview, api.segment(discs, boxes=[box]).labels)

    user.choose("2d_segmentation", "mask")
    painted = user.viewer.layers["SAM3 mask prompt"]
    painted.brush_size = 10
    user.drag(painted, (30, 35), (30, 40), (30, 45))
    one_stroke = painted.data.copy()
    user.drag(painted, (35, 35), (35, 40), (35, 45))
    two_strokes = painted.data.copy()

    user.undo()
    np.testing.assert_array_equal(painted.data, one_stroke)
    user.undo()
    assert not painted.data.any()
    user.redo()
    user.redo()
    np.testing.assert_array_equal(painted.data, two_strokes)


def test_after_accept(open_window, discs):
    user = open_window(discs)
    image = user.viewer.layers["image"]
    user.choose("refinement")
    user.click_at(image, (30, 40))
    user.wait(lambda: user.status.startswith("✓ Preview ready"))
    found = user.preview.copy()
    user.click("accept")
    accepted = user.viewer.layers[ACCEPTED]

    user.undo()
    assert user.status == "The last step is taken back."
    assert not accepted.data.any()
    assert points_of(user) == [[30, 40]]
    np.testing.assert_array_equal(user.preview, found)

    user.redo()
    assert user.status == "The step is done again."
    np.testing.assert_array_equal(accepted.data, found)
    assert points_of(user) == []
    assert user.preview is None

    user.undo()
    user.undo()
    assert points_of(user) == []
    assert not accepted.data.any()
