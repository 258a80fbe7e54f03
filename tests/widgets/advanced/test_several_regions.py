"""Results of several regions: refined one by one, and merged into one layer."""

import json

import numpy as np
import pytest
import zarr
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLineEdit
from skimage.draw import disk

from napari_sam3_assistant.viewer.roles import Role, with_role

PREVIEW = "SAM3 preview labels"
# Two discs in each of two regions; the discs of a region are one box apart.
FIRST, SECOND = ((300, 300), (300, 420)), ((1500, 1500), (1500, 1620))


@pytest.fixture
def plane():
    image = np.full((2000, 2000), 50, np.uint8)
    for centre in (*FIRST, *SECOND):
        image[disk(centre, 30)] = 200
    return image


def add_boxes(user, centres):
    layer = user.viewer.layers["SAM3 boxes"]
    layer.selected_data = set(range(len(layer.data)))
    layer.remove_selected()
    layer.add_rectangles([np.array([(y - 34, x - 34), (y + 34, x + 34)]) for y, x in centres])


def previews(user):
    return [layer for layer in user.viewer.layers if layer.name.startswith(PREVIEW)]


def value_at(layer, pixel):
    return layer.get_value(pixel, world=True)


@pytest.fixture
def two_regions(plane):
    def make(advanced, folder=None, **layer):
        user = advanced.user
        user.viewer.add_image(plane, name="slide", **layer)
        if folder is not None:
            user.widget.findChild(QLineEdit, "scan_folder").setText(str(folder))
        user.choose_in("tool", "Box")
        user.click("create_prompt_layer")
        user.button("large_image").click()
        user.choose_in("roi_size", "512 x 512")
        for centres in (FIRST, SECOND):
            add_boxes(user, centres)
            user.run()
        return user

    return make


def test_an_object_of_the_earlier_region_is_refined_and_the_other_region_stays(
    open_advanced, two_regions
):
    user = two_regions(open_advanced())
    user.look_at_all()
    one, two = previews(user)
    before = np.array(two.data)
    left, right = (value_at(one, centre) for centre in FIRST)
    assert left != right

    user.click("refine")
    user.click_at(user.viewer.layers["slide"], FIRST[0])
    assert user.status == f"Refining object {left}: click to add, or T and click to take away."
    user.press(Qt.Key.Key_T)
    user.viewer.layers["SAM3 points"].add((FIRST[0][0] - 24, FIRST[0][1]))
    user.wait(lambda: user.status.startswith("✓ Preview ready"))
    user.wait_for_end()

    assert [layer.name for layer in previews(user)] == [one.name, two.name]
    np.testing.assert_array_equal(previews(user)[1].data, before)
    refined = previews(user)[0]
    assert refined.data.shape == (512, 512)
    assert value_at(refined, (FIRST[0][0] - 24, FIRST[0][1])) == 0
    assert value_at(refined, FIRST[0]) == left
    assert value_at(refined, FIRST[1]) == right
    user.click("undo")
    assert value_at(previews(user)[0], (FIRST[0][0] - 24, FIRST[0][1])) == left


def test_regions_are_merged_into_one_layer_over_a_file(advanced, two_regions, tmp_path):
    user = advanced.user
    assert "no result of a region yet" in user.button("merge_rois").toolTip()
    assert not user.button("merge_rois").isEnabled()
    two_regions(advanced, tmp_path / "out", scale=(0.5, 0.5), translate=(7, 3), units=("um", "um"))
    one, two = previews(user)
    one.data[0, 0] = 9  # what the user paints is merged as well

    user.click("merge_rois")
    user.wait_for_end()

    (merged,) = with_role(user.viewer.layers, Role.MERGED)
    path = tmp_path / "out" / "slide_merged_rois.zarr"
    assert merged.name == "SAM3 merged ROI labels [slide_merged_rois]"
    assert user.status == f"✓ Merged 2 regions into “{merged.name}”: {path}"
    assert all(isinstance(level, zarr.Array) for level in merged.data)
    expected = np.zeros((2000, 2000), np.uint32)
    for layer, last in ((one, 0), (two, int(np.max(one.data)))):
        y, x = ((layer.translate - (7, 3)) / 0.5).round().astype(int)
        expected[y : y + 512, x : x + 512] = np.where(layer.data, layer.data + last, 0)
    np.testing.assert_array_equal(merged.data[0], expected)
    np.testing.assert_array_equal(merged.data[2], expected[::4, ::4])
    np.testing.assert_array_equal(merged.translate, (7, 3))
    np.testing.assert_array_equal(merged.scale, (0.5, 0.5))
    written = json.loads((path / ".zattrs").read_text())["multiscales"][0]
    assert [axis["unit"] for axis in written["axes"]] == ["micrometer"] * 2
    assert len(previews(user)) == 2

    user.click("merge_rois")
    user.wait_for_end()
    assert (tmp_path / "out" / "slide_merged_rois_02.zarr").exists()


# napari before 0.7 draws large images smaller, and says so.
@pytest.mark.filterwarnings("ignore:data shape .* exceeds GL_MAX_TEXTURE_SIZE:UserWarning")
def test_merging_on_60000_pixels_writes_the_regions_only(advanced, tmp_path):
    user = advanced.user
    levels = [
        zarr.create_array(
            tmp_path / f"{side}.zarr", shape=(side, side), chunks=(512, 512), dtype="uint8"
        )
        for side in (60_000, 600)
    ]
    around = np.full((512, 512), 50, np.uint8)
    around[disk((256, 256), 40)] = 200
    levels[0][40_960:41_472, 51_200:51_712] = around
    user.viewer.add_image(levels, name="huge", contrast_limits=(0, 255))
    user.widget.findChild(QLineEdit, "scan_folder").setText(str(tmp_path))
    user.click("create_prompt_layer")
    user.button("large_image").click()
    user.choose_in("roi_size", "512 x 512")
    user.viewer.layers["SAM3 points"].add((41_216, 51_456))
    user.run()

    user.click("merge_rois")
    user.wait_for_end()

    (merged,) = with_role(user.viewer.layers, Role.MERGED)
    assert merged.data[0].shape == (60_000, 60_000)
    assert merged.data[0][41_216, 51_456] == 1
    assert merged.data[-1].shape == (118, 118)
    # At most four blocks of each size hold something.
    blocks = [p for p in (tmp_path / "huge_merged_rois.zarr").rglob("*") if p.name.isdigit()]
    files = [p for p in blocks if p.is_file()]
    assert 1 <= len(files) <= 4 * len(merged.data)
