import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from mask_cases import applied, small_labels
from scipy import ndimage as ndi

from napari_sam3_assistant.core.masks.operations import FillHoles, LabelsPart
from napari_sam3_assistant.core.progress import NullReporter


def fill_holes(labels, maximum=0, box=None, apart=()):
    part = LabelsPart(labels, (1.0,) * labels.ndim, box, apart=apart)
    return FillHoles(maximum).edit(part, NullReporter())


def slow(labels, maximum):
    """Each label by itself: what it encloses, the smallest hole first."""
    flat = [axis for axis, size in enumerate(labels.shape[:-1]) if size == 1]
    if labels.ndim > 2 and flat:  # a plane of a stack
        return np.expand_dims(slow(labels.squeeze(flat[0]), maximum), flat[0])
    filled = labels.copy()
    smallest = np.full(labels.shape, labels.size + 1)
    inner = np.zeros(labels.shape, bool)
    inner[(slice(1, -1),) * labels.ndim] = True
    for value in np.unique(labels[labels > 0]):
        regions, count = ndi.label(labels != value)
        for number in range(1, count + 1):
            hole = regions == number
            size = np.count_nonzero(hole)
            if (hole & ~inner).any() or (maximum and size > maximum):
                continue
            mine = hole & (labels == 0) & (size < smallest)
            filled[mine] = value
            smallest[mine] = size
    return filled


@given(small_labels(), st.sampled_from([0, 1, 3, 6]))
def test_like_each_label_by_itself(labels, maximum):
    after = applied(fill_holes(labels, maximum), labels)

    np.testing.assert_array_equal(after, slow(labels, maximum))


@given(small_labels(dims=(3,)), st.sampled_from([0, 2]))
def test_slices_that_count_apart_are_filled_each_by_itself(labels, maximum):
    after = applied(fill_holes(labels, maximum, apart=(0,)), labels)

    np.testing.assert_array_equal(after, np.stack([slow(plane, maximum) for plane in labels]))


def test_a_nested_label_stays():
    labels = np.ones((5, 5), np.uint16)
    labels[1:4, 1:4] = 0
    labels[2, 2] = 2
    expected = np.ones((5, 5), np.uint16)
    expected[2, 2] = 2

    np.testing.assert_array_equal(applied(fill_holes(labels, 9), labels), expected)
    assert fill_holes(labels, 8).pixels == 0


def test_of_nested_rings_the_inner_one_fills_its_hole():
    labels = np.ones((7, 7), np.uint8)
    labels[1:6, 1:6] = 2
    labels[2:5, 2:5] = 0

    after = applied(fill_holes(labels), labels)

    assert (after[2:5, 2:5] == 2).all()


def test_two_labels_in_a_ring_leave_their_gap_to_the_ring():
    labels = np.array(
        [[1, 1, 1, 1, 1], [1, 2, 2, 2, 1], [1, 3, 0, 3, 1], [1, 3, 3, 3, 1], [1, 1, 1, 1, 1]],
        np.uint8,
    )

    assert applied(fill_holes(labels), labels)[2, 2] == 1


def test_a_hole_at_the_border_is_open():
    labels = np.array([[1, 0, 1], [1, 1, 1]], np.uint8)

    assert fill_holes(labels).pixels == 0


def test_a_tube_is_filled_slice_by_slice_only():
    labels = np.ones((3, 3, 3), np.uint8)
    labels[:, 1, 1] = 0

    assert fill_holes(labels).pixels == 0
    assert applied(fill_holes(labels, apart=(0,)), labels).all()


def test_a_part_of_the_labels_counts_for_itself():
    labels = np.ones((3, 10), np.uint8)
    labels[1, 1] = labels[1, 8] = 0

    after = applied(fill_holes(labels, box=(slice(0, 3), slice(0, 4))), labels)

    assert after[1, 1] == 1
    assert after[1, 8] == 0
