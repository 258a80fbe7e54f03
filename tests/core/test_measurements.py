"""What is measured of an object, against numbers from hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.measure import regionprops

from napari_sam3_assistant.core.images import PixelSize
from napari_sam3_assistant.core.measurements import (
    MORE,
    VOLUME_MORE,
    Measurement,
    combine_measurements,
    group_neighbours,
    measure_object,
    measure_shape,
)
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord

# Six of nine pixels, in rows 10 to 12 and columns 20 to 22.
CORNER = ObjectRecord(
    7, np.array([[1, 0, 0], [1, 1, 0], [1, 1, 1]], bool), Region(10, 20, 13, 23)
)  # fmt: skip
GREY = np.array([[10, 0, 0], [20, 30, 0], [40, 50, 60]], np.uint8)[..., None]


def test_in_pixels():
    found = measure_object(CORNER, GREY, PixelSize())

    assert found.area == 6
    assert found.diameter == pytest.approx(math.sqrt(24 / math.pi))
    assert found.centroid == pytest.approx((10 + 8 / 6, 20 + 4 / 6))
    assert found.means == (35.0,)
    assert found.unit == ""


def test_in_units_of_pixels_that_are_not_square():
    found = measure_object(CORNER, GREY, PixelSize(2.0, 0.5, "micrometer"))

    assert found.area == pytest.approx(6.0)
    assert found.diameter == pytest.approx(math.sqrt(24 / math.pi))
    assert found.centroid == pytest.approx((2 * (10 + 8 / 6), 0.5 * (20 + 4 / 6)))
    assert found.unit == "micrometer"


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float16, np.float32, bool])
def test_the_mean_of_each_channel_without_overflow(dtype):
    top = 1 if dtype is bool else 100
    pixels = np.stack([np.full((300, 300), value, dtype) for value in (0, top)], -1)
    whole = ObjectRecord(1, np.ones((300, 300), bool), Region(0, 0, 300, 300))

    assert measure_object(whole, pixels, PixelSize()).means == (0.0, float(top))


@given(arrays(np.float64, (3, 4, 2), elements=st.sampled_from([1.0, 5.0, np.nan, np.inf])))
def test_pixels_without_a_number_do_not_count(pixels):
    """As in CellProfiler (issue 271) and TrackMate (286), also of an object in two parts."""
    whole = ObjectRecord(1, np.ones((3, 4), bool), Region(0, 0, 3, 4))
    halves = [ObjectRecord(1, np.ones((3, 2), bool), Region(0, x, 3, x + 2)) for x in (0, 2)]
    more = ["Lowest intensity", "Highest intensity"]

    found = [
        measure_object(whole, pixels, PixelSize(), more),
        combine_measurements(
            [
                measure_object(half, pixels[:, half.region.slices[1]], PixelSize(), more)
                for half in halves
            ]
        ),
    ]

    for one in found:
        values = one.values()
        for channel in (0, 1):
            numbers = pixels[..., channel][np.isfinite(pixels[..., channel])]
            named = (
                ("Mean intensity", np.mean),
                ("Lowest intensity", np.min),
                ("Highest intensity", np.max),
            )
            for title, measure in named:
                expected = pytest.approx(measure(numbers)) if len(numbers) else None
                assert values.get(f"{title} {channel + 1}") == expected


def test_a_pixel_alone():
    one = ObjectRecord(1, np.ones((1, 1), bool), Region(3, 4, 4, 5))

    assert measure_object(one, np.full((1, 1, 1), 9), PixelSize()) == Measurement(
        1.0, pytest.approx(math.sqrt(4 / math.pi)), (3.0, 4.0), (9.0,)
    )


def test_more_of_one_channel_has_no_number():
    told = measure_object(CORNER, GREY, PixelSize(), ("Deviation of intensity",)).values()
    assert told["Deviation of intensity"] == pytest.approx(np.std([10, 20, 30, 40, 50, 60]))


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([(1.0, 1.0, 1.0), (0.25, 0.25, 1.0), (2.0, 0.5, 1.0), (1.0, 1.0, 0.6)]),
)
def test_all_that_can_be_measured_is_what_scikit_image_says_in_the_unit(seed, size):
    random = np.random.default_rng(seed)
    mask = random.random(random.integers(1, 9, 2)) < 0.7
    mask[0, 0] = True
    record = ObjectRecord.from_mask(1, mask)
    pixels = random.integers(0, 255, (*record.region.shape, 2), np.uint8)
    pixel = PixelSize(size[0], size[1], "um", size[2])

    found = measure_object(record, pixels, pixel, tuple(MORE)).values()

    square, upright = size[0] == size[1], size[2] == 1.0
    spaced = regionprops(record.mask.astype(int), pixels.astype(float), spacing=size[:2])[0]
    plain = regionprops(record.mask.astype(int), pixels.astype(float))[0]
    expected = {
        "Solidity": plain.solidity,
        "Extent": plain.extent,
        "Euler number": plain.euler_number,
        "Convex area": plain.area_convex * pixel.area,
        "Filled area": plain.area_filled * pixel.area,
    }
    for channel in range(2):
        inside = pixels[record.mask, channel]
        expected[f"Lowest intensity {channel + 1}"] = inside.min()
        expected[f"Highest intensity {channel + 1}"] = inside.max()
        expected[f"Deviation of intensity {channel + 1}"] = inside.std()
    if upright:
        expected["Major axis"] = spaced.axis_major_length
        expected["Minor axis"] = spaced.axis_minor_length
        expected["Largest diameter"] = spaced.feret_diameter_max
        expected["Eccentricity"] = spaced.eccentricity
        expected["Orientation"] = spaced.orientation
    if upright and square:
        expected["Perimeter"] = spaced.perimeter
    more = {title: value for title, value in found.items() if title.rstrip(" 012") in MORE}
    assert more == pytest.approx(expected)


def test_objects_that_lie_close_together_are_one_group():
    def at(y, x):
        return ObjectRecord(1, np.ones((10, 10), bool), Region(y, x, y + 10, x + 10))

    groups = list(group_neighbours([at(0, 0), at(600, 600), at(250, 30)]))

    assert groups == [(Region(0, 0, 260, 40), [0, 2]), (Region(600, 600, 610, 610), [1])]
    assert list(group_neighbours([])) == []


@given(
    arrays(np.bool_, st.tuples(*[st.integers(1, 4)] * 3)),
    st.sampled_from([(1.0, 1.0, 1.0), (3.0, 0.2, 0.2), (0.5, 2.0, 1.0)]),
)
def test_shapes_in_3d_also_of_what_is_flat(mask, spacing):
    mask[0, 0, 0] = True

    told = measure_shape(mask, spacing, tuple(VOLUME_MORE))

    (one,) = regionprops(mask.astype(np.uint8), spacing=spacing)
    assert list(told) == list(VOLUME_MORE)
    assert told["Volume major axis"] == pytest.approx(one.axis_major_length)
    assert told["Volume Euler number"] == one.euler_number
    assert told["Volume extent"] == pytest.approx(one.extent)
    assert math.isnan(told["Volume solidity"]) or 0 < told["Volume solidity"] <= 1
    places = np.argwhere(mask)
    if np.linalg.matrix_rank(places - places[0]) == 3:
        assert told["Volume solidity"] == pytest.approx(one.solidity)
        assert told["Volume minor axis"] == pytest.approx(one.axis_minor_length)
    else:
        assert told["Volume minor axis"] == pytest.approx(0, abs=1e-5)


def test_a_shape_with_a_very_large_box_has_no_solidity():
    mask = np.zeros((2, 2, (1 << 20) + 1), bool)
    mask[:, :, :2] = mask[:, :, -2:] = True
    told = measure_shape(mask, (1.0, 1.0, 1.0), ("Volume solidity", "Volume extent"))
    assert math.isnan(told["Volume solidity"])
    assert told["Volume extent"] == pytest.approx(16 / mask.size)


def test_measurements_without_a_number_are_alike():
    """On any Python: what is listed anew is no other value where nothing has changed."""

    def measured(**changes):
        nothing = float("nan")
        known = {"area": nothing, "diameter": nothing, "centroid": (1.0, 2.0)}
        known |= {"means": (3.0, nothing), "more": {"Solidity": nothing}, "unit": "pixel"}
        return Measurement(**known | changes)

    assert measured() == measured()
    for other in (
        {"area": 4.0},
        {"centroid": (1.0, 3.0)},
        {"means": (3.0,)},
        {"means": (float("nan"), 3.0)},
        {"more": {"Solidity": 1.0}},
        {"more": {}},
        {"unit": "mm"},
        {"known": (0.5, 1.0)},
    ):
        assert measured() != measured(**other)
