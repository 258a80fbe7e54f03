"""Which frames are gone through."""

import pytest

from napari_sam3_assistant.core.tracks import Direction, Span
from napari_sam3_assistant.errors import PromptError


def test_a_span_is_all_frames_unless_it_is_bounded():
    assert Span().within(5) == range(5)
    assert Span(first=1, last=3).within(5) == range(1, 4)
    assert Span(first=4, last=4).within(5) == range(4, 5)


@pytest.mark.parametrize("bounds", [(-1, 3), (2, 1), (0, 5)])
def test_frames_that_are_not_there_are_refused(bounds):
    with pytest.raises(PromptError, match="in a stack of 5"):
        Span(first=bounds[0], last=bounds[1]).within(5)


def test_the_start_lies_within():
    assert Span(first=1, last=3, start=3).within(5) == range(1, 4)
    with pytest.raises(PromptError, match="Frame 4 lies outside the frames 1 to 3"):
        Span(first=1, last=3, start=4).within(5)


def test_it_can_not_stop_before_a_frame_is_lost():
    with pytest.raises(PromptError, match="after 0 frames"):
        Span(stop_after_lost=0)


def test_both_goes_forward_first():
    assert Direction.BOTH.reverses == (False, True)
    assert Direction("backward").reverses == (True,)
