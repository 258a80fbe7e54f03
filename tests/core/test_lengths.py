"""Lengths that users tell: what is one, and how many pixels it is."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_sam3_assistant.core.axes import convert_unit, make_axes
from napari_sam3_assistant.core.images import UNKNOWN_PIXEL, PixelSize
from napari_sam3_assistant.core.lengths import Length, find_length
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.errors import PromptError

UNITS = ("nanometer", "micrometer", "millimeter")


@pytest.mark.parametrize(
    ("phrase", "told"),
    [
        ("bright cells 30 px", Length(30)),
        ("dark 12.5px spots", Length(12.5)),
        ("bright cells of 7,5 pixels", Length(7.5)),
        ("bright cells 12 \u00b5m", Length(12, "micrometer")),
        ("bright cells 12\u03bcm", Length(12, "micrometer")),
        ("dark 12um spots", Length(12, "micrometer")),
        ("bright cells 12 microns", Length(12, "micrometer")),
        ("bright cells of 12 micrometres", Length(12, "micrometer")),
        ("bright cells 0,5 MM", Length(0.5, "millimeter")),
        ("bright beads 800 nm", Length(800, "nanometer")),
        ("bright 3t3 cells", None),
        ("bright 3 umbrellas", None),
        ("bright cells 0 px", None),
        ("bright beads 10 pxl", None),
        ("bright 12", None),
        ("1.2.3 px", None),
    ],
)
def test_a_phrase_tells_a_length_by_a_number_and_a_unit(phrase, told):
    assert find_length(phrase) == told


@pytest.mark.parametrize(
    "told", ["-30 px", "20-40 px", "20 \u2013 40 \u00b5m", "7.5 to 9 px", "5px-9px", "1,5 - 3 um"]
)
def test_a_range_is_not_one_diameter(told):
    with pytest.raises(PromptError) as refused:
        find_length(f"bright cells {told} wide")
    assert f"\u201c{told}\u201d" in str(refused.value)
    assert "Write it as 30 px" in str(refused.value)


@pytest.mark.parametrize("phrase", ["bright CD-30 px", "bright - 30 px", "dark T-cells, 30 px"])
def test_a_hyphen_in_a_name_is_no_range(phrase):
    assert find_length(phrase) == Length(30)


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("30", Length(30)),
        (30, Length(30)),
        (7.5, Length(7.5)),
        (" 9 um ", Length(9, "micrometer")),
    ],
)
def test_alone_a_number_counts_pixels(typed, told):
    assert Length.parse(typed) == told


@pytest.mark.parametrize("typed", ["", "cells", "0", "-3", "12 s", "12 um 3", "nan", "inf", True])
def test_what_is_no_length_is_told(typed):
    with pytest.raises(PromptError, match="12 µm"):
        Length.parse(typed)


@given(st.floats(1e-9, 1e15), st.sampled_from(("", *UNITS)))
def test_what_is_written_is_read_again(value, unit):
    again = Length.parse(str(Length(value, unit)))
    assert again.unit == unit
    assert again.value == pytest.approx(value, rel=1e-9)


@given(
    st.floats(1, 500),
    st.floats(0.01, 10),
    st.floats(0.01, 10),
    st.sampled_from(UNITS),
    st.sampled_from(UNITS),
)
def test_in_any_unit_a_length_is_as_many_pixels(pixels, height, width, of_pixel, told_in):
    pixel = PixelSize.of_axes(make_axes((9, 9), scale=(height, width), units=of_pixel))
    side = convert_unit(math.sqrt(height * width), of_pixel, told_in)
    told = PredictOptions(diameter=Length(pixels * side, told_in), pixel=pixel)
    assert told.diameter_in_pixels() == pytest.approx(pixels)
    # What a phrase tells comes first, and it alone needs the size of a pixel where it is in a unit.
    assert told.diameter_in_pixels("bright cells 31 px") == 31
    assert told.explain_diameter("bright cells 31 px") == ()
    assert f"is {pixels:.3g} pixels" in told.explain_diameter()[0]


@pytest.mark.parametrize(
    "pixel",
    [
        UNKNOWN_PIXEL,
        PixelSize(2, 2),
        PixelSize(unit="pixel"),
        PixelSize(1, 1, "second"),
        PixelSize(0, 1, "micrometer"),
    ],
)
def test_without_the_size_of_a_pixel_a_length_in_a_unit_is_refused(pixel):
    options = PredictOptions(diameter=Length(12, "micrometer"), pixel=pixel)
    with pytest.raises(PromptError, match=r"12 µm .* in pixels"):
        options.diameter_in_pixels()
    assert options.diameter_in_pixels("bright cells 30 px") == 30
