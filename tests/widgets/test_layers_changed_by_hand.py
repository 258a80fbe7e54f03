"""Layers that the user copies in napari, or gives other pixels."""

import numpy as np
import pytest
from napari.layers import Layer

from napari_sam3_assistant import api

PREVIEW, ACCEPTED = "SAM3 preview labels", "SAM3 live accepted labels"
POINTS, BOXES = "SAM3 points", "SAM3 boxes"
CLICK, OTHER = (30, 40), (85, 110)


@pytest.fixture
def found(user, discs):
    """A user who has found the object at a click."""
    user.viewer.add_image(discs, name="image")
    user.choose("2d_segmentation", "points")
    user.viewer.layers[POINTS].add(CLICK)
    user.run()
    return user


def copy(user, name):
    """Copy a layer, as Duplicate Layer in napari's list does: the metadata come along."""
    layer = user.viewer.layers[name]
    data, state, kind = layer.as_layer_data_tuple()
    return user.viewer.add_layer(
        Layer.create(data.copy() if kind == "labels" else data, {**state, "name": "mine"}, kind)
    )


def test_copies_are_the_users(found):
    preview, points = copy(found, PREVIEW), copy(found, POINTS)
    kept = preview.data.copy()
    found.viewer.layers[POINTS].add(OTHER)
    found.run()
    assert found.preview[OTHER] == 1
    assert found.status.endswith("from 2 points.")
    found.click("accept")
    assert len(found.viewer.layers[POINTS].data) == 0
    assert preview in found.viewer.layers
    np.testing.assert_array_equal(preview.data, kept)
    np.testing.assert_array_equal(points.data, [CLICK])

    accepted = copy(found, ACCEPTED)
    before = np.unique(accepted.data).tolist()
    found.viewer.layers[POINTS].add((30, 110))
    found.run()
    found.click("accept")
    assert np.unique(found.viewer.layers[ACCEPTED].data).tolist() == [*before, before[-1] + 1]
    assert np.unique(accepted.data).tolist() == before


def test_a_preview_that_was_painted_on_is_accepted_as_it_is_on_show(found):
    labels = found.viewer.layers[PREVIEW]
    labels.data[CLICK] = 0
    labels.data[60:70, 5:9] = 1
    labels.data[100:110, 60:80] = 7
    labels.data[100:110, 20:40] = 2**32 - 1
    shown = labels.data.copy()

    found.click("accept")

    accepted = found.viewer.layers[ACCEPTED].data
    for number, value in enumerate((1, 7, 2**32 - 1), 1):
        np.testing.assert_array_equal(accepted == number, shown == value)
    assert found.status.startswith("✓ Accepted: objects 1, 2, 3.")


def test_an_image_of_another_shape_has_no_preview_yet(found, discs):
    for shape in ((60, 70), (3, 120, 150)):
        found.viewer.layers["image"].data = np.zeros(shape, np.uint8)

        assert not found.has(PREVIEW)
        assert found.status == (
            "⚠ “image” has another shape now; earlier results do not fit it. Run again."
        )
        assert found.results == "No preview result yet."
        found.click("undo")
        found.click("redo")
        assert not found.has(PREVIEW)
        if shape == (60, 70):
            found.viewer.layers["image"].data = discs
            found.run()
            assert found.preview[CLICK] == 1


def test_what_is_accepted_on_an_image_of_another_shape(found, discs):
    found.click("accept")
    larger = np.pad(discs, ((0, 100), (0, 100)))
    found.viewer.layers["image"].data = larger

    found.viewer.layers[POINTS].add(OTHER)
    found.run()
    found.click("accept")

    before, now = (layer for layer in found.viewer.layers if layer.name.startswith(ACCEPTED))
    assert before.data.shape == discs.shape
    assert before.data[CLICK] == 1
    np.testing.assert_array_equal(now.data, api.segment(larger, points=[OTHER]).labels)
    found.click("undo")
    assert not now.data.any()
    assert before.data[CLICK] == 1


def test_accepted_labels_of_another_shape(found):
    found.click("accept")
    found.viewer.layers[ACCEPTED].data = np.zeros((5, 5), np.uint32)

    found.click("undo")
    assert found.preview[CLICK] == 1
    found.click("accept")

    assert found.viewer.layers[ACCEPTED].data.shape == (5, 5)
    assert found.viewer.layers[f"{ACCEPTED} [1]"].data[CLICK] == 1


def test_a_painted_mask_of_another_type_or_shape(user, discs):
    user.viewer.add_image(discs, name="image")
    user.choose("2d_segmentation", "mask")
    painted = user.viewer.layers["SAM3 mask prompt"]
    for other in (np.zeros((120, 150), np.int32), np.zeros((9, 9), np.uint8)):
        with painted.block_history():  # a stroke, as the brush makes it
            painted.data_setitem((np.array([30, 31]), np.array([40, 41])), 1)
        stroke = painted.data.copy()

        painted.data = other.copy()
        user.click("undo")

        fits = other.shape == stroke.shape
        np.testing.assert_array_equal(painted.data, stroke if fits else other)
        assert user.button("redo").isEnabled()
