"""Labels whose sizes are all true after each write."""

import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amounts import FEW
from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.errors import ExportError
from napari_sam3_assistant.io.ome_zarr_labels import GrowingLabels, open_levels, save_ome_zarr

SHAPE = (301, 530)
AXES = make_axes(SHAPE)


@st.composite
def pieces(draw):
    y0, x0 = draw(st.integers(0, 299)), draw(st.integers(0, 528))
    return Region(y0, x0, draw(st.integers(y0 + 1, 301)), draw(st.integers(x0 + 1, 530)))


@FEW
@given(st.lists(pieces(), max_size=4))
def test_every_size_is_as_if_made_at_the_end(tmp_path_factory, regions):
    folder = tmp_path_factory.mktemp("labels")
    whole = np.zeros(SHAPE, np.uint32)
    rng = np.random.default_rng(0)

    with GrowingLabels(folder / "growing.zarr", AXES) as labels:
        for region in regions:
            piece = rng.integers(0, 9, region.shape, np.uint32)
            labels[region.slices] = piece
            whole[region.slices] = piece
            np.testing.assert_array_equal(labels[region.slices], piece)

    save_ome_zarr(whole, folder / "whole.zarr", AXES)
    grown, made = open_levels(folder / "growing.zarr"), open_levels(folder / "whole.zarr")
    assert [level.shape for level in grown] == [(301, 530), (151, 265), (76, 133)]
    for one, other in zip(grown, made, strict=True):
        np.testing.assert_array_equal(one[...], other[...])
    assert (folder / "growing.zarr" / ".zattrs").read_text() == (
        folder / "whole.zarr" / ".zattrs"
    ).read_text()


@given(
    st.lists(
        st.tuples(st.integers(0, 1499), st.integers(0, 1599), st.integers(1, 900)),
        min_size=1,
        max_size=6,
    ),
    st.integers(1, 40),
    st.sampled_from([0.0, 0.02]),
)
@FEW
def test_chunks_that_had_to_go_from_memory_are_read_again(tmp_path_factory, places, kept, pause):
    """Larger than what is kept, so that pieces find chunks in memory, on disk, and on their way."""
    shape = (1500, 1600)
    folder = tmp_path_factory.mktemp("labels")
    whole = np.zeros(shape, np.uint32)
    axes = make_axes(shape)
    with GrowingLabels(folder / "a.zarr", axes, pause=pause, kept=kept) as labels:
        for number, (y, x, side) in enumerate(places, 1):
            key = slice(y, min(y + side, 1500)), slice(x, min(x + side, 1600))
            np.testing.assert_array_equal(labels[key], whole[key])
            whole[key] = number
            labels[key] = whole[key]
            np.testing.assert_array_equal(labels[key], whole[key])
            if labels.take_changed(number % 2 * 60):
                found = open_levels(folder / "a.zarr")[0][key]
                np.testing.assert_array_equal(found, whole[key])
    for step, level in enumerate(open_levels(folder / "a.zarr")):
        np.testing.assert_array_equal(level[...], whole[:: 2**step, :: 2**step])


def test_a_chunk_is_written_once_for_many_pieces(tmp_path):
    path = tmp_path / "a.zarr"
    with GrowingLabels(path, AXES, pause=60) as labels:
        labels[0:1, 0:530] = np.ones((1, 530), np.uint32)
        while not (path / "0" / "0" / "1").exists():
            pass
        for row in range(1, 301):
            labels[row : row + 1, 0:530] = np.full((1, 530), row, np.uint32)
            assert open_levels(path)[0][row, 0] == 0
            assert labels[row : row + 1, 0:1] == row
    np.testing.assert_array_equal(open_levels(path)[0][1:, 5], np.arange(1, 301))


def test_all_is_written_when_the_block_ends(tmp_path):
    with GrowingLabels(tmp_path / "a.zarr", AXES) as labels:
        for row in range(0, 300, 10):
            labels[row : row + 10, 0:530] = np.full((10, 530), row + 1, np.uint32)

    written = open_levels(tmp_path / "a.zarr")[0][:300, 0]
    np.testing.assert_array_equal(written, np.repeat(np.arange(0, 300, 10) + 1, 10))


def test_what_changed_is_told_once(tmp_path):
    with GrowingLabels(tmp_path / "a.zarr", AXES) as labels:
        assert labels.take_changed(60) is None
        labels[10:20, 30:40] = np.ones((10, 10), np.uint32)
        labels[5:6, 50:60] = np.ones((1, 10), np.uint32)

        assert labels.take_changed(60) == Region(5, 30, 20, 60)
        assert labels.take_changed(60) is None


def test_what_is_not_yet_written_is_told_later(tmp_path):
    with GrowingLabels(tmp_path / "a.zarr", AXES) as labels:
        for _ in range(30):
            labels[0:301, 0:530] = np.ones(SHAPE, np.uint32)
        told = [labels.take_changed(0), labels.take_changed(60)]

    assert told[1] == Region(0, 0, *SHAPE)


@pytest.mark.parametrize("then", ["read", "ask", "leave"])
def test_what_went_wrong_in_a_write_is_raised_by_the_next_use(tmp_path, then):
    path = tmp_path / "a.zarr"
    called = tmp_path / "cells.zarr"

    def use():
        with GrowingLabels(path, AXES, called=called) as labels:
            shutil.rmtree(path)
            path.write_text("a file is where the folder was")
            labels[0:10, 0:10] = np.ones((10, 10), np.uint32)
            if then == "read":
                labels[0:10, 0:10]
            elif then == "ask":
                labels.take_changed(60)

    with pytest.raises(ExportError, match=r"cells\.zarr can't be written"):
        use()
