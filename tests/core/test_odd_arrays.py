"""Arrays of other people's programs: broken files, masks, unknown sizes, other types."""

import dask
import dask.array as da
import numpy as np
import pytest
import zarr

from napari_sam3_assistant import api
from napari_sam3_assistant.core.axes import guess_axes
from napari_sam3_assistant.core.display import view_of_array
from napari_sam3_assistant.core.images import ImageSource, PlaneRef, level_zero
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.errors import ImageError


def source_of(data, **known):
    return ImageSource(data, guess_axes(data.shape, **known))


class StrangeError(Exception):
    """An error of somebody else's reader, which is none of Python's."""


def movie(broken, frames=20, error=StrangeError):
    """Return a dask movie of which some frames can't be read."""

    @dask.delayed
    def read(frame):
        if frame in broken:
            raise error(f"frame {frame} is damaged")
        return np.full((30, 40), 100 + frame, np.uint16)

    planes = [da.from_delayed(read(frame), (30, 40), np.uint16) for frame in range(frames)]
    return da.stack(planes)


@pytest.mark.parametrize(
    "error", [StrangeError, KeyError, AssertionError, RuntimeError, OSError, MemoryError]
)
def test_a_broken_frame_is_one_sentence_and_costs_itself(error):
    source = source_of(movie({0, 9}, error=error))

    with pytest.raises(ImageError, match=r"Plane \(9,\) of the image could not be read") as caught:
        source.read(PlaneRef((9,)))
    assert caught.value.hint
    assert source.contrast() == (104.0, 119.0)
    assert source.read(PlaneRef((3,)))[0, 0] == 103


def test_other_frames_are_sampled_where_the_first_choice_is_broken():
    source = source_of(movie({0, 4, 9, 14, 19}))

    assert source.contrast() == (101.0, 117.0)


def test_a_movie_of_which_nothing_can_be_read():
    source = source_of(movie(range(20)))

    with pytest.raises(ImageError, match="is damaged"):
        source.contrast()


def test_a_long_foreign_error_is_one_short_sentence():
    def fail(block):
        raise ValueError("all wrong\n" * 1000)

    source = source_of(da.map_blocks(fail, da.zeros((8, 8)), dtype=float, meta=np.empty((0, 0))))

    with pytest.raises(ImageError, match="all wrong all wrong") as caught:
        source.read(PlaneRef())
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_a_damaged_chunk_of_zarr(tmp_path):
    array = zarr.create_array(
        str(tmp_path / "a.zarr"), shape=(5, 64, 64), chunks=(1, 64, 64), dtype="uint16"
    )
    array[...] = np.arange(5 * 64 * 64, dtype=np.uint16).reshape(array.shape)
    (tmp_path / "a.zarr" / "c" / "2" / "0" / "0").write_bytes(b"no chunk")
    source = source_of(array)

    with pytest.raises(ImageError, match="could not be read"):
        source.read(PlaneRef((2,)))
    assert source.contrast()[1] > 20_000
    assert source.read(PlaneRef((3,)))[0, 0] == 3 * 64 * 64


@pytest.mark.parametrize(
    "made", [np.zeros((3, 4)), np.zeros((4, 5), complex), np.full((4, 5), "a")]
)
def test_blocks_that_are_not_what_the_array_says(made):
    data = da.from_delayed(dask.delayed(lambda: made)(), (4, 5), float)

    with pytest.raises(ImageError, match="gave pixels of the shape") as caught:
        source_of(data).read(PlaneRef())
    assert caught.value.hint


def test_dask_that_does_not_know_its_sizes():
    data = da.arange(40).reshape(4, 10)
    unknown = data[data.sum(1) > 30]

    with pytest.raises(ImageError, match=r"compute_chunk_sizes\(\)"):
        level_zero(unknown)
    with pytest.raises(ImageError, match=r"compute_chunk_sizes\(\)"):
        api.segment(unknown, points=[(1, 1)])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (np.full((4, 5), {}, object), "type object can't be segmented"),
        (np.zeros((4, 5), complex), "type complex128 can't be segmented"),
        ([[1, 2], [3]], "not an array of pixels"),
        (np.zeros((4, 5), [("a", "u1"), ("b", "u1")]), "can't be segmented"),
    ],
)
def test_what_is_no_picture(data, said):
    with pytest.raises(ImageError, match=said) as caught:
        view_of_array(data)
    assert caught.value.hint


def cells_with_dead_columns(ground, cell):
    """Return a picture with two cells, two columns that are all wrong, and where those are."""
    pixels = np.full((60, 80), ground, np.uint16)
    pixels += np.random.default_rng(0).integers(0, 8, pixels.shape, np.uint16)
    for y, x in ((10, 10), (35, 50)):
        pixels[y : y + 14, x : x + 14] = cell
    hidden = np.zeros(pixels.shape, bool)
    hidden[:, [33, 34, 72, 73]] = True
    pixels[hidden] = 65535
    return pixels, hidden


@pytest.mark.parametrize(("ground", "cell"), [(100, 900), (900, 100)], ids=["dark", "bright"])
@pytest.mark.parametrize("module", [np.ma, da.ma], ids=["numpy", "dask"])
def test_what_is_masked_is_no_image(ground, cell, module):
    pixels, hidden = cells_with_dead_columns(ground, cell)
    masked = module.masked_array(pixels, hidden)

    found = api.segment(masked, text="dark cells" if cell < ground else "bright cells")

    assert [record.area for record in found.objects] == [14 * 14, 14 * 14]
    assert not found.labels[hidden].any()
    source = source_of(masked)
    assert source.contrast()[1] < 1000
    seen = source.read(PlaneRef(), Region(0, 30, 60, 40))
    assert type(seen) is np.ndarray
    np.testing.assert_array_equal(seen[:, 0], pixels[:, 30])
    assert abs(int(seen[5, 3]) - ground) <= 8


def test_a_masked_colour_hides_the_pixel():
    pixels = np.full((6, 8, 3), (10, 20, 30), np.uint8)
    pixels[2, 3] = 255
    masked = np.ma.MaskedArray(pixels, np.zeros(pixels.shape, bool))
    masked[2, 3, 1] = np.ma.masked

    seen = source_of(masked, rgb=True).read(PlaneRef())

    assert (seen == (10, 20, 30)).all()


def test_all_is_masked():
    masked = np.ma.masked_all((6, 8), float)

    source = source_of(masked)

    assert source.contrast() == (0.0, 1.0)
    assert not source.read(PlaneRef()).any()


def test_a_tensor_of_torch_is_an_image():
    torch = pytest.importorskip("torch")
    pixels = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)

    source = source_of(torch.from_numpy(pixels))

    assert source.dtype == np.uint8
    np.testing.assert_array_equal(
        source.read(PlaneRef((1,)), Region(1, 0, 4, 3)), pixels[1, 1:, :3]
    )
    with pytest.raises(ImageError, match=r"bfloat16 can't be read") as caught:
        source_of(torch.zeros((4, 5), dtype=torch.bfloat16))
    assert "float()" in caught.value.hint
