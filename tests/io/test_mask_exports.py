"""Each export of masks, read back by somebody else's reader."""

import json
import tracemalloc
import zipfile

import geojson
import numpy as np
import pytest
import shapely
import yaml
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from roifile import ImagejRoi
from scipy.ndimage import binary_fill_holes
from shapely.geometry import shape as shapely_shape
from skimage.draw import disk, polygon2mask

from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.core.masks.labels import ImagePlace
from napari_sam3_assistant.core.masks.objects import Classes
from napari_sam3_assistant.errors import ExportError
from napari_sam3_assistant.io.exports import save_coco, save_geojson, save_rois, save_yolo
from napari_sam3_assistant.io.ome_zarr_labels import save_ome_zarr
from napari_sam3_assistant.io.zarr_images import read_zarr

CLASSES = Classes({1: "cell", 7: 'a "ring"'}, {1: 1, 2: 7, 70000: 1})


@pytest.fixture
def labels():
    """A disc, a ring with a smaller disc inside, and an object in two parts at the border."""
    plane = np.zeros((50, 70), np.uint32)
    plane[disk((15, 15), 9)] = 1
    plane[disk((25, 45), 14)] = 2
    plane[disk((25, 45), 8)] = 0
    plane[disk((25, 45), 3)] = 1
    plane[44:50, 0:9] = 70000
    plane[46:50, 60:70] = 70000
    return plane


def alone(labels, name="x"):
    return ImagePlace.alone(name, labels.shape)


def coco(path):
    return COCO(str(path))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
@pytest.mark.parametrize("as_polygons", [False, True])
def test_coco_is_read_back_by_pycocotools(labels, tmp_path, as_polygons):
    path = save_coco(
        labels, tmp_path / "a.json", CLASSES, alone(labels, "cells.tif"), as_polygons=as_polygons
    )

    read = coco(path)

    assert [read.imgs[1][key] for key in ("file_name", "height", "width")] == ["cells.tif", 50, 70]
    assert {c["id"]: c["name"] for c in read.dataset["categories"]} == CLASSES.names
    kinds = {type(annotation["segmentation"]) for annotation in read.anns.values()}
    assert kinds == ({list, dict} if as_polygons else {dict})  # the ring has a hole
    for annotation, value in zip(read.anns.values(), (1, 2, 70000), strict=True):
        mask = labels == value
        np.testing.assert_array_equal(read.annToMask(annotation).astype(bool), mask)
        assert annotation["area"] == np.count_nonzero(mask)
        assert annotation["category_id"] == CLASSES.of_object[value]
        rle = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert annotation["bbox"] == coco_mask.toBbox(rle).tolist()


@st.composite
def noise(draw):
    """Labels of single pixels, holes, pieces that touch at corners, and objects at the border."""
    height, width = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    values = st.sampled_from([0, 1, 1, 3, 70000])
    return draw(arrays(np.uint32, (height, width), elements=values))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools
@given(part=noise(), y=st.integers(0, 4), x=st.integers(0, 4), more=st.integers(0, 3))
def test_whatever_the_labels_others_paint_the_same_pixels(tmp_path_factory, part, y, x, more):
    """Labels of a region lie where they are in the image, in each of the formats."""
    whole = np.zeros((y + part.shape[0] + more, x + part.shape[1] + more), np.uint32)
    whole[y : y + part.shape[0], x : x + part.shape[1]] = part
    place = ImagePlace("x", whole.shape, y, x)
    folder = tmp_path_factory.mktemp("exports")
    values = [int(value) for value in np.unique(part) if value]
    centres = [at.ravel() + 0.5 for at in np.indices(whole.shape)[::-1]]

    for as_polygons in (False, True):
        path = save_coco(part, folder / "a.json", Classes(), place, as_polygons=as_polygons)
        read = coco(path) if values else None
        for annotation, value in zip(read.anns.values() if read else (), values, strict=True):
            np.testing.assert_array_equal(read.annToMask(annotation), whole == value)

    features = json.loads(save_geojson(part, folder / "a.geojson", Classes(), place).read_text())
    for feature, value in zip(features["features"], values, strict=True):
        geometry = shapely_shape(feature["geometry"])
        assert geometry.is_valid
        inside = shapely.contains_xy(geometry, *centres).reshape(whole.shape)
        np.testing.assert_array_equal(inside, whole == value)

    if values:
        rois = ImagejRoi.fromfile(save_rois(part, folder / "a.zip", Classes(), place))
        rois = rois if isinstance(rois, list) else [rois]
        assert [roi.name for roi in rois] == list(map(str, values))
        for roi, value in zip(rois, values, strict=True):
            np.testing.assert_array_equal(covers(roi, whole.shape), whole == value)

    path = save_yolo(part, folder / "a.txt", Classes(), place)
    covered, filled = np.zeros(whole.shape, bool), np.zeros(whole.shape, bool)
    for line in path.read_text().splitlines():
        corners = np.array(line.split()[1:], float).reshape(-1, 2) * whole.shape[::-1]
        outline = shapely.Polygon(corners)
        assert outline.is_valid
        covered |= shapely.contains_xy(outline, *centres).reshape(whole.shape)
    for value in values:
        filled |= binary_fill_holes(whole == value)  # the format has no holes
    assert (covered >= (whole != 0)).all()
    assert (covered <= filled).all()


def test_in_class_masks_each_component_is_an_object(labels, tmp_path):
    labels[labels == 70000] = 9
    classes = Classes({1: "cell", 2: "ring", 9: "rest"})

    read = coco(save_coco(labels, tmp_path / "a.json", classes, alone(labels)))

    assert [annotation["category_id"] for annotation in read.anns.values()] == [1, 1, 2, 9, 9]


def test_labels_that_nobody_classified_are_objects_of_one_class(labels, tmp_path):
    read = coco(save_coco(labels, tmp_path / "a.json", Classes(), alone(labels)))

    assert read.loadCats([1])[0]["name"] == "object"
    assert len(read.anns) == 3


def test_a_stack_has_an_image_a_plane(labels, tmp_path):
    stack = np.stack([labels, labels * 0])

    read = coco(save_coco(stack, tmp_path / "a.json", CLASSES, alone(stack)))

    assert [image["file_name"] for image in read.imgs.values()] == ["x_0", "x_1"]
    assert {annotation["image_id"] for annotation in read.anns.values()} == {1}


def test_coco_names_the_file_of_the_image(labels, tmp_path):
    place = ImagePlace("cells [1]", labels.shape, file="cells.ome.tif")
    stack = ImagePlace("s", labels.shape, leading=(2,), names=("z",), file="s.tif")

    read = coco(save_coco(labels, tmp_path / "a.json", CLASSES, place))
    planes = coco(save_coco(labels[None], tmp_path / "b.json", CLASSES, stack))

    assert read.imgs[1]["file_name"] == "cells.ome.tif"
    assert planes.imgs[1]["file_name"] == "s_2.tif"


def test_yolo_outlines_cover_the_same_pixels(labels, tmp_path):
    path = save_yolo(labels, tmp_path / "a.txt", CLASSES, alone(labels))

    lines = [line.split() for line in path.read_text().splitlines()]
    assert [line[0] for line in lines] == ["0", "0", "1", "0", "0"]
    covered = np.zeros(labels.shape, bool)
    for line in lines:
        corners = np.array(line[1:], float).reshape(-1, 2)[:, ::-1] * labels.shape
        assert shapely.Polygon(corners).is_valid
        covered |= polygon2mask(labels.shape, corners - 0.5)
    expected = labels != 0
    expected[disk((25, 45), 8)] = True  # the format has no holes
    np.testing.assert_array_equal(covered, expected)
    names = yaml.safe_load(path.with_suffix(".yaml").read_text())
    assert names == {"names": {0: "cell", 1: 'a "ring"'}}


def test_yolo_numbers_hold_over_files_and_the_list_of_classes_is_not_replaced(labels, tmp_path):
    names = tmp_path / "a.yaml"
    listed = "path: data\nnames:\n  3: 'a \"ring\"'\n  5: cell\n"
    names.write_text(listed)

    path = save_yolo(labels, tmp_path / "a.txt", CLASSES, alone(labels))

    assert [line.split()[0] for line in path.read_text().splitlines()] == ["5", "5", "3", "5", "5"]
    assert names.read_text() == listed
    names.write_text("names: [cell, other]")
    with pytest.raises(ExportError, match=r"lists no class “a \"ring\"”"):
        save_yolo(labels, tmp_path / "a.txt", CLASSES, alone(labels))


@pytest.mark.parametrize("text", ["", "names: 3", "names: {a: cell}", "[1", "\x00", "names: [1]"])
def test_what_is_no_list_of_classes_is_kept_and_said(labels, tmp_path, text):
    names = tmp_path / "a.yaml"
    names.write_text(text)

    with pytest.raises(ExportError, match="is not a list of classes"):
        save_yolo(labels, tmp_path / "a.txt", CLASSES, alone(labels))

    assert names.read_text() == text
    assert not (tmp_path / "a.txt").exists()


def test_yolo_of_nothing_fixes_no_classes(labels, tmp_path):
    path = save_yolo(np.zeros_like(labels), tmp_path / "a.txt", Classes(), alone(labels))
    assert path.read_text() == ""
    save_yolo(labels, path, Classes(), alone(labels))
    assert yaml.safe_load((tmp_path / "a.yaml").read_text())["names"] == {0: "object"}


def test_yolo_refuses_a_stack(labels, tmp_path):
    with pytest.raises(ExportError, match="holds one plane"):
        save_yolo(np.stack([labels, labels]), tmp_path / "a.txt", CLASSES, alone(labels[None]))
    assert not list(tmp_path.iterdir())


def test_geojson_is_valid_and_keeps_holes_and_parts(labels, tmp_path):
    path = save_geojson(labels, tmp_path / "a.geojson", CLASSES, alone(labels))

    with path.open() as file:
        collection = geojson.load(file)
    assert collection.is_valid
    assert len(collection.features) == 3
    for feature, value in zip(collection.features, (1, 2, 70000), strict=True):
        geometry = shapely_shape(feature["geometry"])
        assert geometry.is_valid
        assert geometry.area == np.count_nonzero(labels == value)
        assert feature["properties"]["name"] == str(value)
        assert (
            feature["properties"]["classification"]["name"]
            == CLASSES.names[CLASSES.of_object[value]]
        )
    ring = shapely_shape(collection.features[1]["geometry"])
    assert not ring.contains(shapely.Point(45.5, 25.5))
    assert ring.contains(shapely.Point(45.5, 13.5))


def test_geojson_holds_what_was_measured_and_the_colour_of_the_class(labels, tmp_path):
    measured = {1: {"score": 0.5, "ratio": np.inf}, 2: {"ratio": np.nan}, 8: {"score": 1.0}}

    path = save_geojson(
        labels, tmp_path / "a.geojson", CLASSES, alone(labels), measured, kind="detection"
    )

    strict = json.loads(path.read_text(), parse_constant=pytest.fail)
    found = [one["properties"] for one in strict["features"]]
    assert {one["objectType"] for one in found} == {"detection"}
    assert [one["measurements"].get("score") for one in found] == [0.5, None, None]
    for one, value in zip(found, (1, 2, 70000), strict=True):
        assert one["measurements"]["Area px^2"] == np.count_nonzero(labels == value)
    colours = [tuple(one["classification"]["color"]) for one in found]
    assert colours[0] == colours[2] != colours[1]
    assert all(0 <= part <= 255 for colour in colours for part in colour)


def covers(roi, shape):
    """Return the pixels of an ImageJ region, which counts inside and outside by turns."""
    inside = np.zeros(shape, bool)
    for ring in roi.coordinates(multi=True):
        inside ^= polygon2mask(shape, np.asarray(ring)[:, ::-1] - 0.5)
    return inside


def test_imagej_regions_cover_the_same_pixels(labels, tmp_path):
    path = save_rois(labels, tmp_path / "a.zip", CLASSES, alone(labels))

    rois = {roi.name: roi for roi in ImagejRoi.fromfile(path)}
    assert set(rois) == {"1", "2", "70000"}
    for name, roi in rois.items():
        np.testing.assert_array_equal(covers(roi, labels.shape), labels == int(name))
        assert roi.group == CLASSES.of_object[int(name)]
    assert rois["2"].composite
    assert rois["1"].stroke_color == rois["70000"].stroke_color != rois["2"].stroke_color


def test_imagej_regions_say_their_plane_and_lie_in_the_image(labels, tmp_path):
    place = ImagePlace("x", (500, 700), 100, 200, (4,), ("z",))
    stack = np.stack([labels * 0, labels == 70000])
    path = save_rois(stack, tmp_path / "a.zip", Classes(), place)

    (roi,) = ImagejRoi.fromfile(path)

    assert (roi.name, roi.position, roi.group) == ("1_z6", 6, 0)
    expected = np.zeros(place.shape, bool)
    expected[100:150, 200:270] = labels == 70000
    np.testing.assert_array_equal(covers(roi, place.shape), expected)
    movie = np.stack([stack, stack])
    planes = save_rois(movie, tmp_path / "b.zip", Classes(), alone(movie))
    told = [(roi.name, roi.z_position, roi.t_position) for roi in ImagejRoi.fromfile(planes)]
    assert told == [("1_t1_z2", 2, 1), ("1_t2_z2", 2, 2)]


def test_components_of_a_class_are_regions_of_their_own(labels, tmp_path):
    path = save_rois(labels, tmp_path / "a.zip", Classes({1: "cell", 2: "ring"}), alone(labels))

    assert [roi.name for roi in ImagejRoi.fromfile(path)][:2] == ["1", "1-2"]


def test_geojson_of_a_stack_says_the_plane(labels, tmp_path):
    stack = np.stack([labels * 0, labels])
    path = save_geojson(stack, tmp_path / "a.geojson", CLASSES, alone(stack))

    features = json.loads(path.read_text())["features"]

    assert {feature["geometry"]["plane"]["z"] for feature in features} == {1}


def test_ome_zarr_is_read_back_by_ome_zarr(labels, tmp_path):
    stack = np.stack([np.kron(labels, np.ones((4, 4), np.uint32)), np.zeros((200, 280), np.uint32)])

    path = save_ome_zarr(stack, tmp_path / "a.zarr", make_axes(stack.shape, scale=(2.0, 0.5, 0.25)))

    (node,) = Reader(parse_url(str(path)))()
    np.testing.assert_array_equal(np.asarray(node.data[0]), stack)
    np.testing.assert_array_equal(np.asarray(node.data[1]), stack[:, ::2, ::2])
    assert [axis["name"] for axis in node.metadata["axes"]] == ["z", "y", "x"]
    transformations = node.metadata["coordinateTransformations"]
    assert transformations[1][0]["scale"] == [2.0, 1.0, 0.5]
    ours = read_zarr(path)
    assert tuple(axis.scale for axis in ours.axes) == (2.0, 0.5, 0.25)
    np.testing.assert_array_equal(ours.data[:], stack)


def test_ome_zarr_replaces_a_zarr_folder_and_nothing_else(labels, tmp_path):
    axes = make_axes(labels.shape)
    path = save_ome_zarr(labels, tmp_path / "a.zarr", axes)
    save_ome_zarr(labels * 2, path, axes, replace=True)
    other = tmp_path / "b.zarr"
    other.mkdir()
    (other / "notes.txt").write_text("mine")

    with pytest.raises(ExportError, match="not a zarr folder"):
        save_ome_zarr(labels, other, axes, replace=True)

    assert (other / "notes.txt").read_text() == "mine"
    np.testing.assert_array_equal(zarr.open_group(path, mode="r")["0"][:], labels * 2)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a.zarr", "b.zarr"]


def test_ome_zarr_copies_lazy_labels(labels, tmp_path):
    lazy = zarr.create_array({}, shape=labels.shape, chunks=(16, 16), dtype=labels.dtype)
    lazy[:] = labels

    path = save_ome_zarr(lazy, tmp_path / "a.zarr", make_axes(lazy.shape))

    np.testing.assert_array_equal(read_zarr(path).data[:], labels)


def test_ome_zarr_needs_a_folder_and_at_most_five_axes(labels, tmp_path):
    with pytest.raises(ExportError, match="does not exist"):
        save_ome_zarr(labels, tmp_path / "no" / "a.zarr", make_axes(labels.shape))
    with pytest.raises(ExportError, match="up to five axes"):
        save_ome_zarr(np.zeros((1,) * 6, np.uint8), tmp_path / "a.zarr", make_axes((1,) * 6))


def test_geojson_tells_the_plane_and_the_time(labels, tmp_path):
    movie = np.zeros((2, 3, *labels.shape), labels.dtype)
    movie[1, 2] = labels == 1

    path = save_geojson(movie, tmp_path / "a.geojson", CLASSES, alone(movie))

    planes = [one["geometry"]["plane"] for one in json.loads(path.read_text())["features"]]
    assert planes == [{"c": -1, "z": 2, "t": 1}]


class Stored:
    """Labels that are read piece by piece, and the most pixels that were read at once."""

    def __init__(self, labels):
        self.labels, self.chunks, self.most = labels, (1, 256, 256), 0
        self.shape, self.dtype, self.ndim = labels.shape, labels.dtype, labels.ndim

    def __getitem__(self, key):
        part = self.labels[key]
        self.most = max(self.most, part.size)
        return part


def content(path):
    """What a file holds; of a zip without the time at which it was made."""
    if not zipfile.is_zipfile(path):
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("save", [save_coco, save_geojson, save_yolo, save_rois])
def test_a_slide_is_written_piece_by_piece(tmp_path, save):
    plane = np.zeros((1, 3072, 4096), np.uint8)
    for number, (row, column) in enumerate(np.ndindex(6, 8), 1):
        rows, columns = disk((row * 512 + 250, column * 512 + 250), 12 + number)
        plane[0, rows, columns] = number
    stored, place = Stored(plane), ImagePlace.alone("slide.tif", plane.shape, ("z",))
    tracemalloc.start()
    try:
        save(stored, tmp_path / "slide", Classes(), place)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert stored.most <= 1 << 22
    assert peak < 3 * plane.nbytes
    save(plane, tmp_path / "whole", Classes(), place)
    assert content(tmp_path / "slide") == content(tmp_path / "whole")
