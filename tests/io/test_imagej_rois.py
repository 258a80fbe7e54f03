"""Regions of ImageJ become labels; roifile, which is not ours, writes them."""

import json
import tracemalloc
import zipfile
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from roifile import ROI_TYPE, ImagejRoi, roiwrite
from skimage.measure import label

from amounts import FEW
from napari_sam3_assistant import api
from napari_sam3_assistant.cli import main
from napari_sam3_assistant.errors import MaskError
from napari_sam3_assistant.io.annotations import paint_annotations
from napari_sam3_assistant.io.imagej_rois import RoiFile

SHAPE = (40, 60)


def square(x, y, size):
    return [[x, y], [x + size, y], [x + size, y + size], [x, y + size]]


def region(corners, kind=ROI_TYPE.POLYGON, **told):
    roi = ImagejRoi.frompoints(corners)
    roi.roitype = kind
    for name, value in told.items():
        setattr(roi, name, value)
    return roi


def box(kind, x, y, width, height):
    return ImagejRoi(roitype=kind, left=x, top=y, right=x + width, bottom=y + height)


def composite(*rings):
    """A region of several lines, as ImageJ's Combine and XOR make them."""
    paths = [(*((min(at, 1), x, y) for at, (x, y) in enumerate(ring)), (4,)) for ring in rings]
    steps = [one for path in paths for step in path for one in step]
    corners = np.concatenate(rings)
    (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
    roi = ImagejRoi(roitype=ROI_TYPE.RECT, left=left, top=top, right=right, bottom=bottom)
    roi.multi_coordinates = np.array(steps, np.float32)
    roi.shape_roi_size = len(roi.multi_coordinates)
    return roi


def write(path, *regions):
    for number, roi in enumerate(regions, 1):
        roi.name = roi.name or f"{number:04d}"
    roiwrite(path, list(regions) if path.suffix == ".zip" else regions[0], mode="w")
    return path


def test_areas_of_every_kind_are_objects_in_their_order(tmp_path):
    regions = (
        box(ROI_TYPE.RECT, 2, 3, 8, 5),
        region(square(20, 2, 6)),
        region(square(30, 2, 6), ROI_TYPE.FREEHAND, group=3),
        region(square(40, 2, 6), ROI_TYPE.TRACED),
        region(np.array(square(50.25, 2.25, 4.5), np.float32)),
        composite(square(5, 15, 20), square(10, 20, 4), square(40, 15, 5)),
        box(ROI_TYPE.OVAL, 45, 22, 12, 16),
        region([[1, 1], [9, 9]], ROI_TYPE.POLYLINE),
        region([[12, 12]], ROI_TYPE.POINT),
    )
    found = RoiFile(write(tmp_path / "RoiSet.zip", *regions)).paint(SHAPE)
    expected = np.zeros(SHAPE, int)
    expected[3:8, 2:10] = 1
    for number, x in ((2, 20), (3, 30), (4, 40)):
        expected[2:8, x : x + 6] = number
    expected[2:7, 50:55] = 5
    expected[15:35, 5:25] = 6
    expected[20:24, 10:14] = 0
    expected[15:20, 40:45] = 6
    oval = found.labels == 7
    np.testing.assert_array_equal(np.where(oval, 0, found.labels), np.where(oval, 0, expected))
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] + 0.5
    distance = np.hypot((y - 30) / 8, (x - 51) / 6)
    assert oval[distance < 0.95].all()
    assert not oval[distance > 1.05].any()
    assert found.measurements[3] == {"group": 3}
    assert set(found.names.values()) == {""}
    assert found.notes == ("2 annotations without an area (points, lines, texts) left out.",)


@FEW
@given(st.integers(0, 2**32 - 1), st.booleans())
def test_what_we_export_comes_back(tmp_path_factory, seed, of_stack):
    rng = np.random.default_rng(seed)
    shape = (3, 20, 24) if of_stack else (20, 24)
    labels = label(rng.random(shape) > 0.4, connectivity=1).astype(np.int32)
    path = tmp_path_factory.mktemp("rois") / "RoiSet.zip"
    api.export(labels, path)
    file = RoiFile(path)
    for at, plane in enumerate(labels if of_stack else labels[np.newaxis]):
        found = file.paint(plane.shape, {"z": at} if of_stack else {})
        pairs = {(int(a), int(b)) for a, b in zip(plane.ravel(), found.labels.ravel(), strict=True)}
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})
        assert (0, 0) in pairs or plane.all()


def test_regions_are_on_their_plane_and_those_of_none_on_any(tmp_path):
    regions = (
        region(square(2, 2, 4), position=2),
        region(square(10, 2, 4), z_position=2, t_position=3),
        region(square(20, 2, 4)),
        region(square(30, 2, 4), t_position=3),
    )
    file = RoiFile(write(tmp_path / "RoiSet.zip", *regions))

    def corners(plane):
        labels = file.paint(SHAPE, plane).labels
        return [x for x in (2, 10, 20, 30) if labels[3, x + 1]]

    assert corners({"z": 1}) == [2, 20]
    assert corners({"z": 1, "t": 2}) == [2, 10, 20, 30]
    assert corners({"z": 0, "t": 2}) == [20, 30]
    assert corners({"t": 2}) == [20, 30]


@pytest.mark.parametrize("ending", [".roi", ".zip"])
@given(data=st.data())
def test_damaged_bytes_are_a_sentence(tmp_path_factory, ending, data):
    folder = tmp_path_factory.mktemp("damaged")
    good = write(folder / f"a{ending}", composite(square(5, 5, 9), square(7, 7, 3))).read_bytes()
    broken = bytearray(good[: data.draw(st.integers(0, len(good)))])
    for _ in range(data.draw(st.integers(0, 6)) if broken else 0):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    path = folder / f"b{ending}"
    path.write_bytes(broken)
    with suppress(MaskError):
        assert paint_annotations(path, SHAPE).labels.shape == SHAPE


def test_another_zip_is_refused_with_the_way_to_save_regions(tmp_path):
    path = tmp_path / "images.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.tif", b"II*\0")
    with pytest.raises(MaskError, match=r"has no \.roi file") as caught:
        paint_annotations(path, SHAPE)
    assert "ROI Manager" in caught.value.hint


def test_regions_are_imported_and_prompts_without_a_window(tmp_path):
    path = write(tmp_path / "RoiSet.zip", region(square(20, 10, 8)), box(ROI_TYPE.RECT, 2, 2, 9, 9))
    image = np.full(SHAPE, 40, np.uint8)
    image[10:18, 20:28] = image[2:11, 2:11] = 200
    tifffile.imwrite(tmp_path / "cells.tif", image)

    assert main(["import", str(path), "-o", str(tmp_path / "out")]) != 0  # of what size?
    of_image = "--image", str(tmp_path / "cells.tif")
    assert main(["import", str(path), *of_image, "-o", str(tmp_path / "out")]) == 0
    labels = tifffile.imread(tmp_path / "out" / "cells_labels.tif")
    np.testing.assert_array_equal(labels, api.read_rois(path).paint(SHAPE).labels)
    assert labels[14, 24] == 1
    found = api.segment(tmp_path / "cells.tif", labels=path)
    assert [one.id for one in found.objects] == [1, 2]


@given(st.permutations([2, 4, 6, 9, 9]))
def test_what_lies_within_a_larger_one_is_seen_in_whatever_order(sides):
    with TemporaryDirectory() as folder:
        boxes = [box(ROI_TYPE.RECT, 20 - side, 20 - side, 2 * side, 2 * side) for side in sides]
        labels = write(Path(folder, "a.zip"), *boxes)
        rois = api.read_rois(labels).paint(SHAPE)
        shapes = [{"segmentation": [square_ring(side)]} for side in sides]
        entries = [
            {"id": at, "image_id": 1, "category_id": 1, **shape} for at, shape in enumerate(shapes)
        ]
        image = {"id": 1, "file_name": "a.tif", "height": SHAPE[0], "width": SHAPE[1]}
        written = {
            "images": [image],
            "annotations": entries,
            "categories": [{"id": 1, "name": "x"}],
        }
        Path(folder, "a.json").write_text(json.dumps(written))
        coco = api.read_coco(Path(folder, "a.json"))
        coco = coco.paint(coco.images[0])

    inner = dict(zip([2, 4, 6, 9], [0, 2, 4, 6], strict=True))
    for found in (rois, coco):
        sizes = np.bincount(found.labels.ravel(), minlength=6)[1:]
        for side, size in zip(sides, sizes, strict=True):
            assert size == (2 * side) ** 2 - (2 * inner[side]) ** 2 or (side, size) == (9, 0)
        assert found.notes == ("1 annotation wholly below others.",)  # one of two that are equal


def square_ring(side):
    low, high = 20 - side, 20 + side
    return [low, low, high, low, high, high, low, high]


def test_counting_what_is_below_others_takes_no_room_beside_the_labels(tmp_path):
    file = RoiFile(
        write(
            tmp_path / "a.zip",
            box(ROI_TYPE.RECT, 10, 10, 20, 20),
            box(ROI_TYPE.RECT, 5, 5, 30, 30),
        )
    )
    file.paint(SHAPE)  # what is imported at first takes memory, too
    tracemalloc.start()
    found = file.paint((2000, 2000))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert np.bincount(found.labels.ravel())[1:].tolist() == [400, 900 - 400]
    assert most < 1.25 * found.labels.nbytes
