"""Objects through a stack: prompts, ids, order of frames, going on, stopping."""

from collections import Counter

import dask.array as da
import numpy as np
import pytest

from napari_sam3_assistant.core.display import FrameSource, view_of_array
from napari_sam3_assistant.core.progress import CancelToken, NullReporter
from napari_sam3_assistant.core.prompts import (
    BoxPrompt,
    MaskPrompt,
    PointPrompt,
    PromptKind,
    PromptSet,
)
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.tracks import Direction, Span
from napari_sam3_assistant.engines import registry
from napari_sam3_assistant.engines.base import EngineSpec, TrackSpec
from napari_sam3_assistant.engines.caching_engine import CachingEngine
from napari_sam3_assistant.errors import ImageError, JobCancelled, PromptError
from napari_sam3_assistant.workflows.track import Tracking, TrackRequest, track
from napari_sam3_assistant.workflows.track_prompts import check_prompts

REPORTER = NullReporter()
SHAPE = (12, 40, 64)


def cells(shape=SHAPE):
    """Two bright cylinders, round (20, 16) on all slices and round (20, 46) on slices 3 to 8."""
    z, y, x = np.ogrid[: shape[0], : shape[1], : shape[2]]
    one = (y - 20) ** 2 + (x - 16) ** 2 <= 100
    other = ((y - 20) ** 2 + (x - 46) ** 2 <= 100) & (z >= 3) & (z <= 8)
    return np.where(one | other, 200, 30).astype(np.uint8)


def source(stack=None):
    return FrameSource(view_of_array(cells() if stack is None else stack, plane=0), 0)


def disc(x, id_=None):
    rows, columns = np.ogrid[:40, :64]
    return MaskPrompt.from_plane((rows - 20) ** 2 + (columns - x) ** 2 <= 100, id_)


@pytest.fixture
def engine():
    with CachingEngine(registry.create("builtin")) as made:
        yield made


@pytest.fixture
def tracking(engine):
    with Tracking(engine, source()) as made:
        yield made


def frames_of(results):
    return [result.frame for result in results]


def ids_of(results):
    return {result.frame: [record.id for record in result.objects] for result in results}


@pytest.mark.parametrize(
    ("span", "frames"),
    [
        (Span(Direction.BOTH), [5, 6, 7, 8, 9, 10, 11, 4, 3, 2, 1, 0]),
        (Span(Direction.FORWARD), [5, 6, 7, 8, 9, 10, 11]),
        (Span(Direction.BACKWARD), [5, 4, 3, 2, 1, 0]),
        (Span(Direction.BOTH, first=4, last=6), [5, 6, 4]),
        (Span(Direction.BOTH, start=8), [8, 9, 10, 11, 7, 6, 5, 4, 3, 2, 1, 0]),
    ],
)
def test_the_order_of_the_frames(tracking, span, frames):
    tracking.add({5: PromptSet(masks=(disc(16),))}, REPORTER)

    assert frames_of(tracking.propagate(span, REPORTER)) == frames


def test_a_result_has_labels_and_objects_of_its_frame(engine):
    request = TrackRequest(source(), {5: PromptSet(points=(PointPrompt(20, 46),))})

    results = {result.frame: result for result in track(engine, request, REPORTER)}

    assert sorted(results) == list(range(12))
    there = [frame for frame, result in results.items() if result.objects]
    assert sorted(there) == [3, 4, 5, 6, 7, 8]
    (record,) = results[6].objects
    assert results[6].labels.dtype == np.uint32
    assert results[6].labels[20, 46] == record.id == 1
    assert np.count_nonzero(results[6].labels) == record.area
    assert results[6].engine.engine == "builtin"
    assert results[6].tracked == {1}
    assert "points" in results[5].notes[0]
    assert not results[6].notes


def test_objects_prompted_on_different_frames_are_all_there(engine):
    prompts = {
        2: PromptSet(masks=(disc(16),)),
        6: PromptSet(masks=(disc(46),)),
    }
    results = list(track(engine, TrackRequest(source(), prompts), REPORTER))

    last = {result.frame: result for result in results}
    assert frames_of(results) == [*range(2, 12), 5, 4, 3, 2, 1, 0]
    assert ids_of(last.values()) == {
        frame: [1, 2] if 3 <= frame <= 8 else [1] for frame in range(12)
    }


def test_an_object_prompted_twice(tracking):
    tracking.add({3: PromptSet(masks=(disc(16, 1),)), 8: PromptSet(masks=(disc(16, 1),))}, REPORTER)

    both = frames_of(tracking.propagate(Span(), REPORTER))
    assert both == [*range(3, 12), 2, 1, 0]
    assert frames_of(tracking.propagate(Span(Direction.BACKWARD), REPORTER)) == [*range(8, -1, -1)]
    later = frames_of(tracking.propagate(Span(first=6), REPORTER))
    assert later == [*range(8, 12), 7, 6]


def test_ids_are_the_users_where_he_gives_them(tracking):
    points = (PointPrompt(20, 16, object_id=7), PointPrompt(20, 46, object_id=3))
    boxes = (BoxPrompt(Region(9, 35, 32, 58), object_id=3),)
    tracking.add({5: PromptSet(points=points, boxes=boxes)}, REPORTER)

    (result,) = tracking.propagate(Span(first=5, last=5), REPORTER)

    assert result.labels[20, 16] == 7
    assert result.labels[20, 46] == 3
    assert len(result.objects) == 2


def test_clicks_without_an_id_on_two_frames_are_on_one_object(tracking):
    tracking.add({4: PromptSet(points=(PointPrompt(20, 16),))}, REPORTER)
    tracking.add({8: PromptSet(points=(PointPrompt(20, 16),))}, REPORTER)
    tracking.add({8: PromptSet(boxes=(BoxPrompt(Region(9, 35, 32, 58)),))}, REPORTER)

    results = {result.frame: result for result in tracking.propagate(Span(), REPORTER)}

    assert [record.id for record in results[8].objects] == [1, 2]


def test_a_click_corrects_what_is_shown(tracking):
    tracking.add({5: PromptSet(masks=(disc(16, 1),))}, REPORTER)
    shown = np.zeros((40, 64), np.uint32)
    shown[20 - 10 : 20 + 11, 6:60] = 1  # both cells, as one object
    correction = PromptSet(points=(PointPrompt(20, 46, positive=False, object_id=1),))

    tracking.add({7: correction}, REPORTER, {7: shown})

    found = {result.frame: result for result in tracking.propagate(Span(start=7), REPORTER)}
    assert found[7].labels[20, 16] == 1
    assert found[7].labels[20, 46] == 0


def test_what_was_yielded_holds_when_it_is_stopped_and_it_can_go_on(tracking):
    tracking.add({5: PromptSet(masks=(disc(16),))}, REPORTER)
    token, done = CancelToken(), []

    class Reporter:
        def report(self, progress):
            token.check()

        def check(self):
            token.check()

    def go():
        for result in tracking.propagate(Span(), Reporter()):
            done.append(result.frame)
            if result.frame == 8:
                token.cancel()

    with pytest.raises(JobCancelled):
        go()
    assert done == [5, 6, 7, 8]

    rest = list(tracking.propagate(Span(Direction.FORWARD, start=9), REPORTER))
    assert ids_of(rest) == {9: [1], 10: [1], 11: [1]}


def test_a_pass_ends_when_all_objects_are_gone_for_so_many_frames(engine):
    stack = cells((30, 40, 64))
    request = TrackRequest(
        source(stack), {5: PromptSet(masks=(disc(46),))}, Span(stop_after_lost=2)
    )
    told = []

    class Reporter(NullReporter):
        def report(self, progress):
            told.append(progress)

    results = list(track(engine, request, Reporter()))

    assert frames_of(results) == [5, 6, 7, 8, 9, 10, 4, 3, 2, 1]
    assert told[-1].done == 10
    assert told[-1].message.startswith("Frame 1: 0 objects, ")


def test_a_pass_does_not_end_before_the_last_prompt(engine):
    prompts = {4: PromptSet(masks=(disc(46),)), 11: PromptSet(masks=(disc(16),))}
    request = TrackRequest(source(), prompts, Span(Direction.FORWARD, stop_after_lost=1))

    assert frames_of(track(engine, request, REPORTER))[-1] == 11


def test_progress_counts_all_frames(engine):
    told = []

    class Reporter(NullReporter):
        def report(self, progress):
            if progress.total:
                told.append((progress.done, progress.total))

    request = TrackRequest(source(), {5: PromptSet(masks=(disc(16),))})
    list(track(engine, request, Reporter()))

    assert told == [(number, 12) for number in range(1, 13)]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_each_frame_is_read_once_a_direction(engine, dtype):
    reads, values = [], cells().astype(dtype)

    def block(block_info=None):
        number = block_info[None]["chunk-location"][0]
        reads.append(number)
        return values[number : number + 1]

    stack = da.map_blocks(block, dtype=dtype, chunks=((1,) * 12, (40,), (64,)), meta=values[:0])
    request = TrackRequest(source(stack), {5: PromptSet(masks=(disc(16),))})

    passes = [*range(5, 12), *range(5, -1, -1)]
    # One contrast for a stack that is not of bytes, from five of its planes.
    sampled = 5 if dtype is np.uint16 else 0

    for number, _ in enumerate(track(engine, request, REPORTER)):
        assert len(reads) <= sampled + number + 2

    assert len(reads) == sampled + len(passes)
    if not sampled:
        assert reads == passes
    assert not Counter(passes) - Counter(reads)


LIMITED = EngineSpec(
    name="limited",
    title="Limited",
    accepts=frozenset(PromptKind),
    needs_weights=False,
    video=TrackSpec(
        prompts=frozenset({PromptKind.POINTS, PromptKind.BOXES, PromptKind.TEXT}),
        max_points=16,
        max_boxes=1,
        mixes=False,
    ),
)
POINT, BOX = PointPrompt(20, 16), BoxPrompt(Region(9, 5, 31, 27))


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        ({}, "No prompts found"),
        ({5: PromptSet()}, "No prompts found"),
        ({12: PromptSet(points=(POINT,))}, "no frame 12 in a stack of 12"),
        ({5: PromptSet(points=(PointPrompt(99, 1),))}, "outside the image"),
        ({5: PromptSet(masks=(disc(16),))}, "does not take painted masks for 3D/video"),
        ({5: PromptSet(points=(POINT,) * 17)}, "up to 16 points on one object, these are 17"),
        ({5: PromptSet(points=(POINT,), boxes=(BOX,))}, "points together with boxes"),
        ({5: PromptSet(points=(POINT,), text="cell")}, "points together with a phrase"),
        ({5: PromptSet(boxes=(BOX, BOX))}, "takes 1 box for 3D/video, these are 2"),
        ({4: PromptSet(boxes=(BOX,)), 5: PromptSet(boxes=(BOX,))}, "these are 2"),
    ],
)
def test_what_an_engine_can_not_do_is_said_before_anything_is_loaded(prompts, said):
    with pytest.raises(PromptError, match=said):
        check_prompts(LIMITED, prompts, source())


def test_an_engine_for_planes_only_is_refused():
    planes_only = EngineSpec("planes", "Planes", frozenset(PromptKind), needs_weights=False)
    with pytest.raises(PromptError, match="Planes can't follow objects through a stack"):
        check_prompts(planes_only, {5: PromptSet(points=(POINT,))}, source())


def test_nothing_to_go_on_from_is_said(tracking):
    with pytest.raises(PromptError, match="No prompts found"):
        list(tracking.propagate(Span(), REPORTER))
    tracking.add({5: PromptSet(masks=(disc(16),))}, REPORTER)
    with pytest.raises(PromptError, match="No prompt lies on the frames 7 to 9"):
        list(tracking.propagate(Span(first=7, last=9), REPORTER))


def test_prompts_that_find_nothing_are_said(tracking):
    with pytest.raises(PromptError, match="Nothing was found on frame 1"):
        tracking.add({1: PromptSet(text="dark cells")}, REPORTER)


def test_an_object_id_below_1_is_refused(tracking):
    with pytest.raises(PromptError, match="object id 0 can't be used"):
        tracking.add({5: PromptSet(points=(PointPrompt(20, 16, object_id=0),))}, REPORTER)


def test_a_removed_object_is_gone(tracking):
    tracking.add({5: PromptSet(masks=(disc(16), disc(46)))}, REPORTER)
    tracking.remove(1)

    results = list(tracking.propagate(Span(first=4, last=6), REPORTER))

    assert ids_of(results) == {4: [2], 5: [2], 6: [2]}


class OneBroken:
    """A stack of which one frame can't be read, as of a damaged file."""

    shape, dtype = SHAPE, np.dtype(np.uint8)

    def __init__(self, frame):
        self._frame = frame

    def __getitem__(self, key):
        if key[0] == self._frame:
            raise OSError("a damaged frame")
        return cells()[key]


@pytest.mark.parametrize(
    ("broken", "frames"),
    [(8, [5, 6, 7, 4, 3, 2, 1, 0]), (2, [5, 6, 7, 8, 9, 10, 11, 4, 3])],
)
def test_a_frame_that_can_not_be_read_costs_what_lies_behind_it(engine, broken, frames):
    tracking = Tracking(engine, source(OneBroken(broken)))
    tracking.add({5: PromptSet(masks=(disc(16),))}, REPORTER)
    whole = Tracking(engine, source())
    whole.add({5: PromptSet(masks=(disc(16),))}, REPORTER)
    expected = {result.frame: result.labels for result in whole.propagate(Span(), REPORTER)}
    done = []

    def follow():
        for result in tracking.propagate(Span(), REPORTER):
            done.append(result)

    with pytest.raises(ImageError, match="a damaged frame"):
        follow()

    assert frames_of(done) == frames
    for result in done:
        np.testing.assert_array_equal(result.labels, expected[result.frame])
