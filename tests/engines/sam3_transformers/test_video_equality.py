"""The engine follows objects as transformers' own video use does, on the tiny checkpoint."""

from __future__ import annotations

import numpy as np
import pytest

from contracts import documented_use
from contracts.documented_use import POINTS, PROMPTS, assert_same, documented, ours, plane
from napari_sam3_assistant.core.display import FrameSource, view_of_array
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import PromptSet
from napari_sam3_assistant.core.tracks import TrackSeed

REPORTER = NullReporter()
FEW = 8
frames = documented_use.frames


@pytest.fixture(scope="module")
def tracker(video_checkpoint, _one_thread):
    """The documented use: a separately loaded tracker and its processor."""
    from transformers import Sam3TrackerVideoModel, Sam3TrackerVideoProcessor

    model, told = Sam3TrackerVideoModel.from_pretrained(video_checkpoint, output_loading_info=True)
    assert not told["missing_keys"]
    return model.eval(), Sam3TrackerVideoProcessor.from_pretrained(video_checkpoint)


PASSES = {"forward": (False,), "backward": (True,), "both": (False, True)}


@pytest.mark.parametrize("start", [0, 4])
@pytest.mark.parametrize("kind", PROMPTS)
def test_every_prompt_forward(video_engine, tracker, frames, kind, start):
    frames = frames[:FEW]
    theirs, seed = PROMPTS[kind]
    expected = documented(tracker, frames, start, (False,), theirs)
    assert_same(ours(video_engine, frames, start, (False,), TrackSeed(start, 1, **seed)), expected)


@pytest.mark.parametrize("point", POINTS[:2])
def test_a_click_means_the_same_on_an_image_and_on_the_first_frame(video_engine, frames, point):
    encoding = video_engine.embed(frames[0], REPORTER)
    prompts = PromptSet(points=(point,))
    (record,) = video_engine.predict(encoding, prompts, PredictOptions(), REPORTER).objects

    found = ours(video_engine, frames[:1], 0, (False,), TrackSeed(0, 1, points=(point,)))

    np.testing.assert_array_equal(plane(found[0].objects[0]), plane(record))


@pytest.mark.parametrize("way", ["backward", "both"])
@pytest.mark.parametrize("kind", ["points", "mask"])
def test_backward_and_both(video_engine, tracker, frames, kind, way):
    theirs, seed = PROMPTS[kind]
    expected = documented(tracker, frames, 12, PASSES[way], theirs)
    assert_same(ours(video_engine, frames, 12, PASSES[way], TrackSeed(12, 1, **seed)), expected)


def test_several_objects(video_engine, tracker, frames):
    kinds = ["points", "mask", "box"]
    expected = documented(tracker, frames, 6, (False, True), *(PROMPTS[kind][0] for kind in kinds))
    seeds = [TrackSeed(6, name, **PROMPTS[kind][1]) for name, kind in enumerate(kinds, 1)]
    assert_same(ours(video_engine, frames, 6, (False, True), *seeds), expected)


@pytest.mark.parametrize(("start", "way"), [(0, "forward"), (4, "forward"), (3, "both")])
def test_phrases(video_engine, video_checkpoint, frames, start, way):
    import torch
    from transformers import Sam3VideoModel, Sam3VideoProcessor

    frames = frames[:FEW]
    model = Sam3VideoModel.from_pretrained(video_checkpoint).eval()
    processor = Sam3VideoProcessor.from_pretrained(video_checkpoint)
    session = processor.init_video_session(video=frames, inference_device="cpu")
    processor.add_text_prompt(session, "cell")
    expected = {}
    with torch.inference_mode():
        for reverse in PASSES[way]:
            for answer in model.propagate_in_video_iterator(
                session, start_frame_idx=start, reverse=reverse
            ):
                said = processor.postprocess_outputs(session, answer)
                expected[answer.frame_idx] = (
                    said["object_ids"].tolist(),
                    said["scores"].tolist(),
                    said["masks"].numpy(),
                )

    source = FrameSource(view_of_array(frames, plane=0), 0)
    ids = iter(range(1, 1000))
    track = video_engine.track(source, PredictOptions(), lambda: next(ids))
    track.add_phrase("cell", start)
    found = {}
    for reverse in PASSES[way]:
        order = range(start - 1, -1, -1) if reverse else range(start, len(frames))
        for result in track.propagate(order, REPORTER):
            found[result.frame] = result
    track.close()

    assert found.keys() == expected.keys()
    names: dict[int, int] = {}
    seen = 0
    for frame, (theirs, scores, masks) in expected.items():
        by_score = sorted(found[frame].objects, key=lambda record: record.id)
        assert len(by_score) == sum(mask.any() for mask in masks), f"frame {frame}"
        for name, score, mask in zip(theirs, scores, masks, strict=True):
            if not mask.any():
                continue
            (record,) = [one for one in by_score if np.array_equal(plane(one), mask)]
            assert names.setdefault(name, record.id) == record.id
            assert record.score == pytest.approx(score, abs=1e-5)
            assert record.text == "cell"
            seen += 1
    assert seen > len(frames)
