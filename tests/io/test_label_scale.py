"""The size of a pixel and the names of the axes in label files."""

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.errors import ExportError
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.io.labels import save_labels


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
    # OME-XML knows no time without a unit.
    units = ["second" if name == "t" else "micrometer" for name in names]
    axes = make_axes(shape, names=names, scale=scale, units=units)

    path = save_labels(labels, tmp_path / f"exp1.0_A{ending}", axes)

    loaded = read_image(path)
    np.testing.assert_array_equal(np.asarray(loaded.data[...]), labels)
    assert loaded.data.dtype == (np.uint16 if highest == 9 else np.uint32)
    assert loaded.axes == axes


@given(
    y=st.floats(1e-9, 1e9),
    x=st.floats(1e-9, 1e9),
    unit=st.sampled_from(["nm", "µm", "cm", "", "pixel"]),
)
def test_programs_that_read_no_ome_find_the_size_in_the_tags(tmp_path, y, x, unit):
    """As ImageJ by File > Open; sizes that the tags can't hold are in OME-XML alone."""
    axes = make_axes((4, 5), names="yx", scale=(y, x), units=(unit, unit))
    path = save_labels(np.ones((4, 5), np.uint8), tmp_path / "a.tif", axes=axes, overwrite=True)
    with tifffile.TiffFile(path) as file:
        tags = file.pages.first.tags
        told = {name: tags[f"{name}Resolution"].value for name in "XY"}
        in_cm = tags["ResolutionUnit"].value == tifffile.RESUNIT.CENTIMETER
    micrometers = {"nm": 1e-3, "µm": 1, "cm": 1e4}.get(unit, 0)
    if in_cm:
        sizes = [1e4 * told[name][1] / told[name][0] for name in "YX"]
        assert sizes == pytest.approx([y * micrometers, x * micrometers], rel=1e-4)
    else:
        assert not all(1e-5 < size * micrometers < 1e12 for size in (y, x))


def test_the_unit_is_in_the_file(tmp_path):
    axes = make_axes((4, 5), scale=(0.5, 0.25), units="micrometer")
    path = save_labels(np.ones((4, 5), np.uint32), tmp_path / "a.tif", axes)

    with tifffile.TiffFile(path) as file:
        assert 'PhysicalSizeX="0.25" PhysicalSizeXUnit="µm"' in file.ome_metadata


@pytest.mark.parametrize("ending", [".tif", ".zarr"])
def test_units_are_read_back(tmp_path, ending):
    axes = make_axes((2, 4, 5), names="tyx", scale=(1.5, 0.5, 0.25), units=("ms", "nm", "nm"))
    path = save_labels(np.ones((2, 4, 5), np.uint32), tmp_path / f"a{ending}", axes)

    loaded = read_image(path)

    assert [axis.unit for axis in loaded.axes] == ["millisecond", "nanometer", "nanometer"]
    assert loaded.axes == axes


def test_sizes_without_a_unit_are_those_of_the_format(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.ome.tif",
        np.zeros((2, 4, 5), np.uint8),
        metadata={"axes": "ZYX", "PhysicalSizeX": 0.25, "PhysicalSizeZ": 2.0},
    )

    loaded = read_image(tmp_path / "a.ome.tif")

    assert [(axis.scale, axis.unit) for axis in loaded.axes] == [
        (2.0, "micrometer"),
        (1.0, ""),
        (0.25, "micrometer"),
    ]


def test_what_imagej_writes_is_read(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.zeros((3, 4, 5), np.uint16),
        imagej=True,
        resolution=(4, 2),
        metadata={"axes": "ZYX", "spacing": 2.0, "unit": "um"},
    )

    loaded = read_image(tmp_path / "a.tif")
    assert loaded.axes == make_axes(
        (3, 4, 5), names="zyx", scale=(2.0, 0.5, 0.25), units="micrometer"
    )


def test_the_resolution_of_a_print_is_no_scale(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((4, 5), np.uint8), resolution=(72, 72), resolutionunit="INCH"
    )

    assert [axis.scale for axis in read_image(tmp_path / "a.tif").axes] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("resolution", "unit"), [((20_000, 40_000), "CENTIMETER"), ((50_800, 101_600), "INCH")]
)
def test_the_resolution_of_a_slide_is_a_scale(tmp_path, resolution, unit):
    pixels = np.zeros((4, 5), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, resolution=resolution, resolutionunit=unit)

    y, x = read_image(tmp_path / "a.tif").axes

    assert (y.unit, x.unit) == ("micrometer", "micrometer")
    assert (y.scale, x.scale) == (pytest.approx(0.25), pytest.approx(0.5))


def test_the_origin_and_the_units_of_imagej(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.zeros((3, 4, 5), np.uint16),
        imagej=True,
        resolution=(4, 2),
        metadata={
            "axes": "ZYX", "spacing": -2.0, "unit": "inch", "zunit": "\\u00B5m", "xorigin": 10.0,
        },
    )  # fmt: skip

    z, y, x = read_image(tmp_path / "a.tif").axes

    assert (z.scale, z.unit) == (2.0, "micrometer")
    assert (y.scale, y.unit, y.origin) == (0.5, "inch", 0.0)
    assert (x.scale, x.unit, x.origin) == (0.25, "inch", -2.5)


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
    assert [axis.scale for axis in loaded.axes] == [0.5, 0.25, 1.0]


@pytest.mark.parametrize("ending", [".tif", ".npy", ".png", ".zarr"])
def test_what_exists_is_not_overwritten_unasked(tmp_path, ending):
    path = save_labels(np.ones((4, 5), np.uint32), tmp_path / f"a{ending}")

    with pytest.raises(ExportError, match="exists already"):
        save_labels(np.zeros((4, 5), np.uint32), path, overwrite=False)

    assert np.asarray(read_image(path).data[...]).max() == 1
