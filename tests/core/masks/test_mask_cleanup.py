import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mask_cases import applied, small_labels
from skimage import measure

from napari_sam3_assistant.core.masks import cleanup
from napari_sam3_assistant.core.masks.components import find_components
from napari_sam3_assistant.core.masks.labels import Connectivity
from napari_sam3_assistant.errors import MaskError

LABELS = np.array(
    [
        [1, 1, 0, 2, 2],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 0, 2],
    ],
    np.uint8,
)


def test_small_components_go_and_larger_ones_stay():
    after = applied(cleanup.remove_small(LABELS, 2), LABELS)

    np.testing.assert_array_equal(after, [[1, 1, 0, 2, 2], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]])


def test_with_corners_the_small_one_belongs_to_the_large_one():
    after = applied(cleanup.remove_small(LABELS, 2, Connectivity.ALL), LABELS)

    assert after[2, 2] == 1


def test_in_a_part_what_reaches_its_edge_is_left_alone():
    box = (slice(0, 3), slice(2, 4))
    labels = np.array([[0, 0, 0, 3, 3], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]], np.uint8)
    inside = np.array([[0, 0, 3, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]], np.uint8)

    assert cleanup.remove_small(labels, 5, box=box).pixels == 0
    assert cleanup.remove_small(inside, 5, box=(slice(0, 3), slice(1, 4))).pixels == 1


def test_keep_the_largest_overall():
    after = applied(cleanup.keep_largest(LABELS), LABELS)

    np.testing.assert_array_equal(after, [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]])


def test_keep_the_largest_of_each_label():
    after = applied(cleanup.keep_largest(LABELS, per_label=True), LABELS)

    np.testing.assert_array_equal(after, [[1, 1, 0, 2, 2], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]])


def test_of_equal_components_the_first_stays():
    labels = np.array([[1, 0, 1, 0, 2]], np.uint8)

    assert applied(cleanup.keep_largest(labels), labels).tolist() == [[1, 0, 0, 0, 0]]
    per_label = applied(cleanup.keep_largest(labels, per_label=True), labels)
    assert per_label.tolist() == [[1, 0, 0, 0, 2]]


@pytest.mark.parametrize("per_label", [False, True])
def test_nothing_to_keep_in_an_empty_layer(per_label):
    assert cleanup.keep_largest(np.zeros((3, 3), np.uint8), per_label=per_label).pixels == 0


@given(small_labels(), st.integers(1, 6), st.sampled_from(Connectivity))
def test_remove_small_like_a_loop_over_components(labels, minimum, connectivity):
    expected = labels.copy()
    numbers = measure.label(labels, connectivity=connectivity.rank(labels.ndim))
    for number in range(1, numbers.max() + 1):
        if np.count_nonzero(numbers == number) < minimum:
            expected[numbers == number] = 0

    after = applied(cleanup.remove_small(labels, minimum, connectivity), labels)

    np.testing.assert_array_equal(after, expected)


def test_delete_and_change_components():
    found = find_components(LABELS)

    deleted = applied(cleanup.delete_components(found, [0], LABELS.dtype), LABELS)
    changed = applied(cleanup.assign_components(found, [1, 3], 9, LABELS.dtype), LABELS)

    np.testing.assert_array_equal(deleted, [[0, 0, 0, 2, 2], [0, 0, 0, 0, 0], [0, 0, 1, 0, 2]])
    np.testing.assert_array_equal(changed, [[1, 1, 0, 2, 2], [1, 1, 0, 0, 0], [0, 0, 9, 0, 9]])


def test_merge_label_values_as_the_readme_says():
    labels = np.array([[3, 4, 5], [6, 7, 0]], np.uint8)

    after = applied(cleanup.merge_values(labels, (3, 4, 5, 6), 3), labels)

    assert after.tolist() == [[3, 3, 3], [3, 7, 0]]


def test_the_background_can_be_replaced_and_unknown_values_change_nothing():
    labels = np.array([[0, 1]], np.uint8)

    assert applied(cleanup.merge_values(labels, (0,), 4), labels).tolist() == [[4, 1]]
    assert cleanup.merge_values(labels, (300, 2**63), 4).pixels == 0


def test_a_value_that_does_not_fit_is_refused_before_anything_changes():
    with pytest.raises(MaskError, match="300 does not fit labels of type uint8"):
        cleanup.merge_values(LABELS, (1,), 300)


def test_renumber_values_and_components():
    labels = np.array([[70000, 0, 5, 0, 5]], np.uint32)

    assert applied(cleanup.renumber(labels), labels).tolist() == [[2, 0, 1, 0, 1]]
    parts = applied(cleanup.renumber(labels, by_component=True), labels)
    assert parts.tolist() == [[3, 0, 1, 0, 2]]


def test_more_components_than_the_type_holds_are_refused():
    labels = np.zeros((40, 40), np.uint8)
    labels[::2, ::2] = 1

    with pytest.raises(MaskError, match="400 does not fit"):
        cleanup.renumber(labels, by_component=True)


def test_delete_the_label_or_the_component_at_a_pixel():
    label = applied(cleanup.delete_at(LABELS, (2, 2)), LABELS)
    component = applied(cleanup.delete_at(LABELS, (2, 2), component=True), LABELS)

    np.testing.assert_array_equal(label, [[0, 0, 0, 2, 2], [0, 0, 0, 0, 0], [0, 0, 0, 0, 2]])
    np.testing.assert_array_equal(component, [[1, 1, 0, 2, 2], [1, 1, 0, 0, 0], [0, 0, 0, 0, 2]])


def test_background_deletes_nothing():
    assert cleanup.delete_at(LABELS, (1, 3)).pixels == 0
