import numpy as np
import pytest
from mask_cases import applied
from scipy import ndimage as ndi
from skimage.draw import disk

from napari_sam3_assistant.core.masks.labels import Connectivity
from napari_sam3_assistant.core.masks.operations import LabelsPart, Split
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.errors import MaskError


def split_touching(labels, centres, spacing=None, **part):
    part = LabelsPart(labels, spacing or (1.0,) * labels.ndim, **part)
    return Split(centres).edit(part, NullReporter())


@pytest.fixture
def pair():
    """Two discs that overlap, under one label, and a lone one."""
    labels = np.zeros((60, 120), np.uint8)
    labels[disk((30, 25), 15)] = 4
    labels[disk((30, 50), 12)] = 4
    labels[disk((30, 95), 10)] = 9
    return labels


def test_touching_discs_are_cut_at_the_waist(pair):
    after = applied(split_touching(pair, 8), pair)

    assert set(np.unique(after)) == {0, 4, 9, 10}
    assert after[30, 20] == 4  # the larger one keeps the label
    assert after[30, 55] == 10
    assert abs(np.count_nonzero(after == 10) - np.pi * 144) < 60
    np.testing.assert_array_equal(after != 0, pair != 0)


def test_centres_that_are_too_close_stay_together(pair):
    assert split_touching(pair, 40).pixels == 0


def test_a_component_at_the_edge_of_the_part_stays_whole(pair):
    assert split_touching(pair, 8, box=(slice(0, 60), slice(0, 40))).pixels == 0


def test_labels_that_do_not_fit_are_refused(pair):
    pair[0, 0] = 255
    with pytest.raises(MaskError, match="256 does not fit"):
        split_touching(pair, 8)


def test_a_label_in_another_component_of_the_box_is_left_alone(pair):
    pair[2, 25] = 4
    pair[2:58, 10] = 4

    after = applied(split_touching(pair, 8), pair)

    assert after[2, 25] == 4


def test_numbers_that_a_float_does_not_hold_are_split_as_others(pair):
    long = pair.astype(np.uint64) + np.where(pair > 0, np.uint64(720575940600000001), np.uint64(0))

    after = applied(split_touching(long, 8), long)

    np.testing.assert_array_equal(
        np.unique(after, return_inverse=True)[1],
        np.unique(applied(split_touching(pair, 8), pair), return_inverse=True)[1],
    )


def test_two_balls():
    z, y, x = np.ogrid[:30, :30, :60]
    labels = ((z - 15) ** 2 + (y - 15) ** 2 + (x - 18) ** 2 <= 100).astype(np.uint16)
    labels[(z - 15) ** 2 + (y - 15) ** 2 + (x - 33) ** 2 <= 81] = 1

    after = applied(split_touching(labels, 6), labels)

    assert after[15, 15, 12] == 1
    assert after[15, 15, 38] == 2
    assert ndi.label(after == 2)[1] == 1


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("spacing", [(1, 1, 1), (2, 0.5, 0.5), (1, 1, 3)])
def test_balls_are_parted_along_whichever_axis_they_lie_beside_each_other(spacing, axis):
    places = [np.arange(0, 60, size) for size in spacing]
    grid = np.stack(np.meshgrid(*places, indexing="ij"), axis=-1)
    labels = np.zeros(grid.shape[:-1], np.uint16)
    for side in (-7, 7):
        labels[((grid - 30 - side * np.eye(3)[axis]) ** 2).sum(axis=-1) <= 64] = 1

    apart = applied(split_touching(labels, 8, spacing=spacing), labels)
    together = applied(split_touching(labels, 20, spacing=spacing), labels)

    assert np.unique(apart).tolist() == [0, 1, 2]
    np.testing.assert_array_equal(together, labels)


def test_pixels_that_hang_on_by_a_corner_stay(pair):
    top, left = np.argwhere(pair == 4)[0]
    pair[top - 1, left - 1] = 4

    after = applied(split_touching(pair, 8, connectivity=Connectivity.ALL), pair)

    assert len(np.unique(after)) > len(np.unique(pair))
    np.testing.assert_array_equal(after != 0, pair != 0)


@pytest.mark.parametrize("slices", [1, 2, 3, 8, 40])
def test_what_goes_on_through_all_slices_is_cut_at_its_waist_alone(pair, slices):
    volume = np.repeat(pair[np.newaxis], slices, axis=0)

    after = applied(split_touching(volume, 8), volume)

    assert np.unique(after).tolist() == [0, 4, 9, 10]
    assert all((plane == after[0]).all() for plane in after)


@pytest.mark.parametrize("angle", [0, 20, 45, 75])
def test_a_rod_is_not_cut_along_its_length(angle):
    y, x = np.mgrid[:160, :160] - 80
    along, across = np.deg2rad(angle), np.deg2rad(angle + 90)
    rod = np.abs(x * np.cos(along) + y * np.sin(along)) < 60
    rod &= np.abs(x * np.cos(across) + y * np.sin(across)) < 6

    assert split_touching(rod.astype(np.uint8), 10).pixels == 0
