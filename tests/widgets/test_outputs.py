"""What a run leaves in the viewer: layers, their features and what they say of themselves."""

import numpy as np
import tifffile
from qtpy.QtWidgets import QFileDialog

LABELS, BOXES, SAVED = "SAM3 preview labels", "SAM3 preview boxes", "SAM3 saved labels"


def find_all(user, discs):
    user.viewer.add_image(discs, name="cells", scale=(0.5, 0.5), units=("um", "um"))
    user.choose("text_segmentation")
    user.type_phrase("bright objects")
    user.wait_for_end()
    return user.viewer.layers[LABELS]


def test_rows_boxes_a_file_and_a_saved_layer_of_what_was_found(user, discs, tmp_path, monkeypatch):
    labels = find_all(user, discs)

    rows = labels.features
    ids = np.unique(labels.data)[1:]
    assert len(ids) >= 4
    np.testing.assert_array_equal(rows["index"], ids)
    np.testing.assert_array_equal(rows["area"], np.bincount(labels.data.ravel())[1:])
    assert rows["score"].between(0.35, 1).all()
    assert set(rows["prompt"]) == {"bright objects"}
    assert set(rows["engine"]) == {"Built-in (no SAM 3 weights)"}
    made_by = labels.metadata["sam3_engine"]
    assert made_by["engine"] == "builtin"
    assert made_by["device"] == "cpu"
    assert made_by["threshold"] == 0.35
    assert labels.metadata["source_image_layer"] == "cells"
    assert labels.data.dtype == np.uint32
    assert "Built-in" in user.status

    boxes = user.viewer.layers[BOXES]

    np.testing.assert_array_equal(boxes.features["object_id"], labels.features["index"])
    for number, corners in zip(boxes.features["object_id"], boxes.data, strict=True):
        pixels = np.argwhere(labels.data == number)
        np.testing.assert_allclose(corners.min(axis=0), pixels.min(axis=0) - 0.5)
        np.testing.assert_allclose(corners.max(axis=0), pixels.max(axis=0) + 0.5)
    np.testing.assert_array_equal(boxes.scale, labels.scale)
    assert boxes.units == labels.units

    # The system's dialog is not ours to test; this is what it answers.
    chosen = (str(tmp_path / "cells"), "TIFF (*.tif *.tiff)")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: chosen)

    user.click("save_file")
    user.wait(lambda: user.status.startswith("✓ Saved "))

    np.testing.assert_array_equal(tifffile.imread(tmp_path / "cells.tif"), labels.data)

    # An image that was moved takes its preview along.
    image = user.viewer.layers["cells"]
    image.scale, image.translate, image.rotate, image.units = (2, 3), (7, 8), 30, ("nm", "nm")

    user.run()

    for name in (LABELS, BOXES):
        layer = user.viewer.layers[name]
        for pixel in ((0, 0), (119, 0), (0, 149)):
            np.testing.assert_allclose(layer.data_to_world(pixel), image.data_to_world(pixel))
        assert layer.units == image.units

    labels = user.viewer.layers[LABELS].data.copy()
    user.click("save")
    assert user.status == "✓ Saved as layer “SAM3 saved labels”."

    user.click("clear_preview")

    assert not user.has(LABELS)
    np.testing.assert_array_equal(user.viewer.layers[SAVED].data, labels)
    assert len(user.viewer.layers[SAVED].features) == labels.max()
    assert user.results == "No preview result yet."

    # No objects are said, and the old preview goes.
    user.run()
    assert user.has(LABELS)
    user.viewer.layers["cells"].data = np.full_like(discs, 90)

    user.run()

    assert user.status.startswith("⚠ No objects found ")
    assert user.results == "No objects found."
    assert not user.has(LABELS)
    assert len(user.viewer.layers[BOXES].data) == 0
    assert not user.button("save").isEnabled()


def test_only_what_changed_is_written_into_the_same_array(user, discs):
    user.viewer.add_image(discs, name="cells")
    user.choose("2d_segmentation", "points")
    user.viewer.layers["SAM3 points"].add((30, 40))
    user.run()
    layer, array = user.viewer.layers[LABELS], user.viewer.layers[LABELS].data

    user.viewer.layers["SAM3 points"].add((85, 40))
    user.run()

    assert user.viewer.layers[LABELS] is layer
    assert layer.data is array
    assert array[85, 40] == 1

    # A renamed preview is still the preview.
    layer.name = "mine"
    user.viewer.layers["SAM3 points"].name = "clicks"
    user.viewer.layers["clicks"].add((30, 110))
    user.run()
    assert user.viewer.layers["mine"].data[30, 110] == 1
    assert not user.has(LABELS)
    assert not user.has("SAM3 points")


def test_run_and_clear_again_and_again_in_a_window(open_window, discs):
    """Deleting a Shapes layer and drawing on ended the process here (napari/napari#8471)."""
    user = open_window(discs)
    user.choose("text_segmentation")
    for _ in range(3):
        user.type_phrase("bright objects")
        user.wait_for_end()
        user.settle()
        assert len(user.viewer.layers[BOXES].data) == user.preview.max()
        user.click("clear_preview")
        user.settle()
        assert len(user.viewer.layers[BOXES].data) == 0


def test_a_result_leaves_the_sliders_where_they_are(user, discs):
    """In a viewer with sliders: a layer of other units stretches them for a moment."""
    stack = np.zeros((24, *discs.shape), discs.dtype)
    stack[12] = discs
    user.viewer.add_image(stack, name="cells", scale=(2, 0.5, 0.5), units=("um",) * 3)
    user.viewer.dims.set_point(0, 24.0)
    user.choose("text_segmentation")
    user.type_phrase("bright objects")
    user.wait_for_end()

    assert user.viewer.dims.point[0] == 24.0
    assert user.viewer.layers[LABELS].translate[0] == 24.0
