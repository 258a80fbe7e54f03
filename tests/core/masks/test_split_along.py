"""Objects cut apart along a line that somebody has drawn."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage as ndi

from napari_sam3_assistant.core.masks.splitting import split_along


@given(st.integers(0, 2**32 - 1))
def test_a_split_object_keeps_its_pixels_and_its_largest_part_the_number(seed):
    rng = np.random.default_rng(seed)
    mask = ndi.gaussian_filter(rng.random(rng.integers(1, 30, 2)), 1.5) > 0.5
    line = rng.uniform(-8, 36, (int(rng.integers(2, 6)), 2))
    parts = split_along(mask, line, 3, 10)
    if parts is None:
        return
    np.testing.assert_array_equal(parts > 0, mask)
    numbers, sizes = np.unique(parts[mask], return_counts=True)
    assert numbers.tolist() == [3, *range(11, 10 + len(numbers))]
    assert len(numbers) > 1
    assert (np.diff(sizes) <= 0).all(), "the largest comes first"


@pytest.mark.parametrize("angle", range(0, 180, 15))
def test_a_straight_line_through_the_middle_halves_a_disc(angle):
    y, x = np.mgrid[:41, :41] - 20
    way = np.array([np.sin(np.radians(angle)), np.cos(np.radians(angle))])
    line = np.array([20 - 25 * way, 20 + 25 * way])
    parts = split_along(y**2 + x**2 <= 225, line, 1, 1)
    halves = np.bincount(parts.reshape(-1))[1:]
    assert len(halves) == 2
    assert abs(halves[0] - halves[1]) <= 45  # the line itself is 31 pixels long
    side = way[0] * x - way[1] * y
    assert {len(np.unique(parts[(parts > 0) & (abs(side) > 2) & (side > 0)]))} == {1}
