"""Scale bars of a round length, and outlines that lie where the objects end."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_sam3_assistant.core.display import view_of_array
from napari_sam3_assistant.core.images import PixelSize
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord, Provenance, Segmentation, paint_labels
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.workflows.figure import choose_bar, make_figure

MADE_BY = Provenance("builtin", "Built-in", "1", "cpu", 0.35)


@settings(max_examples=60, deadline=None)
@given(st.integers(4, 50_000), st.floats(1e-9, 1e9), st.sampled_from(["micrometer", "", "pixel"]))
def test_a_bar_is_round_and_neither_short_nor_long(width, size, unit):
    length, text = choose_bar(width, PixelSize(size, size, unit))
    assert width * 0.09 < length <= width * 0.2501
    number, symbol = text.split()
    assert float(number) == pytest.approx(length * size)
    assert f"{float(number):.0e}"[0] in "125"
    assert symbol == ("µm" if unit == "micrometer" else "px")


def test_the_outline_goes_round_the_pixels_of_each_object_in_its_region():
    region = Region(10, 20, 40, 60)
    mask = np.ones((5, 7), bool)
    objects = (
        ObjectRecord(1, mask, Region(12, 22, 17, 29), 0.9, "cell"),
        ObjectRecord(2, mask, Region(10, 53, 15, 60), 0.9, "nucleus"),
    )
    found = Segmentation(paint_labels(objects, region), objects, region, MADE_BY)
    view = view_of_array(np.zeros((50, 70), np.uint8))

    figure = make_figure(view, found, PixelSize(2.0, 1.0, "um"), NullReporter())

    assert figure.pixels.shape == (30, 40, 3)
    assert figure.aspect == 2.0
    assert figure.names == ("cell (1 object)", "nucleus (1 object)")
    (first, one), (second, other) = figure.outlines
    assert (first, second) == (0, 1)
    assert one.min(0).tolist() == [2.0, 2.0]
    assert one.max(0).tolist() == [9.0, 7.0]
    assert other.max(0).tolist() == [40.0, 5.0]
    assert (one[0] == one[-1]).all()


def test_a_slide_is_refused_before_anything_is_read():
    whole = Region.whole((100_000, 100_000))
    found = Segmentation(np.zeros((1, 1), np.uint32), (), whole, MADE_BY)
    with pytest.raises(ImageError, match="too large"):
        make_figure(view_of_array(np.zeros((2, 2), "u1")), found, PixelSize(), NullReporter())
