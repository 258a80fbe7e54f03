"""The same request through the API, the command line and the widget gives equal labels."""

import numpy as np
import tifffile

from napari_sam3_assistant import api
from napari_sam3_assistant.cli import main


def by_points(user):
    user.choose("2d_segmentation", "points")
    points = user.viewer.layers["SAM3 points"]
    points.add((30, 40))
    user.click("next_positive_False")
    points.add((30, 75))


def by_box(user):
    user.choose("2d_segmentation", "box")
    user.viewer.layers["SAM3 boxes"].add_rectangles(np.array([(10, 20), (50, 60)]))


def by_mask(user):
    user.choose("2d_segmentation", "mask")
    user.viewer.layers["SAM3 mask prompt"].data = PAINTED.copy()


def by_example(user):
    user.choose("exemplar_segmentation")
    user.viewer.layers["SAM3 boxes"].add_rectangles(np.array([(14, 24), (46, 56)]))


def by_phrase(user):
    user.choose("text_segmentation")
    user.type_phrase("Find all the bright objects.", enter=False)


PAINTED = np.zeros((120, 150), np.uint8)
PAINTED[25:36, 35:46] = 1
REQUESTS = {
    "points": (
        by_points,
        {"points": [(30, 40, True), (30, 75, False)]},
        ["--point", "30,40,+", "--point", "30,75,-"],
    ),
    "box": (by_box, {"boxes": [(10, 20, 51, 61)]}, ["--box", "10,20,51,61"]),
    "mask": (by_mask, {"mask": PAINTED}, ["--mask", "mask.tif"]),
    "exemplar": (by_example, {"exemplars": [(14, 24, 47, 57)]}, ["--exemplar", "14,24,47,57"]),
    "text": (
        by_phrase,
        {"text": "Find all the bright objects."},
        ["--text", "Find all the bright objects."],
    ),
}


def test_api_command_line_and_widget(user, discs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("image.tif", discs)
    tifffile.imwrite("mask.tif", PAINTED)
    for name, (prompt, arguments, options) in REQUESTS.items():
        user.viewer.layers.clear()
        user.viewer.add_image(discs, name="image")
        prompt(user)
        user.run()
        from_api = api.segment(discs, **arguments).labels
        assert main(["segment", "image.tif", "--output", f"by_{name}.tif", *options]) == 0

        assert from_api.any(), name
        np.testing.assert_array_equal(user.preview, from_api, name)
        np.testing.assert_array_equal(tifffile.imread(f"by_{name}.tif"), from_api, name)


def test_other_pixel_types_are_seen_with_the_contrast_on_show(user, discs, tmp_path):
    for dtype in ("uint16", "float32"):
        pixels = discs.astype(dtype) * 13
        file, labels = tmp_path / f"{dtype}.tif", tmp_path / f"{dtype}.npy"
        tifffile.imwrite(file, pixels)

        user.viewer.layers.clear()
        user.viewer.add_image(pixels, name="image", contrast_limits=(500, 2500))
        by_phrase(user)
        user.run()
        from_api = api.segment(pixels, text="bright objects", contrast=(500, 2500)).labels
        options = ["--text", "bright objects", "--contrast", "500,2500"]
        assert main(["segment", str(file), "-o", str(labels), *options]) == 0

        assert from_api.any(), dtype
        np.testing.assert_array_equal(user.preview, from_api, dtype)
        np.testing.assert_array_equal(np.load(labels), from_api, dtype)
