"""“Large-Image Local Inference” of the first manual, step by step, by mouse and keyboard."""

import numpy as np
import pytest
import zarr
from qtpy.QtWidgets import QFileDialog, QPlainTextEdit
from skimage.draw import disk

import needs
from amounts import thorough

PREVIEW, ROI = "SAM3 preview labels", "SAM3 active ROI"
SIDE = 60_000
FIRST, SECOND = (30_000, 41_000), (32_000, 43_500)


@pytest.fixture
def pyramid(tmp_path):
    """A zarr pyramid of 60000 x 60000 pixels with a disc of radius 40 in two places."""
    levels = []
    for level in range(7):
        array = zarr.create_array(
            tmp_path / f"{level}.zarr",
            shape=(SIDE >> level,) * 2,
            chunks=(512, 512),
            dtype="uint8",
            fill_value=50,
        )
        for y, x in (FIRST, SECOND):
            rows, columns = disk((y >> level, x >> level), 40 / 2**level)
            array.vindex[rows, columns] = 200
        levels.append(array)
    return levels


def said(user):
    lines = user.widget.findChild(QPlainTextEdit, "log").toPlainText().splitlines()
    return [line[10:] for line in lines]


def corner_of(point):
    """The first pixel of the 512 x 512 pixels round a point."""
    return tuple(int(np.floor(at + 0.5)) - 256 for at in point)


def outline(user):
    corners = user.viewer.layers[ROI].data[0]
    return [tuple(round(float(at) + 0.5) for at in edge) for edge in (corners[0], corners[2])]


# napari before 0.7 draws large images smaller, and says so.
@pytest.mark.filterwarnings("ignore:data shape .* exceeds GL_MAX_TEXTURE_SIZE:UserWarning")
@pytest.mark.parametrize(
    "engine", ["builtin", thorough("sam3-transformers", marks=[needs.TORCH])], indirect=True
)
def test_large_image_local_inference(open_advanced, pyramid, engine, tmp_path, monkeypatch):
    advanced = open_advanced(pyramid, contrast_limits=(0, 255), multiscale=True)
    user = advanced.user
    viewer = user.viewer
    image = viewer.layers["image"]
    # 1: the normal task and prompt type.
    engine.choose(user)
    user.choose_in("task", "2D segmentation")
    user.choose_in("tool", "Points (positive/negative)")
    user.click("create_prompt_layer")
    # 2 and 3: large-image mode, off by default, and a size.
    assert not user.button("large_image").isChecked()
    user.click("large_image")
    user.choose_in("roi_size", "512 x 512")
    # 4 and 5: a point, and run.
    look_at(user, FIRST)
    user.click_at(image, FIRST)
    user.run()

    point = viewer.layers["SAM3 points"].data[-1]
    y0, x0 = corner_of(point)
    assert outline(user) == [(y0, x0), (y0 + 512, x0 + 512)]
    assert "Large-image mode ON: local ROI inference (512 x 512)." in said(user)
    assert f"Active ROI bounds: y={y0}:{y0 + 512}, x={x0}:{x0 + 512}." in said(user)
    # SAM 3 got the region alone; labels and boxes are in the coordinates of the whole image.
    region = pyramid[0][y0 : y0 + 512, x0 : x0 + 512]
    expected = engine.labels(region, points=[point - (y0, x0)])
    labels = viewer.layers[PREVIEW]
    np.testing.assert_array_equal(labels.data, expected)
    np.testing.assert_array_equal(labels.translate, (y0, x0))
    (box,) = viewer.layers["SAM3 preview boxes"].data
    assert (box.min(axis=0) >= (y0 - 0.5, x0 - 0.5)).all()
    assert (box.max(axis=0) <= (y0 + 511.5, x0 + 511.5)).all()

    # A point in the region keeps it.
    user.click_at(image, (FIRST[0] + 15, FIRST[1] + 10))
    user.run()
    assert outline(user) == [(y0, x0), (y0 + 512, x0 + 512)]
    # A point outside makes a new one round itself.
    look_at(user, SECOND)
    user.click_at(image, SECOND)
    user.run()
    assert outline(user)[0] == corner_of(viewer.layers["SAM3 points"].data[-1])

    # Save & Clean is the handoff: everything is saved and the user goes on with the next region.
    folder = tmp_path / "masks"
    folder.mkdir()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(folder))
    user.click("choose_output_folder")
    user.click("save_clean")
    user.wait_for_end()
    assert user.status.startswith("✓ Saved image_roi_mask_01.tif")
    assert not [layer for layer in viewer.layers if layer.name.startswith(PREVIEW)]
    user.click_at(image, (SECOND[0] + 5, SECOND[1] + 5))
    user.run()
    assert user.has(PREVIEW)
    user.click("large_image")
    assert said(user)[-1] == "Large-image mode OFF: full-image inference."


def look_at(user, pixel):
    """Bring a place of the image to the middle of the canvas, one pixel to a point."""
    camera = getattr(user.viewer, "scene", user.viewer).camera  # moved in napari 0.9
    camera.center, camera.zoom = pixel, 1
    user.settle()
