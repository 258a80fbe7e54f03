"""What may be asked of the video part, and what others see of it: nothing."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from napari_sam3_assistant import api
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import BoxPrompt, MaskPrompt, PointPrompt, PromptSet
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.tracks import Seed
from napari_sam3_assistant.engines.sam3_meta import SPEC
from napari_sam3_assistant.errors import EngineError, PromptError
from napari_sam3_assistant.workflows.track_checks import check_prompts

REPORTER = NullReporter()
SHAPE = (60, 80)


class Movie:
    """Three frames of a disc that moves."""

    shape = SHAPE

    def __len__(self):
        return 3

    def read(self, frame):
        rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
        picture = np.stack([rows * 3, columns * 2, rows * 0 + 90], -1)
        picture[(rows - 30) ** 2 + (columns - 20 - 8 * frame) ** 2 < 120] = (220, 60, 150)
        return picture.astype(np.uint8)


@pytest.fixture
def movie():
    return Movie()


@pytest.fixture
def start(video_engine):
    """Return a function that begins to follow objects and ends it with the test."""
    opened = []

    def begin(frames, *seeds):
        ids = iter(range(100, 10000))
        opened.append(video_engine.track(frames, PredictOptions(), lambda: next(ids)))
        for seed in seeds:
            opened[-1].add(seed)
        return opened[-1]

    yield begin
    for track in opened:
        track.close()


def mask():
    painted = np.zeros(SHAPE, bool)
    painted[15:40, 25:50] = True
    return MaskPrompt.from_plane(painted)


def test_a_long_phrase_is_refused(start, movie):
    with pytest.raises(PromptError, match="SAM 3 takes up to 32"):
        start(movie).add_phrase("cell " * 40, 0)


def test_more_points_than_the_tracker_takes_are_refused_before_anything_is_loaded():
    points = tuple(PointPrompt(row, 5, object_id=1) for row in range(17))

    with pytest.raises(PromptError, match="takes up to 16 points on one object, these are 17"):
        check_prompts(SPEC, {0: PromptSet(points=points)}, Movie())

    others = tuple(PointPrompt(row, 5, object_id=2) for row in range(16))
    assert check_prompts(SPEC, {0: PromptSet(points=points[:16] + others)}, Movie()) == ()


def test_a_box_counts_as_two_points(start, movie):
    box = Region(5, 5, 30, 30)
    points = tuple(PointPrompt(row, 5) for row in range(15))

    with pytest.raises(PromptError, match="up to 14 points beside a box on one object and frame"):
        start(movie, Seed(0, 1, points=points, box=box))
    start(movie, Seed(0, 1, points=points[:14], box=box))


def test_what_the_requests_of_the_predictor_refuse_is_taken():
    painted = np.zeros(SHAPE, bool)
    painted[3:9, 3:9] = True
    prompts = PromptSet(
        points=(PointPrompt(9, 9, object_id=1),),
        boxes=(BoxPrompt(Region(1, 1, 9, 9)), BoxPrompt(Region(20, 20, 40, 40))),
        masks=(MaskPrompt.from_plane(painted, 3),),
        text="cell",
    )

    assert check_prompts(SPEC, {0: prompts}, Movie()) == ()


def test_a_closed_engine_is_said(make_engine, movie):
    engine = make_engine()
    track = engine.track(movie, PredictOptions(), lambda: 1)
    with pytest.raises(EngineError, match="SAM 3 is not loaded"):
        track.add(Seed(0, 1, mask=mask()))


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
    track = start(movie, Seed(0, 1, mask=mask()))
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


def test_examples_are_found_on_the_slice_and_their_masks_are_followed(video_folder, movie):
    stack = np.stack([movie.read(frame) for frame in range(3)])

    results = list(
        api.track(
            stack,
            frame=1,
            exemplars=[(20, 18, 41, 39)],
            engine="sam3-meta",
            model_folder=video_folder,
            device="cpu",
            threshold=0.1,
        )
    )

    assert [result.frame for result in results] == [1, 2, 0]
    assert "objects of example boxes are segmented on frame 1 first" in results[0].notes[0]
    assert results[0].objects
    assert results[0].engine.engine == "sam3-meta"
    assert results[0].tracked == {record.id for record in results[0].objects}
