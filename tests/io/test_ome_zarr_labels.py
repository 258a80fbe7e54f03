"""OME-Zarr labels: what is read back, also by the reference reader."""

import warnings

import dask.array as da
import numpy as np
import pytest
import zarr
from napari_builtins.io import napari_get_reader
from ome_zarr.format import FormatV04, FormatV05
from ome_zarr.io import parse_url
from ome_zarr.reader import Reader
from ome_zarr_models import open_ome_zarr

from napari_sam3_assistant import api
from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.core.progress import CancelToken, NullReporter
from napari_sam3_assistant.errors import ExportError, JobCancelled, NameTaken
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.io.ome_zarr_labels import count_levels, save_ome_zarr


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def labels():
    return np.random.default_rng(0).integers(0, 70000, (2, 1100, 1301)).astype(np.uint32)


@pytest.mark.parametrize("lazy", [False, True])
def test_labels_and_scale_are_read_back(tmp_path, labels, lazy):
    path = tmp_path / "exp1.0_A.zarr"
    axes = make_axes(labels.shape, scale=(2.0, 0.5, 0.25), units="micrometer")

    save_ome_zarr(da.from_array(labels, chunks=500) if lazy else labels, path, axes)

    loaded = read_image(path)
    np.testing.assert_array_equal(loaded.data[...], labels)
    assert loaded.axis_labels == ("z", "y", "x")
    assert tuple(axis.scale for axis in loaded.axes) == (2.0, 0.5, 0.25)
    assert names(tmp_path) == ["exp1.0_A.zarr"]


def test_smaller_levels_are_picked_pixels(tmp_path, labels):
    save_ome_zarr(labels, tmp_path / "a.zarr", make_axes(labels.shape))

    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="r")
    np.testing.assert_array_equal(group["1"][...], labels[:, ::2, ::2])
    np.testing.assert_array_equal(group["2"][...], labels[:, ::4, ::4])
    assert sorted(group.array_keys()) == ["0", "1", "2", "3", "4"]


def test_napari_opens_it_with_all_levels(tmp_path, labels):
    path = tmp_path / "a.zarr"
    save_ome_zarr(labels, path, make_axes(labels.shape))

    ((levels, *_),) = napari_get_reader(str(path))(str(path))

    assert len(levels) == 5
    for number, level in enumerate(levels):
        step = 2**number
        np.testing.assert_array_equal(level, labels[:, ::step, ::step])


def test_the_reference_reader_knows_it_as_labels(tmp_path, labels):
    path = tmp_path / "a.zarr"
    axes = make_axes(labels.shape, scale=(2.0, 0.5, 0.25), units="micrometer")
    save_ome_zarr(labels, path, axes)

    nodes = list(Reader(parse_url(path, mode="r"))())

    metadata = nodes[0].metadata
    assert [level.shape for level in nodes[0].data[:3]] == [
        (2, 1100, 1301),
        (2, 550, 651),
        (2, 275, 326),
    ]
    assert [(axis["name"], axis["type"], axis["unit"]) for axis in metadata["axes"]] == [
        ("z", "space", "micrometer"),
        ("y", "space", "micrometer"),
        ("x", "space", "micrometer"),
    ]
    scales = [level[0]["scale"] for level in metadata["coordinateTransformations"]]
    assert scales[:3] == [[2.0, 0.5, 0.25], [2.0, 1.0, 0.5], [2.0, 2.0, 1.0]]


@pytest.mark.parametrize(
    ("shape", "levels"), [((1, 1), 1), ((127, 9000), 1), ((128, 300), 2), ((60000, 60000), 10)]
)
def test_how_many_levels(shape, levels):
    assert count_levels(shape) == levels


def test_an_existing_folder_stays(tmp_path):
    path = tmp_path / "a.zarr"
    path.mkdir()

    with pytest.raises(ExportError, match="exists already"):
        save_ome_zarr(np.zeros((4, 4), np.uint32), path, make_axes((4, 4)))
    assert names(path) == []


def test_a_cancel_leaves_nothing(tmp_path, labels):
    token = CancelToken()

    class Reporter(NullReporter):
        def report(self, progress):
            token.check()
            if progress.done == 3:
                token.cancel()

    with pytest.raises(JobCancelled):
        save_ome_zarr(labels, tmp_path / "a.zarr", make_axes(labels.shape), Reporter())

    assert names(tmp_path) == []


def test_a_folder_that_is_not_there(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(ExportError) as caught:
        save_ome_zarr(np.zeros((4, 4), np.uint32), tmp_path / "file" / "a.zarr", make_axes((4, 4)))

    assert caught.value.hint


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_both_versions_are_valid_and_read_by_others(tmp_path, labels, zarr_format):
    path = tmp_path / "a.zarr"
    axes = make_axes(labels.shape, scale=(2.0, 0.5, 0.25), units="micrometer", origin=(1, 2, 3))

    save_ome_zarr(labels, path, axes, zarr_format=zarr_format)

    model = open_ome_zarr(zarr.open_group(str(path), mode="r"))
    assert model.ome_zarr_version == {2: "0.4", 3: "0.5"}[zarr_format]
    (node,) = Reader(parse_url(path))()
    assert len(node.data) == 5
    np.testing.assert_array_equal(node.data[0], labels)
    loaded = read_image(path)
    assert [axis.origin for axis in loaded.axes] == [1, 2, 3]
    assert [axis.scale for axis in loaded.axes] == [2, 0.5, 0.25]


@pytest.mark.parametrize("consolidated", [False, True])
@pytest.mark.parametrize(("version", "format_"), [("0.4", FormatV04()), ("0.5", FormatV05())])
def test_labels_go_into_the_image_of_others(tmp_path, version, format_, consolidated):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ome-zarr warns of parts of itself
        from ome_zarr.writer import write_image
    image = np.random.default_rng(0).integers(0, 99, (2, 60, 80)).astype(np.uint8)
    folder = tmp_path / "image.zarr"
    zarr_format = 3 if version == "0.5" else 2
    group = zarr.open_group(str(folder), mode="w", zarr_format=zarr_format)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write_image(image, group, axes="cyx", fmt=format_)
        if consolidated:
            zarr.consolidate_metadata(str(folder))
    cells = (image[0] > 50).astype(np.uint16)

    for name in ("cells", "dirt"):
        api.export(cells, folder / "labels" / name)

    outer = open_ome_zarr(zarr.open_group(str(folder), mode="r"))
    assert outer.ome_zarr_version == version
    assert list(outer.labels.attributes.labels if version == "0.4" else
                outer.labels.ome_attributes.labels) == ["cells", "dirt"]  # fmt: skip
    found = [node for node in Reader(parse_url(folder))() if "cells" in str(node.zarr)]
    np.testing.assert_array_equal(np.asarray(found[0].data[0]), cells)
    np.testing.assert_array_equal(read_image(folder).data[...], image)
    with pytest.raises(NameTaken):
        api.export(cells, folder / "labels" / "cells")
    with pytest.raises(ExportError, match="don't fit the image"):
        api.export(cells[1:], folder / "labels" / "others")
    assert sorted(one.name for one in (folder / "labels").iterdir() if one.is_dir()) == [
        "cells",
        "dirt",
    ]
