import math

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from mask_cases import applied
from scipy import ndimage as ndi
from skimage.draw import disk

from napari_sam3_assistant.core.masks import morphology
from napari_sam3_assistant.core.masks.morphology import ball_offsets, expand, shrink, smooth
from napari_sam3_assistant.errors import MaskError


def slow_smooth(labels, radius):
    """Opening and closing of each label by itself, on labels that go on beyond the edge."""
    steps = np.array(ball_offsets(radius, [1] * labels.ndim))
    reach = steps.max(axis=0)
    footprint = np.zeros(2 * reach + 1, bool)
    footprint[tuple((steps + reach).T)] = True
    wide = np.pad(labels, 4 * reach[0], mode="edge")
    opened = np.zeros_like(wide)
    for value in np.unique(wide[wide > 0]):
        opened[ndi.binary_opening(wide == value, footprint)] = value
    result = opened.copy()
    for value in np.unique(wide[wide > 0]):
        closed = ndi.binary_closing(opened == value, footprint)
        free = (result == 0) & ((wide == 0) | (wide == value))
        result[closed & free] = value
    return result[(slice(4 * reach[0], -4 * reach[0]),) * labels.ndim]


@pytest.fixture(params=[True, False], ids=["small tiles", "one tile"])
def tiles_(request, monkeypatch):
    if request.param:
        monkeypatch.setattr(morphology, "_TILE_SIDES", {2: 7, 3: 5})


@pytest.mark.usefixtures("tiles_")
@pytest.mark.parametrize("shape", [(18, 21), (7, 8, 9)])
def test_smoothing_like_each_label_by_itself(shape):
    @given(st.integers(0, 10**6), st.sampled_from([1, 1.5, 2]))
    def check(seed, radius):
        rng = np.random.default_rng(seed)
        coarse = [size // 3 + 1 for size in shape]
        labels = rng.integers(1, 4, coarse) * (rng.random(coarse) < 0.6)
        for axis in range(len(shape)):
            labels = labels.repeat(3, axis)
        labels = labels[tuple(map(slice, shape))] * (rng.random(shape) < 0.96)
        labels = labels.astype(np.uint8)

        after = applied(smooth(labels, radius), labels)

        np.testing.assert_array_equal(after, slow_smooth(labels, radius))

    check()


def test_an_object_at_the_border_keeps_its_border():
    labels = np.zeros((20, 30), np.uint8)
    labels[:10, 5:25] = 1

    assert applied(smooth(labels, 1), labels)[0, 5:25].all()
    assert applied(smooth(labels, 4), labels)[:8, 8:22].all()
    assert applied(shrink(labels, 2), labels)[0, 7:23].all()


def test_a_larger_radius_removes_a_longer_spike():
    labels = np.zeros((60, 60), np.uint8)
    labels[disk((30, 30), 15)] = 1
    labels[26:34, 44:58] = 1  # a spike eight pixels wide

    assert applied(smooth(labels, 3), labels)[30, 55]
    assert not applied(smooth(labels, 5), labels)[30, 50]


def test_the_radius_is_in_physical_units():
    labels = np.zeros((20, 20), np.uint8)
    labels[8:12, 8:12] = 1
    spacing = [4.0, 1.0]

    # Two units reach two columns and no row.
    after = applied(shrink(labels, 1.0, spacing), labels)

    np.testing.assert_array_equal(np.argwhere(after)[[0, -1]], [[8, 9], [11, 10]])


def test_labels_that_touch_get_a_gap_when_they_shrink():
    labels = np.array([[1, 1, 1, 2, 2, 2]] * 4, np.uint8)

    after = applied(shrink(labels, 1), labels)

    assert after.tolist() == [[1, 1, 0, 0, 2, 2]] * 4


def test_labels_grow_to_the_nearest_and_take_nothing_from_each_other():
    labels = np.array([[1, 0, 0, 0, 0, 2]], np.uint8)

    assert applied(expand(labels, 1), labels).tolist() == [[1, 1, 0, 0, 2, 2]]
    # Also by far more than they are large, which takes no longer.
    for distance in (9, 1e8):
        assert applied(expand(labels, distance), labels).tolist() == [[1, 1, 1, 2, 2, 2]]


@pytest.mark.usefixtures("tiles_")
def test_growing_reaches_exactly_as_far_as_it_says():
    labels = np.zeros((25, 31), np.uint16)
    labels[12, 15] = 70
    y, x = np.ogrid[:25, :31]

    after = applied(expand(labels, 5), labels)

    np.testing.assert_array_equal(after == 70, (y - 12) ** 2 + (x - 15) ** 2 <= 25)


@pytest.mark.parametrize("radius", [0, -1, 0.5, math.nan])
def test_a_radius_that_reaches_nothing_is_refused(radius):
    with pytest.raises(MaskError, match="radius"):
        smooth(np.zeros((4, 4), np.uint8), radius)


@pytest.mark.parametrize("change", [smooth, shrink])
def test_a_ball_that_would_never_end_is_refused(change):
    with pytest.raises(MaskError, match="too many pixels"):
        change(np.ones((4, 4), np.uint8), 1e8)


def test_lazy_labels_in_a_part():
    labels = np.zeros((40, 40), np.uint8)
    labels[10:20, 10:20] = 1
    labels[14, 20:26] = 1
    lazy = zarr.create_array({}, shape=labels.shape, chunks=(16, 16), dtype="uint8")
    lazy[:] = labels

    smooth(lazy, 2, box=(slice(5, 30), slice(5, 30))).write(lazy)

    assert not lazy[14, 21:26].any()
    assert lazy[14, 14] == 1


class Painter:
    """Progress that paints a pixel when the last tile has its turn."""

    def __init__(self, labels):
        self.labels = labels

    def report(self, progress):
        if progress.done == progress.total - 1:
            self.labels[700, 700] = 9

    def check(self):
        """Go on."""


def test_what_is_painted_meanwhile_stays():
    labels = np.zeros((1600, 1600), np.uint8)
    labels[600:640, 600:640] = 1

    edit = shrink(labels, 1, reporter=Painter(labels))
    edit.write(labels)

    assert labels[700, 700] == 9
    assert np.count_nonzero(labels == 1) == 38 * 38
