"""Numbers of things, in words."""

import re

from hypothesis import given
from hypothesis import strategies as st

from napari_sam3_assistant.core.plurals import format_gigabytes, format_number, part_of, pluralize


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_a_number_looks_the_same_wherever_it_stands(part, whole):
    words = part_of(part, whole)
    one, of = words.split(" of ")
    assert pluralize(part, "tile").startswith(f"{one} tile")
    assert pluralize(whole, "tile").startswith(f"{of} tile")
    assert re.fullmatch(r"\d{1,3}( \d{3})*", of)
    assert int(of.replace(" ", "")) == whole


@given(st.integers(0, 10**8), st.integers(1, 6))
def test_a_number_is_written_to_its_point_and_in_no_powers_of_ten(number, digits):
    words = format_number(number, digits)
    assert "e" not in words
    assert int(words) == number


@given(st.integers(10**9, 10**17))
def test_a_size_is_in_whole_gigabytes_at_least_where_it_is_large(size):
    number, unit = format_gigabytes(size).split()
    assert unit == "GB"
    assert "e" not in number
    assert abs(float(number) - size / 1e9) <= max(0.5, 0.005 * size / 1e9)
