"""Exports of Mask Operations: each object is on the pixels of the image that napari draws it on."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari.utils.transforms import Affine
from pycocotools.coco import COCO
from shapely import contains_xy
from shapely.geometry import shape as shapely_shape

from amounts import FEW
from napari_sam3_assistant.core.masks.objects import ExportFormat

pytestmark = [
    # napari's own remark where a plane leans into the stack.
    pytest.mark.filterwarnings("ignore:Non-orthogonal slicing"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),  # pycocotools
]
_IMAGES = {
    "yx": (40, 50),
    "zyx": (5, 40, 50),
    "tzyx": (2, 5, 40, 50),
    "tyx": (3, 40, 50),
    "cyx": (2, 40, 50),
}


@st.composite
def transforms(draw, ndim):
    sizes = st.sampled_from([0.25, 1.0, 3.0, -0.5])
    many = st.lists(sizes, min_size=ndim, max_size=ndim)
    told = {
        "scale": draw(many),
        "translate": draw(st.lists(st.integers(-5000, 5000), min_size=ndim, max_size=ndim)),
    }
    if draw(st.booleans()):
        matrix = np.eye(ndim)
        matrix[-2:, -2:] = [[0.8, -0.6], [0.6, 0.8]]
        told["affine"] = Affine(linear_matrix=matrix, translate=draw(many))
    return told


def part_of(image, first, labels):
    """Return the arguments that put labels on the pixels of an image, from its pixel ``first`` on.

    Only by what napari does itself: its ``data_to_world``.
    """
    placed = {name: getattr(image, name) for name in ("scale", "rotate", "shear", "affine")}
    placed |= {"units": image.units, "axis_labels": image.axis_labels}
    inner = Affine(
        scale=image.scale, translate=image.translate, rotate=image.rotate, shear=image.shear
    )
    assert labels.ndim == image.ndim
    return {**placed, "translate": inner(np.asarray(first, float))}


@st.composite
def cases(draw):
    names = draw(st.sampled_from(list(_IMAGES)))
    whole = _IMAGES[names]
    first = [draw(st.integers(0, size - 1)) for size in whole[:-2]]
    first += [draw(st.integers(0, size - 12)) for size in whole[-2:]]
    depth = [draw(st.integers(1, size - at)) for size, at in zip(whole[:-2], first, strict=False)]
    labels = np.zeros((*depth, 12, 12), np.uint16)
    where = tuple(draw(st.integers(0, size - 1)) for size in depth)
    labels[(*where, slice(2, 6), slice(3, 9))] = 7
    return names, draw(transforms(len(names))), first, labels


def pixels_of(image, layer):
    """Return the pixels of the image that napari draws the labels of a layer on."""
    drawn = [layer.data_to_world(one) for one in np.argwhere(layer.data)]
    return {tuple(np.round(image.world_to_data(one)).astype(int).tolist()) for one in drawn}


@FEW
@given(case=cases(), kind=st.sampled_from(["geojson", "coco_rle", "coco_polygons", "yolo"]))
def test_objects_are_where_napari_draws_them(bench, tmp_path_factory, case, kind):
    names, placed, first, labels = case
    bench.viewer.layers.clear()
    whole = _IMAGES[names]
    image = bench.viewer.add_image(np.zeros(whole), name="cells", axis_labels=list(names), **placed)
    layer = bench.add(
        labels,
        name="part",
        metadata={"source_image_layer": "cells"},
        **part_of(image, first, labels),
    )
    if kind == "yolo" and labels[..., 0, 0].size > 1:
        return
    path = tmp_path_factory.mktemp("files") / "a"
    expected = pixels_of(image, layer)

    said = bench.export(layer, path, ExportFormat(kind))

    assert said.endswith(path.with_suffix(ExportFormat(kind).suffix).name + ".")
    found = {"geojson": in_geojson, "yolo": in_yolo}.get(kind, in_coco)(path, names)
    # YOLO has no planes.
    assert found == ({one[-2:] for one in expected} if kind == "yolo" else expected)


def in_geojson(path, names):
    told = json.loads(path.with_suffix(".geojson").read_text())
    assert told["image"] == {"name": "cells", "height": 40, "width": 50}
    found = set()
    for feature in told["features"]:
        outline = shapely_shape(feature["geometry"])
        plane = tuple(feature["geometry"]["plane"][name] for name in names[:-2])
        y, x = np.mgrid[:40, :50]
        inside = contains_xy(outline, x + 0.5, y + 0.5)
        found |= {(*plane, *one) for one in np.argwhere(inside).tolist()}
    return found


def in_coco(path, names):
    read = COCO(str(path.with_suffix(".json")))
    found = set()
    for one in read.anns.values():
        image = read.imgs[one["image_id"]]
        assert (image["height"], image["width"]) == (40, 50)
        first, *plane = image["file_name"].split("_")
        assert first == "cells"
        assert len(plane) == len(names) - 2
        inside = np.argwhere(read.annToMask(one))
        found |= {(*map(int, plane), *pixel) for pixel in inside.tolist()}
        x, y, width, height = one["bbox"]
        assert inside.min(axis=0).tolist() == [y, x]
        assert (np.ptp(inside, axis=0) + 1).tolist() == [height, width]
    return found


def in_yolo(path, _names):
    found = set()
    for line in path.with_suffix(".txt").read_text().splitlines():
        corners = np.array(line.split()[1:], float).reshape(-1, 2) * (50, 40)
        (x0, y0), (x1, y1) = np.round(corners.min(axis=0)), np.round(corners.max(axis=0))
        found |= {(y, x) for y in range(int(y0), int(y1)) for x in range(int(x0), int(x1))}
    return found


def test_a_region_of_a_large_image_has_the_coordinates_of_the_image(bench, tmp_path):
    image = bench.viewer.add_image(np.zeros((1500, 1500), np.uint8), name="slide")
    labels = np.zeros((512, 512), np.uint32)
    labels[10:20, 30:50] = 1
    layer = bench.add(
        labels,
        name="region",
        translate=(844, 944),
        metadata={"sam3_image": str(image.unique_id), "source_image_layer": "slide"},
    )
    image.name = "slide 1"

    bench.export(layer, tmp_path / "a", ExportFormat.GEOJSON)
    bench.export(layer, tmp_path / "a", ExportFormat.COCO_RLE)

    told = json.loads((tmp_path / "a.geojson").read_text())
    assert told["image"] == {"name": "slide 1", "height": 1500, "width": 1500}
    outline = shapely_shape(told["features"][0]["geometry"])
    assert outline.bounds == (974, 854, 994, 864)
    told = json.loads((tmp_path / "a.json").read_text())
    assert told["images"] == [{"id": 1, "file_name": "slide 1", "height": 1500, "width": 1500}]
    assert told["annotations"][0]["bbox"] == [974, 854, 20, 10]


def test_a_saved_and_merged_object_stays_on_its_slice_of_its_image(bench, tmp_path):
    bench.viewer.add_image(np.zeros((10, 8, 8)), name="other")
    image = bench.viewer.add_image(np.zeros((10, 40, 50)), name="cells")
    labels = np.zeros((1, 6, 6), np.uint32)
    labels[0, 1:3, 1:3] = 1
    known = {"sam3_image": str(image.unique_id), "source_image_layer": "cells"}
    layer = bench.add(labels, name="SAM3 preview labels", translate=(6, 20, 30), metadata=known)
    bench.model.source = bench.key(layer)
    bench.collection.save_accepted()
    bench.settle()
    saved = bench.viewer.layers[-1]
    bench.model.final_chosen = (bench.key(saved),)
    bench.collection.merge_final()
    bench.settle()
    image.name = "renamed"
    final = bench.viewer.layers["final_training_mask"]

    bench.export(final, tmp_path / "a", ExportFormat.GEOJSON)

    told = json.loads((tmp_path / "a.geojson").read_text())
    assert told["image"] == {"name": "renamed", "height": 40, "width": 50}
    (feature,) = told["features"]
    assert feature["geometry"]["plane"] == {"c": -1, "z": 6, "t": 0}
    assert shapely_shape(feature["geometry"]).bounds == (31, 21, 33, 23)


@pytest.mark.parametrize("why", ["scale", "between pixels", "outside", "gone"])
def test_labels_that_are_not_on_their_image_are_their_own_image_and_it_is_said(
    bench, tmp_path, why
):
    image = bench.viewer.add_image(np.zeros((40, 50)), name="cells")
    placed = {"scale": {"scale": (2, 2)}, "between pixels": {"translate": (0.5, 0)},
              "outside": {"translate": (30, 0)}, "gone": {}}[why]  # fmt: skip
    labels = np.zeros((20, 20), np.uint32)
    labels[3:5, 4:6] = 1
    known = {"sam3_image": str(image.unique_id), "source_image_layer": "cells"}
    layer = bench.add(labels, name="mine", metadata=known, **placed)
    if why == "gone":
        bench.viewer.layers.remove(image)
        bench.viewer.add_image(np.zeros((40, 50)), name="another")

    said = bench.export(layer, tmp_path / "a", ExportFormat.COCO_RLE)

    assert "its coordinates count from its own first pixel" in said
    told = json.loads((tmp_path / "a.json").read_text())
    assert told["images"] == [{"id": 1, "file_name": "mine", "height": 20, "width": 20}]
    assert told["annotations"][0]["bbox"] == [4, 3, 2, 2]
    assert told["info"]["description"] in said


def test_labels_over_all_channels_are_of_no_channel(bench, tmp_path):
    image = bench.viewer.add_image(
        np.zeros((5, 3, 40, 50)), name="cells", axis_labels=["z", "c", "y", "x"]
    )
    labels = np.zeros((1, 1, 6, 6), np.uint32)
    labels[0, 0, 1:3, 1:3] = 1
    layer = bench.add(
        labels,
        name="part",
        scale=(1, 6, 1, 1),
        translate=(2, 1, 20, 30),
        axis_labels=["z", "c", "y", "x"],
        metadata={"source_image_layer": image.name},
    )

    bench.export(layer, tmp_path / "a", ExportFormat.GEOJSON)
    bench.export(layer, tmp_path / "a", ExportFormat.COCO_RLE)

    (feature,) = json.loads((tmp_path / "a.geojson").read_text())["features"]
    assert feature["geometry"]["plane"] == {"c": -1, "z": 2, "t": 0}
    (told,) = json.loads((tmp_path / "a.json").read_text())["images"]
    assert told["file_name"] == "cells_2"
