"""A correction anywhere in a stack gives the mask of a tracker that has forgotten nothing."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from amounts import FEWEST
from contracts.corrections import (
    COUNT,
    FRAMES,
    SHAPE,
    STEPS,
    correct_on_a_full_disk,
    picture,
    planes,
    seed,
)
from contracts.documented_use import DEVICE
from contracts.video import painted
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.engines.sam3_meta import compat

REPORTER = NullReporter()
# With the second one only some frames are good enough to be looked at again.
THRESHOLDS = st.sampled_from([0.01, 0.5])


class Frames:
    """A disc that moves over a ramp."""

    shape = SHAPE

    def __len__(self):
        return COUNT

    def read(self, frame):
        return picture(frame)


@pytest.fixture(scope="module")
def trackers(video_engine, predictor):
    """Return both trackers, and encode each frame once for both: this is not what is tested."""
    known = {}
    with compat.call_context(DEVICE), pytest.MonkeyPatch.context() as patch:
        for model in (video_engine.model.model, predictor.model.detector):
            backbone = model.backbone.vision_backbone
            patch.setattr(backbone, "forward", encode_once(backbone.forward, known))
        yield video_engine.model.tracker, predictor.model.tracker


def encode_once(real, known):
    def forward(pictures):
        key = float(pictures.double().sum())
        if key not in known:
            known[key] = real(pictures)
        return tuple(list(part) for part in known[key])

    return forward


class Unlimited:
    """One object and the package's tracker, which keeps all that it has seen."""

    def __init__(self, model):
        self._model = model
        pictures = [Image.fromarray(Frames().read(number)) for number in range(COUNT)]
        self._state = model.init_state(pictures, offload_video_to_cpu=True)
        self._tracked = model._init_new_tracker_state(self._state)  # noqa: SLF001

    def prompt(self, frame, drawn):
        import torch

        self._model._prepare_backbone_feats(self._state, frame, reverse=False)  # noqa: SLF001
        tracker = self._model.tracker
        if isinstance(drawn, int):
            tracker.add_new_mask(self._tracked, frame, 1, torch.from_numpy(painted(drawn)))
        else:
            tracker.add_new_points(
                self._tracked,
                frame,
                1,
                points=torch.tensor([[x / SHAPE[1], y / SHAPE[0]] for y, x, _ in drawn]),
                labels=torch.tensor([int(positive) for *_, positive in drawn]),
            )
        tracker.propagate_in_video_preflight(self._tracked, run_mem_encoder=True)

    def propagate(self, order):
        return {frame: self._follow(frame, reverse=order.step < 0) for frame in order}

    def _follow(self, frame, *, reverse):
        self._model._prepare_backbone_feats(self._state, frame, reverse=False)  # noqa: SLF001
        _, low, _ = self._model._propogate_tracker_one_frame_local_gpu(  # noqa: SLF001
            [self._tracked], frame_idx=frame, reverse=reverse, run_mem_encoder=True
        )
        large = self._model._convert_low_res_mask_to_video_res(low[0], self._state)  # noqa: SLF001
        return large[0].cpu().numpy()


def compare(engine, model, steps):
    """Go through both and compare all masks; return the frames that were not empty."""
    seen = []
    with (
        closing(engine.track(Frames(), PredictOptions(), int)) as track,
        compat.call_context(DEVICE),
        compat.silence_warnings(),
    ):
        unlimited = Unlimited(model)
        for frame, drawn, orders in steps:
            if drawn is not None:
                track.add(seed(frame, drawn))
                unlimited.prompt(frame, drawn)
            for order in orders:
                ours, theirs = planes(track, order), unlimited.propagate(order)
                for number in order:
                    np.testing.assert_array_equal(ours[number], theirs[number], f"frame {number}")
                    seen += [number] if theirs[number].any() else []
        # 16 frames on both sides of each prompt and of both ends of what was gone through.
        outputs = track._objects[1].state["output_dict"]  # noqa: SLF001 - what it stores is shown
        anchors = len(outputs["cond_frame_outputs"]) + 2
        others = outputs["non_cond_frame_outputs"].values()
        assert len(others) <= 33 * anchors
        assert sum(one["maskmem_features"].numel() > 0 for one in others) <= 15 * anchors
    return seen


@pytest.mark.usefixtures("trackers")
def test_a_click_far_from_the_prompts_refines_the_mask_that_was_there(video_engine, predictor):
    clicks = [(30, 40, True), (50, 70, False)]
    steps = [(2, 10, [range(2, COUNT)]), (20, clicks, [range(20, 25)])]

    assert 20 in compare(video_engine, predictor.model, steps)


@pytest.mark.usefixtures("trackers")
def test_a_pass_from_the_middle_looks_back_at_what_was_followed(video_engine, predictor):
    steps = [(37, 10, [range(37, -1, -1)]), (20, None, [range(20, 15, -1)])]

    assert compare(video_engine, predictor.model, steps)


@pytest.mark.thorough
@FEWEST
@given(first=FRAMES, steps=STEPS, least=THRESHOLDS)
def test_any_corrections_give_the_masks_of_unlimited_memory(
    video_engine, predictor, trackers, first, steps, least
):
    both_ways = [range(first, COUNT), range(first, -1, -1)]
    with pytest.MonkeyPatch.context() as patch:
        for tracker in trackers:
            patch.setattr(tracker, "mf_threshold", least)

        compare(video_engine, predictor.model, [(first, 10, both_ways), *steps])


@pytest.mark.usefixtures("trackers")
def test_a_full_disk_costs_the_memory_of_far_frames_and_not_the_work(video_engine, monkeypatch):
    with closing(video_engine.track(Frames(), PredictOptions(), int)) as track:
        correct_on_a_full_disk(track, monkeypatch)
