"""A correction anywhere in a stack gives the mask of a session that has forgotten nothing."""

from __future__ import annotations

from contextlib import closing

import numpy as np
import pytest
from hypothesis import given

from amounts import FEWEST, each_once, thorough
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
from napari_sam3_assistant.core.display import FrameSource, view_of_array
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter

REPORTER = NullReporter()


@pytest.fixture(scope="module")
def frames():
    """An RGB movie of a disc that moves over a ramp."""
    return np.stack([picture(number) for number in range(COUNT)])


class Unlimited:
    """A session of the library, whose corrected frames are prompts, as in Meta's package."""

    def __init__(self, checkpoint, frames):
        from transformers import Sam3TrackerVideoModel, Sam3TrackerVideoProcessor

        self.model = Sam3TrackerVideoModel.from_pretrained(checkpoint).eval().to(DEVICE)
        self.processor = Sam3TrackerVideoProcessor.from_pretrained(checkpoint)
        self._frames = frames
        self._encoded = {}
        real = self.model.get_image_features
        self.model.get_image_features = lambda pixels, **kwargs: self._encode(pixels, real, kwargs)

    def _encode(self, pixels, real, kwargs):
        """Encode each frame once: the encoder is not what the test looks at."""
        key = float(pixels.double().sum()), tuple(kwargs.items())
        if key not in self._encoded:
            self._encoded[key] = real(pixels, **kwargs)
        return self._encoded[key]

    def begin(self):
        self._session = self.processor.init_video_session(
            video=self._frames, inference_device=DEVICE, processing_device="cpu"
        )

    def prompt(self, frame, **inputs):
        self.processor.add_inputs_to_inference_session(self._session, frame, 1, **inputs)
        outputs = self._session.output_dict_per_obj[0]
        outputs["cond_frame_outputs"].pop(frame, None)
        self._run(frame, reverse=False)
        if frame in outputs["non_cond_frame_outputs"]:
            moved = outputs["non_cond_frame_outputs"].pop(frame)
            outputs["cond_frame_outputs"][frame] = moved

    def propagate(self, order):
        return {frame: self._run(frame, reverse=order.step < 0) for frame in order}

    def _run(self, frame, *, reverse):
        import torch

        with torch.inference_mode():
            answer = self.model(inference_session=self._session, frame_idx=frame, reverse=reverse)
            (large,) = self.processor.post_process_masks(
                [answer.pred_masks], original_sizes=[SHAPE], binarize=False
            )
        return (large[0, 0] > 0).cpu().numpy()


@pytest.fixture(scope="module")
def unlimited(video_checkpoint, frames, _one_thread):
    return Unlimited(video_checkpoint, frames)


@pytest.fixture(scope="module")
def quick_engine(video_engine):
    """Encode each frame once, also here."""
    backbone = video_engine.model.detector.vision_encoder.backbone
    real, known = backbone.forward, {}

    def forward(pixel_values, **kwargs):
        key = float(pixel_values.double().sum())
        if key not in known:
            known[key] = real(pixel_values, **kwargs)
        return known[key]

    backbone.forward = forward
    yield video_engine
    del backbone.forward


def begin(engine, frames):
    return engine.track(FrameSource(view_of_array(frames, plane=0), 0), PredictOptions(), int)


def both(frame, drawn):
    """Return a drawn prompt as the engine and as the library takes it."""
    if isinstance(drawn, int):
        return seed(frame, drawn), {"input_masks": painted(drawn)}
    return seed(frame, drawn), {
        "input_points": [[[[float(x), float(y)] for y, x, _ in drawn]]],
        "input_labels": [[[int(positive) for *_, positive in drawn]]],
    }


def compare(engine, unlimited, frames, first, steps):
    """Go through both sessions and compare all masks; return how many frames were not empty."""
    track = begin(engine, frames)
    with closing(track):
        return follow_both(track, unlimited, first, steps)


def follow_both(track, unlimited, first, steps):
    unlimited.begin()
    prompt, inputs = both(first, 10)
    track.add(prompt)
    unlimited.prompt(first, **inputs)
    seen = 0
    for frame, drawn, orders in steps:
        if drawn is not None:
            prompt, inputs = both(frame, drawn)
            track.add(prompt)
            # The engine reads prompts when it goes on.
            list(track.propagate(range(0), REPORTER))
            unlimited.prompt(frame, **inputs)
        for order in orders:
            ours, theirs = planes(track, order), unlimited.propagate(order)
            for number in order:
                np.testing.assert_array_equal(ours[number], theirs[number], f"frame {number}")
                seen += theirs[number].any()
        # 16 frames on both sides of each prompt and behind both ends of what was gone through.
        outputs = track._objects[1].outputs  # noqa: SLF001 - what it stores is what is shown
        prompted = len(outputs["cond_frame_outputs"])
        assert len(outputs["non_cond_frame_outputs"]) <= 31 * (prompted + 2)
        stored = sum(
            "maskmem_features" in one for one in outputs["non_cond_frame_outputs"].values()
        )
        assert stored <= 13 * (prompted + 2)
    return seen


@pytest.mark.parametrize(("frame", "drawn"), each_once([12, 33], [[(30, 40, True)], 30]))
def test_a_frame_is_corrected_after_a_whole_pass(quick_engine, unlimited, frames, frame, drawn):
    whole, onward = range(4, COUNT), range(frame, min(frame + 9, COUNT))

    steps = [(4, None, [whole]), (frame, drawn, [onward])]

    assert compare(quick_engine, unlimited, frames, 4, steps)


@pytest.mark.parametrize("way", [thorough("forward"), "backward"])
def test_a_pass_from_the_middle_looks_back_at_what_was_followed(
    quick_engine, unlimited, frames, way
):
    first, whole, again = 2, range(2, COUNT), range(20, 26)
    if way == "backward":
        first, whole, again = 37, range(37, -1, -1), range(20, 14, -1)

    steps = [(first, None, [whole]), (first, None, [again])]

    assert compare(quick_engine, unlimited, frames, first, steps)


@pytest.mark.thorough
@FEWEST
@given(first=FRAMES, steps=STEPS)
def test_any_corrections_give_the_masks_of_unlimited_memory(
    quick_engine, unlimited, frames, first, steps
):
    both_ways = [range(first, COUNT), range(first, -1, -1)]

    assert compare(quick_engine, unlimited, frames, first, [(first, None, both_ways), *steps])


def test_a_full_disk_costs_the_memory_of_far_frames_and_not_the_work(
    quick_engine, frames, monkeypatch
):
    with closing(begin(quick_engine, frames)) as track:
        correct_on_a_full_disk(track, monkeypatch)


def test_what_is_saved_on_the_disk_goes_with_its_object_and_with_the_track(quick_engine, frames):
    track = begin(quick_engine, frames)
    file = track._file  # noqa: SLF001 - what it stores is what is shown
    track.add(both(0, 10)[0])
    planes(track, range(24))
    size = file._end  # noqa: SLF001
    assert size

    track.remove(1)
    track.add(both(0, 10)[0])
    planes(track, range(24))

    assert file._end == size  # noqa: SLF001
    track.close()
    assert file._file is None  # noqa: SLF001
