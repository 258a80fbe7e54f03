"""Clicks hit the right pixels, and results lie on them, however the image is placed and stored."""

import dask.array as da
import numpy as np
import pytest
import tifffile
from qtpy.QtCore import Qt

from amounts import thorough
from napari_sam3_assistant import api

AFFINE = [[1, 0.2, 3], [0.1, 0.9, -4], [0, 0, 1]]
PLACES = {
    "scaled and moved": {"scale": (0.5, 0.25), "translate": (100, -20)},
    "rotated": {"rotate": 30, "scale": (2, 2)},
    "sheared": {"shear": [0.4]},
    "all": {
        "scale": (0.5, 2.0), "translate": (100, -20), "rotate": 30, "shear": [0.4],
        "affine": AFFINE, "units": ("um", "um"), "axis_labels": ("y", "x"),
    },
}  # fmt: skip
CLICK = (30, 110)


def assert_same_place(layer, image):
    """The two layers' pixels lie on each other."""
    for pixel in ((0, 0), (119, 0), (0, 149), CLICK):
        np.testing.assert_allclose(layer.data_to_world(pixel), image.data_to_world(pixel))
    assert layer.units == image.units
    assert layer.axis_labels == image.axis_labels


# “all” has each of them; tests/viewer places layers in each way without a window.
@pytest.mark.parametrize("name", [*(thorough(name) for name in PLACES if name != "all"), "all"])
def test_a_click_and_a_box_on_a_placed_image(open_window, discs, name):
    user = open_window(discs, **PLACES[name])
    image = user.viewer.layers["image"]

    user.choose("2d_segmentation", "points")
    user.click_at(image, CLICK)
    user.run()
    np.testing.assert_array_equal(user.preview, api.segment(discs, points=[CLICK]).labels)
    preview = user.viewer.layers["SAM3 preview labels"]
    assert_same_place(preview, image)
    assert preview.get_value(image.data_to_world(CLICK), world=True) == 1

    user.click("tool_box")
    user.drag(image, (66, 22), (90, 40), (104, 58))
    user.run()
    assert user.preview[85, 40] == 2
    assert user.preview[CLICK] == 1
    assert_same_place(user.viewer.layers["SAM3 boxes"], image)
    assert_same_place(user.viewer.layers["SAM3 preview boxes"], image)


def test_a_plane_of_a_four_dimensional_stack(open_window, discs):
    stack = np.full((2, 3, *discs.shape), 50, np.uint8)
    stack[1, 2] = discs
    user = open_window(stack, scale=(10, 5, 0.5, 0.5), translate=(0, 7, 100, 200))
    image, dims = user.viewer.layers["image"], user.viewer.dims
    dims.set_current_step(0, 1)
    dims.set_current_step(1, 2)
    user.settle()
    assert user.text_of("image_summary") == "120 x 150, t = 1, z = 2"

    user.choose("2d_segmentation", "points")
    user.click_at(image, (1, 2, *CLICK))
    user.run()

    expected = api.segment(stack, points=[CLICK], plane=(1, 2)).labels
    np.testing.assert_array_equal(user.preview.squeeze(), expected)
    preview = user.viewer.layers["SAM3 preview labels"]
    assert preview.get_value(image.data_to_world((1, 2, *CLICK)), world=True) == 1

    dims.set_current_step(1, 1)
    user.settle()
    assert not preview.get_value(image.data_to_world((1, 1, *CLICK)), world=True)
    assert not user.button("run_preview").isEnabled()
    assert "on another slice" in user.button("run_preview").toolTip()
    dims.set_current_step(1, 2)
    user.settle()
    assert user.button("run_preview").isEnabled()


def test_a_painted_mask_counts_on_its_slice(open_window, discs):
    user = open_window(np.stack([np.full_like(discs, 50), discs, discs]))
    user.viewer.dims.set_current_step(0, 1)

    user.choose("2d_segmentation", "mask")
    painted = user.viewer.layers["SAM3 mask prompt"]
    painted.brush_size = 16
    user.drag(painted, (0, 80, 35), (0, 85, 42), (0, 90, 44))
    user.run()
    assert user.preview.squeeze()[85, 42] == 1

    user.viewer.dims.set_current_step(0, 2)
    user.settle()
    assert not user.button("run_preview").isEnabled()


def layouts(discs):
    """The same picture in several layouts, with what the API must be told to read it."""
    dark = np.full_like(discs, 50)
    return {
        "rgb": (np.stack([discs] * 3, axis=-1), {"rgb": True}, {}),
        "multiscale": ([discs, discs[::2, ::2]], {"multiscale": True}, {}),
        "dask": (da.from_array(discs, chunks=(40, 50)), {}, {}),
        "channel axis by its label": (
            np.stack([dark, discs]),
            {"axis_labels": ("c", "y", "x")},
            {"channel_axis": 0, "channel": 1},
        ),
    }


def test_layouts(open_window, discs):
    user = open_window()
    for kind, (pixels, layer_options, read_as) in layouts(discs).items():
        image = user.viewer.add_image(pixels, name=kind, **layer_options)
        user.look_at_all()
        if "channel" in read_as:
            user.viewer.dims.set_current_step(0, read_as["channel"])
            user.settle()
            assert "channel 1" in user.text_of("image_summary")

        user.choose("2d_segmentation", "points")
        user.click_at(image, (0, *CLICK) if image.ndim == 3 else CLICK)
        user.run()

        expected = api.segment(pixels, points=[CLICK], **read_as).labels
        np.testing.assert_array_equal(user.preview, expected, kind)
        assert user.preview[CLICK] == 1, kind
        user.press(Qt.Key.Key_Escape)
        assert user.preview is None, kind


def test_points_of_ones_own_with_other_words_for_negative(user, discs):
    words = (("prompt", "background"), ("class", "0"), ("kind", " NEG "), ("label", 0))
    expected = api.segment(discs, points=[CLICK, (30, 40, False)]).labels
    for feature, word in words:
        user.viewer.layers.clear()
        user.viewer.add_image(discs, name="image")
        points = [CLICK, (30, 40)]
        user.viewer.add_points(points, name="SAM3 points", features={feature: ["fg", word]})

        user.click("tool_points")
        user.run()

        np.testing.assert_array_equal(user.preview, expected, word)
        assert user.status.endswith("from 2 points (1 negative).")


def test_the_pixel_size_that_napari_leaves_out_is_a_click_away(
    open_window, napari_reads, discs, tmp_path
):
    user = open_window()
    metadata = {"axes": "TYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite(tmp_path / "movie.ome.tif", np.stack([discs] * 3), metadata=metadata)
    (image,) = user.viewer.open(str(tmp_path / "movie.ome.tif"), plugin="napari")
    user.wait_till(lambda: user.button("use_axes").isVisible())
    assert user.text_of("image_summary") == "120 x 150, t = 1"
    assert user.text_of("axes_from_file") == "By its file: t, y and x 0.5 µm."
    user.choose("2d_segmentation", "points")
    user.click_at(image, (1, *CLICK))

    user.click("use_axes")
    user.click_at(image, (1, 85, 40))  # where that was before

    assert not user.button("use_axes").isVisible()
    user.run()
    points = user.viewer.layers["SAM3 points"]
    np.testing.assert_allclose(points.data, [(1, *CLICK), (1, 85, 40)], atol=1)
    assert_same_place(points, image)
    assert tuple(user.viewer.layers["SAM3 preview labels"].scale) == tuple(image.scale)
    user.click("take_axes_back")
    assert tuple(image.scale) == (1, 1, 1)
    assert_same_place(points, image)
