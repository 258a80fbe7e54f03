import numpy as np
import pytest

from napari_sam3_assistant.core.masks.components import find_components
from napari_sam3_assistant.core.masks.labels import check_fits, parse_values
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
