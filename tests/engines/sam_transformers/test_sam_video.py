"""The engine follows objects as transformers' own video use does, and as every engine must."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from amounts import each_once, thorough
from contracts import documented_use
from contracts import video as video_contract
from contracts.documented_use import (
    DEVICE,
    POINTS,
    PROMPTS,
    assert_same,
    documented,
    ours,
    painted,
    plane,
)
from napari_sam3_assistant.core.display import FrameSource, view_of_array
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import MaskPrompt, PointPrompt, PromptSet
from napari_sam3_assistant.core.tracks import Span, TrackSeed
from napari_sam3_assistant.engines.caching_engine import CachingEngine
from napari_sam3_assistant.engines.sam_transformers import ENTRY
from napari_sam3_assistant.engines.sam_transformers.image import encoder_layers
from napari_sam3_assistant.workflows.segment import SegmentRequest, segment
from napari_sam3_assistant.workflows.track import Tracking
from stored_memory import stored_bytes

Movie, start, movie = video_contract.Movie, video_contract.start, video_contract.movie

REPORTER = NullReporter()
frames = documented_use.frames
VIDEO_KINDS = ("sam2_video", "edgetam_video")


@pytest.fixture(params=VIDEO_KINDS)
def kind(request):
    return request.param


@pytest.fixture
def video_engine(loaded_sam, kind):
    return loaded_sam(kind)


class TestSamTrack(video_contract.TrackerContract):
    @pytest.fixture(params=[VIDEO_KINDS[0], *map(thorough, VIDEO_KINDS[1:])])
    def kind(self, request):
        return request.param

    def encoder_layers(self, engine):
        return encoder_layers(engine.model.clicks)

    def weights(self, engine):
        return engine.model.clicks, engine.model.tracker

    @pytest.fixture
    def not_loaded(self, sam_folder, kind):
        engine = ENTRY.create(sam_folder(kind), "cpu")
        yield engine
        engine.close()


@pytest.fixture(scope="module")
def tracker(sam_folder):
    """The documented use: a separately loaded tracker and its processor."""
    import transformers

    made = {}

    def of(kind):
        if kind not in made:
            name = {"sam2_video": "Sam2VideoModel", "edgetam_video": "EdgeTamVideoModel"}[kind]
            model, told = getattr(transformers, name).from_pretrained(
                sam_folder(kind), output_loading_info=True
            )
            assert not told["missing_keys"]
            processor = transformers.Sam2VideoProcessor.from_pretrained(sam_folder(kind))
            made[kind] = model.eval().to(DEVICE), processor
        return made[kind]

    return of


@pytest.mark.parametrize(("kind", "prompt"), each_once(VIDEO_KINDS, list(PROMPTS)))
def test_every_prompt_forward(video_engine, tracker, kind, frames, prompt):
    theirs, seed = PROMPTS[prompt]
    expected = documented(tracker(kind), frames[:6], 1, (False,), theirs)
    found = ours(video_engine, frames[:6], 1, (False,), TrackSeed(1, 1, **seed))
    assert_same(found, expected)


def test_several_objects_both_ways(video_engine, tracker, kind, frames):
    kinds = ["points", "mask", "box with fractions"]
    theirs = [PROMPTS[one][0] for one in kinds]
    if kind == "sam2_video":
        expected = documented(tracker(kind), frames, 8, (False, True), *theirs)
    else:
        # transformers 5.23 can't put the scores of a painted object and another one together.
        each = [documented(tracker(kind), frames, 8, (False, True), one) for one in theirs]
        expected = {frame: [one[frame][0] for one in each] for frame in each[0]}
    seeds = [TrackSeed(8, name, **PROMPTS[one][1]) for name, one in enumerate(kinds, 1)]
    assert_same(ours(video_engine, frames, 8, (False, True), *seeds), expected)


def test_a_click_means_the_same_on_an_image_and_on_the_first_frame(video_engine, frames):
    prompts = PromptSet(points=POINTS[:1])
    encoding = video_engine.embed(frames[0], REPORTER)
    (record,) = video_engine.predict(encoding, prompts, PredictOptions(), REPORTER).objects

    found = ours(video_engine, frames[:1], 0, (False,), TrackSeed(0, 1, points=POINTS[:1]))

    np.testing.assert_array_equal(plane(found[0].objects[0]), plane(record))


def count_encodings(engine, calls):
    layer = encoder_layers(engine.model.clicks)[0]
    return layer.register_forward_hook(lambda *_: calls.update(["encode"]))


def test_a_preview_before_saves_the_encoding_of_its_frame(video_engine, frames):
    source = FrameSource(view_of_array(frames[:4], plane=0), 0)
    engine, calls = CachingEngine(video_engine), Counter()
    click = PromptSet(points=(PointPrompt(30, 30, object_id=1),))
    hook = count_encodings(video_engine, calls)
    next(segment(engine, SegmentRequest(source.view_at(2), click, PredictOptions()), REPORTER))
    with Tracking(engine, source, PredictOptions()) as tracking:
        tracking.add({2: click}, REPORTER)
        frames_done = [result.frame for result in tracking.propagate(Span(), REPORTER)]
    hook.remove()

    assert sorted(frames_done) == [0, 1, 2, 3]
    assert calls["encode"] == 4


def test_prompts_on_one_image_encode_it_once(video_engine, frames):
    calls = Counter()
    hook = count_encodings(video_engine, calls)
    encoding = video_engine.embed(frames[0], REPORTER)
    for number in range(1, 4):
        prompts = PromptSet(points=POINTS[:number])
        video_engine.predict(encoding, prompts, PredictOptions(), REPORTER)
    hook.remove()
    assert calls["encode"] == 1


def test_memory_stays_flat(start, video_engine, monkeypatch):
    """Also of an object that is followed through many frames; each picture is encoded once."""
    network, known = video_engine.model.clicks, {}
    real = network.get_image_features

    def once(pixels, **kwargs):
        key = float(pixels.double().sum())
        if key not in known:
            known[key] = real(pixels, **kwargs)
        return known[key]

    monkeypatch.setattr(network, "get_image_features", once)
    track = start(Movie(80), TrackSeed(0, 1, mask=MaskPrompt.from_plane(painted())))
    followed, stored = track._objects[1], []  # noqa: SLF001 - what it stores is what is shown
    for _ in track.propagate(range(80), REPORTER):
        stored.append(stored_bytes(followed.outputs))

    assert len(set(stored[40:])) == 1


def test_a_click_corrects_far_from_the_first_prompt(start, video_engine):
    """The memories of the frames between come back from the disk."""
    track = start(Movie(40), TrackSeed(0, 1, mask=MaskPrompt.from_plane(painted())))
    before = {found.frame: found for found in track.propagate(range(40), REPORTER)}

    track.add(TrackSeed(20, 1, points=(PointPrompt(30, 40),)))
    after = {found.frame: found for found in track.propagate(range(20, 23), REPORTER)}

    assert list(after) == [20, 21, 22]
    assert (plane(after[20].objects[0]) != plane(before[20].objects[0])).any()


def test_a_model_without_a_memory_says_so(loaded_sam):
    from napari_sam3_assistant.errors import EngineError

    engine = CachingEngine(loaded_sam("sam"))
    assert engine.spec.video is None
    with pytest.raises(EngineError, match=r"SAM 1 .* can't follow objects through a stack"):
        engine.track(Movie(3), PredictOptions(), lambda: 1)
