"""The engine follows objects as transformers' own video use does, on the tiny checkpoint."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from amounts import each_once, thorough
from contracts import documented_use
from contracts.documented_use import (
    DEVICE,
    ON_THE_CUTOFF,
    POINTS,
    PROMPTS,
    assert_same,
    documented,
    ours,
    plane,
)
from napari_sam3_assistant.core.display import FrameSource, view_of_array
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import PromptSet
from napari_sam3_assistant.core.tracks import TrackSeed
from napari_sam3_assistant.engines.sam3_transformers import ENTRY
from napari_sam3_assistant.engines.sam3_transformers import engine as sam3_engine

REPORTER = NullReporter()
FEW = 8
frames = documented_use.frames


@pytest.fixture(scope="module")
def tracker(video_checkpoint, _one_thread):
    """The documented use: a separately loaded tracker and its processor."""
    from transformers import Sam3TrackerVideoModel, Sam3TrackerVideoProcessor

    model, told = Sam3TrackerVideoModel.from_pretrained(video_checkpoint, output_loading_info=True)
    assert not told["missing_keys"]
    return model.eval().to(DEVICE), Sam3TrackerVideoProcessor.from_pretrained(video_checkpoint)


PASSES = {"forward": (False,), "backward": (True,), "both": (False, True)}


@pytest.mark.parametrize(("start", "kind"), each_once([0, 4], list(PROMPTS)))
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


@pytest.mark.parametrize(("way", "kind"), each_once(["backward", "both"], ["points", "mask"]))
def test_backward_and_both(video_engine, tracker, frames, kind, way):
    theirs, seed = PROMPTS[kind]
    expected = documented(tracker, frames, 12, PASSES[way], theirs)
    assert_same(ours(video_engine, frames, 12, PASSES[way], TrackSeed(12, 1, **seed)), expected)


def test_several_objects(video_engine, tracker, frames):
    kinds = ["points", "mask", "box"]
    expected = documented(tracker, frames, 6, (False, True), *(PROMPTS[kind][0] for kind in kinds))
    seeds = [TrackSeed(6, name, **PROMPTS[kind][1]) for name, kind in enumerate(kinds, 1)]
    assert_same(ours(video_engine, frames, 6, (False, True), *seeds), expected)


class PlainKernel:
    """In place of ``kernels-community/cv-utils``, which runs on CUDA and would be fetched."""

    @staticmethod
    def generic_nms(ious, scores, iou_threshold, use_iou_matrix):
        import torch

        assert use_iou_matrix
        left, kept = scores.argsort(descending=True), []
        while len(left):
            kept.append(left[0])
            left = left[1:][ious[left[0], left[1:]] <= iou_threshold]
        return torch.stack(kept)

    @staticmethod
    def cc_2d(masks, get_counts):
        import torch
        from skimage.measure import label

        assert get_counts
        labels = np.stack(
            [label(mask, connectivity=2)[None] for mask in masks[:, 0].cpu().numpy() != 0]
        )
        counts = np.zeros(labels.shape, np.int32)
        for number, plane_ in enumerate(labels):
            for name in range(1, plane_.max() + 1):
                counts[number][plane_ == name] = np.count_nonzero(plane_ == name)
        return (
            torch.from_numpy(labels).to(masks.device),
            torch.from_numpy(counts).to(masks.device),
        )


HOLD_BACK = {
    "at once": {"hotstart_delay": 0},
    "held back": {
        "hotstart_delay": 3,
        "hotstart_unmatch_thresh": 2,
        "hotstart_dup_thresh": 2,
        "suppress_unmatched_only_within_hotstart": False,
    },
    "longer than the stack": {"hotstart_delay": 15, "hotstart_unmatch_thresh": 3},
}
# Random weights take one query for an object by themselves.
MANY = {"score_threshold_detection": 0.0, "new_det_thresh": 0.0, "det_nms_thresh": 0.9}
HOLD_BACK["many objects"] = MANY | {"hotstart_delay": 0}
PHRASE_CASES = [
    (3, "both", "many objects"),
    thorough(0, "forward", "at once"),
    thorough(3, "both", "at once"),
    (0, "forward", "held back"),
    thorough(4, "both", "held back"),
    (2, "forward", "longer than the stack"),
]


def with_settings(checkpoint, folder, settings):
    """A copy of a checkpoint with other settings."""
    shutil.copytree(checkpoint, folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | settings))
    return folder


@pytest.mark.parametrize(("start", "way", "hold"), PHRASE_CASES)
def test_phrases(video_checkpoint, frames, tmp_path, monkeypatch, start, way, hold):
    """As in the documented use of a whole video."""
    checkpoint = with_settings(video_checkpoint, tmp_path / "sam3", HOLD_BACK[hold])
    # On a GPU several objects go at once.
    together = 3 if way == "both" else 1
    _, removed = compare_phrases(checkpoint, frames[:FEW], monkeypatch, start, way, together)

    assert removed == (HOLD_BACK[hold]["hotstart_delay"] > 0)


def test_pointers_of_all_frames_that_the_model_takes_for_prompts_are_looked_at(
    video_checkpoint, frames, tmp_path, monkeypatch
):
    often = {
        "recondition_every_nth_frame": 2,
        "high_conf_thresh": 0.0,
        "high_iou_thresh": 0.0,
        "hotstart_delay": 0,
    }
    checkpoint = with_settings(video_checkpoint, tmp_path / "sam3", often)
    there_and_back = np.concatenate([frames, frames[::-1], frames])[:44]

    bare, _ = compare_phrases(checkpoint, there_and_back, monkeypatch, 4, "both", together=3)

    assert bare


def compare_phrases(video_checkpoint, frames, monkeypatch, start, way, together=1):
    """Compare all frames; return how many bare pointers are left, and if objects were removed."""
    import torch
    from transformers import Sam3VideoModel, Sam3VideoProcessor
    from transformers.models.sam3_video import modeling_sam3_video

    video_engine = ENTRY.create(video_checkpoint, DEVICE)
    video_engine.load(REPORTER)
    model = Sam3VideoModel.from_pretrained(video_checkpoint).eval().to(DEVICE)
    settings = json.loads((video_checkpoint / "config.json").read_text())
    assert model.hotstart_delay == settings["hotstart_delay"]
    monkeypatch.setattr(modeling_sam3_video, "cv_utils_kernel", PlainKernel)
    processor = Sam3VideoProcessor.from_pretrained(video_checkpoint)
    session = processor.init_video_session(
        video=frames, inference_device=DEVICE, processing_device="cpu"
    )
    processor.add_text_prompt(session, "cell")
    expected, logits = {}, {}
    with torch.inference_mode():
        for reverse in PASSES[way]:
            for answer in model.propagate_in_video_iterator(
                session, start_frame_idx=start, reverse=reverse
            ):
                said = processor.postprocess_outputs(session, answer)
                logits[answer.frame_idx] = answer.obj_id_to_mask
                expected[answer.frame_idx] = (
                    said["object_ids"].tolist(),
                    said["scores"].tolist(),
                    said["masks"].cpu().numpy(),
                )

    answers = {}
    follow = sam3_engine.FollowedPhrases.follow

    def note(phrases, model, pixels, frame, **how):
        answers[frame] = follow(phrases, model, pixels, frame, **how)
        return answers[frame]

    monkeypatch.setattr(sam3_engine.FollowedPhrases, "follow", note)
    # Ours does without, and asks nobody for it.
    monkeypatch.setattr(modeling_sam3_video, "cv_utils_kernel", None)
    monkeypatch.setattr(modeling_sam3_video, "_load_cv_utils_kernel_once", lambda: None)
    source = FrameSource(view_of_array(frames, plane=0), 0)
    ids = iter(range(1, 1000))
    track = video_engine.track(source, PredictOptions(), lambda: next(ids))
    track._together = together  # noqa: SLF001 - the engine chooses by the device
    track.add_phrase("cell", start)
    most = [1]

    def count(_module, _arguments, given):
        most.append(given["current_vision_features"].shape[1])

    with track._working() as loaded:  # noqa: SLF001 - how many objects its networks take at once
        attention = loaded.video.tracker_model.memory_attention
    attention.register_forward_pre_hook(count, with_kwargs=True)
    found = {}
    for reverse in PASSES[way]:
        order = range(start - 1, -1, -1) if reverse else range(start, len(frames))
        for result in track.propagate(order, REPORTER):
            found[result.frame] = result
    bare = sum(
        "maskmem_features" not in record
        for outputs in track._phrases.outputs  # noqa: SLF001 - what it stores is what is shown
        for record in outputs["cond_frame_outputs"].values()
    )
    track.close()
    video_engine.close()
    assert modeling_sam3_video.cv_utils_kernel is None

    assert max(most) == min(together, max(map(len, logits.values())))
    assert found.keys() == expected.keys()
    for frame, by_name in logits.items():
        for name, low in answers[frame].obj_id_to_mask.items():
            close = {"atol": 1e-3 if ON_THE_CUTOFF else 1e-5, "rtol": 0}
            torch.testing.assert_close(low, by_name[name], **close, msg=f"frame {frame}")
    assert_same_objects(found, expected)
    return bare, bool(session.hotstart_removed_obj_ids)


def assert_same_objects(found, expected):
    names: dict[int, int] = {}
    seen = 0
    for frame, (theirs, scores, masks) in expected.items():
        by_score = sorted(found[frame].objects, key=lambda record: record.id)
        assert len(by_score) == sum(mask.any() for mask in masks), f"frame {frame}"
        for name, score, mask in zip(theirs, scores, masks, strict=True):
            if not mask.any():
                continue
            differing = [np.count_nonzero(plane(one) != mask) for one in by_score]
            (record,) = [
                one
                for one, count in zip(by_score, differing, strict=True)
                if count <= ON_THE_CUTOFF
            ]
            assert names.setdefault(name, record.id) == record.id
            assert record.score == pytest.approx(score, abs=1e-5)
            assert record.text == "cell"
            seen += 1
    assert seen
