"""From what is typed to the phrase that a model reads."""

import pytest

from napari_sam3_assistant.core.phrases import clean_phrase


@pytest.mark.parametrize(
    ("typed", "phrase"),
    [
        ("Segment all the myelin rings.", "myelin rings"),
        ("segment all of the cells", "cells"),
        ("DETECT the   nucleus ;", "nucleus"),
        ("find all bubbles", "bubbles"),
        ("find bubbles", "bubbles"),
        ("segment the", "the"),
        ("segment all the", "the"),
        ("segment", "segment"),
        ("segment theory", "theory"),
        ("segmented worm", "segmented worm"),
        ("find find cells", "find cells"),
        ("Please segment cells", "Please segment cells"),
        ("the cell", "the cell"),
        (" - red\tblood\n cell: ", "red blood cell"),
        ("segment .", "segment"),
        ("...", "..."),
        ("   ", ""),
    ],
)
def test_clean_phrase(typed, phrase):
    assert clean_phrase(typed) == phrase
