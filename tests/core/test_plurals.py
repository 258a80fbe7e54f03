"""Numbers of things, in words."""

import re

from hypothesis import given
from hypothesis import strategies as st

from napari_sam3_assistant.core.plurals import part_of, pluralize


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_a_number_looks_the_same_wherever_it_stands(part, whole):
    words = part_of(part, whole)
    one, of = words.split(" of ")
    assert pluralize(part, "tile").startswith(f"{one} tile")
    assert pluralize(whole, "tile").startswith(f"{of} tile")
    assert re.fullmatch(r"\d{1,3}( \d{3})*", of)
    assert int(of.replace(" ", "")) == whole
