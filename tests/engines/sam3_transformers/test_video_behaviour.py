"""What following objects costs, and that it can be stopped, continued and corrected."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from napari_sam3_assistant import api
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import MaskPrompt, PointPrompt
from napari_sam3_assistant.core.tracks import Seed
from napari_sam3_assistant.engines.sam3_transformers.video_memory import stored_bytes
from napari_sam3_assistant.errors import EngineError, JobCancelled, PromptError

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


def mask(x=25):
    painted = np.zeros(SHAPE, bool)
    painted[15:40, x : x + 25] = True
    return MaskPrompt.from_plane(painted)


def go(track, order):
    return {found.frame: found for found in track.propagate(order, REPORTER)}


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


@pytest.fixture
def quick_encoder(video_engine, monkeypatch):
    """Encode each picture once: the encoder is not what the long tests look at."""
    backbone = video_engine.model.detector.vision_encoder.backbone
    real, known = backbone.forward, {}

    def forward(pixel_values, **kwargs):
        key = float(pixel_values.double().sum())
        if key not in known:
            known[key] = real(pixel_values, **kwargs)
        return known[key]

    monkeypatch.setattr(backbone, "forward", forward)


def test_memory_stays_flat_over_500_frames(start, quick_encoder):
    track = start(Movie(500), Seed(0, 1, mask=mask()))
    followed = track._objects[1]  # noqa: SLF001 - what it stores is what is shown
    stored, records = [], []

    for found in track.propagate(range(500), REPORTER):
        stored.append(stored_bytes([followed.outputs]))
        records.append(sum(map(len, followed.outputs.values())))
        if found.frame == 300:
            assert pixels(found)[1].any()

    # One prompted frame with 15 behind it, and the last 16.
    assert max(records) == records[50] == 32
    assert len(set(stored[50:])) == 1
    session = followed._session  # noqa: SLF001
    assert not dict(session.processed_frames)
    assert not session.mask_inputs_per_obj[0]
    assert not session.frames_tracked_per_obj[0]


def test_memory_of_phrases_stays_flat(start, quick_encoder, video_engine, monkeypatch):
    monkeypatch.setattr(video_engine.model.video, "max_num_objects", 2)
    track = start(Movie(120))
    track.add_phrase("cell", 0)
    phrases = track._phrases  # noqa: SLF001
    sizes = []

    for found in track.propagate(range(70), REPORTER):
        session = phrases._session  # noqa: SLF001
        by_frame = (
            session.obj_id_to_tracker_score_frame_wise,
            session.suppressed_obj_ids,
            session.unmatched_frame_inds,
            session.overlap_pair_to_frame_inds,
            *session.mask_inputs_per_obj.values(),
            *session.frames_tracked_per_obj.values(),
        )
        assert not any(by_frame)
        assert not dict(session.processed_frames)
        sizes.append((stored_bytes(phrases.outputs), sum(len(one) for one in by_frame)))
        assert len(found.tracked) <= 2

    assert len(set(sizes[50:])) == 1


def test_each_frame_is_read_once_a_direction(start, movie):
    track = start(movie, Seed(4, 1, mask=mask()), Seed(4, 2, points=(PointPrompt(30, 40),)))

    go(track, range(4, 10))
    assert movie.reads == [4, 5, 6, 7, 8, 9]
    go(track, range(3, -1, -1))
    assert movie.reads[6:] == [3, 2, 1, 0]


def test_it_stops_within_a_frame_and_goes_on(start, movie, video_engine):
    whole = go(start(movie, Seed(0, 1, mask=mask()), Seed(0, 2, mask=mask(40))), range(8))
    track = start(movie, Seed(0, 1, mask=mask()), Seed(0, 2, mask=mask(40)))
    done = {}
    calls = Counter()
    layers = video_engine.model.detector.vision_encoder.backbone.layers
    hooks = [layer.register_forward_hook(lambda *_: calls.update(["layer"])) for layer in layers]

    def check():
        # Asked for between the two layers of the encoder, on the frame after the fourth.
        if len(done) == 4 and calls["layer"] == 1:
            raise JobCancelled

    def follow():
        reporter = SimpleNamespace(check=check, report=lambda _: None)
        for found in track.propagate(range(8), reporter):
            done[found.frame] = found
            calls.clear()

    with pytest.raises(JobCancelled):
        follow()
    for hook in hooks:
        hook.remove()
    assert list(done) == [0, 1, 2, 3]
    assert calls["layer"] == 1

    done |= go(track, range(4, 8))
    assert_equal(done, whole)


def test_a_painted_correction_holds_from_its_frame_on(start, movie):
    track = start(movie, Seed(0, 1, mask=mask()), Seed(0, 2, mask=mask(40)))
    before = go(track, range(10))

    track.add(Seed(6, 1, mask=mask(5)))
    after = go(track, range(6, 10))

    assert list(after) == [6, 7, 8, 9]
    painted = pixels(after[6])[1]
    expected = np.zeros(SHAPE, bool)
    expected[15:40, 5:30] = True
    assert np.count_nonzero(painted & expected) > 0.95 * np.count_nonzero(painted | expected)
    assert (pixels(after[7])[1] != pixels(before[7])[1]).any()
    np.testing.assert_array_equal(pixels(after[7])[2], pixels(before[7])[2])


def test_a_click_corrects_with_what_is_remembered(start, movie):
    track = start(movie, Seed(0, 1, mask=mask()))
    before = go(track, range(10))

    track.add(Seed(7, 1, points=(PointPrompt(30, 40, positive=False),)))
    after = go(track, range(7, 10))

    alone = go(start(movie, Seed(7, 1, points=(PointPrompt(30, 40),))), range(7, 8))
    assert (pixels(after[7])[1] != pixels(before[7])[1]).any()
    assert (pixels(after[7])[1] != pixels(alone[7])[1]).any()


def test_prompts_of_an_object_are_replaced(start, movie):
    track = start(movie, Seed(2, 1, mask=mask(5)))
    go(track, range(2, 5))

    track.add(Seed(2, 1, mask=mask()))

    fresh = go(start(movie, Seed(2, 1, mask=mask())), range(2, 3))
    assert_equal(go(track, range(2, 3)), fresh)


def test_objects_prompted_on_different_frames(start, movie):
    track = start(movie, Seed(2, 1, mask=mask()), Seed(6, 2, mask=mask(40)))

    forward = go(track, range(2, 10))
    assert [sorted(forward[frame].tracked) for frame in (2, 5, 6, 9)] == [[1], [1], [1, 2], [1, 2]]
    backward = go(track, range(5, -1, -1))
    assert [sorted(backward[frame].tracked) for frame in (5, 3, 2, 0)] == [[2], [2], [1, 2], [1, 2]]


def test_a_removed_object_is_gone(start, movie):
    track = start(movie, Seed(0, 1, mask=mask()), Seed(0, 2, mask=mask(40)))
    go(track, range(3))

    track.remove(1)

    assert {id_ for found in go(track, range(3, 6)).values() for id_ in found.tracked} == {2}


def test_an_object_of_a_phrase_can_be_corrected_and_removed(start, movie):
    track = start(movie)
    track.add_phrase("cell", 0)
    first = go(track, range(3))
    seen = sorted(record.id for record in first[2].objects)
    assert len(seen) >= 2
    corrected, removed = seen[:2]

    with pytest.raises(PromptError, match=f"All points of object {corrected} are negative"):
        track.add(Seed(3, corrected, points=(PointPrompt(1, 1, positive=False),)))
    track.add(Seed(3, corrected, mask=mask()))
    track.remove(removed)
    after = go(track, range(3, 5))

    ids = [record.id for record in after[3].objects]
    assert ids.count(corrected) == 1
    assert removed not in ids
    assert np.count_nonzero(pixels(after[3])[corrected]) == pytest.approx(25 * 25, rel=0.1)


def test_a_long_phrase_is_refused(start, movie):
    with pytest.raises(PromptError, match="SAM 3 takes up to 32"):
        start(movie).add_phrase("cell " * 40, 0)


def test_a_closed_engine_is_said(video_checkpoint, movie):
    from napari_sam3_assistant.engines.sam3_transformers import ENTRY

    engine = ENTRY.create(video_checkpoint, "cpu")
    track = engine.track(movie, PredictOptions(), lambda: 1)
    with pytest.raises(EngineError, match="SAM 3 is not loaded"):
        track.add(Seed(0, 1, mask=mask()))


def test_examples_are_found_on_the_slice_and_their_masks_are_followed(video_checkpoint, movie):
    stack = np.stack(movie.pictures)

    results = list(
        api.track(
            stack,
            frame=1,
            exemplars=[(20, 18, 41, 39)],
            engine="sam3-transformers",
            model_folder=video_checkpoint,
            device="cpu",
            threshold=0.1,
        )
    )

    assert [result.frame for result in results] == [1, 2, 3, 0]
    assert "objects of example boxes are segmented on frame 1 first" in results[0].notes[0]
    assert results[0].objects
    assert results[0].engine.engine == "sam3-transformers"
    assert results[0].tracked == {record.id for record in results[0].objects}
