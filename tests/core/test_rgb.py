"""Pixel values of any type become 8-bit RGB."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3_assistant.core.display import Display, to_rgb
from napari_sam3_assistant.errors import ImageError

UNUSED = (-1e9, 1e9)


def grey(plane, display=None, fallback=UNUSED):
    """Return the brightness of a grey picture."""
    rgb = to_rgb(np.asarray(plane), display or Display(), fallback)
    assert rgb.dtype == np.uint8
    assert rgb.shape == (*np.shape(plane)[:2], 3)
    np.testing.assert_array_equal(rgb[..., 0], rgb[..., 1])
    np.testing.assert_array_equal(rgb[..., 0], rgb[..., 2])
    return rgb[..., 0].tolist()


def test_uint8_is_taken_as_it_is():
    plane = np.arange(256, dtype=np.uint8).reshape(16, 16)

    np.testing.assert_array_equal(grey(plane), plane)


def test_bool_is_black_and_white():
    assert grey(np.array([[True, False]])) == [[255, 0]]


@pytest.mark.parametrize(
    "dtype", ["int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "f2", "f4", "f8"]
)
def test_every_other_type_is_stretched(dtype):
    plane = np.array([[0, 20, 60, 100, 120]], dtype)

    assert grey(plane, fallback=(20.0, 100.0)) == [[0, 0, 128, 255, 255]]


def test_given_contrast_holds_for_uint8_too():
    plane = np.array([[0, 50, 75, 100, 255]], np.uint8)

    assert grey(plane, Display((50.0, 100.0))) == [[0, 0, 128, 255, 255]]


def test_large_offsets_keep_their_differences():
    plane = np.array([[2**31, 2**31 + 50, 2**31 + 100]], np.uint32)

    assert grey(plane, Display((2.0**31, 2.0**31 + 100))) == [[0, 128, 255]]


def test_gamma_bends_the_middle_only():
    plane = np.array([[0.0, 0.25, 1.0]])

    assert grey(plane, Display((0.0, 1.0), gamma=0.5)) == [[0, 128, 255]]
    assert grey(np.array([[0, 64, 255]], np.uint8), Display(gamma=2.0)) == [[0, 16, 255]]


def test_what_is_not_finite_has_a_place():
    plane = np.array([[np.nan, -np.inf, np.inf, 0.5]])

    assert grey(plane, Display((0.0, 1.0))) == [[0, 0, 255, 128]]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_limits_of_no_width_part_the_image_in_two(dtype):
    assert grey(np.array([[4, 5, 6]], dtype), Display((5.0, 5.0))) == [[0, 0, 255]]


def test_extreme_floats_do_not_overflow():
    limits = np.finfo(np.float32)
    plane = np.array([[limits.min, limits.max]], np.float32)

    assert grey(plane, Display((0.0, 1.0))) == [[0, 255]]


def test_a_colormap_colours_the_brightness():
    magenta = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 1.0]])

    rgb = to_rgb(np.array([[0, 100, 255]], np.uint8), Display(colormap=magenta), UNUSED)

    np.testing.assert_array_equal(rgb, [[[0, 0, 0], [100, 0, 100], [255, 0, 255]]])


def test_rgb_stays_and_alpha_goes():
    plane = np.array([[[10, 20, 30, 0], [40, 50, 60, 255]]], np.uint8)

    np.testing.assert_array_equal(to_rgb(plane, Display(), UNUSED), [[[10, 20, 30], [40, 50, 60]]])


def test_rgb_of_other_types_is_stretched_by_one_range_so_hues_stay():
    plane = np.array([[[0, 500, 1000]]], np.uint16)

    np.testing.assert_array_equal(to_rgb(plane, Display(), (0.0, 1000.0)), [[[0, 128, 255]]])


def test_the_input_is_not_modified_and_not_shared():
    for dtype in (np.uint8, np.float32):
        plane = np.full((3, 4), 7, dtype)
        rgb = to_rgb(plane, Display(), (0.0, 10.0))
        rgb[...] = 1
        assert (plane == 7).all()


def test_pictures_of_several_blocks_have_no_seams():
    plane = np.arange(1200 * 700, dtype=np.float32).reshape(1200, 700)

    whole = to_rgb(plane, Display((0.0, 840000.0)), UNUSED)

    np.testing.assert_array_equal(
        whole[..., 0], (plane / np.float32(840000) * 255 + 0.5).astype(np.uint8)
    )


def test_an_empty_region_is_an_empty_picture():
    assert to_rgb(np.empty((0, 5), np.uint16), Display(), (0.0, 1.0)).shape == (0, 5, 3)
    assert to_rgb(np.empty((5, 0), np.uint16), Display(), (0.0, 1.0)).shape == (5, 0, 3)


@given(
    st.lists(st.floats(width=32), min_size=1, max_size=20),
    st.floats(-1e6, 1e6),
    st.floats(0, 1e6),
)
def test_brighter_values_are_never_shown_darker(values, low, span):
    values = np.sort(np.array([v for v in values if not np.isnan(v)] or [0.0], np.float32))

    shown = grey(values[None], Display((low, low + span)))[0]

    assert shown == sorted(shown)


def test_equal_displays_have_equal_keys():
    def display(gamma=1.0, contrast=(0.0, 1.0), end=1.0):
        return Display(contrast, gamma, np.array([[0.0, 0.0, 0.0], [end, 0.0, 0.0]]))

    assert display().key == display().key
    assert hash(display().key) == hash(display().key)
    others = {display(2.0).key, display(contrast=None).key, display(end=0.5).key, Display().key}
    assert len(others | {display().key}) == 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"contrast": (2.0, 1.0)}, "not a low and a high"),
        ({"contrast": (0.0, np.nan)}, "not a low and a high"),
        ({"contrast": (0.0, np.inf)}, "not a low and a high"),
        ({"contrast": (0.0, 1.0, 2.0)}, "not a low and a high"),
        ({"gamma": 0.0}, "gamma of 0"),
        ({"gamma": np.nan}, "gamma of nan"),
        ({"colormap": np.zeros((2, 4))}, r"shape \(N, 3\)"),
    ],
)
def test_values_that_cannot_be_used(arguments, said):
    with pytest.raises(ImageError, match=said) as caught:
        Display(**arguments)
    assert caught.value.hint


def test_limits_closer_than_the_type_can_tell_part_the_image_in_two():
    assert grey(np.array([[0, 1]], np.float32), Display((0.0, 1e-200))) == [[0, 255]]
