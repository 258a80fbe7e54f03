"""A plane cut into tiles: literal grids, and laws for all sizes."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3_assistant.core.options import TileOptions
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.tiling import TileGrid
from napari_sam3_assistant.errors import PromptError


def test_the_last_tile_ends_with_the_plane():
    grid = TileGrid.cover((300, 700), TileOptions(256, 0.25))

    assert grid.rows == ((0, 256), (44, 300))
    assert grid.columns == ((0, 256), (192, 448), (384, 640), (444, 700))
    assert len(grid) == 8
    assert grid[5] == Region(44, 192, 300, 448)


def test_a_small_plane_is_one_tile():
    grid = TileGrid.cover((100, 256), TileOptions(256, 0.5))

    assert [grid[number] for number in range(len(grid))] == [Region(0, 0, 100, 256)]


def test_which_tiles_hold_a_region():
    grid = TileGrid.cover((512, 512), TileOptions(256, 0.0))

    assert list(grid.find_touching(Region(250, 10, 260, 20))) == [0, 2]
    assert list(grid.find_touching(Region(256, 256, 260, 260))) == [3]
    assert list(grid.find_touching(Region(600, 0, 610, 5))) == []


@given(
    shape=st.tuples(st.integers(1, 2000), st.integers(1, 2000)),
    size=st.integers(256, 700),
    overlap=st.floats(0, 0.5),
)
def test_every_pixel_lies_in_a_tile_and_neighbours_share_the_band(shape, size, overlap):
    options = TileOptions(size, overlap)
    grid = TileGrid.cover(shape, options)

    for length, spans in ((shape[0], grid.rows), (shape[1], grid.columns)):
        assert spans[0][0] == 0
        assert spans[-1][1] == length
        assert all(stop - start == min(size, length) for start, stop in spans)
        for (_, stop), (start, _) in pairwise(spans):
            assert stop - start >= options.band


@pytest.mark.parametrize("wrong", [{"size": 10}, {"size": 10000}, {"overlap": 0.6}])
def test_what_can_not_be_a_tile(wrong):
    with pytest.raises(PromptError, match="can't be used") as caught:
        TileOptions(**wrong)
    assert caught.value.hint


def test_the_band_is_in_pixels():
    assert TileOptions(1024, 0.15).band == 154
    assert np.isclose(TileOptions().overlap, 0.15)
