"""Corrections anywhere in a stack: what is drawn, which passes follow, and what came out."""

from __future__ import annotations

import shutil
import tempfile

import numpy as np
from hypothesis import strategies as st

from contracts.video import painted
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import MaskPrompt, PointPrompt
from napari_sam3_assistant.core.tracks import TrackSeed

COUNT = 40
SHAPE = (60, 80)


def picture(frame):
    """A disc that moves over a ramp: (60, 80, 3) uint8."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    colours = np.stack([rows * 3, columns * 2, rows * 0 + 90], -1)
    colours[(rows - 30) ** 2 + (columns - 10 - 1.5 * frame) ** 2 < 120] = (220, 60, 150)
    return colours.astype(np.uint8)


def seed(frame, drawn):
    """Object 1, by a square that begins at a column, or by clicks (y, x, positive)."""
    if isinstance(drawn, int):
        return TrackSeed(frame, 1, mask=MaskPrompt.from_plane(painted(drawn)))
    points = tuple(PointPrompt(y, x, positive=positive) for y, x, positive in drawn)
    return TrackSeed(frame, 1, points=points)


def planes(track, order):
    """The pixels of the object by frame."""
    found = {}
    for result in track.propagate(order, NullReporter()):
        found[result.frame] = np.zeros(SHAPE, bool)
        for record in result.objects:
            found[result.frame][record.region.slices] = record.mask
    return found


FRAMES = st.integers(0, COUNT - 1)
CLICKS = st.lists(
    st.tuples(st.integers(5, 54), st.integers(5, 74), st.booleans()), min_size=1, max_size=3
)


def passes(frame):
    ahead = st.integers(1, 12).map(lambda count: range(frame, min(COUNT, frame + count)))
    behind = st.integers(1, 12).map(lambda count: range(frame, max(-1, frame - count), -1))
    return st.lists(st.one_of(ahead, behind), min_size=1, max_size=2)


STEPS = st.lists(
    FRAMES.flatmap(
        lambda frame: st.tuples(
            st.just(frame), st.one_of(CLICKS, st.integers(0, 50)), passes(frame)
        )
    ),
    min_size=1,
    max_size=3,
)


def correct_on_a_full_disk(track, monkeypatch):
    """A full disk costs the memory of far frames and not the work."""
    # A small disk can't be had without root; what is asked of the system is its free space.
    full = shutil.disk_usage(tempfile.gettempdir())._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    track.add(seed(4, 10))
    planes(track, range(4, COUNT))

    track.add(seed(20, [(30, 40, True)]))

    assert any(mask.any() for mask in planes(track, range(20, 24)).values())
