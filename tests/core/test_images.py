"""Planes are read out of any layout, and nothing but what is under them."""

import dask.array as da
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3_assistant.core.axes import ImageAxes, guess_axes
from napari_sam3_assistant.core.images import ImageSource, PlaneRef
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.errors import ImageError

ZARR_2 = zarr.__version__.startswith("2.")


def source_of(data, **known):
    return ImageSource(data, guess_axes(data.shape, **known))


def counted_dask(shape, chunks):
    """Return a dask array and the list of the blocks that were computed of it."""
    computed = []

    def make(block_info=None):
        place = block_info[None]
        computed.append(tuple(place["chunk-location"]))
        starts = [span[0] for span in place["array-location"]]
        grid = np.indices(place["chunk-shape"]) + np.reshape(starts, (-1,) + (1,) * len(shape))
        return np.ravel_multi_index(tuple(grid), shape).astype(np.uint32)

    lazy = da.map_blocks(make, chunks=da.core.normalize_chunks(chunks, shape), dtype=np.uint32)
    computed.clear()  # dask may try the function out
    return lazy, computed


def counted_zarr(data, chunks):
    """Return a zarr array of the data and the list of the chunks that were read of it."""
    read = []
    if ZARR_2:

        class Counting(dict):
            def __getitem__(self, key):
                read.append(key)
                return super().__getitem__(key)

        array = zarr.open(Counting(), mode="w", shape=data.shape, chunks=chunks, dtype=data.dtype)
    else:
        from zarr.storage import MemoryStore, WrapperStore

        class Counting(WrapperStore):
            async def get(self, key, prototype, byte_range=None):
                read.append(key)
                return await super().get(key, prototype, byte_range)

        array = zarr.create_array(
            Counting(MemoryStore()), shape=data.shape, chunks=chunks, dtype=data.dtype
        )
    array[...] = data
    read.clear()
    return array, read


@st.composite
def layouts(draw):
    """Draw axes of any order, an array of them, and one of its planes."""
    colours = draw(st.booleans())
    ndim = draw(st.integers(3 if colours else 2, 5))
    shape = draw(st.lists(st.integers(1, 5), min_size=ndim, max_size=ndim))
    free = list(range(ndim))
    channel = None
    if colours:
        channel = free.pop()
        shape[channel] = draw(st.sampled_from((3, 4)))
    elif ndim > 2 and draw(st.booleans()):
        channel = free.pop(draw(st.integers(0, ndim - 1)))
    y, x = draw(st.permutations(free))[:2]
    axes = ImageAxes(ndim, channel, colours, "as drawn", (y, x))
    indices = tuple(draw(st.integers(0, shape[axis] - 1)) for axis in axes.leading)
    picked = None if channel is None or colours else draw(st.integers(0, shape[channel] - 1))
    data = np.arange(np.prod(shape), dtype=np.int64).reshape(shape)
    return data, axes, PlaneRef(indices, picked)


@given(layouts(), st.tuples(*[st.integers(-2, 7)] * 4))
def test_any_plane_of_any_layout(layout, box):
    data, axes, plane = layout
    last = (axes.y, axes.x, axes.channel) if axes.rgb else (axes.y, axes.x)
    first = axes.leading if axes.rgb or axes.channel is None else (*axes.leading, axes.channel)
    index = plane.leading if plane.channel is None else (*plane.leading, plane.channel)
    expected = np.transpose(data, (*first, *last))[index]
    source = ImageSource(data, axes)
    y0, y1 = sorted(box[::2])
    x0, x1 = sorted(box[1::2])

    np.testing.assert_array_equal(source.read(plane), expected)
    np.testing.assert_array_equal(
        source.read(plane, Region(y0, x0, y1, x1)),
        expected[max(y0, 0) : max(y1, 0), max(x0, 0) : max(x1, 0)],
    )
    assert source.plane_shape == expected.shape[:2]


def test_the_sliders_of_time_and_depth_both_count():
    """Only one extra axis counted in the reference: T was always 0."""
    data = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)

    np.testing.assert_array_equal(source_of(data).read(PlaneRef((1, 2))), data[1, 2])


def test_a_last_channel_axis_of_any_size():
    """The reference took (columns, channels) for the plane."""
    data = np.arange(6 * 7 * 5).reshape(6, 7, 5)
    source = source_of(data, channel_axis=2)

    assert source.plane_shape == (6, 7)
    assert source.channels == 5
    np.testing.assert_array_equal(source.read(PlaneRef((), 3)), data[:, :, 3])


def test_what_a_source_says_of_itself():
    source = source_of(np.zeros((2, 9, 3, 8, 7), np.uint16), channel_axis=2)

    assert source.leading_shape == (2, 9)
    assert source.plane_shape == (8, 7)
    assert source.channels == 3
    assert source.dtype == np.uint16


def test_rgb_is_read_as_one():
    source = source_of(np.zeros((9, 8, 7, 4), np.uint8))

    assert source.channels == 1
    assert source.read(PlaneRef((3,)), Region(2, 2, 4, 5)).shape == (2, 3, 4)


def test_each_source_has_its_own_token():
    data = np.zeros((4, 4))

    assert source_of(data).token != source_of(data).token


def test_the_largest_level_of_a_multiscale_image_is_read():
    levels = [np.full((8, 8), 1), np.full((4, 4), 2), np.full((2, 2), 3)]
    source = ImageSource(levels, guess_axes((8, 8)))

    assert source.plane_shape == (8, 8)
    assert source.read(PlaneRef()).max() == 1


def test_nested_lists_are_an_image():
    source = ImageSource([[1, 2, 3], [4, 5, 6]], guess_axes((2, 3)))

    np.testing.assert_array_equal(source.read(PlaneRef()), [[1, 2, 3], [4, 5, 6]])


@pytest.mark.parametrize(
    ("plane", "said"),
    [
        (PlaneRef(), "has 0 indices, .* needs 1"),
        (PlaneRef((1, 2), 0), "has 2 indices, .* needs 1"),
        (PlaneRef((5,), 0), r"no plane 5 on axis 0 .*\(5, 2, 8, 7\)"),
        (PlaneRef((-1,), 0), "no plane -1 on axis 0"),
        (PlaneRef((0,), 2), "no channel 2"),
        (PlaneRef((0,)), "no channel None"),
    ],
)
def test_a_plane_that_is_not_there(plane, said):
    source = source_of(np.zeros((5, 2, 8, 7)), channel_axis=1)

    with pytest.raises(ImageError, match=said) as caught:
        source.read(plane)
    assert caught.value.hint


def test_a_channel_of_an_image_without_channels():
    with pytest.raises(ImageError, match="no channel 1: RGB, guessed"):
        source_of(np.zeros((9, 8, 3))).check(PlaneRef((), 1))


@pytest.mark.parametrize(
    "data",
    [np.zeros((3, 3), complex), np.full((3, 3), "a"), np.zeros((3, 3), "datetime64[s]")],
    ids=["complex", "text", "dates"],
)
def test_pixels_that_are_no_real_numbers(data):
    with pytest.raises(ImageError, match="can't be segmented"):
        source_of(data)


def test_arrays_of_one_size_are_no_multiscale_image():
    with pytest.raises(ImageError, match=r"decreasing sizes.*np\.stack"):
        ImageSource([np.zeros((4, 4)), np.zeros((4, 4))], guess_axes((4, 4)))


def test_axes_of_another_image():
    with pytest.raises(ImageError, match="has not 3 axes"):
        ImageSource(np.zeros((4, 4)), guess_axes((5, 4, 4)))


def test_a_file_that_is_gone_is_one_sentence():
    class Gone:
        shape, dtype = (4, 4), np.dtype(np.uint8)

        def __getitem__(self, key):
            raise OSError("device not ready")

    with pytest.raises(ImageError, match="could not be read: device not ready"):
        source_of(Gone()).read(PlaneRef())


def test_only_the_dask_chunks_under_the_plane_are_computed():
    lazy, computed = counted_dask((3, 4, 20, 30), (1, 1, 10, 10))
    source = source_of(lazy)

    pixels = source.read(PlaneRef((1, 2)))

    assert sorted(computed) == [(1, 2, row, column) for row in range(2) for column in range(3)]
    assert pixels[0, 0] == np.ravel_multi_index((1, 2, 0, 0), lazy.shape)


def test_only_the_dask_chunks_under_the_region_are_computed():
    lazy, computed = counted_dask((3, 4, 20, 30), (1, 1, 10, 10))

    pixels = source_of(lazy).read(PlaneRef((0, 3)), Region(12, 5, 18, 15))

    assert sorted(computed) == [(0, 3, 1, 0), (0, 3, 1, 1)]
    assert pixels[0, 0] == np.ravel_multi_index((0, 3, 12, 5), lazy.shape)


def test_only_the_largest_level_and_its_chunks_are_computed():
    large, computed = counted_dask((40, 40), (10, 10))
    small, computed_small = counted_dask((20, 20), (10, 10))
    source = ImageSource([large, small], guess_axes((40, 40)))

    source.read(PlaneRef(), Region(0, 0, 5, 5))

    assert computed == [(0, 0)]
    assert computed_small == []


def test_only_the_zarr_chunks_under_the_region_are_read():
    data = np.arange(3 * 20 * 30, dtype=np.uint16).reshape(3, 20, 30)
    array, read = counted_zarr(data, (1, 10, 10))

    pixels = source_of(array).read(PlaneRef((2,)), Region(0, 8, 10, 12))

    np.testing.assert_array_equal(pixels, data[2, 0:10, 8:12])
    chunks = {key.removeprefix("c/").replace("/", ".") for key in read if "zarr" not in key}
    assert chunks == {"2.0.0", "2.0.1"}
    assert len(read) == 2


def test_making_a_source_and_its_key_reads_nothing():
    lazy, computed = counted_dask((3, 20, 30), (1, 10, 10))
    source = source_of(lazy)
    source.check(PlaneRef((2,)))

    assert computed == []
    assert source.shape == (3, 20, 30)


def test_a_plane_that_no_memory_holds_is_refused_before_anything_is_made():
    asked = []

    class Claims:
        """What a damaged file of a few bytes may say of itself."""

        shape, dtype = (10**9, 10**9), np.dtype(np.uint8)

        def __getitem__(self, key):
            asked.append(key)
            return np.zeros([part.stop - part.start for part in key], np.uint8)

    source = source_of(Claims())

    with pytest.raises(ImageError, match=r"take 1e[+]09 GB") as caught:
        source.read(PlaneRef())
    assert "smaller region" in caught.value.hint
    assert not asked
    assert source.read(PlaneRef(), Region(5, 5, 9, 8)).shape == (4, 3)
