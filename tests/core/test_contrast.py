"""The contrast of an image: robust, the same for all its planes, from a bounded sample."""

import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3_assistant.core.axes import guess_axes
from napari_sam3_assistant.core.images import (
    BLOCK,
    MAX_BLOCKS,
    ImageSource,
    PlaneRef,
    sample_windows,
)
from napari_sam3_assistant.errors import ImageError


def contrast_of(data, channel=None, **known):
    return ImageSource(data, guess_axes(data.shape, **known)).contrast(channel)


def test_percentiles_of_a_ramp():
    low, high = contrast_of(np.arange(10001, dtype=np.uint16).reshape(73, 137))

    assert (low, high) == (10.0, 9990.0)


@pytest.mark.parametrize("side", [4, 10, 40, 300])
def test_one_hot_pixel_does_not_count_however_small_the_image(side):
    data = np.where(np.indices((side, side)).sum(0) % 2, 200, 100).astype(np.uint16)
    data[1, 1] = 65535

    assert contrast_of(data) == (100.0, 200.0)


def test_one_hot_rgb_pixel_does_not_count():
    data = np.where(np.indices((8, 8)).sum(0) % 2, 0.2, 0.4)[..., None].repeat(3, -1)
    data[4, 4] = 1000.0

    assert contrast_of(data, rgb=True) == (0.2, 0.4)


def test_alpha_does_not_count():
    data = np.full((8, 8, 4), 1000, np.uint16)
    data[:, :4, :3] = 500
    data[..., 3] = 65535

    assert contrast_of(data) == (500.0, 1000.0)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (np.full((5, 5), 7, np.uint16), (7.0, 8.0)),
        (np.full((5, 5), -2.5), (-2.5, -1.5)),
        (np.array([[7]]), (7.0, 8.0)),
        (np.array([[3, 9]]), (3.0, 9.0)),
        (np.full((5, 5), np.nan), (0.0, 1.0)),
        (np.full((5, 5), np.inf), (0.0, 1.0)),
        (np.array([[np.nan, 2.0, 4.0, np.inf, -np.inf]]), (2.0, 4.0)),
        (np.zeros((5, 5), bool), (0.0, 1.0)),
        (np.ones((5, 5), bool), (0.0, 1.0)),
    ],
    ids=["constant", "negative", "pixel", "two", "nan", "inf", "some", "false", "true"],
)
def test_odd_images(data, expected):
    assert contrast_of(data) == expected


def test_a_constant_beyond_the_precision_of_one_still_has_a_range():
    low, high = contrast_of(np.full((3, 3), 1e30))

    assert low == 1e30
    assert high > low


def test_few_bright_spots_on_a_constant_ground_still_have_a_range():
    data = np.zeros((100, 100), np.uint16)
    data[5, 5:9] = 1000

    assert contrast_of(data) == (0.0, 1000.0)


def test_the_whole_stack_is_sampled_not_the_first_plane():
    data = np.zeros((50, 8, 8), np.uint16)
    data[25:] = 1000

    assert contrast_of(data) == (0.0, 1000.0)


def test_each_channel_has_its_own():
    data = np.stack([np.arange(10000).reshape(100, 100), np.full((100, 100), 5)])
    source = ImageSource(data, guess_axes(data.shape, channel_axis=0))

    assert source.contrast(0) == (10.0, 9989.0)
    assert source.contrast(1) == (5.0, 6.0)
    with pytest.raises(ImageError, match="no channel 2"):
        source.contrast(2)
    with pytest.raises(ImageError, match="no channel None"):
        source.contrast()


def test_a_huge_stack_costs_a_bounded_sample_once():
    computed = []

    def make(block_info=None):
        # Stopped here, a sample without bounds does not fill the memory first.
        assert len(computed) < 4 * MAX_BLOCKS
        computed.append(block_info[None]["chunk-location"])
        return np.full(block_info[None]["chunk-shape"], 3, np.uint16)

    data = da.map_blocks(
        make, chunks=((1,) * 20, (1024,) * 59, (1024,) * 59), dtype=np.uint16, meta=np.empty(0)
    )
    source = ImageSource(data, guess_axes(data.shape))

    assert source.contrast() == (3.0, 4.0)
    assert {place[0] for place in computed} == {0, 4, 9, 14, 19}

    before = len(computed)
    source.contrast()
    source.check(PlaneRef((5,)))
    assert len(computed) == before


@given(st.integers(1, 100_000), st.integers(1, 100_000), st.integers(1, 5))
def test_windows_lie_in_the_plane_apart_and_within_the_limit(height, width, planes):
    windows = sample_windows((height, width), planes)

    assert planes * sum(window.area for window in windows) <= MAX_BLOCKS * BLOCK**2
    for number, window in enumerate(windows):
        assert not window.is_empty
        assert 0 <= window.y0 < window.y1 <= height
        assert 0 <= window.x0 < window.x1 <= width
        assert all(window.intersect(other).is_empty for other in windows[number + 1 :])


def test_a_small_plane_is_sampled_whole():
    (window,) = sample_windows((2048, 2048), 1)

    assert window.shape == (2048, 2048)
