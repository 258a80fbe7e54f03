"""A plane with the axes of its image, indexed as NumPy would."""

import numpy as np
import pytest

from napari_sam3_assistant.viewer.file_backed_layers import LazyPlane

PLANE = np.arange(12, dtype=np.uint32).reshape(3, 4)
KEYS = [
    (),
    0,
    (0, 1),
    (0, slice(1, 3), slice(None, 2)),
    (slice(0, 1), slice(None), slice(1, 4)),
    (slice(None), 2, slice(None)),
    (0, -1, -1),
    (..., 1),
    (0, ...),
    (np.array([0, 0]), np.array([1, 2]), np.array([2, 0])),
]


@pytest.mark.parametrize("key", KEYS, ids=str)
@pytest.mark.parametrize("columns_first", [False, True])
def test_reading(key, columns_first):
    source = PLANE.T if columns_first else PLANE
    lazy = LazyPlane(source, 3, *((2, 1) if columns_first else (1, 2)))

    expected = PLANE[None][key]

    np.testing.assert_array_equal(lazy[key], expected)
    assert np.shape(lazy[key]) == np.shape(expected)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ((slice(0, 1), slice(1, 3), slice(0, 2)), [[[7, 8], [9, 7]]]),
        ((0, slice(1, 3), slice(0, 2)), [[7, 8], [9, 7]]),
        ((np.array([0, 0]), np.array([1, 2]), np.array([2, 0])), [7, 8]),
    ],
    ids=["box", "plane", "pixels"],
)
@pytest.mark.parametrize("columns_first", [False, True])
def test_writing(key, value, columns_first):
    plane = np.array(PLANE.T if columns_first else PLANE)
    lazy = LazyPlane(plane, 3, *((2, 1) if columns_first else (1, 2)))
    expected = PLANE[None].copy()

    expected[key] = value
    lazy[key] = value

    np.testing.assert_array_equal(np.asarray(lazy), expected)


def test_nothing_but_the_piece_is_read():
    read = []

    class Watched:
        shape, dtype = (3000, 4000), np.dtype(np.uint32)

        def __getitem__(self, key):
            read.append(key)
            return np.zeros((10, 20), np.uint32)

    lazy = LazyPlane(Watched(), 3, 1, 2)

    assert lazy[0, 5:15, 0:20].shape == (10, 20)
    assert read == [(slice(5, 15), slice(0, 20))]
    assert (lazy.shape, lazy.ndim, lazy.size) == ((1, 3000, 4000), 3, 12_000_000)
