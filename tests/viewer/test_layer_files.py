"""Labels in files by napari's own menus: notes that are opened, and layers that are saved."""

import json
import shutil

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Labels

from napari_sam3_assistant import api
from napari_sam3_assistant.errors import ExportError
from napari_sam3_assistant.session import layer_files
from napari_sam3_assistant.session.settings import MemorySettings
from napari_sam3_assistant.viewer.binding import binding_for

FORMATS = ("tif", "npy", "png", "zarr")


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder with an OME-TIFF that knows its pixel size: two bright squares."""
    folder = tmp_path_factory.mktemp("images")
    image = np.full((40, 60), 30, np.uint8)
    image[5:15, 5:20] = image[22:36, 30:50] = 200
    size = {"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5}
    unit = {"PhysicalSizeXUnit": "µm", "PhysicalSizeYUnit": "µm"}
    tifffile.imwrite(folder / "cells.ome.tif", image, metadata={"axes": "YX", **size, **unit})
    return folder


@pytest.fixture(scope="module", params=FORMATS)
def saved(request, images, tmp_path_factory):
    """Labels of that picture in a format, and their note."""
    out = tmp_path_factory.mktemp(request.param)
    api.segment_folder(images, out, texts=["bright objects"], ending=f".{request.param}")
    (note,) = out.glob("*.json")
    return out / note.name.removesuffix(".json"), note


def um(layer):
    return [str(unit) for unit in layer.units]


def test_a_note_opens_as_its_labels(plugin_manager, saved):
    labels, note = saved
    viewer = ViewerModel()

    (layer,) = viewer.open(str(note), plugin=None)  # as the File menu does

    assert isinstance(layer, Labels)
    assert layer.name == labels.name.partition(".")[0]
    assert np.asarray(layer.data).max() == 2
    assert tuple(layer.scale) == (0.5, 0.25)
    assert um(layer) == ["micrometer"] * 2
    assert list(layer.features["index"]) == [1, 2]
    assert list(layer.features["area"]) == [280, 150]
    assert set(layer.features["prompt"]) == {"bright objects"}


def test_the_note_of_a_scanned_stack_opens_as_labels_that_are_read_as_they_are_looked_at(
    plugin_manager, images, tmp_path
):
    plane = tifffile.imread(images / "cells.ome.tif")
    stack = np.stack([plane, plane[::-1], 0 * plane])
    scan = api.scan(stack, text="bright objects", plane="all", output=tmp_path / "labels.zarr")
    viewer = ViewerModel()
    (layer,) = viewer.open(f"{scan.path}.json", plugin="napari-sam3-assistant")
    level = layer.data[0] if layer.multiscale else layer.data
    assert not isinstance(level, np.ndarray)
    assert level.shape == stack.shape
    assert [np.unique(np.asarray(level[z]))[1:].tolist() for z in range(3)] == [[1, 2], [3, 4], []]
    assert layer.features["index"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("saved", ["tif", "npy"], indirect=True)
def test_labels_that_napari_opens_get_their_features_back(napari_reads, saved):
    labels, _ = saved
    viewer = ViewerModel()
    binding = binding_for(viewer, lambda call: call(), MemorySettings())

    (layer,) = viewer.open(str(labels), layer_type="labels")

    assert list(layer.features["area"]) == [280, 150]
    assert tuple(layer.scale) == (1, 1), "napari leaves out the size of the image, too"
    binding.close()


def test_other_json_is_not_ours(tmp_path):
    other = tmp_path / "cells.tif.json"
    other.write_text('{"format": "something else"}', "utf8")

    assert layer_files.get_reader(str(other)) is None
    assert layer_files.get_reader([str(other)]) is None
    assert layer_files.saved_features(tmp_path / "cells.tif") == {}


@pytest.mark.parametrize("wrong", [{"id": "one"}, {"id": 1, "score": "high"}, {"area": 3}])
def test_a_damaged_note_says_so_and_never_stands_in_the_way(saved, tmp_path, wrong):
    labels, note = saved
    told = json.loads(note.read_text("utf8"))
    told["objects"] = [wrong]
    damaged = tmp_path / note.name
    damaged.write_text(json.dumps(told), "utf8")
    copy = shutil.copytree if labels.is_dir() else shutil.copy
    copy(labels, tmp_path / labels.name)

    with pytest.raises(ExportError, match="does not say"):
        layer_files.read_note(str(damaged))
    assert layer_files.saved_features(tmp_path / labels.name) == {}


@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)),
    planes=st.booleans(),
    scale=st.tuples(*[st.floats(0.01, 100)] * 3),
    translate=st.tuples(*[st.floats(-50, 50)] * 3),
    ending=st.sampled_from([".ome.zarr", ".npy", ".png"]),
)
def test_what_napari_saves_by_our_writer_is_read_back(
    tmp_path_factory, shape, planes, scale, translate, ending
):
    first = 1 if planes or ending == ".png" else 0
    labels = np.random.default_rng(0).integers(0, 300, shape[first:])
    layer = Labels(
        labels,
        scale=scale[first:],
        translate=translate[first:],
        units=("um",) * labels.ndim,
        axis_labels=("z", "y", "x")[first:],
    )
    path = tmp_path_factory.mktemp("saved") / f"labels{ending}"

    layer_files.write_labels(str(path), *layer.as_layer_data_tuple()[:2])

    image = api.imread(path)
    np.testing.assert_array_equal(np.asarray(image.data), labels)
    if ending == ".ome.zarr":
        assert [axis.scale for axis in image.axes] == pytest.approx(scale[first:])
        assert [axis.origin for axis in image.axes] == pytest.approx(translate[first:])
        assert {axis.unit for axis in image.axes} == {"micrometer"}


def test_a_labels_layer_is_saved_by_the_viewer(plugin_manager, tmp_path):
    viewer = ViewerModel()
    layer = viewer.add_labels(np.eye(7, dtype=int), scale=(2, 3), rotate=0)
    path = tmp_path / "eye.ome.zarr"

    assert viewer.layers.save(str(path), plugin="napari-sam3-assistant") == [str(path)]

    image = api.imread(path)
    assert [axis.scale for axis in image.axes] == [2, 3]
    layer.rotate = 30
    turned = tmp_path / "turned.zarr"
    viewer.layers.save(str(turned), plugin="napari-sam3-assistant")
    assert [axis.scale for axis in api.imread(turned).axes] == [1, 1]
