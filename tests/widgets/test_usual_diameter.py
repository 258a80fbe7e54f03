"""The usual diameter in the window: where it is shown, and that the layer makes its pixels."""

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QLineEdit

from napari_sam3_assistant import api

SIDE = 0.25  # micrometre
PREVIEW = "SAM3 preview labels"


@pytest.fixture(scope="module")
def by_pixels(specked_cells):
    """What is found where the diameter is told in pixels; something else is without it."""
    found = api.segment(specked_cells, everything=True, diameter=30).labels
    assert (found != api.segment(specked_cells, everything=True).labels).any()
    return found


def line(user):
    (shown,) = (one for one in user.widget.findChildren(QLineEdit, "diameter") if one.isVisible())
    return shown


def tell(user, text):
    line(user).clear()
    QTest.keyClicks(line(user), text)


def on_layer(user, **place):
    """Give the image layer another place."""
    layer = user.viewer.layers[0]
    for name, value in place.items():
        setattr(layer, name, value)
    user.settle()


@pytest.mark.parametrize(
    ("told", "place"),
    [
        ("30", {}),
        ("7.5 um", {"scale": (SIDE, SIDE), "units": ("um", "um")}),
        ("7500 nm", {"scale": (SIDE, SIDE), "units": ("um", "um"), "rotate": 30}),
        ("7.5 µm", {"scale": (2 * SIDE, SIDE / 2), "units": ("um", "um")}),
        ("0.0075 mm", {"scale": (1000 * SIDE, 1000 * SIDE), "units": ("nm", "nm")}),
    ],
)
def test_the_window_finds_what_the_api_finds(open_window, specked_cells, by_pixels, told, place):
    user = open_window(specked_cells)
    on_layer(user, **place)
    user.choose("everything")
    tell(user, told)
    user.run()
    np.testing.assert_array_equal(np.squeeze(user.preview), by_pixels)
    assert ("is 30 pixels here" in user.status) == bool(place)


def test_a_phrase_takes_the_line_unless_it_tells_one_itself(open_window, specked_cells):
    user = open_window(specked_cells)
    on_layer(user, scale=(SIDE, SIDE), units=("um", "um"))
    user.choose("text_segmentation")
    tell(user, "7.5 um")
    user.type_phrase("bright cells")
    user.wait_for_end()
    expected = api.segment(specked_cells, text="bright cells", diameter=30).labels
    np.testing.assert_array_equal(np.squeeze(user.preview), expected)
    # What the phrase tells comes first.
    tell(user, "3 um")
    user.type_phrase("bright cells 7.5 um")
    user.wait_for_end()
    np.testing.assert_array_equal(np.squeeze(user.preview), expected)


def test_it_is_shown_where_it_is_of_use_and_tells_what_it_can_not_take(open_window, specked_cells):
    user = open_window(specked_cells)
    every = user.widget.findChildren(QLineEdit, "diameter")
    assert not any(one.isVisible() for one in every)
    user.choose("everything")
    assert line(user).isVisible()

    tell(user, "large")
    assert not user.button("run_preview").isEnabled()
    assert "12 µm" in user.button("run_preview").toolTip()
    user.choose("2d_segmentation", "points")
    assert "12 µm" not in user.button("run_preview").toolTip()

    user.choose("everything")
    tell(user, "12 um")
    QTest.keyClick(line(user), Qt.Key.Key_Return)
    user.wait_for_end()
    assert "size of a pixel" in user.status
    assert user.preview is None


def test_each_image_of_a_batch_has_pixels_of_its_own(open_window, specked_cells, by_pixels):
    user = open_window(specked_cells)
    on_layer(user, scale=(SIDE, SIDE), units=("um", "um"))
    levels = [specked_cells, specked_cells[::2, ::2]]
    user.viewer.add_image(
        levels, multiscale=True, name="pyramid", scale=(2 * SIDE, 2 * SIDE), units=("um", "um")
    )
    user.viewer.layers.selection.active = user.viewer.layers["pyramid"]
    user.settle()
    user.choose("everything")
    tell(user, "15 um")
    user.run()
    np.testing.assert_array_equal(np.squeeze(user.preview), by_pixels)

    user.click("mode_advanced")
    user.find(QAbstractButton, "batch_images").click()
    user.click("run_preview")
    user.wait_for_end()
    found = {
        layer.metadata["sam3_image"]: layer.data
        for layer in user.viewer.layers
        if layer.name.startswith(PREVIEW)
    }
    assert len(found) == 2
    same = [np.array_equal(np.squeeze(labels), by_pixels) for labels in found.values()]
    # Of the first image 15 um are 60 pixels.
    assert sorted(same) == [False, True]
