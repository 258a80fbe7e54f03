"""Half-open rectangles: literal cases, and laws against masks of pixels."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3_assistant.core.regions import Region, bounds_of
from napari_sam3_assistant.errors import PromptError

SIDE = 12
spans = st.tuples(st.integers(0, SIDE), st.integers(0, SIDE)).map(sorted)
regions = st.builds(lambda y, x: Region(y[0], x[0], y[1], x[1]), spans, spans)
filled = regions.filter(lambda region: not region.is_empty)


def pixels(region):
    """Return the region painted on a plane."""
    mask = np.zeros((SIDE, SIDE), bool)
    mask[region.slices] = True
    return mask


def test_size_of_a_region():
    region = Region(1, 2, 4, 8)

    assert region.shape == (3, 6)
    assert region.area == 18
    assert region.box == (1, 2, 4, 8)
    assert not region.is_empty


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((1, 2, 4, 8), Region(1, 2, 4, 8)),
        ((4, 8, 1, 2), Region(1, 2, 4, 8)),
        ((1, 8, 4, 2), Region(1, 2, 4, 8)),
        ((0.5, 0.2, 1.5, 0.3), Region(0, 0, 2, 1)),
        ((-3.5, 0, 2, 2), Region(-4, 0, 2, 2)),
    ],
)
def test_from_box_holds_the_box_in_any_corner_order(box, expected):
    assert Region.from_box(box) == expected


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ((1, 2, 3), "four numbers"),
        ((1, 2, 3, 4, 5), "four numbers"),
        ((1, 2, math.nan, 4), "not a finite"),
        ((1, -math.inf, 3, 4), "not a finite"),
        ((1, 2, 1, 4), "no area"),
        ((1, 2, 3, 2), "no area"),
    ],
)
def test_from_box_refuses_what_is_no_box(box, said):
    with pytest.raises(PromptError, match=said) as caught:
        Region.from_box(box)
    assert caught.value.hint


def test_a_pixel_reaches_half_a_pixel_around_its_centre():
    region = Region(0, 0, 2, 3)

    assert region.holds(-0.5, -0.5)
    assert region.holds(1.49, 2.49)
    assert not region.holds(1.5, 0)
    assert not region.holds(0, 2.5)
    assert not region.holds(-0.51, 0)


def test_regions_apart_share_nothing():
    assert Region(0, 0, 2, 2).intersect(Region(5, 5, 8, 8)).is_empty


def test_grow_and_shift():
    assert Region(2, 3, 4, 6).grow(2) == Region(0, 1, 6, 8)
    assert Region(2, 3, 4, 6).shift(-2, 10) == Region(0, 13, 2, 16)


@given(regions, regions)
def test_intersection_holds_exactly_the_shared_pixels(a, b):
    np.testing.assert_array_equal(pixels(a.intersect(b)), pixels(a) & pixels(b))


@given(filled, filled)
def test_union_is_the_bounding_box_of_both(a, b):
    rows, columns = np.nonzero(pixels(a) | pixels(b))

    assert a.union(b) == Region(rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)


@given(regions, regions)
def test_globalise_undoes_localise(a, origin):
    assert a.localise(origin).globalise(origin) == a


@given(filled, filled)
def test_localised_slices_cut_the_same_pixels_out_of_the_crop(a, origin):
    plane = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    shared = a.intersect(origin)
    if shared.is_empty:
        return
    crop = plane[origin.slices]

    np.testing.assert_array_equal(crop[shared.localise(origin).slices], plane[shared.slices])


@given(regions, st.integers(0, SIDE - 1), st.integers(0, SIDE - 1))
def test_holds_agrees_with_the_pixels(region, y, x):
    assert region.holds(y, x) == pixels(region)[y, x]


@given(st.tuples(*[st.floats(-1e6, 1e6)] * 4))
def test_from_box_is_the_smallest_region_around_the_box(box):
    y0, y1 = sorted(box[::2])
    x0, x1 = sorted(box[1::2])
    if y0 == y1 or x0 == x1:
        with pytest.raises(PromptError):
            Region.from_box(box)
        return

    region = Region.from_box(box)

    assert region.y0 <= y0 < region.y0 + 1
    assert region.x0 <= x0 < region.x0 + 1
    assert region.y1 - 1 < y1 <= region.y1
    assert region.x1 - 1 < x1 <= region.x1


def test_bounds_hold_all_pixels_and_no_empty_side():
    volume = np.zeros((3, 5, 6), np.uint8)
    volume[1, 2, 4] = volume[2, 0, 4] = 7
    assert bounds_of(volume) == (slice(1, 3), slice(0, 3), slice(4, 5))
    assert bounds_of(np.zeros((3, 5))) == (slice(0, 0), slice(0, 0))
    assert Region.around(volume[1]) == Region(2, 4, 3, 5)
    assert Region.around(volume[0]).is_empty


@given(box=st.tuples(*[st.floats(-9, 30)] * 4))
def test_a_box_encloses_the_pixels_whose_centres_are_in_it(box):
    box = (*map(min, box[:2], box[2:]), *map(max, box[:2], box[2:]))
    region = Region.enclosed_by(box)
    y, x = np.mgrid[-12:33, -12:33] + 0.5
    inside = (box[0] <= y) & (y <= box[2]) & (box[1] <= x) & (x <= box[3])
    shown = np.zeros_like(inside)
    shown[region.shift(12, 12).slices] = True
    np.testing.assert_array_equal(shown, inside)
