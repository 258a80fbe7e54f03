"""Frames of a stack, read one at a time."""

import dask.array as da
import numpy as np
import pytest

from napari_sam3_assistant.core.display import FrameSource, view_of_array
from napari_sam3_assistant.errors import ImageError


@pytest.fixture
def counted():
    """A uint16 dask stack (T, Z, Y, X) that counts how often each of its planes is computed."""
    reads = []
    values = np.arange(3 * 4 * 5 * 6, dtype=np.uint16).reshape(3, 4, 5, 6)

    def block(block_info=None):
        t, z, *_ = block_info[None]["chunk-location"]
        reads.append((t, z))
        return values[t : t + 1, z : z + 1]

    stack = da.map_blocks(
        block, dtype=np.uint16, chunks=((1,) * 3, (1,) * 4, (5,), (6,)), meta=values[:0]
    )
    return stack, values, reads


@pytest.mark.parametrize(("axis", "plane"), [(0, (0, 2)), (1, (1, 0))])
def test_a_frame_is_one_plane_and_only_its_chunk_is_read(counted, axis, plane):
    stack, values, reads = counted
    view = view_of_array(stack, plane=plane, contrast=(0, 255))
    frames = FrameSource(view, axis)
    reads.clear()

    picture = frames.read(2)

    expected = values[2, 2] if axis == 0 else values[1, 2]
    assert len(frames) == stack.shape[axis]
    assert frames.shape == (5, 6)
    np.testing.assert_array_equal(picture[..., 0], np.clip(expected, 0, 255))
    assert reads == [(2, 2) if axis == 0 else (1, 2)]


def test_all_frames_have_one_contrast():
    stack = np.zeros((4, 8, 8), np.uint16)
    stack[0], stack[3] = 100, 1000
    frames = FrameSource(view_of_array(stack, plane=0), 0)

    levels = [int(frames.read(number)[0, 0, 0]) for number in range(4)]

    assert levels[0] == 26  # a tenth of the brightest, not 255 of its own frame
    assert levels[1:] == [0, 0, 255]


def test_channels_move_together():
    stack = np.zeros((4, 2, 8, 8), np.uint8)
    stack[2, 0], stack[2, 1] = 10, 20
    frames = FrameSource(view_of_array(stack, plane=0, channel_axis=1), 0)

    assert [channel.plane.leading for channel in frames.view_at(2).channels] == [(2,), (2,)]
    assert frames.read(2)[0, 0].tolist() == [10, 20, 10]


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_a_plane_axis_is_refused(axis):
    with pytest.raises(ImageError, match=r"Choose one of its leading axes: 0\."):
        FrameSource(view_of_array(np.zeros((4, 8, 8), np.uint8), plane=0), axis)


@pytest.mark.parametrize(
    ("name", "is_movie"),
    [("t", True), ("Time", True), ("z", False), ("", False), ("axis 0", False)],
)
def test_frames_are_times_where_their_axis_says_so(name, is_movie):
    view = view_of_array(np.zeros((4, 8, 8), np.uint8), plane=0)
    assert FrameSource(view, 0, name).is_movie is is_movie
