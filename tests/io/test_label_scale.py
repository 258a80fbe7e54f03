"""The size of a pixel and the names of the axes in label files."""

import numpy as np
import pytest
import tifffile

from napari_sam3_assistant.errors import ExportError
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.io.label_axes import LabelAxes
from napari_sam3_assistant.io.labels import save_labels
from napari_sam3_assistant.io.loaded import LoadedImage


@pytest.mark.parametrize("ending", [".tif", ".zarr"])
@pytest.mark.parametrize(
    ("names", "scale"),
    [
        (("y", "x"), (0.5, 0.25)),
        (("z", "y", "x"), (2.0, 0.5, 0.25)),
        (("t", "y", "x"), (3.0, 0.5, 0.25)),
        (("t", "z", "y", "x"), (3.0, 2.0, 0.5, 0.25)),
    ],
)
@pytest.mark.parametrize("highest", [9, 70000])
def test_labels_axes_and_scale_are_read_back(tmp_path, ending, names, scale, highest):
    shape = (2, 3, 40, 50)[-len(names) :]
    labels = np.random.default_rng(0).integers(0, highest, shape).astype(np.uint32)
    labels.flat[0] = highest
    axes = LabelAxes.of(len(names), names=names, scale=scale, unit="micrometer")

    path = save_labels(labels, tmp_path / f"exp1.0_A{ending}", axes)

    loaded = read_image(path)
    np.testing.assert_array_equal(np.asarray(loaded.data[...]), labels)
    assert loaded.data.dtype == (np.uint16 if highest == 9 else np.uint32)
    assert loaded.axis_labels == names
    assert loaded.scale == scale


def test_the_unit_is_in_the_file(tmp_path):
    axes = LabelAxes.of(2, scale=(0.5, 0.25), unit="micrometer")
    path = save_labels(np.ones((4, 5), np.uint32), tmp_path / "a.tif", axes)

    with tifffile.TiffFile(path) as file:
        assert 'PhysicalSizeX="0.25" PhysicalSizeXUnit="µm"' in file.ome_metadata


@pytest.mark.parametrize("ending", [".tif", ".zarr"])
def test_units_are_read_back(tmp_path, ending):
    axes = LabelAxes(("t", "y", "x"), (1.5, 0.5, 0.25), ("millisecond", "nanometer", "nanometer"))
    path = save_labels(np.ones((2, 4, 5), np.uint32), tmp_path / f"a{ending}", axes)

    loaded = read_image(path)

    assert loaded.units == ("millisecond", "nanometer", "nanometer")
    assert loaded.axes_of_labels((0, 1, 2)) == axes


def test_sizes_without_a_unit_are_those_of_the_format(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        np.zeros((2, 4, 5), np.uint8),
        metadata={"axes": "ZYX", "PhysicalSizeX": 0.25, "PhysicalSizeZ": 2.0},
    )

    loaded = read_image(tmp_path / "a.ome.tif")

    assert loaded.units == ("micrometer", "", "micrometer")
    assert loaded.axes_of_labels((0, 1, 2)).scale == (2.0, 1.0, 0.25)


def test_an_image_that_says_nothing_gives_pixels():
    loaded = LoadedImage(np.zeros((2, 3, 4, 5)), axis_labels=("q", "c", "y", "x"))

    assert loaded.axes_of_labels((0, 2, 3)) == LabelAxes.of(3)


def test_sizes_that_can_not_be_written_are_pixels():
    loaded = LoadedImage(
        np.zeros((2, 4, 5)), ("t", "y", "x"), False, (0.0, 0.5, 0.5), units=("s", "um", "um")
    )

    assert loaded.axes_of_labels((0, 1, 2)) == LabelAxes(
        ("t", "y", "x"), (1.0, 0.5, 0.5), ("", "um", "um")
    )


def test_what_imagej_writes_is_read(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.zeros((3, 4, 5), np.uint16),
        imagej=True,
        resolution=(4, 2),
        metadata={"axes": "ZYX", "spacing": 2.0, "unit": "um"},
    )

    loaded = read_image(tmp_path / "a.tif")
    assert loaded.scale == (2.0, 0.5, 0.25)
    assert loaded.units == ("micrometer",) * 3


def test_the_resolution_of_a_print_is_no_scale(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((4, 5), np.uint8), resolution=(72, 72), resolutionunit="INCH"
    )

    assert read_image(tmp_path / "a.tif").scale is None


def test_colours_stored_by_planes_keep_their_scale(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        np.zeros((3, 40, 50), np.uint8),
        photometric="rgb",
        planarconfig="separate",
        metadata={"axes": "SYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5},
    )

    loaded = read_image(tmp_path / "a.ome.tif")

    assert (loaded.data.shape, loaded.axis_labels) == ((40, 50, 3), ("y", "x", "s"))
    assert loaded.scale == (0.5, 0.25, 1.0)


@pytest.mark.parametrize("ending", [".tif", ".npy", ".png", ".zarr"])
def test_what_exists_is_not_overwritten_unasked(tmp_path, ending):
    path = save_labels(np.ones((4, 5), np.uint32), tmp_path / f"a{ending}")

    with pytest.raises(ExportError, match="exists already"):
        save_labels(np.zeros((4, 5), np.uint32), path, overwrite=False)

    assert np.asarray(read_image(path).data[...]).max() == 1
