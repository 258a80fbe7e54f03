"""What every engine must do that follows objects through a stack.

Subclass ``VideoEngineContract``, ``TrackerContract`` for an engine with a memory, or
``Sam3VideoContract`` for one that runs SAM 3, and give it a loaded engine in the fixture
``video_engine``. Take ``start`` and ``movie`` along: a fixture is found in the module of the tests.
"""

from __future__ import annotations

import gc
import itertools
import threading
import weakref
from collections import Counter
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from napari_sam3_assistant import api
from napari_sam3_assistant.core.display import view_of_array
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import (
    BoxPrompt,
    MaskPrompt,
    PointPrompt,
    PromptKind,
    PromptSet,
)
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.tracks import TrackSeed
from napari_sam3_assistant.engines.caching_engine import CachingEngine
from napari_sam3_assistant.errors import EngineError, JobCancelled, PromptError
from napari_sam3_assistant.workflows.track import Tracking

REPORTER = NullReporter()
SHAPE = (60, 80)


class Movie:
    """Frames of a disc that moves, in a circle of four pictures."""

    shape = SHAPE
    is_movie = True

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

    def view_at(self, frame):
        return view_of_array(self.pictures[frame % 4])


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


def painted(x=25):
    plane = np.zeros(SHAPE, bool)
    plane[15:40, x : x + 25] = True
    return plane


def mask(x=25):
    return MaskPrompt.from_plane(painted(x))


def go(track, order, reporter=REPORTER):
    return {found.frame: found for found in track.propagate(order, reporter)}


def pixels(found):
    """Return each object's pixels."""
    planes = {}
    for record in found.objects:
        planes[record.id] = np.zeros(SHAPE, bool)
        planes[record.id][record.region.slices] = record.mask
    return planes


@contextmanager
def no_numbers(module):
    """Have a part of the model give NaN, as of a GPU that computes wrongly."""
    from torch.utils._pytree import tree_map

    def spoil(value):
        return value * float("nan") if getattr(value, "is_floating_point", bool)() else value

    handle = module.register_forward_hook(lambda _part, _given, answer: tree_map(spoil, answer))
    yield
    handle.remove()


def overlap(one, other):
    """Return the intersection of two masks over their union."""
    return np.count_nonzero(one & other) / np.count_nonzero(one | other)


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for frame in one:
        assert one[frame].tracked == other[frame].tracked
        first, second = pixels(one[frame]), pixels(other[frame])
        assert first.keys() == second.keys()
        for name in first:
            np.testing.assert_array_equal(first[name], second[name])


def stopped(track, order, stops):
    """Go through frames until ``stops`` says so, asked at each check; return what was done."""
    done = {}

    def check():
        if stops(done):
            raise JobCancelled

    def follow():
        for found in track.propagate(order, SimpleNamespace(check=check, report=lambda _: None)):
            done[found.frame] = found

    with pytest.raises(JobCancelled):
        follow()
    assert list(done) == list(order)[: len(done)]
    return done


class VideoEngineContract:
    """What is true of any engine."""

    def test_each_frame_is_answered_once_in_order(self, start, movie):
        track = start(movie, TrackSeed(4, 1, mask=mask()), TrackSeed(4, 2, mask=mask(50)))
        for order in (range(4, 10), range(3, -1, -1)):
            found = list(track.propagate(order, REPORTER))
            assert [one.frame for one in found] == list(order)
            for one in found:
                ids = [record.id for record in one.objects]
                assert ids == sorted(set(ids))
                assert one.tracked >= set(ids)
                for record in one.objects:
                    assert record.region.intersect(Region.whole(SHAPE)) == record.region
        assert list(track.propagate(range(0), REPORTER)) == []

    def test_it_stops_at_any_check_and_goes_on(self, start, movie):
        seeds = TrackSeed(0, 1, mask=mask()), TrackSeed(0, 2, mask=mask(40))
        whole = go(start(movie, *seeds), range(4))
        assert whole[3].objects
        for number in range(1, 7):
            track, checks = start(movie, *seeds), Counter()

            def stops(done, number=number, checks=checks):
                checks["later"] += len(done) >= 2
                return checks["later"] == number

            done = stopped(track, range(4), stops)
            assert len(done) >= 2
            assert_equal(done | go(track, range(len(done), 4)), whole)
            track.close()

    def test_prompts_of_an_object_are_replaced(self, start, movie):
        track = start(movie, TrackSeed(2, 1, mask=mask(5)))
        go(track, range(2, 5))

        track.add(TrackSeed(2, 1, mask=mask()))

        fresh = go(start(movie, TrackSeed(2, 1, mask=mask())), range(2, 3))
        assert_equal(go(track, range(2, 3)), fresh)

    def test_every_painted_slice_of_an_object_holds(self, start):
        track = start(
            Movie(24), *(TrackSeed(frame, 1, mask=mask(5 + frame)) for frame in range(20))
        )

        found = go(track, range(22))

        for frame in range(20):
            assert overlap(pixels(found[frame])[1], painted(5 + frame)) > 0.95

    def test_objects_prompted_on_different_frames(self, start, movie):
        track = start(movie, TrackSeed(2, 1, mask=mask()), TrackSeed(6, 2, mask=mask(40)))

        forward = go(track, range(2, 10))
        tracked = {frame: sorted(found.tracked) for frame, found in forward.items()}
        assert [tracked[frame] for frame in (2, 5, 6, 9)] == [[1], [1], [1, 2], [1, 2]]
        backward = go(track, range(5, -1, -1))
        tracked = {frame: sorted(found.tracked) for frame, found in backward.items()}
        assert [tracked[frame] for frame in (5, 3, 2, 0)] == [[2], [2], [1, 2], [1, 2]]

    def test_a_removed_object_is_gone(self, start, movie):
        track = start(movie, TrackSeed(0, 1, mask=mask()), TrackSeed(0, 2, mask=mask(40)))
        go(track, range(3))

        track.remove(1)
        track.remove(99)

        after = go(track, range(3, 6)).values()
        assert {id_ for found in after for id_ in found.tracked} == {2}
        assert {record.id for found in after for record in found.objects} <= {2}

    def test_a_closed_track_knows_nothing(self, start, movie):
        track = start(movie, TrackSeed(0, 1, mask=mask()))
        assert go(track, range(2))[1].tracked == {1}

        track.close()
        track.close()

        assert all(not found.tracked for found in go(track, range(2)).values())

    def test_a_phrase_is_refused_where_the_card_offers_none(self, video_engine, movie):
        if PromptKind.TEXT in video_engine.spec.video.prompts:
            pytest.skip("this engine follows phrases")
        track = CachingEngine(video_engine).track(movie, PredictOptions(), lambda: 1)
        with pytest.raises(PromptError, match="can't look for 'cell' on each slice from 2 on"):
            track.add_phrase("cell", 2)


class TrackerContract(VideoEngineContract):
    """What is true of an engine that follows objects by the memory of a model.

    Override what raises here; give it the fixture ``not_loaded`` (an engine).
    """

    def encoder_layers(self, engine):
        raise AssertionError("the subclass gives the layers of the image encoder")

    def weights(self, engine):
        raise AssertionError("the subclass gives the models of images and of the tracker")

    def test_each_frame_is_read_once_a_direction(self, start, movie):
        track = start(
            movie, TrackSeed(4, 1, mask=mask()), TrackSeed(4, 2, points=(PointPrompt(30, 40),))
        )

        go(track, range(4, 10))
        assert movie.reads == [4, 5, 6, 7, 8, 9]
        go(track, range(3, -1, -1))
        assert movie.reads[6:] == [3, 2, 1, 0]

    @pytest.mark.parametrize("layers_run", [0, 1])
    def test_it_stops_within_a_frame_and_goes_on(self, start, movie, video_engine, layers_run):
        seeds = TrackSeed(0, 1, mask=mask()), TrackSeed(0, 2, points=(PointPrompt(30, 50),))
        whole = go(start(movie, *seeds), range(6))
        track = start(movie, *seeds)
        calls = Counter()
        hooks = [
            layer.register_forward_hook(lambda *_: calls.update([len(movie.reads)]))
            for layer in self.encoder_layers(video_engine)
        ]
        movie.reads.clear()

        # Of the frame after the fourth no layer of the encoder has run, or only the first.
        done = stopped(track, range(6), lambda done: len(done) == 4 and calls[5] == layers_run)
        for hook in hooks:
            hook.remove()

        assert len(done) == 4
        assert calls[5] == layers_run
        assert_equal(done | go(track, range(4, 6)), whole)

    def test_objects_go_through_the_memory_attention_together_as_one_by_one(
        self, start, movie, video_engine
    ):
        seeds = (
            TrackSeed(0, 1, mask=mask()),
            TrackSeed(0, 2, mask=mask(40)),
            TrackSeed(0, 3, points=(PointPrompt(30, 20), PointPrompt(5, 70, positive=False))),
            # It remembers less than the others.
            TrackSeed(2, 4, mask=mask(5)),
            TrackSeed(0, 5, box=BoxPrompt.from_box((12.4, 19.75, 43.7, 61.2))),
        )
        _, tracker = self.weights(video_engine)
        encoder = getattr(getattr(tracker, "transformer", None), "encoder", None)
        runs = Counter()
        hook = (
            (encoder or tracker.memory_attention)
            .layers[0]
            .register_forward_hook(lambda *_: runs.update([together]))
        )

        found = {}
        for together in (1, 4):
            track = start(movie, *seeds)
            track._together = together  # noqa: SLF001 - the engine chooses by the device
            found[together] = go(track, range(5))
        hook.remove()

        assert_equal(found[4], found[1])
        for frame, alone in found[1].items():
            scores = [one.score for one in alone.objects]
            assert [one.score for one in found[4][frame].objects] == pytest.approx(scores, abs=1e-5)
        # 4 objects on frames 1 and 2, 5 on two more: all at once; without the fourth one on frame
        # 2; and the fourth one, as what it remembers is shorter, and the fifth by themselves.
        assert dict(runs) == {1: 4 + 4 + 5 + 5, 4: 1 + 2 + 3 + 3}

    def test_a_painted_correction_holds_from_its_frame_on(self, start, movie):
        track = start(movie, TrackSeed(0, 1, mask=mask()), TrackSeed(0, 2, mask=mask(40)))
        before = go(track, range(6))

        track.add(TrackSeed(3, 1, mask=mask(5)))
        after = go(track, range(3, 6))

        assert list(after) == [3, 4, 5]
        assert overlap(pixels(after[3])[1], painted(5)) > 0.95
        assert (pixels(after[4])[1] != pixels(before[4])[1]).any()
        np.testing.assert_array_equal(pixels(after[4])[2], pixels(before[4])[2])

    def test_a_click_corrects_with_what_is_remembered(self, start, movie):
        click = TrackSeed(7, 1, points=(PointPrompt(30, 40),))
        track = start(movie, TrackSeed(0, 1, mask=mask()))
        before = go(track, range(10))

        track.add(click)
        after = go(track, range(7, 10))

        alone = go(start(movie, click), range(7, 8))
        assert (pixels(after[7])[1] != pixels(before[7])[1]).any()
        assert (pixels(after[7])[1] != pixels(alone[7])[1]).any()

    def test_what_is_not_there_corrects_an_object(self, start, movie):
        track = start(movie, TrackSeed(0, 1, mask=mask()))
        before = go(track, range(5))

        track.add(TrackSeed(3, 1, points=(PointPrompt(30, 40, positive=False),)))

        assert (pixels(go(track, range(3, 5))[3])[1] != pixels(before[3])[1]).any()

    def test_what_is_only_not_there_names_no_object(self, start, movie):
        with pytest.raises(PromptError, match="All points of object 3 are negative"):
            start(movie, TrackSeed(0, 3, points=(PointPrompt(1, 1, positive=False),)))

    def test_a_closed_engine_is_said(self, not_loaded, movie):
        track = not_loaded.track(movie, PredictOptions(), lambda: 1)
        with pytest.raises(EngineError, match=f"{not_loaded.spec.model_name} is not loaded"):
            track.add(TrackSeed(0, 1, mask=mask()))

    def test_an_engine_that_is_closed_between_frames_is_said_and_frees_its_weights(
        self, not_loaded, movie
    ):
        not_loaded.load(REPORTER)
        weights = [weakref.ref(part) for part in self.weights(not_loaded)]
        track = not_loaded.track(movie, PredictOptions(), itertools.count(100).__next__)
        track.add(TrackSeed(0, 1, mask=mask()))
        if PromptKind.TEXT in not_loaded.spec.video.prompts:
            track.add_phrase("cell", 0)
        on_its_way = track.propagate(range(3), REPORTER)
        next(on_its_way)

        not_loaded.close()

        with pytest.raises(EngineError, match=f"{not_loaded.spec.model_name} is not loaded"):
            next(on_its_way)
        gc.collect()
        assert [part() for part in weights] == [None, None]
        track.close()

    def test_an_engine_that_is_closed_by_another_thread_stops_the_frame(self, not_loaded):
        movie, inside, errors = Movie(3), threading.Event(), []
        shared = CachingEngine(not_loaded)
        shared.load(REPORTER)
        track = shared.track(movie, PredictOptions(), lambda: 9)
        track.add(TrackSeed(0, 1, mask=mask()))

        def read(frame, real=movie.read):
            if frame == 1:
                inside.set()
                # A real event is better than a sleep: the wish to close is known.
                assert shared._lock._closing.wait(240)  # noqa: SLF001
            return real(frame)

        def follow():
            try:
                go(track, range(3))
            except EngineError as error:
                errors.append(str(error))

        movie.read = read
        following = threading.Thread(target=follow)
        following.start()
        assert inside.wait(240)
        shared.close()
        following.join(240)

        stopped = f"{not_loaded.spec.title} was closed while it worked"
        assert [error.split(". ")[0] for error in errors] == [stopped]
        assert movie.reads == [0, 1]
        track.close()


class Sam3VideoContract(TrackerContract):
    """What is true of an engine that runs SAM 3, which finds phrases on each frame, too.

    Give it the fixture ``folder`` (its model folder), and ``eager`` where the model finds nothing
    with random weights.
    """

    name = ""

    @pytest.fixture
    def eager(self):
        """Let the video model take what random weights find."""

    def test_an_object_of_a_phrase_can_be_corrected_and_removed(self, start, movie, eager):
        track = start(movie)
        track.add_phrase("cell", 0)
        track.add_phrase("cell", 0)
        first = go(track, range(4))
        seen = sorted({name for found in first.values() for name in found.tracked})
        assert len(seen) >= 2
        corrected, removed = seen[:2]

        with pytest.raises(PromptError, match=f"All points of object {corrected} are negative"):
            track.add(TrackSeed(4, corrected, points=(PointPrompt(1, 1, positive=False),)))
        track.add(TrackSeed(4, corrected, mask=mask()))
        track.remove(removed)
        after = go(track, range(4, 6))

        ids = [record.id for record in after[4].objects]
        assert ids.count(corrected) == 1
        assert removed not in ids
        assert corrected in after[4].tracked
        assert removed not in after[4].tracked
        area = np.count_nonzero(pixels(after[4])[corrected])
        assert area == pytest.approx(25 * 25, rel=0.1)

    def test_a_phrase_goes_on_with_the_objects_that_an_engine_before_it_knew(
        self, video_engine, movie, eager
    ):
        """What is told as masks is not found by the phrase a second time."""
        engine, phrase = CachingEngine(video_engine), "cell"
        with Tracking(engine, movie) as before:
            before.add({0: PromptSet(text=phrase)}, REPORTER)
            *_, last = before.follow([range(2)], REPORTER)
        known = {record.id: record for record in last.objects}
        assert known
        masks = tuple(MaskPrompt(one.mask, one.region, one.id) for one in last.objects)
        with Tracking(engine, movie) as tracking:
            tracking.reserve(known)
            tracking.add({1: PromptSet(masks=masks, text=phrase)}, REPORTER)
            results = list(tracking.follow([range(2, 4)], REPORTER))
        seen = set(known)
        assert any(known.keys() & {record.id for record in one.objects} for one in results)
        for result in results:
            mine = [record for record in result.objects if record.id in known]
            for record in result.objects:
                if record.id not in seen:
                    seen.add(record.id)
                    assert all(record.iou(one) < 0.5 for one in mine)
            assert result.tracked >= known.keys()

    @pytest.mark.parametrize("part", ["encoder", "tracker"])
    def test_a_frame_without_numbers_does_not_lose_what_a_phrase_finds(
        self, video_engine, start, movie, eager, part
    ):
        track = start(movie)
        track.add_phrase("cell", 0)
        assert any(found.objects for found in go(track, range(2)).values())
        tracker = video_engine.model.tracker
        spoiled = {
            "encoder": self.encoder_layers(video_engine)[1],
            "tracker": getattr(tracker, "mask_decoder", None) or tracker.sam_mask_decoder,
        }[part]
        with no_numbers(spoiled), pytest.raises(EngineError, match="no numbers"):
            go(track, range(2, 4))

    def test_a_long_phrase_is_refused_and_leaves_nothing_behind(self, start, movie):
        track = start(movie, TrackSeed(0, 1, mask=mask()))
        with pytest.raises(PromptError, match="SAM 3 takes up to 32"):
            track.add_phrase("cell " * 40, 0)

        assert [sorted(found.tracked) for found in go(track, range(2)).values()] == [[1], [1]]

    def test_examples_are_found_on_the_slice_and_their_masks_are_followed(self, folder, movie):
        results = list(
            api.track(
                np.stack(movie.pictures),
                frame=1,
                exemplars=[(20, 18, 41, 39)],
                engine=self.name,
                model_folder=folder,
                device="cpu",
                threshold=0.1,
            )
        )

        assert [result.frame for result in results] == [1, 2, 3, 0]
        assert "objects of example boxes are segmented on frame 1 first" in results[0].notes[0]
        assert results[0].objects
        assert results[0].engine.engine == self.name
        assert results[0].tracked == {record.id for record in results[0].objects}
