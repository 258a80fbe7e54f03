"""What is left of a propagation that was stopped, and which way corrections spread."""

from types import SimpleNamespace

import numpy as np
import pytest

from napari_sam3_assistant.core.prompts import BoxPrompt, MaskPrompt, PointPrompt, PromptSet
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord
from napari_sam3_assistant.core.tracks import Direction, Span
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.session.open_tracking import OpenTracking

CLICK = PointPrompt(5, 5, object_id=1)
FORWARD, BACKWARD, BOTH = Direction.FORWARD, Direction.BACKWARD, Direction.BOTH


def opened(prompts=None):
    begun = prompts or {5: PromptSet(points=(CLICK,))}
    return OpenTracking(None, SimpleNamespace(prompts=begun), ("builtin", "", "auto"))


def frame(number, *ids, tracked=(1,)):
    region = Region(0, 0, 2, 2)
    objects = tuple(ObjectRecord(id_, np.ones((2, 2), bool), region) for id_ in ids)
    return SimpleNamespace(frame=number, objects=objects, tracked=frozenset(tracked))


def painted(value):
    mask = np.zeros((8, 8), bool)
    mask[2:4, 2:4] = True
    return MaskPrompt.from_plane(mask, value)


def test_passes_are_crossed_off_frame_by_frame():
    session = opened()
    session.left = (range(5, 8), range(4, 1, -1))
    for number in (5, 6):
        session.advance(frame(number, 1))
    assert session.left == (range(7, 8), range(4, 1, -1))
    session.advance(frame(7, 1))
    assert session.left == (range(4, 1, -1),)
    session.advance(frame(4, 1))
    assert session.left == (range(3, 1, -1),)
    assert session.done == {4, 5, 6, 7}


def test_a_pass_that_ended_early_is_not_left():
    session = opened()
    session.left = (range(5, 50), range(4, -1, -1))
    session.advance(frame(5))
    session.advance(frame(4))
    assert session.left == (range(3, -1, -1),)


def test_only_what_has_changed_is_new():
    box = BoxPrompt(Region(0, 0, 4, 4))
    session = opened({5: PromptSet(points=(CLICK,), boxes=(box,), masks=(painted(3),))})
    more = PointPrompt(6, 6, object_id=1)
    other = BoxPrompt(Region(1, 1, 4, 4))
    new = session.find_new_prompts(
        {
            5: PromptSet(points=(CLICK, more), boxes=(box, other), masks=(painted(3),)),
            7: PromptSet(masks=(painted(3),)),
        }
    )
    assert new[5].points == (CLICK, more)
    assert new[5].boxes == (other,)
    assert new[5].masks == ()
    assert [mask.object_id for mask in new[7].masks] == [3]
    session.note_prompts(new)
    assert session.find_new_prompts({5: PromptSet(points=(CLICK, more))}) == {}


def test_the_same_phrase_is_not_new_on_another_slice_and_another_one_is_refused():
    session = opened({5: PromptSet(text="cell")})
    assert session.find_new_prompts({7: PromptSet(text="cell")}) == {}
    with pytest.raises(PromptError, match="Start 3D Propagation"):
        session.find_new_prompts({7: PromptSet(text="nucleus")})


@pytest.mark.parametrize(
    ("direction", "corrected", "object_id", "expected"),
    [
        (BOTH, 7, 1, [(FORWARD, 7)]),
        (BOTH, 3, 1, [(BACKWARD, 3)]),
        (BOTH, 5, 1, [(FORWARD, 5), (BACKWARD, 4)]),
        (BOTH, 7, 2, [(FORWARD, 7), (BACKWARD, 6)]),
        (BOTH, 0, 2, [(FORWARD, 0)]),
        (FORWARD, 3, 1, [(FORWARD, 3)]),
        (BACKWARD, 7, 1, [(BACKWARD, 7)]),
    ],
)
def test_the_way_of_a_correction(direction, corrected, object_id, expected):
    new = {corrected: PromptSet(points=(PointPrompt(5, 5, object_id=object_id),))}
    spans = opened().spans(Span(direction), new, (1,))
    assert [(span.direction, span.start) for span in spans] == expected


def test_what_was_not_reached_comes_before_a_correction_that_lies_beyond():
    session = opened()
    session.left = (range(8, 20), range(4, -1, -1))
    new = {12: PromptSet(points=(CLICK,))}
    spans = session.spans(Span(), new, (1,))
    assert [(span.direction, span.start) for span in spans] == [(FORWARD, 8)]
    assert session.find_remaining([range(8, 20)]) == (range(4, -1, -1),)
