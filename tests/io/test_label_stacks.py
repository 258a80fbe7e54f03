"""Stacks of labels that are written plane by plane."""

import numpy as np
import pytest
import tifffile
import zarr

from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.errors import ExportError
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.io.labels import open_label_stack

pytestmark = pytest.mark.usefixtures("windows_files")

SHAPE = (4, 3, 5)


def read(path):
    if path.suffix == ".zarr":
        return zarr.open(str(path), mode="r")["0"][:]
    return np.load(path) if path.suffix == ".npy" else tifffile.imread(path)


@pytest.fixture(params=[".tif", ".npy", ".zarr"])
def path(request, tmp_path):
    return tmp_path / f"labels{request.param}"


def test_planes_are_written_in_any_order_and_the_rest_is_0(path):
    with open_label_stack(path, SHAPE) as write:
        write(2, np.full((3, 5), 70000))
        write(0, np.eye(3, 5, dtype=bool))
        assert not path.exists()

    labels = read(path)
    assert labels.dtype == np.uint32
    expected = np.zeros(SHAPE, np.uint32)
    expected[2], expected[0] = 70000, np.eye(3, 5)
    np.testing.assert_array_equal(labels, expected)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_tiff_is_multi_page(tmp_path):
    path = tmp_path / "labels.tif"
    with open_label_stack(path, SHAPE) as write:
        write(1, np.ones((3, 5)))

    with tifffile.TiffFile(path) as file:
        assert len(file.pages) == 4
        assert file.series[0].axes == "ZYX"


@pytest.mark.parametrize("ending", [".tif", ".zarr"])
def test_the_size_of_a_pixel_is_in_the_file(tmp_path, ending):
    path = tmp_path / f"labels{ending}"
    axes = make_axes(SHAPE, names="tyx", scale=(2.5, 0.5, 0.25), units=("s", "um", "um"))
    with open_label_stack(path, SHAPE, axes) as write:
        write(1, np.ones((3, 5)))

    loaded = read_image(path)
    assert loaded.axes == axes
    assert np.asarray(loaded.data[...]).sum() == 15


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_after_a_fault_there_is_no_file(path, error):
    def failed():
        with open_label_stack(path, SHAPE) as write:
            write(1, np.ones((3, 5)))
            raise error

    with pytest.raises(error):
        failed()

    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "said"),
    [("labels.png", r"can't be saved as '\.png'"), ("none/labels.tif", "does not exist")],
)
def test_where_it_can_not_be_written_is_said_first(tmp_path, name, said):
    with pytest.raises(ExportError, match=said), open_label_stack(tmp_path / name, SHAPE):
        pytest.fail("nothing is begun")
