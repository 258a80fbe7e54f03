"""What may be asked of the video part, and what others see of it: nothing."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from contracts import video as video_contract
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import BoxPrompt, PointPrompt, PromptSet
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.tracks import TrackSeed
from napari_sam3_assistant.engines.sam3_meta import SPEC
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.workflows.track_prompts import check_prompts

Movie, mask = video_contract.Movie, video_contract.mask
start, movie = video_contract.start, video_contract.movie

REPORTER = NullReporter()


def test_more_points_than_the_tracker_takes_are_refused_before_anything_is_loaded():
    points = tuple(PointPrompt(row, 5, object_id=1) for row in range(17))

    with pytest.raises(PromptError, match="takes up to 16 points on one object, these are 17"):
        check_prompts(SPEC, {0: PromptSet(points=points)}, Movie(3))

    others = tuple(PointPrompt(row, 5, object_id=2) for row in range(16))
    assert check_prompts(SPEC, {0: PromptSet(points=points[:16] + others)}, Movie(3)) == ()


def test_a_box_counts_as_two_points(start, movie):
    box = BoxPrompt(Region(5, 5, 30, 30))
    points = tuple(PointPrompt(row, 5) for row in range(15))

    with pytest.raises(PromptError, match="up to 14 points beside a box on one object and frame"):
        start(movie, TrackSeed(0, 1, points=points, box=box))
    start(movie, TrackSeed(0, 1, points=points[:14], box=box))


def test_what_the_requests_of_the_predictor_refuse_is_taken():
    prompts = PromptSet(
        points=(PointPrompt(9, 9, object_id=1),),
        boxes=(BoxPrompt(Region(1, 1, 9, 9)), BoxPrompt(Region(20, 20, 40, 40))),
        masks=(replace(mask(), object_id=3),),
        text="cell",
    )

    assert check_prompts(SPEC, {0: prompts}, Movie(3)) == ()


def test_other_users_of_torch_and_of_the_image_heads_see_nothing(start, movie, video_engine):
    import torch
    from sam3 import model_builder
    from sam3.model import sam3_video_inference

    picture = movie.read(0)
    prompts = PromptSet(points=(PointPrompt(30, 20),))

    def ask():
        found = video_engine.predict(
            video_engine.embed(picture, REPORTER), prompts, PredictOptions(), REPORTER
        )
        return [record.mask for record in found.objects]

    before = ask()
    names = [getattr(model_builder, name) for name in ("build_tracker", "DotProductScoring")]
    loader = sam3_video_inference.load_resource_as_video_frames
    track = start(movie, TrackSeed(0, 1, mask=mask()))
    track.add_phrase("cell", 0)
    pass_ = track.propagate(range(3), REPORTER)
    next(pass_)

    seen = []

    def other_thread():
        seen.append(torch.zeros(1, dtype=torch.bfloat16).to(torch.bfloat16).dtype)

    thread = threading.Thread(target=other_thread)
    thread.start()
    thread.join()
    assert seen == [torch.bfloat16]
    # In this thread, too, between two frames.
    assert torch.zeros(1).to(torch.bfloat16).dtype == torch.bfloat16
    assert not torch.is_inference_mode_enabled()
    assert not torch.is_autocast_enabled("cuda")
    assert [
        getattr(model_builder, name) for name in ("build_tracker", "DotProductScoring")
    ] == names
    assert sam3_video_inference.load_resource_as_video_frames is loader
    # Its turn is not held: the image heads answer in between, and as before.
    for one, other in zip(ask(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    pass_.close()
