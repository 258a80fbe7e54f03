"""Follow objects through a stack."""

from __future__ import annotations

import itertools
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.plurals import plural_of
from napari_sam3_assistant.core.progress import Progress, RemainingTime, format_duration
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import paint_labels
from napari_sam3_assistant.core.tracks import FrameResult, Span
from napari_sam3_assistant.engines.base import Prediction
from napari_sam3_assistant.errors import ImageError, PromptError
from napari_sam3_assistant.workflows.everything import EverythingTrack
from napari_sam3_assistant.workflows.track_prompts import ObjectIds, PromptResolver, check_prompts

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from napari_sam3_assistant.core.display import FrameSource
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import MaskPrompt, PromptSet
    from napari_sam3_assistant.core.results import ObjectRecord, Provenance
    from napari_sam3_assistant.core.tracks import TrackedFrame, TrackSeed
    from napari_sam3_assistant.engines.caching_engine import CachingEngine, LockedTrack
    from napari_sam3_assistant.workflows.provenance import StackProvenance


_SAME = 0.5
"""What a phrase finds is a prompted object if they overlap by so much (IoU)."""


@dataclass(frozen=True, slots=True, eq=False)
class TrackRequest:
    """All that a propagation needs, frozen before it starts.

    Parameters
    ----------
    frames : FrameSource
        The stack.
    prompts : mapping
        Prompts by the frame that they are on.
    span : Span
        Which frames to go through.
    options : PredictOptions
        The choices of the run.
    """

    frames: FrameSource
    prompts: Mapping[int, PromptSet]
    span: Span = field(default_factory=Span)
    options: PredictOptions = field(default_factory=PredictOptions)


def track(
    engine: CachingEngine,
    request: TrackRequest,
    reporter: Reporter,
    provenance: StackProvenance | None = None,
) -> Iterator[FrameResult]:
    """Yield the frames of a request as they are done, and forget the objects at the end.

    See :class:`Tracking`, which this opens, for a propagation that stays open. The
    provenance is told of the prompts and the passes; who takes the frames tells it which of
    them arrived.
    """
    span = request.span
    check_prompts(engine.spec, request.prompts, request.frames)
    span.within(len(request.frames))
    with Tracking(engine, request.frames, request.options) as tracking:
        tracking.add(request.prompts, reporter)
        if provenance is not None:
            lost = span.stop_after_lost
            provenance.note_run(request.prompts, {}, stop_after_lost=lost, goes_on=False)
            provenance.note_passes(tracking.passes(span))
        yield from tracking.propagate(span, reporter)


class Tracking(AbstractContextManager["Tracking"]):
    """Objects of one stack that stay known: to go on, to correct them, to remove some.

    Leaving it as a context manager closes it.

    Parameters
    ----------
    engine : CachingEngine
        The engine; it is loaded when it is first needed.
    frames : FrameSource
        The stack.
    options : PredictOptions
        The choices of the run.
    known : mapping of int to sequence of MaskPrompt, optional
        Objects with their numbers on frames that are done, which what is found on the next slices
        by itself is joined to.
    """

    def __init__(
        self,
        engine: CachingEngine,
        frames: FrameSource,
        options: PredictOptions | None = None,
        known: Mapping[int, Sequence[MaskPrompt]] | None = None,
    ) -> None:
        self.frames = frames
        self.engine = engine
        self._options = options or PredictOptions()
        self._known = known or {}
        self._ids = ObjectIds()
        self._track: LockedTrack | EverythingTrack | None = None
        self._prompted: dict[int, set[int]] = {}
        self._phrase_frames: list[int] = []
        self._notes: tuple[str, ...] = ()
        self._phrase = ""
        self._made_by: Provenance | None = None
        # The objects that a phrase has found, each with whether it is a prompted one as well.
        self._doubles: dict[int, bool] = {}
        # What a first pass found on the frames that a second one reaches, too.
        self._earlier: dict[int, tuple[ObjectRecord, ...]] = {}

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_open(self) -> bool:
        """Whether it has prompts to go on from."""
        return self._track is not None

    @property
    def prompted(self) -> dict[int, frozenset[int]]:
        """The frames on which each object was prompted, by the numbers of the objects."""
        return {id_: frozenset(frames) for id_, frames in self._prompted.items()}

    def add(
        self,
        prompts: Mapping[int, PromptSet],
        reporter: Reporter,
        shown: Mapping[int, npt.NDArray[np.generic]] | None = None,
    ) -> None:
        """Take prompts, the first ones or those of a correction.

        Parameters
        ----------
        prompts : mapping
            By the frame that they are on. For an object and a frame that had prompts, these
            replace them.
        reporter : Reporter
            Receives the progress; may cancel the work.
        shown : mapping, optional
            The labels that the user sees, by frame: a first guess for clicks that correct an
            object, for engines that follow masks.

        Raises
        ------
        PromptError
            If they can't be used, or find nothing.
        """
        reporter.report(Progress(0, 0, f"Loading {self.engine.spec.title}"))
        self.engine.load(reporter)
        # Of an engine on a server it is known only now what it takes.
        notes = check_prompts(self.engine.spec, prompts, self.frames)
        if self._track is None and not self._known:
            kinds = frozenset().union(*(found.kinds for found in prompts.values()))
            self.engine.spec.check_diameter(self._options, kinds)
        if self._track is None:
            self._track = self._open(prompts)
        resolver = PromptResolver(self.engine, self.frames, self._options, self._ids)
        followed: list[TrackSeed] = []
        for frame, found in sorted(prompts.items()):
            if not found.kinds:
                continue
            if found.joins_slices:
                self._phrase_frames.append(frame)
                continue
            reporter.report(Progress(0, 0, f"Reading the prompts on frame {frame}"))
            resolved = resolver.resolve(frame, found, (shown or {}).get(frame), reporter)
            for seed in resolved.seeds:
                if seed.is_followed:
                    followed.append(seed)
                    continue
                self._track.add(seed)
                self._prompted.setdefault(seed.object_id, set()).add(frame)
            for phrase, start in resolved.phrases:
                self._track.add_phrase(phrase, start)
                self._phrase_frames.append(start)
                self._phrase = phrase
            notes += resolved.notes
        for seed in followed:
            self._track.add(seed)
            self._prompted.setdefault(seed.object_id, set())
        self._notes += notes
        # Asked once and not with each frame: versions are read from files.
        self._made_by = self.engine.provenance(
            Prediction((), self._options.threshold, self._phrase)
        )

    def _open(self, prompts: Mapping[int, PromptSet]) -> LockedTrack | EverythingTrack:
        """Begin a track: of the engine, or of what it finds on each slice by itself."""
        for found in prompts.values():
            if found.everything is not None and found.joins_slices:
                return EverythingTrack(
                    self.engine,
                    self.frames,
                    found.everything,
                    self._options,
                    lambda: self._ids.take(None),
                    known=self._known,
                )
        return self.engine.track(self.frames, self._options, lambda: self._ids.take(None))

    def reserve(self, ids: Iterable[int]) -> None:
        """Give no new object one of these ids."""
        for id_ in ids:
            self._ids.take(id_)

    def remove(self, object_id: int) -> None:
        """Forget an object; frames from here on are without it."""
        if self._track is not None:
            self._track.remove(object_id)
        self._ids.forget(object_id)
        self._prompted.pop(object_id, None)

    def propagate(self, span: Span, reporter: Reporter) -> Iterator[FrameResult]:
        """Yield frames as they are done.

        When the work is stopped, what was yielded holds, and a new call with a ``start`` goes
        on. A frame that both passes reach, between two prompted frames, is yielded twice, the
        second time with the objects of both.

        Parameters
        ----------
        span : Span
            Which frames to go through.
        reporter : Reporter
            Receives the progress of each frame; may cancel the work between two.

        Raises
        ------
        PromptError
            If nothing was prompted, or the stack has no such frames.
        JobCancelled
            If the user stopped the work.
        """
        if self._track is None:
            raise PromptError(
                "No prompts found.", "Add text, points, boxes, a painted mask or an example box."
            )
        yield from self.follow(self.passes(span), reporter, stop_after_lost=span.stop_after_lost)

    def follow(
        self,
        passes: Sequence[range],
        reporter: Reporter,
        *,
        stop_after_lost: int | None = None,
    ) -> Generator[FrameResult]:
        """Yield the frames of some passes as they are done.

        Parameters
        ----------
        passes : sequence of range
            The passes as :meth:`passes` gives them, or what is left of them.
        reporter : Reporter
            Receives the progress of each frame; may cancel the work between two.
        stop_after_lost : int or None
            A pass ends when all objects are gone for so many frames; None to go to the end.

        Raises
        ------
        ImageError
            If a frame can't be read; raised when the passes that don't need it are done.
        JobCancelled
            If the user stopped the work.
        """
        if self._track is None:
            return
        total, done = sum(map(len, passes)), 0
        began, remaining_time = time.monotonic(), RemainingTime(total)
        broken: ImageError | None = None
        for number, order in enumerate(passes):
            later = set(itertools.chain.from_iterable(passes[number + 1 :]))
            lost, left = 0, len(order)
            try:
                for found in self._track.propagate(order, reporter):
                    found = self._leave_out_doubles(found)
                    result = self._result(found, self._earlier.pop(found.frame, ()))
                    if found.frame in later:
                        self._earlier[found.frame] = result.objects
                    yield result
                    done, left = done + 1, left - 1
                    speed = done / max(time.monotonic() - began, 1e-9)
                    reporter.report(
                        Progress(done, total, _format_frame(result, speed, remaining_time.step()))
                    )
                    lost = (
                        0
                        if found.objects or self._has_prompts_ahead(found.frame, order)
                        else lost + 1
                    )
                    if stop_after_lost is not None and lost >= stop_after_lost:
                        break
            except ImageError as error:
                # A frame that can't be read ends its pass; the others don't come by.
                broken = broken or error
            total -= left
            remaining_time.skip(left)
        if broken is not None:
            raise broken

    def close(self) -> None:
        """Forget the objects and free what they hold."""
        if self._track is not None:
            self._track.close()
            self._track = None

    def begin_anew(self) -> None:
        """Forget which frames passes have left half done: the next passes are of a new run."""
        self._earlier = {}

    def passes(self, span: Span) -> list[range]:
        """Return the passes of a span, each without the frames that lie beyond it.

        Raises
        ------
        PromptError
            If the stack has no such frames, or none of them is prompted.
        """
        self.begin_anew()
        within = span.within(len(self.frames))
        inside = [own & set(within) for own in self._prompted_frames()]
        inside = [own for own in inside if own]
        if span.start is None and not inside:
            raise PromptError(
                f"No prompt lies on the frames {within[0]} to {within[-1]}.",
                "Prompt one of them, or widen the range.",
            )
        passes = []
        reverses = span.direction.reverses
        for reverse in reverses:
            begin = span.start
            if begin is None and reverse:
                # Where forward has been, it is enough to begin at each object's first prompt.
                begin = max(max(own) if len(reverses) == 1 else min(own) for own in inside)
            elif begin is None:
                begin = min(map(min, inside))
            if reverse:
                # Forward has been on the frame already.
                begin -= len(reverses) - 1
                passes.append(range(begin, within[0] - 1, -1))
            else:
                passes.append(range(begin, within[-1] + 1))
        return [order for order in passes if len(order)]

    def _has_prompts_ahead(self, frame: int, order: range) -> bool:
        """Return whether prompted frames lie ahead."""
        frames = itertools.chain.from_iterable(self._prompted_frames())
        return any((other - frame) * order.step > 0 and other in order for other in frames)

    def _prompted_frames(self) -> list[set[int]]:
        """Return the prompted frames of each object, and of the phrases."""
        phrases = set(self._phrase_frames)
        return [*self._prompted.values(), *([phrases] if phrases else [])]

    def _leave_out_doubles(self, tracked: TrackedFrame) -> TrackedFrame:
        """Return a frame without the objects of a phrase that are prompted ones as well.

        Which it is an object shows where the phrase finds it first.
        """
        if not self._phrase or not self._prompted:
            return tracked
        prompted = [record for record in tracked.objects if record.id in self._prompted]
        for record in tracked.objects:
            if record.id not in self._prompted and record.id not in self._doubles:
                self._doubles[record.id] = any(record.iou(seed) >= _SAME for seed in prompted)
        doubles = {id_ for id_, double in self._doubles.items() if double} - self._prompted.keys()
        return replace(
            tracked,
            objects=tuple(record for record in tracked.objects if record.id not in doubles),
            tracked=tracked.tracked - doubles,
        )

    def _result(self, tracked: TrackedFrame, before: tuple[ObjectRecord, ...]) -> FrameResult:
        """Return a frame's result, with what the pass before found there."""
        objects = before + tuple(
            record for record in tracked.objects if record.id not in {old.id for old in before}
        )
        if self._made_by is None:
            raise TypeError("add comes before follow")
        notes, self._notes = self._notes, ()
        return FrameResult(
            frame=tracked.frame,
            labels=paint_labels(objects, Region.whole(self.frames.shape)),
            objects=tuple(sorted(objects, key=lambda record: record.id)),
            tracked=tracked.tracked | {record.id for record in before},
            engine=self._made_by,
            notes=notes,
            parents=tracked.parents,
        )


def _format_frame(result: FrameResult, speed: float, left: float | None) -> str:
    """Return a frame's message: objects, frames per second and, once known, time left."""
    count = len(result.objects)
    objects = f"{count} {plural_of(count, 'object')}"
    ahead = "" if left is None else f", {format_duration(left)} left"
    return f"Frame {result.frame}: {objects}, {speed:.3g} frames/s{ahead}"
