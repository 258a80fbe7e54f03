"""Labels are read back equal, or a sentence says why they can't be written."""

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3_assistant.errors import ExportError
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.io.labels import save_labels


def read(path):
    return np.asarray(read_image(path).data[...])


@pytest.mark.parametrize("suffix", [".tif", ".TIFF", ".npy", ".png"])
@pytest.mark.parametrize("dtype", ["uint32", "int64", "uint8", "bool"])
def test_labels_come_back_equal(tmp_path, suffix, dtype):
    labels = np.array([[0, 1, 1], [0, 3, 250]]).astype(dtype)

    path = save_labels(labels, tmp_path / f"a{suffix}")

    assert path == tmp_path / f"a{suffix}"
    np.testing.assert_array_equal(read(path), labels)
    assert read(path).dtype == np.uint16


@pytest.mark.parametrize("suffix", [".tif", ".npy"])
@pytest.mark.parametrize(
    ("highest", "dtype"),
    [(65535, np.uint16), (65536, np.uint32), (70000, np.uint32), (2**32 - 1, np.uint32)],
)
def test_the_type_holds_the_highest_label(tmp_path, suffix, highest, dtype):
    labels = np.array([[0, highest]], np.int64)

    saved = read(save_labels(labels, tmp_path / f"a{suffix}"))

    np.testing.assert_array_equal(saved, labels)
    assert saved.dtype == dtype


def test_png_holds_up_to_65535(tmp_path):
    labels = np.array([[0, 65535]], np.uint32)

    np.testing.assert_array_equal(read(save_labels(labels, tmp_path / "a.png")), labels)


@pytest.mark.parametrize("shape", [(3, 5, 6), (5, 6, 3), (4, 5, 6), (2, 3, 4, 5), (5, 6, 4)])
@pytest.mark.parametrize("suffix", [".tif", ".npy"])
def test_stacks_come_back_in_their_shape_and_not_as_colours(tmp_path, shape, suffix):
    labels = np.arange(np.prod(shape), dtype=np.uint32).reshape(shape)

    path = save_labels(labels, tmp_path / f"a{suffix}")

    np.testing.assert_array_equal(read(path), labels)
    assert not read_image(path).rgb


def test_tiff_is_deflated(tmp_path):
    path = save_labels(np.zeros((500, 500), np.uint32), tmp_path / "a.tif")

    with tifffile.TiffFile(path) as file:
        assert file.pages[0].compression == tifffile.COMPRESSION.ADOBE_DEFLATE
    assert path.stat().st_size < 5000


class Asked:
    """Labels on a disk that note how much is read of them at once."""

    def __init__(self, stored):
        self.stored, self.most = stored, 0
        self.shape, self.dtype, self.ndim = stored.shape, stored.dtype, stored.ndim
        self.chunks = stored.chunks

    def __getitem__(self, key):
        part = self.stored[key]
        self.most = max(self.most, part.size)
        return part


@pytest.mark.parametrize(
    ("suffix", "read_back"), [(".tif", tifffile.imread), (".npy", np.load), (".png", iio.imread)]
)
def test_large_labels_are_read_and_written_piece_by_piece(tmp_path, suffix, read_back):
    labels = np.random.default_rng(3).integers(0, 65536, (2100, 41), np.uint32).repeat(50, axis=1)
    stored = zarr.create_array(
        str(tmp_path / "a.zarr"), shape=labels.shape, chunks=(300, 700), dtype=labels.dtype
    )
    stored[...] = labels
    asked = Asked(stored)

    path = save_labels(asked, tmp_path / f"a{suffix}")

    np.testing.assert_array_equal(read_back(path), labels)
    assert asked.most <= 1 << 22


def test_a_png_that_others_refuse_to_open_is_not_written(tmp_path):
    labels = np.broadcast_to(np.uint8(1), (13_500, 13_500))

    with pytest.raises(ExportError, match=r"13500 x 13500 pixels are too many.*OME-Zarr"):
        save_labels(labels, tmp_path / "a.png")


@given(
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.sampled_from([1, 300, 65536, 2**32 - 1]),
    st.sampled_from([".tif", ".npy"]),
    st.integers(0, 99),
)
def test_any_labels_come_back_equal(tmp_path_factory, shape, highest, suffix, seed):
    labels = np.random.default_rng(seed).integers(0, highest, shape, np.uint32, endpoint=True)

    path = save_labels(labels, tmp_path_factory.getbasetemp() / f"labels{suffix}")

    np.testing.assert_array_equal(read(path), labels)


@pytest.mark.parametrize(
    ("labels", "name", "said"),
    [
        (np.zeros((2, 2), int), "a.jpg", r"as '\.jpg'.*Use \.tif"),
        (np.zeros((2, 2), int), "a", "as ''"),
        (np.full((2, 2), -4), "a.tif", "label -4 is negative"),
        (np.full((2, 2), 2**32), "a.npy", "4294967296 is above 4294967295"),
        (np.full((2, 2), 70000), "a.png", "up to 65535, the highest here is 70000.*TIFF"),
        (np.zeros((2, 2, 2), int), "a.png", "one plane.*TIFF"),
        (np.zeros((2, 2)), "a.tif", "float64.* holds no labels"),
        (np.zeros(2, int), "a.tif", "holds no labels"),
        (np.zeros((0, 4), int), "a.png", "holds no labels"),
        (np.zeros((2, 2), int), "nowhere/a.tif", "nowhere does not exist"),
    ],
)
def test_refused_before_anything_is_written(tmp_path, labels, name, said):
    with pytest.raises(ExportError, match=said) as caught:
        save_labels(labels, tmp_path / name)

    assert caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_keeps_the_last_good_file(tmp_path):
    path = save_labels(np.ones((2, 2), int), tmp_path / "a.png")

    with pytest.raises(ExportError):
        save_labels(np.full((2, 2), 70000), path)

    np.testing.assert_array_equal(read(path), np.ones((2, 2)))
    assert [file.name for file in tmp_path.iterdir()] == ["a.png"]
