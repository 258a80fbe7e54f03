"""SAM 3 through a stack by Meta's package: its tracker for objects, its video model for phrases."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.tracks import TrackedFrame
from napari_sam3_assistant.engines.device import free_cache, memory_device
from napari_sam3_assistant.engines.low_resolution_masks import to_records
from napari_sam3_assistant.engines.sam3_meta import compat, compat_video
from napari_sam3_assistant.engines.sam3_meta.grounding import check_phrase
from napari_sam3_assistant.engines.sam3_meta.video_objects import FollowedObject, check_seed
from napari_sam3_assistant.engines.sam3_meta.video_phrases import FollowedPhrase
from napari_sam3_assistant.engines.stages import watched
from napari_sam3_assistant.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from napari_sam3_assistant.core.frames import FrameSource
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.results import ObjectRecord
    from napari_sam3_assistant.core.tracks import Seed
    from napari_sam3_assistant.engines.sam3_meta.loading import LoadedModel

    Working = Callable[[Reporter], AbstractContextManager[LoadedModel]]


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    """What was found on a frame: the prompted objects, and the answers on the phrases."""

    records: tuple[ObjectRecord, ...]
    tracked: frozenset[int]
    answers: tuple[tuple[FollowedPhrase, Any], ...]


class MetaTrack:
    """Follows objects through a stack with one copy of the weights.

    Parameters
    ----------
    frames : FrameSource
        The stack.
    working : callable
        Returns a context in which the model is this caller's.
    closing : callable
        Raises when the model is being closed.
    new_id : callable
        Returns the next free object id.
    """

    def __init__(
        self,
        frames: FrameSource,
        working: Working,
        closing: Callable[[], None],
        new_id: Callable[[], int],
    ) -> None:
        self._frames = frames
        self._working = working
        self._closing = closing
        self._new_id = new_id
        self._objects: dict[int, FollowedObject] = {}
        self._phrases: list[FollowedPhrase] = []
        self._hidden: set[int] = set()
        self._features: compat_video.Features = {}
        self._pictures: compat_video.Pictures | None = None
        self._held: dict[int, _Seen] = {}
        self._held_step = 0

    def add(self, seed: Seed) -> None:
        """Take what names an object on a frame; it is read when the frame is.

        Raises
        ------
        PromptError
            If it says only what does not belong to an object that the tracker does not know, or
            has too many points.
        """
        check_seed(seed)
        object_ = self._objects.get(seed.object_id)
        if object_ is None:
            if not (seed.mask or seed.box or any(point.positive for point in seed.points)):
                raise PromptError(
                    f"All points of object {seed.object_id} are negative.",
                    "Add a positive point on it, draw a box round it, or paint it.",
                )
            with self._working(NullReporter()) as model:
                object_ = FollowedObject(
                    model.tracker,
                    self._features,
                    self._frames.shape,
                    len(self._frames),
                    on_cpu=memory_device(model.device) == "cpu",
                )
            self._objects[seed.object_id] = object_
        object_.text = seed.text or object_.text
        object_.pending[seed.frame] = seed
        # From here on the object is the tracker's; the phrase's one is not shown twice.
        self._hidden.add(seed.object_id)
        self._held.clear()

    def add_phrase(self, text: str, frame: int) -> None:
        """Look for all objects of a phrase on every frame, beginning with one.

        Raises
        ------
        PromptError
            If it is too long.
        """
        with self._working(NullReporter()) as model:
            check_phrase(model, text)
        if text not in [phrase.text for phrase in self._phrases]:
            self._phrases.append(FollowedPhrase(text, frame, self._new_id))
            self._held.clear()

    def remove(self, object_id: int) -> None:
        """Forget an object; one of a phrase is not shown any more."""
        self._objects.pop(object_id, None)
        self._hidden.add(object_id)
        self._held.clear()

    def close(self) -> None:
        """Let go of all memory, and give it back to the device."""
        self._objects.clear()
        self._phrases.clear()
        self._features.clear()
        self._held.clear()
        self._pictures = None
        free_cache()

    def propagate(self, order: range, reporter: Reporter) -> Iterator[TrackedFrame]:
        """Yield what is on each frame; see :class:`.engines.video.VideoTrack`.

        Frames with phrases come late, as the package gives them: the video model knows only some
        frames on (``hotstart_delay``) which of its objects are false. What it holds back when the
        work is stopped is not computed again when it goes on.
        """
        if not order:
            return
        with self._working(reporter) as model:
            delay = self._begin(model, order, reporter)
        for frame in order:
            if frame not in self._held:
                with self._working(reporter) as model:
                    self._held[frame] = self._look(model, frame, order.step < 0, reporter)
            while self._held and (len(self._held) >= delay or frame == order[-1]):
                with self._working(NullReporter()) as model:
                    found = self._finish(model, next(iter(self._held)))
                yield found

    def _begin(self, model: LoadedModel, order: range, reporter: Reporter) -> int:
        """Make ready for a pass, and return how many frames are held back."""
        reverse = order.step < 0
        self._read_prompts(model, reporter)
        if self._held_step != order.step or order.start not in self._held:
            self._held.clear()
            self._held_step = order.step
            for object_ in self._objects.values():
                object_.begin(order.start, reverse=reverse)
            for phrase in self._phrases:
                with self._watched(model, reporter):
                    phrase.begin(
                        model.video,
                        self._prepared(model),
                        self._frames.shape,
                        order.start,
                        reverse=reverse,
                    )
        self._held = {frame: seen for frame, seen in self._held.items() if frame in order}
        return int(model.video.hotstart_delay) if self._phrases else 1

    def _read_prompts(self, model: LoadedModel, reporter: Reporter) -> None:
        """Segment the objects on the frames of new prompts."""
        waiting = {frame for object_ in self._objects.values() for frame in object_.pending}
        for frame in sorted(waiting):
            self._encode(model, frame, reporter)
            for object_ in self._objects.values():
                if frame in object_.pending:
                    self._check(reporter)
                    object_.prompt(model.tracker, frame)

    def _look(self, model: LoadedModel, frame: int, reverse: bool, reporter: Reporter) -> _Seen:
        """Find and follow everything on a frame."""

        def check() -> None:
            self._check(reporter)

        answers = []
        for phrase in self._phrases:
            with self._watched(model, reporter):
                answers.append((phrase, phrase.follow(model.video, frame, reverse=reverse)))
            self._features.clear()
            self._features[frame] = phrase.features(frame)
        sought = {
            id_: object_
            for id_, object_ in sorted(self._objects.items())
            if object_.takes_part(frame, reverse=reverse)
        }
        if not all(one.is_known_at(frame) for one in sought.values()):
            self._encode(model, frame, reporter)
        records: list[ObjectRecord] = []
        for id_, object_ in sought.items():
            check()
            low, score = object_.follow(
                model.tracker, frame, reverse=reverse, fill_area=model.video.fill_hole_area
            )
            found = to_records(
                low[None], [score], self._frames.shape, cutoff=0.0, check=check, text=object_.text
            )
            records += [replace(record, id=id_) for record in found]
        return _Seen(tuple(records), frozenset(sought), tuple(answers))

    def _finish(self, model: LoadedModel, frame: int) -> TrackedFrame:
        """Return what was found on a frame that is held."""
        seen = self._held[frame]
        records = list(seen.records)
        for phrase, answer in seen.answers:
            records += phrase.records(model.video, answer)
        del self._held[frame]
        shown = [
            record
            for number, record in enumerate(records)
            if number < len(seen.records) or record.id not in self._hidden
        ]
        tracked = seen.tracked
        for phrase in self._phrases:
            tracked |= phrase.ids - self._hidden
        return TrackedFrame(frame, tuple(sorted(shown, key=lambda one: one.id)), tracked)

    def _encode(self, model: LoadedModel, frame: int, reporter: Reporter) -> None:
        """Put the features of a frame where the tracker looks for them."""
        if frame in self._features:
            return
        self._features.clear()
        picture = self._prepared(model)[frame]
        with self._watched(model, reporter):
            made = compat_video.encode(model.model, model.tracker, picture, model.device)
        self._features[frame] = made

    def _prepared(self, model: LoadedModel) -> compat_video.Pictures:
        if self._pictures is None:
            self._pictures = compat_video.Pictures(self._frames, model.tracker.image_size)
        return self._pictures

    def _watched(self, model: LoadedModel, reporter: Reporter) -> AbstractContextManager[None]:
        blocks = compat.vision_blocks(model.model)
        return watched(blocks, "", NullReporter(), lambda: self._check(reporter))

    def _check(self, reporter: Reporter) -> None:
        self._closing()
        reporter.check()
