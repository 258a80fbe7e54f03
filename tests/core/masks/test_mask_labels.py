import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_sam3_assistant.core.masks.components import find_components
from napari_sam3_assistant.core.masks.labels import (
    FilteredLabels,
    PlaneOfLabels,
    check_fits,
    is_writable,
    parse_values,
)
from napari_sam3_assistant.errors import MaskError


def test_values_may_be_separated_by_commas_semicolons_and_spaces():
    assert parse_values(" 3, 4;5 6,3 ") == (3, 4, 5, 6)


@pytest.mark.parametrize("text", ["3,x", "-1", "1.5", "²"])
def test_a_value_that_is_no_whole_number_is_named(text):
    with pytest.raises(MaskError, match="Invalid value"):
        parse_values(text)


def test_no_value_at_all_is_refused():
    with pytest.raises(MaskError, match="no label value"):
        parse_values(" , ")


def test_float_labels_are_refused_with_a_sentence():
    with pytest.raises(MaskError, match="whole numbers, these are of type float32"):
        find_components(np.zeros((3, 3), np.float32))


def test_negative_labels_are_refused_with_a_sentence():
    with pytest.raises(MaskError, match="the lowest here is -2"):
        find_components(np.array([[0, -2], [1, 1]]))


def test_a_line_of_pixels_is_no_labels():
    with pytest.raises(MaskError, match="rows and columns"):
        find_components(np.zeros(4, np.uint8))


@pytest.mark.parametrize(("value", "dtype"), [(256, np.uint8), (-1, np.int16), (2, bool)])
def test_a_value_that_does_not_fit_is_refused(value, dtype):
    with pytest.raises(MaskError, match="does not fit labels of type"):
        check_fits(value, dtype)


@given(
    arrays(np.uint32, (6, 7), elements=st.integers(0, 9)),
    st.sets(st.integers(0, 12)),
    st.tuples(st.slices(6) | st.integers(0, 5), st.slices(7) | st.just(...)),
)
def test_hidden_objects_are_background_wherever_labels_are_read(labels, hidden, key):
    before = labels.copy()
    shown = FilteredLabels(labels, hidden)
    wanted = np.where(np.isin(labels, list(hidden)), 0, labels)
    part = shown[key]
    assert part.dtype == labels.dtype
    assert np.array_equal(part, wanted[key])
    assert np.array_equal(np.asarray(shown), wanted)
    shown.hide(())
    assert np.array_equal(shown[key], labels[key])
    assert np.array_equal(labels, before)
    assert not is_writable(shown)


def test_of_filtered_labels_no_more_is_read_than_is_asked_for(tmp_path):
    # All of them would take 160 GB.
    side = 200_000
    stored = zarr.create_array(tmp_path / "l.zarr", shape=(side, side), chunks=(64, 64), dtype="u4")
    stored[100:164, 100:164] = 5
    stored[100:132, 100:164] = 7
    part = FilteredLabels(stored, {5})[120:140, 90:110]
    assert np.unique(part, return_counts=True)[1].tolist() == [280, 120]


@given(
    arrays(np.uint16, (2, 3, 4), elements=st.integers(0, 9)),
    st.permutations(range(3)),
    st.sampled_from((np.asarray, zarr.array)),
)
def test_a_plane_has_its_rows_first_however_its_axes_lie(volume, order, kind):
    rows, columns, other = order
    plane = PlaneOfLabels(kind(volume), rows, columns, {other: 1})
    upright = np.transpose(volume, (other, rows, columns))[1]
    np.testing.assert_array_equal(plane[1:, :2], upright[1:, :2])
