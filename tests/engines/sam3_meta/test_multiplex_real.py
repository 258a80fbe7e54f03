"""SAM 3.1 on the code of Meta's repository, small and with random weights.

The released package lacks it, so these tests are skipped unless the repository is installed, or on
the path::

    PYTHONPATH=/where/it/is python -m pytest tests/engines/sam3_meta/test_multiplex_real.py
"""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from contracts.documented_use import DEVICE
from contracts.video import no_numbers
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import BoxPrompt, PointPrompt
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.tracks import TrackSeed
from napari_sam3_assistant.engines.sam3_meta import ENTRY, compat, loading, multiplex
from napari_sam3_assistant.errors import EngineError, EngineNotInstalled, JobCancelled
from stored_memory import stored_bytes_of_states

pytest.importorskip("torch")
REPORTER = NullReporter()
SHAPE = (60, 80)
SIZE, GRID = 224, 16
CLICKS = (PointPrompt(30, 28), PointPrompt(5, 5, positive=False))
_SMALL = {
    "TransformerEncoderDecoupledCrossAttention": {"num_layers": 1},
    "DecoupledTransformerDecoderLayerv2": {"dim_feedforward": 128},
    "SimpleRoPEAttention": {"feat_sizes": [GRID, GRID]},
}
_EAGER = {
    "score_threshold_detection": 0.0,
    "new_det_thresh": 0.0,
    "det_nms_thresh": 0.0,
    "max_num_objects": 3,
    "hotstart_delay": 3,
    "hotstart_unmatch_thresh": 99,
    "hotstart_dup_thresh": 99,
    "suppress_det_close_to_boundary": False,
    "masklet_confirmation_enable": False,
}


def small(cls, **fixed):
    return lambda *args, **given: cls(*args, **{**given, **fixed})


@contextmanager
def small_parts(builder):
    """Have a builder of small models make small ones of SAM 3.1, too."""
    multiplex.import_builder(compat.choose_patches())
    with compat.silence_warnings():
        from sam3.model import sam3_multiplex_tracking, video_tracking_multiplex_demo

    with pytest.MonkeyPatch.context() as patch:
        for name, fixed in _SMALL.items():
            patch.setattr(builder, name, small(getattr(builder, name), **fixed))
        for module, name in (
            (video_tracking_multiplex_demo, "Sam3VideoTrackingMultiplexDemo"),
            (sam3_multiplex_tracking, "Sam3MultiplexTrackingWithInteractivity"),
        ):
            patch.setattr(module, name, small(getattr(module, name), image_size=SIZE))
        yield


class Movie:
    shape = SHAPE

    def __init__(self, count):
        self._count = count

    def __len__(self):
        return self._count

    def read(self, frame):
        rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
        picture = np.stack([rows * 3, columns * 2, rows * 0 + 90], -1)
        picture[(rows - 30) ** 2 + (columns - 20 - 4 * (frame % 12)) ** 2 < 120] = (220, 60, 150)
        return picture.astype(np.uint8)


@pytest.fixture(scope="module")
def builder(build_small):
    with build_small(SIZE) as module:
        yield module


@pytest.fixture(scope="module")
def engine(builder, merges, tmp_path_factory):
    """The engine on random weights of a small model, that finds something."""
    import torch

    try:
        multiplex.import_builder(compat.choose_patches())
    except EngineNotInstalled as lacking:
        pytest.skip(str(lacking))
    folder = tmp_path_factory.mktemp("sam3_1")
    (folder / loading.MERGES_NAME).write_text("\n".join(["#version: 0.2", *merges]), "utf-8")
    with small_parts(builder):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = multiplex.build_model(builder, loading.find_bpe(folder), "cpu")
            text = multiplex.text_encoder(model).encoder
            torch.nn.init.normal_(text.positional_embedding, std=0.02)
            torch.nn.init.normal_(text.text_projection, std=0.1)
        weights = {}
        for name, value in model.state_dict().items():
            weights[name] = value.clone()
            if name.startswith("tracker.") and value.ndim > 1 and not value.is_complex():
                weights[name] *= 3
            if name.endswith("pred_obj_score_head.layers.2.bias"):
                weights[name] += 3
            if name.endswith(("freqs_cis_real", "freqs_cis_imag")):
                del weights[name]
        torch.save({"model": weights}, folder / "sam3.1_multiplex.pt")
        made = ENTRY.create(folder, DEVICE)
        made.load(REPORTER)
        for name, value in _EAGER.items():
            setattr(made._loaded.model, name, value)  # noqa: SLF001
        yield made
        made.close()


@pytest.fixture
def start(engine):
    opened = []

    def begin(frames, *seeds):
        ids = iter(range(100, 1000))
        opened.append(engine.track(frames, PredictOptions(), lambda: next(ids)))
        for seed in seeds:
            opened[-1].add(seed)
        return opened[-1]

    yield begin
    for track in opened:
        track.close()


@pytest.fixture
def documented(engine):
    """Return a function that goes through frames as the package's predictor does."""
    loaded = engine._loaded  # noqa: SLF001
    model = loaded.model

    def follow(frames, first, **prompt):
        answers = {}
        with compat.call_context(DEVICE, loaded.precision), compat.silence_warnings():
            pictures = [Image.fromarray(frames.read(number)) for number in range(len(frames))]
            state = model.init_state(pictures, offload_video_to_cpu=True)
            for frame in range(len(frames)):
                state["cached_frame_outputs"].setdefault(frame, {})
            model.add_prompt(state, first, **prompt)
            for reverse in (False, True):
                for frame, found in model.propagate_in_video(
                    state, start_frame_idx=first, reverse=reverse
                ):
                    masks = found["out_binary_masks"]
                    answers[frame] = sorted(mask.tobytes() for mask in masks if mask.any())
        return answers

    return follow


def pixels(found):
    planes = {}
    for record in found.objects:
        planes[record.id] = np.zeros(SHAPE, bool)
        planes[record.id][record.region.slices] = record.mask
    return planes


def masks(found):
    return {
        frame: sorted(plane.tobytes() for plane in pixels(one).values())
        for frame, one in found.items()
    }


def go(track, *orders, reporter=REPORTER):
    return {found.frame: found for order in orders for found in track.propagate(order, reporter)}


def test_clicks_go_the_same_way_forward_and_backward(start, documented):
    import torch

    theirs = documented(
        Movie(7),
        2,
        points=torch.tensor([[28 / 80, 30 / 60], [5 / 80, 5 / 60]]),
        point_labels=torch.tensor([1, 0]),
        obj_id=1,
    )
    track = start(Movie(7), TrackSeed(2, 1, points=CLICKS))

    ours = go(track, range(2, 7), range(1, -1, -1))

    assert masks(ours) == theirs
    assert len({tuple(found) for found in theirs.values()}) == 7


def test_a_phrase_has_the_same_objects_forward_and_backward(start, documented):
    theirs = documented(Movie(7), 2, text_str="cell")
    track = start(Movie(7))
    track.add_phrase("cell", 2)

    assert masks(go(track, range(2, 7), range(1, -1, -1))) == theirs
    assert max(map(len, theirs.values())) >= 2


def test_a_frame_without_numbers_does_not_lose_what_is_followed(engine, start):
    track = start(Movie(4), TrackSeed(0, 1, points=CLICKS))
    assert go(track, range(2))[1].objects
    spoiled = multiplex.vision_blocks(engine._loaded.model)[0]  # noqa: SLF001
    with no_numbers(spoiled), pytest.raises(EngineError, match="no numbers"):
        go(track, range(2, 4))


def test_boxes_and_later_objects_corrections_and_removal(start):
    track = start(
        Movie(6),
        TrackSeed(1, 1, box=BoxPrompt(Region(15, 15, 45, 40))),
        TrackSeed(3, 2, points=(PointPrompt(9, 9),)),
    )
    first = go(track, range(1, 6), range(0, -1, -1))
    assert [sorted(first[frame].tracked) for frame in (1, 2, 3, 5, 0)] == [
        [1],
        [1],
        [1, 2],
        [1, 2],
        [1, 2],
    ]

    track.add(TrackSeed(4, 1, points=(PointPrompt(20, 50),)))
    after = go(track, range(4, 6))
    assert (pixels(after[4])[1] != pixels(first[4])[1]).any()
    assert masks(go(track, range(4, 6))) == masks(after)

    track.remove(2)
    assert go(track, range(4, 6))[5].tracked == {1}


def test_it_stops_and_goes_on(start):
    whole = go(start(Movie(6), TrackSeed(0, 1, points=CLICKS)), range(6))
    track = start(Movie(6), TrackSeed(0, 1, points=CLICKS))
    done = {}

    def check():
        if len(done) == 3:
            raise JobCancelled

    def follow():
        reporter = SimpleNamespace(check=check, report=lambda _: None)
        for found in track.propagate(range(6), reporter):
            done[found.frame] = found

    with pytest.raises(JobCancelled):
        follow()
    assert masks(done | go(track, range(3, 6))) == masks(whole)


def test_memory_stays_flat(start):
    track = start(Movie(50), TrackSeed(0, 1, points=CLICKS))
    sizes = []
    for _ in track.propagate(range(50), REPORTER):
        sizes.append(stored_bytes_of_states(track._session.state["sam2_inference_states"]))  # noqa: SLF001
        assert len(track._session.state["cached_frame_outputs"]) <= 50  # noqa: SLF001
    assert len(set(sizes[36:])) == 1


def test_nothing_is_left_switched_on(engine):
    import torch
    from sam3.model import sam3_multiplex_tracking

    assert not torch.is_autocast_enabled("cuda")
    assert not torch.is_inference_mode_enabled()
    assert not torch.backends.cuda.matmul.allow_tf32
    assert sam3_multiplex_tracking.tqdm([1], desc="quiet") == [1]


FAR = 20


@pytest.mark.parametrize("frame", [3, FAR, 40])
def test_a_click_on_any_frame_of_a_long_stack_corrects_the_object(start, monkeypatch, frame):
    def correct():
        track = start(Movie(42), TrackSeed(0, 1, points=CLICKS))
        before = go(track, range(42))
        track.add(TrackSeed(frame, 1, points=(PointPrompt(20, 50),)))
        after = go(track, range(frame, min(frame + 3, 42)))
        assert (pixels(after[frame])[1] != pixels(before[frame])[1]).any()
        return after

    ours = correct()
    monkeypatch.setattr(multiplex._Session, "forget", lambda *_, **__: None)  # noqa: SLF001
    unlimited = correct()
    # Far from the prompts and both ends the frames before the click are forgotten: it is read as
    # ever, and the frames behind it look back at it and at the other prompts alone.
    kept = [frame] if frame == FAR else list(ours)
    assert {one: masks(ours)[one] for one in kept} == {one: masks(unlimited)[one] for one in kept}
