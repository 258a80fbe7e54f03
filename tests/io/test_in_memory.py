"""Images that other libraries hold in memory, given to the API as they are."""

import os
from types import SimpleNamespace

import dask.array as da
import numpy as np
import pint
import pytest
import zarr
from PIL import Image

from napari_sam3_assistant import api
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.in_memory import load_object

h5py = pytest.importorskip("h5py")
xr = pytest.importorskip("xarray")
PLANE = np.arange(12 * 15, dtype=np.uint8).reshape(12, 15)
STACK = np.stack([PLANE, PLANE + 1])
COLOURS = np.stack([PLANE, PLANE // 2, PLANE // 3], -1)
MICRO = "micrometer"


def told(image):
    """Return pixels, and name, size and unit of each axis."""
    loaded = load_object(image)
    axes = [(axis.name, axis.scale, axis.unit) for axis in loaded.axes]
    return np.asarray(loaded.data), axes, loaded.rgb


def array(data, dims, **steps):
    coords = {
        dim: (dim, 1 + step * np.arange(data.shape[dims.index(dim)]), {"units": "µm"})
        for dim, step in steps.items()
    }
    return xr.DataArray(data, dims=dims, coords=coords)


@pytest.mark.parametrize("lazy", [False, True])
def test_the_coordinates_of_xarray_are_sizes_of_pixels(lazy):
    data = da.from_array(STACK, chunks=5) if lazy else STACK
    image = array(data, ("channel", "y", "x"), y=0.5, x=0.25)

    pixels, axes, rgb = told(image)

    assert np.array_equal(pixels, STACK)
    assert axes == [("channel", 1.0, ""), ("y", 0.5, MICRO), ("x", 0.25, MICRO)]
    assert rgb is None
    assert isinstance(load_object(image).data, da.Array) == lazy


@pytest.mark.parametrize(
    "values", [[5.0, 4.0, 3.0], [0.0, 1.0, 3.0], [0.0, np.nan, 2.0], ["a", "b", "c"], [1, 1, 1]]
)
def test_coordinates_that_are_no_sizes_are_none(values):
    image = xr.DataArray(PLANE[:3], dims=("y", "x"), coords={"y": values})
    assert told(image)[1] == [("y", 1.0, ""), ("x", 1.0, "")]


def test_times_of_xarray_are_seconds():
    times = np.array([0, 1500, 3000], "timedelta64[ms]")
    image = xr.DataArray(np.stack([PLANE] * 3), dims=("time", "y", "x"), coords={"time": times})
    assert told(image)[1][0] == ("time", 1.5, "second")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "I;16", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_pictures_of_pillow_are_as_their_files(tmp_path, mode):
    grey = Image.fromarray(PLANE.astype(np.uint16) * 100)
    picture = (
        grey if mode == "I;16" else Image.fromarray(COLOURS).convert("L" if mode == "1" else "RGB")
    )
    picture = picture if mode == "I;16" else picture.convert(mode)
    path = tmp_path / ("a.tif" if mode in ("CMYK", "YCbCr") else "a.png")
    picture.save(path)

    pixels, _, rgb = told(picture)

    stored = api.imread(path)
    assert rgb == bool(stored.rgb)
    assert np.abs(pixels.astype(int) - np.asarray(stored.data).astype(int)).max() <= 2


def test_the_layers_of_napari():
    layers = pytest.importorskip("napari.layers")
    image = layers.Image(STACK, scale=(2, 0.5, 0.25), units=("um", "um", "um"))
    colours = layers.Image(COLOURS, rgb=True, scale=(0.5, 0.25))
    labels = layers.Labels(PLANE // 50)

    assert told(image)[1:] == ([("", 2.0, MICRO), ("", 0.5, MICRO), ("", 0.25, MICRO)], False)
    assert told(colours)[1:] == ([("", 0.5, ""), ("", 0.25, ""), ("s", 1.0, "")], True)
    assert len(api.measure(labels)) == 3
    assert np.array_equal(api.clean(labels, [api.Renumber()]), PLANE // 50)
    with pytest.raises(ImageError, match=r"type napari\.layers.*Points is no image"):
        load_object(layers.Points())


def test_groups_of_zarr_and_images_that_were_read(tmp_path):
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    group.create_array("0", data=PLANE)
    scale = {"type": "scale", "scale": [0.5, 0.25]}
    axes = [{"name": name, "type": "space", "unit": MICRO} for name in "yx"]
    level = {"path": "0", "coordinateTransformations": [scale]}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [level]}]}

    for image in (group, api.imread(tmp_path / "a.zarr")):
        assert told(image)[1] == [("y", 0.5, MICRO), ("x", 0.25, MICRO)]


def test_other_arrays():
    quantity = pint.UnitRegistry().Quantity(PLANE, "nm")
    masked = np.ma.masked_less(PLANE // 50, 2)

    assert np.array_equal(told(quantity)[0], PLANE)
    assert [row["id"] for row in api.measure(masked)] == [2, 3]
    assert np.array_equal(told(PLANE.tolist())[0], PLANE)


class Fslash:
    """A path of another library, such as of py.path and universal_pathlib."""

    def __init__(self, path):
        self._path = path

    def __fspath__(self):
        return str(self._path)


def test_paths_of_other_libraries(tmp_path):
    np.save(tmp_path / "a.npy", PLANE)
    assert isinstance(Fslash(tmp_path), os.PathLike)
    assert api.segment(Fslash(tmp_path / "a.npy"), boxes=[(2, 2, 8, 8)]).labels.shape == (12, 15)


def test_what_is_no_image_is_named(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = PLANE
        for image, said in (
            (file, "h5py"),
            (None, "NoneType"),
            (["a.tif", "b.tif"], "A list of str"),
            ([], "two axes"),
            (SimpleNamespace(pixels=PLANE), "SimpleNamespace"),
            (xr.Dataset({"cells": (("y", "x"), PLANE)}), "image['cells']"),
        ):
            with pytest.raises(ImageError) as error:
                api.segment(image, boxes=[(2, 2, 8, 8)])
            assert said in str(error.value)
        assert told(file["a"])[1] == [("", 1.0, "")] * 2


def test_the_size_of_a_pixel_goes_into_the_labels(tmp_path):
    image = array(PLANE, ("y", "x"), y=0.5, x=0.25)
    api.segment(image, boxes=[(2, 2, 8, 8)], output=tmp_path / "labels.tif")
    assert [axis.scale for axis in api.imread(tmp_path / "labels.tif").axes] == [0.5, 0.25]
    assert api.measure(array(PLANE // 100, ("y", "x"), y=0.5, x=0.5))[0]["unit"] == MICRO


def test_what_ends_a_cell_of_a_notebook_is_one_line(tmp_path):
    np.save(tmp_path / "cells.npy", STACK)
    assert repr(api.imread(tmp_path / "cells.npy")) == "<LoadedImage cells: ? 2, ? 12, ? 15, uint8>"
    labels = PLANE // 60
    for name, read, said in (
        ("a.geojson", api.read_geojson, "<GeoJsonFile a.geojson: 2 objects, class object>"),
        ("a.json", api.read_coco, "<CocoFile a.json: 2 objects on 1 image, class object>"),
        ("a.zip", api.read_rois, "<RoiFile a.zip: 2 regions>"),
    ):
        file = read(api.export(labels, tmp_path / name))
        assert repr(file) == said
        painted = file.paint(file.images[0] if hasattr(file, "images") else PLANE.shape)
        assert repr(painted) == "<ImportedLabels: 2 objects in (12, 15), class object>"
