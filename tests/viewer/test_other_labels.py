"""Labels of other tools: accepted, refined one by one, or followed through a stack."""

import json
import threading
import uuid
from dataclasses import replace

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from napari.components import ViewerModel
from roifile import ROI_TYPE, ImagejRoi, roiwrite
from skimage.draw import disk
from tifffile import imwrite

from amounts import FEW
from napari_sam3_assistant import api
from napari_sam3_assistant.core.classes import ClassList, ObjectClass
from napari_sam3_assistant.core.masks.labels import find_boxes
from napari_sam3_assistant.core.progress import NullReporter, deliver_inline
from napari_sam3_assistant.core.prompts import Task, Tool
from napari_sam3_assistant.errors import ImageError, MaskError, PromptError
from napari_sam3_assistant.io.class_list import read_classes
from napari_sam3_assistant.session.settings import MemorySettings
from napari_sam3_assistant.session.values import FramePlace
from napari_sam3_assistant.viewer.binding import binding_for
from napari_sam3_assistant.viewer.roles import key_of

ZARR_2 = {"zarr_format": 2} if zarr.__version__ >= "3" else {}
ACCEPTED, PREVIEW = "SAM3 live accepted labels", "SAM3 preview labels"
CENTRES = {3: (20, 20), 7: (20, 60), 70000: (55, 40)}


def plane():
    image, labels = np.full((80, 90), 20, np.uint8), np.zeros((80, 90), np.uint32)
    for label, (y, x) in CENTRES.items():
        image[disk((y, x), 10)] = 200
        labels[disk((y + 1, x - 1), 8)] = label
    return image, labels


class Desk:
    def __init__(self, image, **placed):
        self.viewer = ViewerModel()
        self.image = self.viewer.add_image(image, name="cells", **placed)
        self.binding = binding_for(self.viewer, deliver_inline, MemorySettings())
        self.session, self.model = self.binding.session, self.binding.model
        self.verbs = self.session.use_labels

    def settle(self):
        ended = threading.Event()
        self.model.events.running.connect(lambda running: running or ended.set())
        while self.model.running:
            assert ended.wait(240)
            ended.clear()

    def add(self, labels, **features):
        layer = self.viewer.add_labels(labels, name="cellpose", features=features or None)
        return key_of(layer)


@pytest.fixture
def desk():
    made = Desk(plane()[0])
    yield made
    made.binding.close()


def test_labels_are_accepted_as_they_are_with_what_is_known_of_them_and_undone(desk):
    _, labels = plane()
    key = desk.add(labels, index=[3, 7, 70000], score=[0.9, 0.4, 0.7], **{"class": ["a", "-", "b"]})
    job = desk.verbs.accept(key)
    assert job.wait(240)
    desk.settle()

    kept = desk.viewer.layers[ACCEPTED]
    expected = sum((labels == id_) * (at + 1) for at, id_ in enumerate(CENTRES))
    np.testing.assert_array_equal(kept.data, expected)
    told = kept.features
    assert list(told["score"]) == [0.9, 0.4, 0.7]
    assert list(told["class"]) == ["a", "-", "b"]
    assert set(told["engine"]) == {"“cellpose”"}
    desk.session.undo()
    assert not kept.data.any()
    desk.session.redo()
    np.testing.assert_array_equal(kept.data, expected)


@pytest.mark.parametrize("lazy", [False, True])
def test_labels_of_a_whole_stack_keep_their_slices_and_their_numbers(lazy):
    dask = pytest.importorskip("dask.array")
    image, labels = plane()
    stack = np.stack([labels, np.roll(labels, 2, 0), np.zeros_like(labels)])
    desk = Desk(np.stack([image] * 3))
    data = dask.from_array(stack, chunks=(1, 40, 90)) if lazy else stack
    assert desk.verbs.accept(desk.add(data)).wait(240)
    desk.settle()
    kept = np.asarray(desk.viewer.layers[ACCEPTED].data)
    expected = sum((stack == id_) * (at + 1) for at, id_ in enumerate(CENTRES))
    np.testing.assert_array_equal(kept, expected)
    desk.binding.close()


@pytest.mark.parametrize(
    "placed", [{"scale": (2, 0.5, 0.5)}, {"translate": (0, 9, -4)}, {"scale": (1, 1e-6, -1e-6)}]
)
def test_labels_that_lost_their_scale_are_laid_on_the_image(placed):
    image, labels = plane()
    desk = Desk(np.stack([image] * 2), **placed)
    key = desk.add(np.stack([labels] * 2))
    assert desk.verbs.lies_elsewhere(key)
    desk.verbs.lay_on_image(key)
    assert not desk.verbs.lies_elsewhere(key)
    assert desk.verbs.accept(key).wait(240)
    desk.settle()
    np.testing.assert_array_equal(desk.viewer.layers[ACCEPTED].data[0] > 0, labels > 0)
    smaller = desk.add(labels[1:])
    assert not desk.verbs.lies_elsewhere(smaller)
    desk.binding.close()


@pytest.mark.parametrize("shift", [0, 3])
def test_a_mask_of_several_cells_is_one_object_and_that_is_said(desk, shift):
    _, labels = plane()
    mask = np.where(labels, np.uint8(255), np.uint8(0))
    layer = desk.viewer.add_labels(mask, name="mask", translate=(shift, 0))
    job = desk.verbs.accept(key_of(layer))
    assert job is None or job.wait(240)
    desk.settle()
    assert set(np.unique(desk.viewer.layers[ACCEPTED].data)) == {0, 1}
    assert "3 pieces here are one object" in desk.model.message.text


def test_labels_that_lie_elsewhere_are_accepted_where_they_are_seen():
    image, labels = plane()
    desk = Desk(np.stack([image] * 3))
    desk.viewer.dims.set_current_step(0, 1)
    layer = desk.viewer.add_labels(labels[10:, 5:], translate=(10, 5), name="other")
    assert desk.verbs.accept(key_of(layer)) is None
    desk.settle()
    kept = np.asarray(desk.viewer.layers[ACCEPTED].data)
    expected = labels.copy()
    expected[:10], expected[:, :5] = 0, 0
    np.testing.assert_array_equal(kept[1] > 0, expected > 0)
    assert not kept[[0, 2]].any()
    desk.binding.close()


def test_each_object_is_refined_with_its_number_as_by_the_api(desk):
    image, labels = plane()
    job = desk.verbs.refine(desk.add(labels, index=[3, 7, 70000], **{"class": ["a", "b", "-"]}))
    assert job.wait(240)
    assert job.error is None, job.error

    np.testing.assert_array_equal(
        desk.viewer.layers[PREVIEW].data, api.segment(image, labels=labels).labels
    )
    objects = desk.model.preview.segmentation.objects
    assert {one.id: one.class_name for one in objects} == {3: "a", 7: "b", 70000: ""}
    # What is painted next joins them, and takes none of them away.
    desk.model.task, desk.model.tool = Task.SEGMENT, Tool.MASK
    desk.binding.prompts.arm()
    brush = desk.viewer.layers.selection.active
    painted = brush.data.copy()
    painted[60:72, 70:82] = 1
    brush.data = painted
    desk.session.note_prompts()
    again = desk.session.run()
    assert again.wait(240)
    assert {3, 7, 70000} < {one.id for one in desk.model.preview.segmentation.objects}


def test_only_those_below_a_score_are_refined(desk):
    _, labels = plane()
    key = desk.add(labels, index=[3, 7, 70000], score=[0.9, 0.4, 0.95])
    assert desk.verbs.refine(key, below=0.5).wait(240)
    found = desk.model.preview.segmentation.labels
    np.testing.assert_array_equal(found == 3, labels == 3)
    np.testing.assert_array_equal(found == 70000, labels == 70000)
    assert (found == 7).sum() != (labels == 7).sum()
    with pytest.raises(PromptError, match="have a score of"):
        desk.verbs.refine(key, below=0.3)


def test_objects_of_a_slice_are_followed_with_their_numbers():
    image, labels = plane()
    labels[labels == 70000] = 9
    desk = Desk(np.stack([image] * 4))
    desk.viewer.dims.set_current_step(0, 1)
    stack = np.zeros((4, *labels.shape), np.uint32)
    stack[1] = labels
    job = desk.verbs.follow(desk.add(stack))
    assert job.wait(240)
    assert job.error is None, job.error
    assert desk.model.task is Task.VIDEO
    assert desk.model.propagated_ids == (3, 7, 9)
    rows = [row for row in desk.model.results if isinstance(row.preview, FramePlace)]
    assert len(rows) == 12
    desk.binding.close()


def test_a_file_becomes_a_layer_on_the_image_or_its_slice(desk, tmp_path):
    _, labels = plane()
    imwrite(tmp_path / "cellpose_masks.tif", labels[None].astype(np.uint16))
    assert desk.verbs.open_file(tmp_path / "cellpose_masks.tif").wait(240)
    layer = desk.viewer.layers["cellpose_masks"]
    np.testing.assert_array_equal(layer.data, labels.astype(np.uint16))
    assert "ilastik" not in desk.model.message.text
    imwrite(tmp_path / "simple.tif", np.where(labels > 0, 2, 1).astype(np.uint8))
    assert desk.verbs.open_file(tmp_path / "simple.tif").wait(240)
    assert "Of ilastik export Object Identities" in desk.model.message.text
    imwrite(tmp_path / "small.tif", labels[:-1].astype(np.uint16))
    desk.verbs.open_file(tmp_path / "small.tif").wait(240)
    assert "79 x 90" in desk.model.message.text
    imwrite(tmp_path / "morpholibj.tif", labels.astype(np.float32))
    assert desk.verbs.open_file(tmp_path / "morpholibj.tif").wait(240)
    np.testing.assert_array_equal(desk.viewer.layers["morpholibj"].data, labels)
    imwrite(tmp_path / "real.tif", labels + 0.5)
    job = desk.verbs.open_file(tmp_path / "real.tif")
    job.wait(240)
    assert isinstance(job.error, MaskError)


def write_zarr(path, labels, names):
    """Write what zarr alone writes, with axes that OME-Zarr 0.4 names."""
    group = zarr.open_group(str(path), mode="w", **ZARR_2)
    array = group.create_array if hasattr(group, "create_array") else group.create_dataset
    array("0", shape=labels.shape, dtype=labels.dtype, chunks=labels.shape)[...] = labels
    kinds = {"t": "time"}
    axes = [{"name": name, "type": kinds.get(name, "space")} for name in names]
    group.attrs["multiscales"] = [{"version": "0.4", "axes": axes, "datasets": [{"path": "0"}]}]


@FEW
@given(data=st.data())
def test_labels_of_a_file_get_the_order_of_the_axes_of_the_image(data, tmp_path):
    """Also where sides are equally long, so that the shape says nothing, and in any view."""
    draw = data.draw
    names = draw(st.sampled_from(["yx", "zyx", "tzyx", "tczyx", "tyxc"]))
    length = {name: draw(st.sampled_from([6, 6, 7])) for name in names}
    on_plane = draw(st.booleans())
    own = [name for name in names if name in ("yx" if on_plane else "tzyx")]
    random = np.random.default_rng(draw(st.integers(0, 999)))
    labels = random.integers(1, 9, [length[name] for name in own], dtype=np.uint16)
    stored = draw(st.permutations(own))
    named = draw(st.booleans()) or "c" in names
    labelled = {"axis_labels": tuple(names)} if named else {}
    desk = Desk(random.random([length[name] for name in names]), rgb=False, **labelled)
    shown = draw(st.sampled_from(["yx", "xy"]))
    desk.viewer.dims.order = sorted(range(len(names)), key=lambda at: shown.find(names[at]))
    for axis, name in enumerate(names):
        desk.viewer.dims.set_current_step(axis, draw(st.integers(0, length[name] - 1)))
    if not named:  # of the others the image does not say which is which
        stored.sort(key=lambda name: "tz".find(name) if name in "tz" else 2)
        stored = draw(st.sampled_from([stored, [*stored[-2:], *stored[:-2]]]))

    path = tmp_path / f"{uuid.uuid4().hex}.zarr"
    write_zarr(path, labels.transpose([own.index(name) for name in stored]), stored)
    assert desk.verbs.open_file(path).wait(240)
    layer = desk.viewer.layers[path.stem]
    missing = [axis for axis, name in enumerate(names) if name not in own]
    np.testing.assert_array_equal(layer.data, np.expand_dims(labels, missing))
    if on_plane:
        first = layer.data_to_world([0] * layer.ndim)
        for axis, name in enumerate(names):
            assert name not in "tz" or first[axis] == desk.viewer.dims.current_step[axis]
    desk.binding.close()


def test_labels_on_no_plane_on_show_are_said(desk):
    with pytest.raises(ImageError, match="gone"):
        desk.verbs.refine("nothing")
    with pytest.raises(PromptError, match="not a stack"):
        desk.verbs.follow(desk.add(plane()[1]))


@given(data=st.data())
def test_boxes_of_objects_are_those_of_the_array(data):
    dask = pytest.importorskip("dask.array")
    shape = data.draw(st.lists(st.integers(1, 7), min_size=2, max_size=3))
    values = data.draw(
        st.lists(
            st.sampled_from([0, 1, 2, 10**6]),
            min_size=int(np.prod(shape)),
            max_size=int(np.prod(shape)),
        )
    )
    dtype = data.draw(st.sampled_from([int, bool, np.uint64]))
    labels = np.array(values).reshape(shape).astype(dtype)
    chunks = tuple(data.draw(st.integers(1, size)) for size in shape)
    found = find_boxes(dask.from_array(labels, chunks=chunks), NullReporter())
    assert set(found) == set(np.unique(labels)) - {0}
    for id_, box in found.items():
        where = np.argwhere(labels == id_)
        sides = zip(where.min(axis=0), where.max(axis=0) + 1, strict=True)
        assert box == tuple(slice(int(low), int(high)) for low, high in sides)


def ring(y, x, size):
    return [[x, y], [x + size, y], [x + size, y + size], [x, y + size], [x, y]]


def test_objects_of_qupath_are_accepted_on_the_slice_on_show_with_their_classes(tmp_path):
    image, _ = plane()
    desk = Desk(np.stack([image] * 3))
    desk.viewer.dims.set_current_step(0, 1)

    def feature(y, x, plane, **properties):
        geometry = {"type": "Polygon", "coordinates": [ring(y, x, 9)], "plane": plane}
        return {"type": "Feature", "geometry": geometry, "properties": properties}

    on, off = {"c": -1, "z": 1, "t": 0}, {"c": -1, "z": 2, "t": 0}
    told = [
        feature(10, 20, on, classification={"name": "Tumor"}, measurements={"Area": 81.0}),
        feature(40, 30, on),
        feature(40, 60, off, classification={"name": "Tumor"}),
    ]
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": told}))
    assert desk.verbs.open_file(path).wait(240)
    desk.settle()
    assert "on other planes left out" in desk.model.message.text
    layer = desk.viewer.layers["a"]
    assert list(layer.features["class"]) == ["Tumor", "-"]
    assert layer.features["Area"][0] == 81
    desk.verbs.accept(key_of(layer))
    desk.settle()
    kept = desk.viewer.layers[ACCEPTED]
    assert list(kept.features["class"]) == ["Tumor", "-"]
    expected = np.zeros((3, *image.shape), int)
    expected[1, 10:19, 20:29], expected[1, 40:49, 30:39] = 1, 2
    np.testing.assert_array_equal(kept.data, expected)
    desk.binding.close()


def test_classes_of_qupath_and_coco_extend_the_class_list_and_can_be_taken_back(desk, tmp_path):
    file = tmp_path / "classes.csv"
    file.write_text("id,name,color\n4,Tumor,#010203\n7,Stroma,#040506\n")
    verbs = desk.session.classes.file
    verbs.choose(file)
    chosen = desk.model.class_list

    def feature(y, **properties):
        geometry = {"type": "Polygon", "coordinates": [ring(y, 20, 9)]}
        return {"type": "Feature", "geometry": geometry, "properties": properties}

    told = [
        feature(10, classification={"name": "Tumor", "color": [200, 0, 0]}),
        feature(30, classification={"names": ["Immune", "T"], "color": [0, 120, 255]}),
        feature(50),
    ]
    (tmp_path / "a.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": told}))
    assert desk.verbs.open_file(tmp_path / "a.geojson").wait(240)
    desk.settle()
    with_qupath = ObjectClass(8, "Immune: T", (0, 120, 255))
    assert list(desk.model.class_list) == [*chosen, with_qupath]
    assert "1 class was added to the class list" in desk.model.message.text
    assert "Immune" not in file.read_text()

    coco = {
        "images": [{"id": 1, "file_name": "cells.png", "height": 80, "width": 90}],
        "categories": [
            {"id": 0, "name": "Nerve", "supercategory": "tissue"},
            {"id": 1, "name": "unused"},
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 0, "segmentation": [[5, 5, 15, 5, 15, 15]]}
        ],
    }
    (tmp_path / "b.json").write_text(json.dumps(coco))
    assert desk.verbs.open_file(tmp_path / "b.json").wait(240)
    desk.settle()
    nerve = ObjectClass(9, "Nerve", parent="tissue")
    assert list(desk.model.class_list) == [*chosen, with_qupath, nerve]
    for key, names in (("a", ["Tumor", "Immune: T"]), ("b", ["Nerve"])):
        assert [*desk.viewer.layers[key].features["class"]][: len(names)] == names
        assert all(desk.model.class_list.find(name) for name in names)

    edited = ClassList((*desk.model.class_list, ObjectClass(1, "other")))
    verbs.change(edited, file, {})
    assert "Nerve" in file.read_text()
    for _ in range(3):
        verbs.take_back()
    assert desk.model.class_list == chosen == read_classes(file)
    assert desk.verbs.open_file(tmp_path / "b.json").wait(240)
    desk.settle()
    assert list(desk.model.class_list) == [*chosen, replace(nerve, id=8)]


def test_regions_of_imagej_lie_on_the_image(desk, tmp_path):
    regions = [
        ImagejRoi(roitype=ROI_TYPE.RECT, name="1", left=20, top=10, right=30, bottom=18, group=4),
        ImagejRoi(roitype=ROI_TYPE.LINE, name="2"),
        ImagejRoi(roitype=ROI_TYPE.RECT, name="3", left=40, top=10, right=50, bottom=18),
    ]
    roiwrite(tmp_path / "RoiSet.zip", regions)
    assert desk.verbs.open_file(tmp_path / "RoiSet.zip").wait(240)
    desk.settle()
    layer = desk.viewer.layers["RoiSet"]
    assert [np.count_nonzero(layer.data == one) for one in (1, 2, 3)] == [80, 80, 0]
    assert layer.features["group"][0] == 4
    assert "1 annotation without an area" in desk.model.message.text


def test_annotations_for_another_image_are_refused(desk, tmp_path):
    path = tmp_path / "a.geojson"
    size = {"name": "b.tif", "height": 9, "width": 9}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [], "image": size}))
    job = desk.verbs.open_file(path)
    assert job.wait(240)
    assert "9 x 9" in str(job.error)
    assert len(desk.viewer.layers) == 1
