"""Phrases, one a line."""

from napari_sam3_assistant.core.phrases import parse_phrases


def test_one_a_line_without_comments_and_twins():
    text = "cat\n\n  # animals\ndog  # the brown one\nCat\n big   dog \r\nbig dog\n"

    assert parse_phrases(text) == ("cat", "dog", "big dog")


def test_nothing():
    assert parse_phrases(" \n# only a comment") == ()
