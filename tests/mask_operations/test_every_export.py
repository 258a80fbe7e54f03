"""Each format by clicks in the window, read back by a program that is not ours."""

import json

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
import zarr
from napari.layers import Image, Labels
from pycocotools.coco import COCO
from roifile import ImagejRoi
from scipy.ndimage import binary_fill_holes
from shapely import contains_xy
from shapely.geometry import shape as shapely_shape
from skimage.draw import polygon2mask

from amounts import each_once

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
WHOLE = (120, 150)
FINAL = "final_training_mask"


def paint(masks):
    """Return labels of masks in their order, and what each is called."""
    painted, called = np.zeros(WHOLE, np.uint64), {}
    for number, (mask, name) in enumerate(masks, 1):
        assert not painted[mask].any()
        painted[mask], called[number] = number, name
    return painted, called


def read_coco(path):
    told = COCO(str(path))
    return paint(
        (told.annToMask(one) > 0, told.cats[one["category_id"]]["name"])
        for one in told.anns.values()
    )


def read_geojson(path):
    y, x = np.mgrid[: WHOLE[0], : WHOLE[1]]
    return paint(
        (
            contains_xy(shapely_shape(one["geometry"]), x + 0.5, y + 0.5),
            one["properties"]["classification"]["name"],
        )
        for one in json.loads(path.read_text("utf8"))["features"]
    )


def read_rois(path):
    def inside(roi):
        covered = np.zeros(WHOLE, bool)
        for ring in roi.coordinates(multi=True):
            covered ^= polygon2mask(WHOLE, np.asarray(ring)[:, ::-1] - 0.5)
        return covered

    return paint((inside(roi), roi.name) for roi in ImagejRoi.fromfile(path))


def read_yolo(path):
    return paint(
        (
            polygon2mask(
                WHOLE, np.array(line.split()[1:], float).reshape(-1, 2)[:, ::-1] * WHOLE - 0.5
            ),
            line.split()[0],
        )
        for line in path.read_text().splitlines()
    )


def read_zarr(path):
    group = zarr.open_group(path, mode="r")
    (name,) = [name for name, _ in group.arrays()]
    return group[name][:], None


FORMATS = {
    "TIFF": (".tif", lambda path: (tifffile.imread(path), None)),
    "PNG (one plane)": (".png", lambda path: (iio.imread(path), None)),
    "NumPy (.npy)": (".npy", lambda path: (np.load(path), None)),
    "OME-Zarr": (".zarr", read_zarr),
    "OME-Zarr 0.5 (zarr 3)": (".05.zarr", read_zarr),
    "COCO JSON, run lengths": (".json", read_coco),
    "COCO JSON, polygons": (".polygons.json", read_coco),
    "YOLO segmentation": (".txt", read_yolo),
    "GeoJSON for QuPath": (".geojson", read_geojson),
    "GeoJSON for QuPath, detections": (".detections.geojson", read_geojson),
    "ImageJ regions (.zip)": (".zip", read_rois),
}


@pytest.mark.parametrize(
    ("classes", "dtype", "of_stack"),
    each_once([True, False], [np.uint16, np.uint32, np.uint64], [True, False]),
)
def test_what_is_merged_and_exported_is_what_is_on_show(
    curator, masks, tmp_path, classes, dtype, of_stack
):
    layers = curator.viewer.layers
    layers.clear()
    axes = {"scale": (2.0, 0.5, 0.25), "units": ("um",) * 3, "axis_labels": tuple("zyx")}
    if not of_stack:
        axes = {name: value[1:] for name, value in axes.items()}
    shape = (3, *WHOLE) if of_stack else WHOLE
    layers.append(Image(np.zeros(shape, np.uint8), name="cells", **axes))
    # The highest numbers that the type has.
    high = np.where(masks > 0, np.iinfo(dtype).max - masks.astype(dtype), dtype(0))
    placed = axes | {"translate": (2.0, 0, 0)} if of_stack else axes
    known = {"source_image_layer": "cells"}
    pixels = high[None] if of_stack else high
    layers.append(Labels(pixels, name="found", metadata=known, **placed))
    ticked = ["found"]
    if classes:
        ticked = []
        curator.tab("Accepted Objects")
        curator.choose("source", "found")
        for name, label, value in (("cell", 1, 5), ("ring", 4, 2**32 - 2)):
            curator.type_in("class_name", name)
            curator.type_in("class_value", str(value))
            curator.type_in("object_name", name)
            curator.type_in("label", str(np.iinfo(dtype).max - label))
            curator.click("save_accepted")
            assert curator.status.startswith("✓"), curator.status
            ticked.append(f"{name}_{name} ({name} = {value})")
    curator.tab("Final Merge / Export")
    for name in ticked:
        curator.tick("final_layers", name)
    curator.choose("merge_mode", "Instance: objects 1 to N")
    curator.click("merge_final")
    shown = np.asarray(layers[FINAL].data).reshape(WHOLE)
    expected = np.isin(masks, (1, 4)) if classes else masks > 0
    np.testing.assert_array_equal(shown > 0, expected)
    objects = {int(value): shown == value for value in np.unique(shown[shown > 0])}

    for format_, (ending, read) in FORMATS.items():
        curator.choose("export_format", format_)
        curator.type_in("path", str(tmp_path / f"a{ending}"))
        curator.click("export")
        assert curator.status.startswith("✓ Exported"), curator.status
        found, called = read(tmp_path / f"a{ending}")
        found = found.reshape(WHOLE)

        if called is None:
            np.testing.assert_array_equal(found, shown)
            continue
        assert len(called) == len(objects)
        for number, name in called.items():
            (label,) = set(shown[found == number].tolist()) - ({0} if "YOLO" in format_ else set())
            pixels = objects[label]
            np.testing.assert_array_equal(
                found == number, binary_fill_holes(pixels) if "YOLO" in format_ else pixels
            )
            if "ImageJ" in format_:
                assert name == (f"{label}_z2" if of_stack else str(label))
            elif "YOLO" not in format_:
                kind = "ring" if masks[pixels][0] == 4 else "cell"
                assert name == (kind if classes else "object")
