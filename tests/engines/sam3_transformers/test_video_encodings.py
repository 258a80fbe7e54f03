"""How often frames are encoded when image heads and video model see the same ones."""

from __future__ import annotations

import numpy as np
import pytest

from napari_sam3_assistant.core.display import FrameSource, view_of_array
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import ExemplarPrompt, MaskPrompt, PointPrompt, PromptSet
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.tracks import Span, TrackSeed
from napari_sam3_assistant.engines.caching_engine import CachingEngine
from napari_sam3_assistant.engines.sam3_transformers import ENTRY
from napari_sam3_assistant.workflows.segment import SegmentRequest, segment
from napari_sam3_assistant.workflows.track import Tracking

REPORTER = NullReporter()
SHAPE = (60, 80)
COUNT = 5
MASK = MaskPrompt(np.ones((20, 20), bool), Region(20, 15, 40, 35))
EXAMPLE = PromptSet(exemplars=(ExemplarPrompt(Region(20, 18, 41, 39)),))
CLICK = PromptSet(points=(PointPrompt(30, 30, object_id=1),))


@pytest.fixture
def inner(video_checkpoint, _one_thread):
    """Return a loaded engine of this test's own."""
    engine = ENTRY.create(video_checkpoint, "cpu")
    engine.load(REPORTER)
    yield engine
    engine.close()


@pytest.fixture
def engine(inner):
    return CachingEngine(inner)


@pytest.fixture
def frames():
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    movie = np.stack([rows * 3, columns * 2, rows * 0 + 90], -1)[None].repeat(COUNT, 0)
    for number in range(COUNT):
        movie[number][(rows - 30) ** 2 + (columns - 20 - 5 * number) ** 2 < 120] = (220, 60, 150)
    return FrameSource(view_of_array(movie.astype(np.uint8), plane=0), 0)


def followed(engine, frames, prompts):
    with Tracking(engine, frames, PredictOptions(0.1)) as tracking:
        tracking.add(prompts, REPORTER)
        return {result.frame: result.labels for result in tracking.propagate(Span(), REPORTER)}


def test_a_frame_that_the_image_heads_looked_at_is_encoded_once(engine, inner, frames, counting):
    with counting(inner) as calls:
        labels = followed(engine, frames, {2: EXAMPLE})

    assert calls["encode"] == COUNT
    assert labels[2].any()


@pytest.mark.parametrize("prompts", [EXAMPLE, CLICK], ids=["example", "click"])
def test_the_masks_are_the_same_as_with_an_encoding_of_its_own(
    engine, frames, prompts, monkeypatch
):
    next(segment(engine, SegmentRequest(frames.view_at(2), CLICK, PredictOptions(0.1)), REPORTER))
    shared = followed(engine, frames, {2: prompts})
    with monkeypatch.context() as patch:
        patch.setattr(CachingEngine, "_find_kept", lambda *_: None)
        alone = followed(engine, frames, {2: prompts})

    assert shared.keys() == alone.keys()
    assert any(plane.any() for plane in shared.values())
    for frame, plane in shared.items():
        np.testing.assert_array_equal(plane, alone[frame])


def test_a_preview_before_saves_the_encoding_of_its_frame(engine, inner, frames, counting):
    request = SegmentRequest(frames.view_at(2), CLICK, PredictOptions(0.1))
    with counting(inner) as calls:
        next(segment(engine, request, REPORTER))
        followed(engine, frames, {2: CLICK})

    assert calls["encode"] == COUNT


def test_an_encoding_of_a_part_is_not_taken_for_the_frame(engine, inner, frames, counting):
    part = Region(0, 0, 50, 60)
    request = SegmentRequest(frames.view_at(2), CLICK, PredictOptions(0.1), part)
    with counting(inner) as calls:
        next(segment(engine, request, REPORTER))
        followed(engine, frames, {2: CLICK})

    assert calls["encode"] == 1 + COUNT


def test_without_an_encoding_of_the_image_heads_each_frame_is_encoded_once(
    video_engine, frames, counting
):
    track = video_engine.track(frames, PredictOptions(), lambda: 9)
    track.add(TrackSeed(0, 1, mask=MASK))
    with counting(video_engine) as calls:
        found = list(track.propagate(range(COUNT), REPORTER))
    track.close()

    assert len(found) == COUNT
    assert calls["encode"] == COUNT


def test_a_frame_with_a_phrase_and_a_click_is_encoded_twice(engine, inner, frames, counting):
    with counting(inner) as calls:
        followed(engine, frames, {0: PromptSet(text="cell", points=CLICK.points)})

    assert calls["encode"] == COUNT + 1
