"""Divisions that are found in the labels of a movie."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.draw import disk

from amounts import FEW
from napari_sam3_assistant.core.lineage import Division, find_divisions, split_parts

SHAPE = (90, 120)


def movie(kind, at=3, until=8, numbers=(5, 7, 70_000), offset=0):
    """Return labels in which a cell divides, by the numbers of the mother and two daughters."""
    mother, one, other = numbers
    first, second = {
        "ends": (one, other),
        "goes on": (mother, other),
        "falls in two": (mother, mother),
    }[kind]
    frames = np.zeros((until, *SHAPE), np.uint32)
    for t, frame in enumerate(frames):
        frame[disk((20, 100), 9)] = 3  # a neighbour that stays
        y = 45 + offset
        if t < at:
            frame[disk((y, 40), 12)] = mother
        else:
            frame[disk((y, 30 - (t - at)), 8.2)] = first
            frame[disk((y, 50 + (t - at)), 8.2)] = second
    return frames


def found(frames, **options):
    return list(find_divisions(enumerate(frames), **options))


@pytest.mark.parametrize("kind", ["ends", "goes on", "falls in two"])
@given(st.integers(1, 5), st.permutations([5, 7, 70_000]), st.integers(-5, 5))
@FEW
def test_each_kind_is_found_on_its_frame(kind, at, numbers, offset):
    (division,) = found(movie(kind, at, numbers=numbers, offset=offset))

    mother, one, other = numbers
    assert (division.frame, division.mother) == (at, mother)
    wanted = {"ends": {one, other}, "goes on": {mother, other}, "falls in two": {mother}}
    assert set(division.daughters) == wanted[kind]


def test_two_pieces_must_stay_apart():
    assert found(movie("falls in two", at=6)) == []
    assert found(movie("falls in two", at=6), lasting=2) == [Division(6, 5, (5, 5))]
    again = movie("falls in two")
    again[4] = again[2]
    assert [one.frame for one in found(again)] == [5]


def test_what_is_known_or_was_there_before_is_no_division():
    assert found(movie("ends"), known={7}) == []
    seen = movie("ends")
    seen[0][disk((75, 20), 6)] = 7
    assert found(seen) == []
    frames = movie("ends")
    numbered = [(t if t < 3 else t + 2, frame) for t, frame in enumerate(frames)]
    assert list(find_divisions(numbered)) == []  # nobody has seen what happened between


def test_a_neighbour_that_comes_into_sight_is_no_daughter():
    frames = movie("ends", at=9)
    for frame in frames[4:]:
        frame[disk((45, 66), 12)] = 8
    assert found(frames) == []


def test_empty_frames_have_none():
    assert found(np.zeros((4, *SHAPE), np.uint32)) == []
    frames = movie("ends")
    frames[3] = 0
    assert found(frames) == []


def test_a_mask_is_in_two_parts_if_its_pieces_are_alike():
    mask = np.zeros((30, 40), bool)
    mask[disk((15, 10), 8)] = mask[disk((15, 30), 7)] = True
    mask[0, 0] = True
    one, other = split_parts(mask)
    assert (one | other == mask).all()
    assert not (one & other).any()
    assert one[0, 0]
    assert other[15, 30]
    mask[disk((15, 30), 8)] = False
    mask[14:17, 29:32] = True
    assert len(split_parts(mask)) == 1
