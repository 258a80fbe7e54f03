"""What following objects costs, and that it can be stopped, continued and corrected."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import MaskPrompt, PointPrompt
from napari_sam3_assistant.core.tracks import Seed
from napari_sam3_assistant.engines.sam3_meta import compat
from napari_sam3_assistant.engines.sam3_meta.video_memory import Memory, is_bare, stored_bytes
from napari_sam3_assistant.errors import JobCancelled, PromptError

REPORTER = NullReporter()
SHAPE = (60, 80)


class Movie:
    """Frames of a disc that moves, in a circle of four pictures."""

    shape = SHAPE

    def __init__(self, count):
        self._count = count
        self.reads = []
        rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
        self.pictures = []
        for number in range(4):
            picture = np.stack([rows * 3, columns * 2, rows * 0 + 90], -1)
            picture[(rows - 30) ** 2 + (columns - 20 - 8 * number) ** 2 < 120] = (220, 60, 150)
            self.pictures.append(picture.astype(np.uint8))

    def __len__(self):
        return self._count

    def read(self, frame):
        self.reads.append(frame)
        return self.pictures[frame % 4]


@pytest.fixture
def movie():
    return Movie(10)


@pytest.fixture
def start(video_engine):
    """Return a function that begins to follow objects and ends it with the test."""
    opened = []

    def begin(frames, *seeds):
        ids = iter(range(100, 10000))
        track = video_engine.track(frames, PredictOptions(), lambda: next(ids))
        opened.append(track)
        for seed in seeds:
            track.add(seed)
        return track

    yield begin
    for track in opened:
        track.close()


@pytest.fixture
def eager(video_engine, monkeypatch):
    """Let the video model take what random weights find."""
    with compat.calls("cpu"):
        video = video_engine.model.video
    for name, value in {
        "score_threshold_detection": 0.0,
        "new_det_thresh": 0.0,
        "det_nms_thresh": 0.0,
        "max_num_objects": 2,
        "hotstart_delay": 3,
        "hotstart_unmatch_thresh": 99,
        "hotstart_dup_thresh": 99,
    }.items():
        monkeypatch.setattr(video, name, value)
    return video


@pytest.fixture
def quick_encoder(video_engine, monkeypatch):
    """Encode each picture once: the encoder is not what the long tests look at."""
    backbone = video_engine.model.model.backbone.vision_backbone
    real, known = backbone.forward, {}

    def forward(pictures):
        key = float(pictures.double().sum())
        if key not in known:
            known[key] = real(pictures)
        return tuple(list(part) for part in known[key])

    monkeypatch.setattr(backbone, "forward", forward)


def mask(x=25):
    painted = np.zeros(SHAPE, bool)
    painted[15:40, x : x + 25] = True
    return MaskPrompt.from_plane(painted)


def go(track, order, reporter=REPORTER):
    return {found.frame: found for found in track.propagate(order, reporter)}


def pixels(found):
    """Return each object's pixels."""
    planes = {}
    for record in found.objects:
        planes[record.id] = np.zeros(SHAPE, bool)
        planes[record.id][record.region.slices] = record.mask
    return planes


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for frame in one:
        first, second = pixels(one[frame]), pixels(other[frame])
        assert first.keys() == second.keys()
        for name in first:
            np.testing.assert_array_equal(first[name], second[name])


def stop_after(track, order, count):
    """Go through frames and stop the work in the one after ``count``; return what was done."""
    done = {}

    def check():
        if len(done) == count:
            raise JobCancelled

    def follow():
        for found in track.propagate(order, SimpleNamespace(check=check, report=lambda _: None)):
            done[found.frame] = found

    with pytest.raises(JobCancelled):
        follow()
    assert list(done) == list(order)[:count]
    return done


def test_memory_stays_flat(start, quick_encoder):
    track = start(Movie(300), Seed(0, 1, points=(PointPrompt(30, 30),)))
    state = track._objects[1].state  # noqa: SLF001 - what it stores is what is shown
    stored, records = [], []

    for _ in track.propagate(range(42), REPORTER):
        stored.append(stored_bytes([state]))
        records.append(sum(map(len, state["output_dict"].values())))
        assert len(track._features) == 1  # noqa: SLF001

    # The prompted frame, 16 behind it and the last 16.
    assert max(records) == 33
    assert len(set(stored[36:])) == 1
    assert not state["frames_already_tracked"]
    assert stored[-1] < 0.6 * 33 / 2 * stored[0]


def test_memory_of_phrases_stays_flat(start, quick_encoder, eager):
    track = start(Movie(300))
    track.add_phrase("cell", 0)
    sizes = []

    for found in track.propagate(range(40), REPORTER):
        state = track._phrases[0].state  # noqa: SLF001
        metadata = state["tracker_metadata"]
        ranked = metadata["rank0_metadata"]
        inputs = [
            value
            for tracked in state["tracker_inference_states"]
            for by_frame in tracked["mask_inputs_per_obj"].values()
            for value in by_frame.values()
        ]
        assert not state["cached_frame_outputs"]
        assert not any(value is not None for value in inputs)
        sizes.append(
            (
                stored_bytes(state["tracker_inference_states"]),
                len(metadata["obj_id_to_tracker_score_frame_wise"]),
                len(ranked["suppressed_obj_ids"]),
                sum(isinstance(key, int) for key in state["feature_cache"]),
                len(track._held),  # noqa: SLF001
            )
        )
        assert len(found.tracked) <= 2

    assert max(sizes[36:])[1:] == (1, 1, 1, 2)
    assert len({stored for stored, *_ in sizes[36:]}) == 1


def test_each_frame_is_read_once_a_direction(start, movie):
    track = start(movie, Seed(4, 1, mask=mask()), Seed(4, 2, points=(PointPrompt(30, 40),)))

    go(track, range(4, 10))
    assert movie.reads == [4, 5, 6, 7, 8, 9]
    go(track, range(3, -1, -1))
    assert movie.reads[6:] == [3, 2, 1, 0]


def test_a_phrase_reads_one_frame_ahead(start, movie, eager):
    track = start(movie, Seed(2, 7, mask=mask()))
    track.add_phrase("cell", 2)

    go(track, range(2, 6))
    assert movie.reads == [2, 3, 4, 5, 6]


def test_it_stops_within_a_frame_and_goes_on(start, movie, video_engine):
    seeds = Seed(0, 1, mask=mask()), Seed(0, 2, points=(PointPrompt(30, 50),))
    whole = go(start(movie, *seeds), range(6))
    track = start(movie, *seeds)
    calls = Counter()
    blocks = compat.vision_blocks(video_engine.model.model)
    hooks = [block.register_forward_hook(lambda *_: calls.update(["block"])) for block in blocks]

    done = stop_after(track, range(6), 4)
    for hook in hooks:
        hook.remove()

    # The prompted frame and three more; of the next one no block of the encoder has run.
    assert calls["block"] == 4 * len(blocks)
    assert_equal(done | go(track, range(4, 6)), whole)


def test_a_stopped_phrase_goes_on_with_what_it_holds_back(start, movie, eager, video_engine):
    whole_track = start(movie)
    whole_track.add_phrase("cell", 0)
    whole = go(whole_track, range(6))
    track = start(movie)
    track.add_phrase("cell", 0)
    done = stop_after(track, range(6), 2)
    movie.reads.clear()

    rest = go(track, range(2, 6))

    assert_equal(done | rest, whole)
    assert max(len(found.objects) for found in whole.values()) == 2
    # Frames 2 and 3 were held back, 4 was looked at ahead.
    assert 2 not in movie.reads
    assert 3 not in movie.reads


def test_a_painted_correction_holds_from_its_frame_on(start, movie):
    track = start(movie, Seed(0, 1, mask=mask()), Seed(0, 2, mask=mask(40)))
    before = go(track, range(6))

    track.add(Seed(3, 1, mask=mask(5)))
    after = go(track, range(3, 6))

    assert list(after) == [3, 4, 5]
    painted = pixels(after[3])[1]
    expected = np.zeros(SHAPE, bool)
    expected[15:40, 5:30] = True
    assert np.count_nonzero(painted & expected) > 0.95 * np.count_nonzero(painted | expected)
    assert (pixels(after[4])[1] != pixels(before[4])[1]).any()
    np.testing.assert_array_equal(pixels(after[4])[2], pixels(before[4])[2])


def test_prompts_of_an_object_are_replaced(start, movie):
    track = start(movie, Seed(2, 1, mask=mask(5)))
    go(track, range(2, 5))

    track.add(Seed(2, 1, mask=mask()))

    fresh = go(start(movie, Seed(2, 1, mask=mask())), range(2, 3))
    assert_equal(go(track, range(2, 3)), fresh)


def test_a_pass_may_begin_anywhere_again(start, quick_encoder):
    # Frame 24 lies between what is kept: neither its memories nor those before it are there.
    track = start(Movie(44), Seed(0, 1, mask=mask()))
    go(track, range(44))

    again = go(track, range(24, 30))

    assert list(again) == list(range(24, 30))
    assert pixels(again[29])[1].any()


def test_a_click_on_a_frame_of_which_only_the_pointer_is_left(start, quick_encoder):
    track = start(Movie(34), Seed(0, 1, points=(PointPrompt(30, 30),)))
    go(track, range(34))
    followed = track._objects[1]  # noqa: SLF001
    assert is_bare(followed.state, 12)

    track.add(Seed(12, 1, points=(PointPrompt(20, 60),)))

    assert pixels(go(track, range(12, 14))[12])[1].any()


def test_prompts_that_the_model_sets_by_itself_do_not_pile_up(start, quick_encoder, video_engine):
    track = start(Movie(30), *(Seed(frame, 1, mask=mask()) for frame in range(20)))
    go(track, range(2))
    state = track._objects[1].state  # noqa: SLF001
    assert len(state["output_dict"]["cond_frame_outputs"]) == 20

    Memory(video_engine.model.tracker).forget_conditions(state)

    assert sorted(state["output_dict"]["cond_frame_outputs"]) == [0, *range(5, 20)]
    assert pixels(go(track, range(19, 22))[21])[1].any()


def test_objects_prompted_on_different_frames(start, movie):
    track = start(movie, Seed(2, 1, mask=mask()), Seed(6, 2, mask=mask(40)))

    forward = go(track, range(2, 8))
    assert [sorted(forward[frame].tracked) for frame in (2, 5, 6, 7)] == [[1], [1], [1, 2], [1, 2]]
    backward = go(track, range(5, -1, -1))
    assert [sorted(backward[frame].tracked) for frame in (5, 3, 2, 0)] == [[2], [2], [1, 2], [1, 2]]


def test_a_removed_object_is_gone(start, movie):
    track = start(movie, Seed(0, 1, mask=mask()), Seed(0, 2, mask=mask(40)))
    go(track, range(3))

    track.remove(1)
    track.remove(99)

    assert {id_ for found in go(track, range(3, 6)).values() for id_ in found.tracked} == {2}


def test_an_object_of_a_phrase_can_be_corrected_and_removed(start, movie, eager):
    track = start(movie)
    track.add_phrase("cell", 0)
    track.add_phrase("cell", 0)
    first = go(track, range(4))
    seen = sorted({name for found in first.values() for name in found.tracked})
    assert len(seen) == 2
    corrected, removed = seen

    with pytest.raises(PromptError, match=f"All points of object {corrected} are negative"):
        track.add(Seed(4, corrected, points=(PointPrompt(1, 1, positive=False),)))
    track.add(Seed(4, corrected, mask=mask()))
    track.remove(removed)
    after = go(track, range(4, 6))

    assert [record.id for record in after[4].objects] == [corrected]
    assert after[4].tracked == {corrected}
    assert np.count_nonzero(pixels(after[4])[corrected]) == pytest.approx(25 * 25, rel=0.1)


def test_a_closed_track_has_let_go_of_everything(start, movie):
    track = start(movie, Seed(0, 1, mask=mask()))
    track.add_phrase("cell", 0)
    go(track, range(2))

    track.close()

    left = (track._objects, track._phrases, track._features, track._held, track._pictures)  # noqa: SLF001
    assert not any(left)
