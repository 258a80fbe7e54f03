"""Files that were cut off or changed: they can be read, or it is one sentence why not."""

import json
import logging
import shutil
import tempfile
from pathlib import Path

import imagecodecs
import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given
from hypothesis import strategies as st

from damaged_bytes import CHANGES, damage
from napari_sam3_assistant.core.images import ImageSource, PlaneRef
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.workflows.segment import first_view

PIXELS = np.random.default_rng(0).integers(0, 60000, (3, 40, 50), np.uint16)
DEEP = np.ascontiguousarray(PIXELS.transpose(1, 2, 0))
RGB = np.random.default_rng(1).integers(0, 256, (40, 50, 3), np.uint8)


def write_zarr(path, zarr_format):
    group = zarr.open_group(str(path), mode="w", zarr_format=zarr_format)
    group.create_array("0", data=PIXELS, chunks=(1, 40, 50))
    image = {
        "axes": [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"],
        "datasets": [
            {
                "path": "0",
                "coordinateTransformations": [{"type": "scale", "scale": [1.0, 0.5, 0.5]}],
            }
        ],
    }
    attributes = {"multiscales": [image]}
    group.attrs.update(attributes if zarr_format == 2 else {"ome": attributes})


WRITERS = {
    "plain.tif": lambda path: tifffile.imwrite(path, PIXELS, photometric="minisblack"),
    "packed.tif": lambda path: tifffile.imwrite(
        path, PIXELS, photometric="minisblack", compression="zlib"
    ),
    "jpeg.tif": lambda path: tifffile.imwrite(path, RGB, photometric="rgb", compression="jpeg"),
    "a.ome.tif": lambda path: tifffile.imwrite(
        path, PIXELS, metadata={"axes": "ZYX", "PhysicalSizeX": 0.5}, compression="lzw"
    ),
    "imagej.tif": lambda path: tifffile.imwrite(
        path, PIXELS, imagej=True, metadata={"axes": "ZYX", "unit": "um"}, resolution=(2, 2)
    ),
    "a.png": lambda path: iio.imwrite(path, RGB),
    "deep.png": lambda path: path.write_bytes(imagecodecs.png_encode(DEEP)),
    "a.jpg": lambda path: iio.imwrite(path, RGB),
    "a.bmp": lambda path: iio.imwrite(path, RGB),
    "a.npy": lambda path: np.save(path, PIXELS),
    "two.zarr": lambda path: write_zarr(path, 2),
    "three.zarr": lambda path: write_zarr(path, 3),
}


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("originals")
    for name, write in WRITERS.items():
        write(folder / name)
    return folder


# What JSON of zarr may say in place of what it should.
odd = st.recursive(
    st.sampled_from([None, True, -1, 0, 1e300, "", "x", "/", [], {}]),
    lambda some: st.lists(some, max_size=2) | st.dictionaries(st.sampled_from("ab"), some),
    max_leaves=3,
)


def put(tree, path, value):
    """Replace a value somewhere in JSON; the path says which key or item at each level."""
    keys = list(tree) if isinstance(tree, dict) else range(len(tree))
    key = list(keys)[path[0] % len(keys)]
    inner = tree[key]
    if len(path) > 1 and isinstance(inner, dict | list) and len(inner):
        put(inner, path[1:], value)
    else:
        tree[key] = value


def read_all(path):
    """Read an image as a run does; a plane is 64 x 64 at most, as a damaged size may be huge."""
    loaded = read_image(path)
    source = first_view(loaded).channels[0].source
    planes = [PlaneRef((0,) * len(source.leading_shape), 0 if source.has_channels else None)]
    for plane in planes:
        part = source.read(plane, Region(0, 0, 64, 64))
        assert part.dtype.kind in "buif"
    source.contrast(planes[0].channel)
    assert isinstance(source, ImageSource)


@given(
    st.sampled_from(sorted(WRITERS)),
    CHANGES,
    st.integers(0, 9),
    st.lists(st.integers(0, 5), min_size=1, max_size=6),
    odd,
)
def test_a_damaged_file_is_read_or_told(originals, name, changed, number, place, value):
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        if path.suffix == ".zarr":
            shutil.copytree(originals / name, path)
            files = sorted(file for file in path.rglob("*") if file.is_file())
            file = files[number % len(files)]
        else:
            shutil.copy(originals / name, path)
            file = path
        content = file.read_bytes()
        if file.name.startswith(".z") or file.suffix == ".json":
            tree = json.loads(content)
            if tree:
                put(tree, place, value)
            content = json.dumps(tree).encode()
        else:
            for change in changed:
                content = damage(content, change)
        file.write_bytes(content)

        said = ""
        try:
            read_all(path)
        except ImageError as error:
            said = str(error)
        assert "\n" not in said
        assert len(said) < 2000
