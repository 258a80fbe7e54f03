"""Large-image local inference: version 4's section, step by step."""

import numpy as np
import pytest
import zarr
from qtpy.QtWidgets import QPlainTextEdit
from skimage.draw import disk

from napari_sam3_assistant import api

PREVIEW, BOXES, ROI = "SAM3 preview labels", "SAM3 preview boxes", "SAM3 active ROI"
CENTRES = ((300, 400), (1000, 1300), (1100, 1400))


@pytest.fixture
def plane():
    """Three discs of radius 40 in 1500 x 2000 pixels."""
    image = np.full((1500, 2000), 50, np.uint8)
    for centre in CENTRES:
        image[disk(centre, 40)] = 200
    return image


def switch_on(user, size="512 x 512"):
    user.button("large_image").click()
    user.choose_in("roi_size", size)


def log(user):
    return [
        line[10:]
        for line in user.widget.findChild(QPlainTextEdit, "log").toPlainText().splitlines()
    ]


def click(user, pixel):
    user.viewer.layers["SAM3 points"].add(pixel)


def outline(layer):
    corners = layer.data[0]
    return tuple(corners.min(axis=0)) + tuple(corners.max(axis=0))


def test_a_point_is_segmented_in_its_region_of_a_size_that_is_chosen(advanced, plane):
    user = advanced.user
    user.viewer.add_image(plane, name="image", scale=(0.5, 0.5))
    user.click("create_prompt_layer")
    combo = user.combo("roi_size")
    assert not combo.isVisibleTo(user.widget)

    user.button("large_image").click()

    assert combo.isVisibleTo(user.widget)
    assert combo.currentText() == "1024 x 1024"
    assert [combo.itemText(at) for at in range(combo.count())] == [
        f"{side} x {side}" for side in (512, 1024, 2048, 4096, 8192)
    ]
    user.choose_in("roi_size", "512 x 512")
    click(user, CENTRES[1])

    user.run()

    layer = user.viewer.layers[PREVIEW]
    assert layer.data.shape == (512, 512)
    expected = api.segment(plane[744:1256, 1044:1556], points=[(256, 256)]).labels
    np.testing.assert_array_equal(layer.data, expected)
    np.testing.assert_allclose(layer.translate, (744 / 2, 1044 / 2))
    assert layer.get_value(np.array(CENTRES[1]) / 2, world=True) == 1
    assert outline(user.viewer.layers[ROI]) == (743.5, 1043.5, 1255.5, 1555.5)
    assert list(user.viewer.layers[ROI].features["source"]) == ["image"]
    user.button("large_image").click()
    assert len(user.viewer.layers[ROI].data) == 0
    said = log(user)
    assert "Large-image mode ON: local ROI inference (512 x 512)." in said
    assert "Active ROI bounds: y=744:1256, x=1044:1556." in said


def test_a_region_is_reused_while_it_holds_the_prompt_and_results_of_several_stand_side_by_side(
    advanced, plane
):
    user = advanced.user
    user.viewer.add_image(plane, name="image")
    user.click("create_prompt_layer")
    switch_on(user)
    click(user, CENTRES[1])
    user.run()
    first = outline(user.viewer.layers[ROI])

    click(user, CENTRES[2])
    user.run()
    assert outline(user.viewer.layers[ROI]) == first
    assert user.viewer.layers[PREVIEW].metadata["source_image_layer"] == "image"
    assert f"{PREVIEW} [1]" not in user.viewer.layers

    click(user, CENTRES[0])
    user.run()
    assert outline(user.viewer.layers[ROI]) == (43.5, 143.5, 555.5, 655.5)

    second = f"{PREVIEW} [y=44:556, x=144:656]"
    assert user.viewer.layers[PREVIEW].get_value(CENTRES[1], world=True) == 1
    assert user.viewer.layers[second].get_value(CENTRES[0], world=True) == 1
    assert len(advanced.cells()) == 2
    user.click("save")
    assert user.has("SAM3 saved labels")
    assert user.has("SAM3 saved labels [y=44:556, x=144:656]")

    user.click("undo")
    assert not user.has(second)
    assert user.has(PREVIEW)
    user.click("redo")
    user.viewer.layers.remove(PREVIEW)
    assert user.has(second)
    user.wait(lambda: len(advanced.cells()) == 1)
    user.click("accept")
    accepted = user.viewer.layers["SAM3 live accepted labels"]
    assert accepted.data[CENTRES[0]] == 1
    assert accepted.data[CENTRES[1]] == 0


def test_a_phrase_is_looked_for_round_a_point_and_a_large_box_makes_the_region_grow(
    advanced, plane
):
    user = advanced.user
    user.viewer.add_image(plane, name="image")
    switch_on(user)
    user.choose_in("task", "Text segmentation")
    user.type_phrase("bright objects")
    user.wait_for_end()

    assert user.viewer.layers[PREVIEW].data.shape == plane.shape
    assert any("no point or box ROI anchor was found" in line for line in log(user))
    user.button("large_image").click()
    assert log(user)[-1] == "Large-image mode OFF: full-image inference."
    assert not user.has(ROI)

    # The seed: “keep the full-image path unless a point or box anchor is also available”.
    user.click("clear_preview")
    user.viewer.add_points([(300, 400), (1100, 1400)], name="where")
    user.button("large_image").click()
    user.choose_in("points_layer", "where")
    user.type_phrase("bright objects")
    user.wait_for_end()

    labels = user.viewer.layers[PREVIEW]
    np.testing.assert_array_equal(labels.translate, (844, 1144))
    expected = api.segment(plane[844:1356, 1144:1656], text="bright objects").labels
    np.testing.assert_array_equal(labels.data, expected)
    assert "from “bright objects”." in user.status

    # A box that is larger than the region makes it grow.
    user.click("clear_preview")
    user.choose_in("task", "2D segmentation")
    user.choose_in("tool", "Box")
    user.click("create_prompt_layer")
    user.viewer.layers["SAM3 boxes"].add_rectangles(np.array([(900, 1000), (1200, 1600)]))
    user.run()
    assert user.viewer.layers[PREVIEW].data.shape == (512, 601)


def test_a_batch_frames_the_region_of_each_image(advanced, plane):
    user = advanced.user
    user.viewer.add_image(plane, name="image")
    user.viewer.add_image(plane, name="moved", translate=(0, 1000), scale=(2, 2))
    user.choose_in("image", "image")
    user.choose_in("tool", "Box")
    user.click("create_prompt_layer")
    user.viewer.layers["SAM3 boxes"].add_rectangles(np.array([(940, 1240), (1060, 1360)]))
    switch_on(user)
    user.button("batch_images").click()

    user.run()

    frames = [layer for layer in user.viewer.layers if layer.name.startswith(ROI)]
    assert sorted(str(layer.features["source"][0]) for layer in frames) == ["image", "moved"]
    for layer in frames:
        (corners,) = layer.data
        corner = user.viewer.layers[layer.features["source"][0]].data_to_world(corners[0])
        np.testing.assert_allclose(layer.data_to_world(corners[0]), corner)
    # The next run on one image has one frame, and one that names no place has none.
    user.button("batch_images").click()
    user.run()
    assert sum(len(layer.data) for layer in frames) == 1
    user.viewer.layers["SAM3 boxes"].data = []
    user.choose_in("task", "Text segmentation")
    user.type_phrase("bright objects")
    user.wait_for_end()
    assert sum(len(layer.data) for layer in frames) == 0


# napari before 0.7 draws large images smaller, and says so.
@pytest.mark.filterwarnings("ignore:data shape .* exceeds GL_MAX_TEXTURE_SIZE:UserWarning")
def test_live_points_on_20000_pixels_read_only_the_region(advanced, tmp_path, monkeypatch):
    user = advanced.user
    store = zarr.create_array(
        tmp_path / "huge.zarr", shape=(20_000, 20_000), chunks=(512, 512), dtype="uint8"
    )
    around = np.full((1024, 1024), 50, np.uint8)
    around[disk((512, 512), 40)] = 200
    store[10_000:11_024, 15_000:16_024] = around
    user.viewer.add_image(store, name="huge", contrast_limits=(0, 255), multiscale=False)
    user.choose_in("task", "Live Points (positive/negative)")
    user.click("create_prompt_layer")
    switch_on(user, "1024 x 1024")
    regions = []
    from napari_sam3_assistant.core.images import ImageSource

    read = ImageSource.read
    monkeypatch.setattr(
        ImageSource,
        "read",
        lambda source, plane, region=None: regions.append(region) or read(source, plane, region),
    )

    click(user, (10_512, 15_512))
    user.wait(lambda: user.has(PREVIEW))

    layer = user.viewer.layers[PREVIEW]
    assert layer.data.shape == (1024, 1024)
    np.testing.assert_array_equal(layer.translate, (10_000, 15_000))
    assert layer.get_value((10_512, 15_512), world=True) == 1
    assert regions
    assert all(region is not None and max(region.shape) <= 1024 for region in regions)
