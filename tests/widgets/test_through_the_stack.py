"""From a slice to its stack: by a key from one object, or from several clicks, one each."""

import os

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QWidget
from superqt import QDoubleRangeSlider

from amounts import thorough
from napari_sam3_assistant.viewer.binding import find_binding

Key = Qt.Key
PREVIEW, ACCEPTED = "SAM3 preview labels", "SAM3 live accepted labels"
PROPAGATED, POINTS = "SAM3 propagated preview labels", "SAM3 points"
CENTRES = ((35, 40), (35, 110), (85, 75))


@pytest.fixture
def open_stack(open_window):
    """Open a window with three balls through eight slices, on slice 4."""
    z, y, x = np.ogrid[:8, :120, :150]
    stack = np.random.default_rng(0).normal(40, 3, (8, 120, 150))
    for (cy, cx), size in zip(CENTRES, (400, 400, 300), strict=True):
        stack[((z - 4) * 4) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 < size] += 140

    def open_it(mode):
        user = open_window(stack.clip(0, 255).astype(np.uint8))
        user.click(f"mode_{mode}")
        user.widget = user.widget.findChild(QWidget, f"{mode}_panel") or user.widget
        user.viewer.dims.set_current_step(0, 4)
        user.look_at_all()
        return user

    return open_it


def look(user, name):
    """Leave a picture of the window for who wants to look at it."""
    folder = os.environ.get("SAM3_PICTURES")
    if folder:
        user.settle()
        user.window.grab().save(f"{folder}/{name}.png")


@pytest.mark.parametrize("mode", ["simple", thorough("advanced")])
def test_one_press_from_a_found_and_from_an_accepted_object(open_stack, mode):
    user = open_stack(mode)
    image = user.viewer.layers["image"]
    assert not user.button("follow").isVisible()
    user.click_at(image, (4, *CENTRES[0]))
    user.wait(lambda: user.has(PREVIEW) and not user.is_running)
    assert user.button("follow").isVisible()
    mask = user.preview.squeeze() == 1
    look(user, f"follow_{mode}_before")

    user.press(Key.Key_G)
    user.wait_for_end()

    labels = np.asarray(user.viewer.layers[PROPAGATED].data)
    np.testing.assert_array_equal(labels[4] == 1, mask)
    assert [bool(plane.any()) for plane in labels] == [bool(abs(z - 4) < 5) for z in range(8)]
    assert user.button("propagate_existing").isVisible()
    assert user.button("propagate_existing").isEnabled()
    look(user, f"follow_{mode}_after")

    user.press(Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    user.wait(lambda: user.has(PREVIEW))
    if mode == "simple":
        user.choose("2d_segmentation")
    else:
        user.choose_in("task", "2D segmentation")
    user.click("accept")
    user.click("follow")
    user.wait_for_end()
    again = np.asarray(user.viewer.layers[PROPAGATED].data)
    np.testing.assert_array_equal(again, labels)


def test_of_several_objects_the_one_that_is_clicked(open_stack):
    user = open_stack("simple")
    user.choose("text_segmentation")
    user.type_phrase("bright")
    user.wait_for_end()
    masks = user.preview.squeeze().copy()
    user.press(Key.Key_G)
    assert user.status == "Click on the object to follow through the stack."
    user.click_at(user.viewer.layers["image"], (4, *CENTRES[1]))
    user.wait_for_end()
    labels = np.asarray(user.viewer.layers[PROPAGATED].data)
    np.testing.assert_array_equal(labels[4] == 1, masks == masks[CENTRES[1]])
    assert set(np.unique(user.preview)) == {0, masks[CENTRES[0]], masks[CENTRES[2]]}


@pytest.mark.parametrize("mode", [thorough("simple"), "advanced"])
def test_each_positive_click_is_followed_by_itself(open_stack, mode):
    user = open_stack(mode)
    image = user.viewer.layers["image"]
    if mode == "simple":
        user.choose("3d_video_propagation")
    else:
        user.choose_in("task", "3D/video propagation")
    user.click("each_click")
    for centre in CENTRES:
        user.click_at(image, (4, *centre))
    points = user.viewer.layers[POINTS]
    assert list(points.features["object_id"]) == [1, 2, 3]
    user.press(Key.Key_T)
    user.click_at(image, (4, 60, 75))
    user.press(Key.Key_T)
    assert list(points.features["object_id"]) == [1, 2, 3, 3], "off the latest object"

    user.run()

    labels = np.array(user.viewer.layers[PROPAGATED].data)
    assert [labels[(4, *centre)] for centre in CENTRES] == [1, 2, 3]
    assert "Propagated: 3 objects on 8 frames" in user.status
    user.click_at(image, (4, 37, 42))
    assert "This click corrects object 1." in user.status
    assert list(points.features["object_id"])[-1] == 1
    look(user, f"each_{mode}")

    slider = user.widget.findChild(QDoubleRangeSlider, "filter_area")
    count = user.widget.findChild(QLabel, "shown_count")
    user.wait(lambda: count.text() == "3 of 3 shown")
    slider.setValue((np.count_nonzero(labels == 3) + 1, slider.value()[1]))
    user.wait(lambda: count.text() == "2 of 3 shown")
    layer = user.viewer.layers[PROPAGATED]
    assert np.array_equal(np.asarray(layer.data), np.where(labels == 3, 0, labels))
    look(user, f"each_{mode}_filtered")
    user.click("show_all")
    user.wait(lambda: count.text().startswith("3 of 3"))
    assert np.array_equal(layer.data, labels)

    if mode == "simple":
        user.press(Key.Key_K)
    else:
        user.click("accept_all")
    user.wait_for_end()
    assert np.array_equal(user.viewer.layers[ACCEPTED].data, labels)
    assert len(points.data) == 0
    look(user, f"each_{mode}_accepted")


def test_in_3d_video_keys_choose_what_the_click_means_before_it_is_followed(open_window):
    y, x = np.ogrid[:120, :150]
    away = (y - 60) ** 2 + (x - 75) ** 2
    plane = np.random.default_rng(0).normal(30, 2, (120, 150))
    plane[away < 36**2] += 70
    plane[away < 14**2] += 80
    user = open_window(np.stack([plane.clip(0, 255).astype(np.uint8)] * 3))
    user.click("mode_simple")
    user.choose("3d_video_propagation", "points")
    user.viewer.dims.set_current_step(0, 1)
    user.look_at_all()
    user.click_at(user.viewer.layers["image"], (1, 60, 75))
    assert not user.has(PREVIEW)

    user.press(Key.Key_Comma)
    user.wait(lambda: user.has(PREVIEW) and not user.is_running)
    look(user, "candidates_3d")
    assert user.status.startswith("This is what the click means most likely.")
    candidates = find_binding(user.viewer).model.preview.segmentation.candidates
    areas = sorted({one.area for one in candidates})
    assert len(areas) > 1
    for _ in areas:
        user.press(Key.Key_Comma)
    assert np.count_nonzero(user.preview) == areas[0]
    user.press(Key.Key_Period)
    assert np.count_nonzero(user.preview) == areas[1]
    user.click("run_preview")
    user.wait_for_end()

    labels = np.asarray(user.viewer.layers[PROPAGATED].data)
    assert np.count_nonzero(labels[1]) == areas[1]
    assert labels.any((1, 2)).all()
    look(user, "candidates_3d_followed")
