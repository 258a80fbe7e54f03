"""The same masks as the package's own predictor gives, on the same frames with the same weights.

The predictor is the package's class with its requests; only its constructor, which asks for CUDA,
is left out. What the requests do not know (boxes round one object, masks) is compared with the
package's tracker, which there keeps everything that it has seen.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from contracts.documented_use import DEVICE
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import BoxPrompt, MaskPrompt, PointPrompt
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.tracks import TrackSeed
from napari_sam3_assistant.engines.sam3_meta import compat

REPORTER = NullReporter()
HEIGHT, WIDTH = SHAPE = (60, 80)
CLICKS = (PointPrompt(30, 28), PointPrompt(5, 70, positive=False))
BOX = Region(15, 15, 45, 40)
THRESHOLD = 0.5
# Both models look for more than random weights are sure of.
EAGER = {
    "score_threshold_detection": 0.0,
    "new_det_thresh": 0.0,
    "det_nms_thresh": 0.0,
    "max_num_objects": 3,
    "hotstart_delay": 4,
    "hotstart_unmatch_thresh": 2,
    "hotstart_dup_thresh": 99,
}


@pytest.fixture
def ask(predictor):
    """Return a function that sends requests, in the context that the package needs on a CPU."""

    def send(kind, **fields):
        with compat.call_context(DEVICE), compat.silence_warnings():
            if kind == "propagate_in_video":
                return list(predictor.handle_stream_request({"type": kind, **fields}))
            return predictor.handle_request({"type": kind, **fields})

    return send


@pytest.fixture
def movie():
    """Frames of a disc on textured ground that moves."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    rng = np.random.default_rng(3)
    ground = np.stack([rows * 3, columns * 2, rows * 0 + 90], -1) + rng.integers(0, 30, (*SHAPE, 3))

    def read(frame):
        picture = ground.copy()
        picture[(rows - 30) ** 2 + (columns - 20 - 3 * (frame % 12)) ** 2 < 120] = (220, 60, 150)
        return picture.astype(np.uint8)

    return lambda count: type(
        "Movie", (), {"shape": SHAPE, "__len__": lambda _: count, "read": lambda _, f: read(f)}
    )()


@pytest.fixture
def session(ask, predictor):
    """Return a function that opens a session of the predictor on frames."""
    opened = []

    def begin(frames):
        pictures = [Image.fromarray(frames.read(number)) for number in range(len(frames))]
        name = ask("start_session", resource_path=pictures)["session_id"]
        opened.append(name)
        # Without this the package can't take clicks before a first propagation (#368).
        states = predictor._all_inference_states or predictor._ALL_INFERENCE_STATES  # noqa: SLF001
        state = states[name]["state"]
        for frame in range(len(frames)):
            state["cached_frame_outputs"].setdefault(frame, {})
        return name

    yield begin
    for name in opened:
        ask("close_session", session_id=name)


@pytest.fixture
def track(video_engine):
    opened = []

    def begin(frames):
        ids = iter(range(100, 1000))
        opened.append(video_engine.track(frames, PredictOptions(), lambda: next(ids)))
        return opened[-1]

    yield begin
    for one in opened:
        one.close()


def planes(found):
    """Return the mask of each object of a frame of ours."""
    made = {}
    for record in found.objects:
        made[record.id] = np.zeros(SHAPE, bool)
        made[record.id][record.region.slices] = record.mask
    return made


def go(track, *orders):
    return {found.frame: found for order in orders for found in track.propagate(order, REPORTER)}


def masks_of(answers):
    """Return the masks of the predictor's answers by frame and object."""
    return {
        answer["frame_index"]: dict(
            zip(
                answer["outputs"]["out_obj_ids"].tolist(),
                answer["outputs"]["out_binary_masks"],
                strict=True,
            )
        )
        for answer in answers
    }


def assert_same(ours, theirs, names=lambda name: name):
    assert ours.keys() == theirs.keys()
    for frame, found in ours.items():
        # Of an object under the others the predictor gives an empty mask.
        expected = {names(name): mask for name, mask in theirs[frame].items() if mask.any()}
        assert planes(found).keys() == expected.keys(), frame
        for name, mask in planes(found).items():
            np.testing.assert_array_equal(mask, expected[name], err_msg=f"{frame}, {name}")


def click(ask, name, frame, points):
    ask(
        "add_prompt",
        session_id=name,
        frame_index=frame,
        points=[[p.x / WIDTH, p.y / HEIGHT] for p in points],
        point_labels=[int(p.positive) for p in points],
        obj_id=1,
    )


def test_clicks_go_the_same_way_forward_and_backward(ask, session, track, movie):
    frames = movie(6)
    name = session(frames)
    click(ask, name, 2, CLICKS)
    theirs = ask(
        "propagate_in_video", session_id=name, propagation_direction="both", start_frame_index=2
    )

    ours = track(frames)
    ours.add(TrackSeed(2, 1, points=CLICKS))

    found = go(ours, range(2, 6), range(1, -1, -1))
    assert_same(found, masks_of(theirs))
    assert len({plane[1].tobytes() for plane in map(planes, found.values()) if plane}) > 3


def test_a_correction_on_a_later_frame_has_the_same_masks(ask, session, track, movie):
    frames = movie(6)
    correction = (PointPrompt(28, 40), PointPrompt(50, 10, positive=False))
    name = session(frames)
    click(ask, name, 0, CLICKS)
    ask("propagate_in_video", session_id=name, propagation_direction="forward", start_frame_index=0)
    click(ask, name, 3, correction)
    theirs = ask(
        "propagate_in_video", session_id=name, propagation_direction="forward", start_frame_index=3
    )

    ours = track(frames)
    ours.add(TrackSeed(0, 1, points=CLICKS))
    before = go(ours, range(6))
    ours.add(TrackSeed(3, 1, points=correction))
    after = go(ours, range(3, 6))

    assert_same(after, masks_of(theirs))
    assert not np.array_equal(planes(before[3])[1], planes(after[3])[1])


@pytest.fixture
def eager(video_engine, predictor, monkeypatch):
    with compat.call_context(DEVICE):
        video = video_engine.model.video
    for model in (video, predictor.model):
        for name, value in EAGER.items():
            monkeypatch.setattr(model, name, value)
    return SimpleNamespace(ours=video, theirs=predictor.model)


@pytest.mark.usefixtures("eager")
def test_a_phrase_has_the_same_objects_forward_and_backward(ask, session, track, movie):
    frames = movie(9)
    name = session(frames)
    ask("add_prompt", session_id=name, frame_index=3, text="cell")
    theirs = ask(
        "propagate_in_video", session_id=name, propagation_direction="both", start_frame_index=3
    )

    ours = track(frames)
    ours.add_phrase("cell", 3)
    found = go(ours, range(3, 9), range(2, -1, -1))

    expected = masks_of(theirs)
    assert max(map(len, expected.values())) == 3
    # Ours are numbered as they are first seen, from 100.
    seen = {}
    for frame in (*range(3, 9), *range(2, -1, -1)):
        for number in expected[frame]:
            seen.setdefault(number, 100 + len(seen))
    assert_same(found, expected, seen.__getitem__)


def reference(model, frames, prompt, order, first):
    """Return masks by the package's tracker alone, which keeps all that it has seen."""
    answers = {}
    with compat.call_context(DEVICE), compat.silence_warnings():
        pictures = [Image.fromarray(frames.read(number)) for number in range(len(frames))]
        state = model.init_state(pictures, offload_video_to_cpu=True)
        tracker_state = model._init_new_tracker_state(state)  # noqa: SLF001
        model._prepare_backbone_feats(state, first, reverse=False)  # noqa: SLF001
        prompt(model.tracker, tracker_state)
        model.tracker.propagate_in_video_preflight(tracker_state, run_mem_encoder=True)
        for frame in order:
            model._prepare_backbone_feats(state, frame, reverse=False)  # noqa: SLF001
            _, low, _ = model._propogate_tracker_one_frame_local_gpu(  # noqa: SLF001
                [tracker_state], frame_idx=frame, reverse=False, run_mem_encoder=True
            )
            mask = model._convert_low_res_mask_to_video_res(low[0], state)  # noqa: SLF001
            answers[frame] = {1: mask[0].cpu().numpy()} if mask.any() else {}
    return answers


def test_a_painted_mask_and_a_bounded_memory_change_nothing(
    predictor, track, movie, video_engine, monkeypatch
):
    import torch

    # Some frames are not good enough to be looked at again, as with objects that hide.
    trackers = predictor.model.tracker, video_engine.model.tracker
    for tracker in trackers:
        monkeypatch.setattr(tracker, "mf_threshold", THRESHOLD)
    scores, real = [], trackers[1].cal_mem_score

    def score(*arguments):
        scores.append(float(real(*arguments)))
        return real(*arguments)

    monkeypatch.setattr(trackers[1], "cal_mem_score", score)
    frames = movie(21)
    painted = np.zeros(SHAPE, bool)
    painted[20:40, 14:30] = True
    expected = reference(
        predictor.model,
        frames,
        lambda tracker, state: tracker.add_new_mask(state, 0, 1, torch.from_numpy(painted)),
        range(21),
        0,
    )
    ours = track(frames)
    ours.add(TrackSeed(0, 1, mask=MaskPrompt.from_plane(painted)))

    assert_same(go(ours, range(21)), expected)
    assert 3 < sum(score > THRESHOLD for score in scores) < 18


def test_a_box_with_clicks_names_one_object(predictor, track, movie):
    import torch

    frames = movie(4)

    def prompt(tracker, state):
        tracker.add_new_points_or_box(
            state,
            1,
            1,
            points=torch.tensor([[p.x / WIDTH, p.y / HEIGHT] for p in CLICKS]),
            labels=torch.tensor([1, 0]),
            box=torch.tensor([BOX.x0 / WIDTH, BOX.y0 / HEIGHT, BOX.x1 / WIDTH, BOX.y1 / HEIGHT]),
        )

    expected = reference(predictor.model, frames, prompt, range(1, 4), 1)
    ours = track(frames)
    ours.add(TrackSeed(1, 1, points=CLICKS, box=BoxPrompt(BOX)))

    assert_same(go(ours, range(1, 4)), expected)


def test_the_models_for_stacks_share_the_weights_of_the_image_model(video_engine, predictor):
    with compat.call_context(DEVICE):
        video = video_engine.model.video
    ours, theirs = video.state_dict(), predictor.model.state_dict()
    image = {tensor.data_ptr() for tensor in video_engine.model.model.state_dict().values()}

    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert tensor.data_ptr() in image, name
        np.testing.assert_array_equal(tensor.cpu(), theirs[name].cpu(), err_msg=name)
    settings = {
        name: value
        for name, value in vars(predictor.model).items()
        if isinstance(value, int | float | tuple)
    }
    assert settings == {name: getattr(video, name) for name in settings}
    settings = {
        name: value
        for name, value in vars(predictor.model.tracker).items()
        if isinstance(value, int | float | tuple)
    }
    assert settings == {name: getattr(video.tracker, name) for name in settings}
