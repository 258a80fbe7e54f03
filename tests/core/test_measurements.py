"""What is measured of an object, against numbers from hand."""

import math

import numpy as np
import pytest

from napari_sam3_assistant.core.images import PixelSize
from napari_sam3_assistant.core.measurements import Measurement, group_neighbours, measure_object
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


def test_a_pixel_alone():
    one = ObjectRecord(1, np.ones((1, 1), bool), Region(3, 4, 4, 5))

    assert measure_object(one, np.full((1, 1, 1), 9), PixelSize()) == Measurement(
        1.0, pytest.approx(math.sqrt(4 / math.pi)), (3.0, 4.0), (9.0,)
    )


def test_objects_that_lie_close_together_are_one_group():
    def at(y, x):
        return ObjectRecord(1, np.ones((10, 10), bool), Region(y, x, y + 10, x + 10))

    groups = list(group_neighbours([at(0, 0), at(600, 600), at(250, 30)]))

    assert groups == [(Region(0, 0, 260, 40), [0, 2]), (Region(600, 600, 610, 610), [1])]
    assert list(group_neighbours([])) == []
