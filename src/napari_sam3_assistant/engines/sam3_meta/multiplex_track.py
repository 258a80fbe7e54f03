"""SAM 3.1 through a stack: clicked and boxed objects in one session, each phrase in its own."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.results import ObjectRecord
from napari_sam3_assistant.core.tracks import TrackedFrame
from napari_sam3_assistant.engines.concepts import check_length
from napari_sam3_assistant.engines.device import free_cache
from napari_sam3_assistant.engines.sam3_meta import compat_multiplex
from napari_sam3_assistant.engines.sam3_meta.compat_video import Pictures
from napari_sam3_assistant.engines.sam3_meta.video_memory import Memory
from napari_sam3_assistant.engines.sam3_meta.video_objects import check_seed, points_of
from napari_sam3_assistant.engines.sam3_track import Sam3Track, TrackContext, check_says_where
from napari_sam3_assistant.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.tracks import Seed
    from napari_sam3_assistant.engines.sam3_meta.multiplex_engine import LoadedMultiplex


class _Session:
    """A session of the package, with what it may remember."""

    def __init__(self, model: Any, pictures: Pictures, shape: tuple[int, int]) -> None:  # noqa: ANN401
        self.state = compat_multiplex.new_state(model, pictures, shape)
        self._memories: dict[int, Memory] = {}

    def forget(self, model: Any, frame: int, *, reverse: bool) -> None:  # noqa: ANN401
        """Let go of what no pass can need, behind a frame that was answered."""
        compat_multiplex.forget_frames(self.state, frame)
        tracked = {id(state): state for state in self.state["sam2_inference_states"]}
        self._memories = {
            key: self._memories.get(key) or Memory(model.tracker, whole=True) for key in tracked
        }
        for key, state in tracked.items():
            self._memories[key].reached(state, frame, reverse=reverse)


class _Phrase:
    """A phrase, its session, and the names of its objects."""

    def __init__(self, text: str, frame: int) -> None:
        self.text = text
        self.frame = frame
        self.session: _Session | None = None
        self.ids: dict[int, int] = {}


class MultiplexTrack(Sam3Track["LoadedMultiplex"]):
    """Follows objects through a stack with SAM 3.1.

    Parameters
    ----------
    context : TrackContext
        The stack and the model.
    """

    def __init__(self, context: TrackContext[LoadedMultiplex]) -> None:
        super().__init__(context)
        self._pictures: Pictures | None = None
        self._session: _Session | None = None
        self._prompted: dict[int, set[int]] = {}
        self._texts: dict[int, str] = {}
        self._pending: dict[tuple[int, int], Seed] = {}
        self._phrases: list[_Phrase] = []

    def add(self, seed: Seed) -> None:
        """Take what names an object on a frame; it is read when the frame is.

        Raises
        ------
        PromptError
            If it is a painted mask, says only what does not belong to an unknown object, or there
            are too many points or objects.
        """
        check_seed(seed)
        if seed.mask is not None:
            raise PromptError(
                "SAM 3.1 (Meta sam3 package) does not follow painted masks.",
                "Click on the object or draw a box round it, or choose a folder with sam3.pt or "
                "the engine sam3-transformers, which follow masks.",
            )
        if seed.object_id not in self._prompted:
            check_says_where(seed, "Add a positive point on it, or draw a box round it.")
            if len(self._prompted) >= compat_multiplex.MOST_OBJECTS:
                raise PromptError(
                    f"SAM 3.1 follows up to {compat_multiplex.MOST_OBJECTS} objects at a time.",
                    "Follow them in several runs, or choose the engine sam3-transformers.",
                )
        self._prompted.setdefault(seed.object_id, set()).add(seed.frame)
        self._texts[seed.object_id] = seed.text or self._texts.get(seed.object_id, "")
        self._pending[seed.frame, seed.object_id] = seed
        self._hidden.add(seed.object_id)

    def add_phrase(self, text: str, frame: int) -> None:
        """Look for all objects of a phrase on every frame, beginning with one.

        Raises
        ------
        PromptError
            If it is too long.
        """
        with self._working(NullReporter()) as loaded:
            encoder = compat_multiplex.text_encoder(loaded.model)
            # The begin and the end are tokens too.
            check_length(len(encoder.tokenizer.encode(text)) + 2, encoder.context_length)
        if text not in [phrase.text for phrase in self._phrases]:
            self._phrases.append(_Phrase(text, frame))

    def remove(self, object_id: int) -> None:
        """Forget an object; one of a phrase is not shown any more."""
        self._hidden.add(object_id)
        for key in [key for key in self._pending if key[1] == object_id]:
            del self._pending[key]
        if self._prompted.pop(object_id, None) and self._session is not None:
            with self._working(NullReporter()) as loaded:
                compat_multiplex.remove(loaded.model, self._session.state, object_id)

    def close(self) -> None:
        """Let go of the sessions, and give their memory back to the device."""
        self._session = None
        self._pictures = None
        self._phrases.clear()
        self._prompted.clear()
        self._pending.clear()
        free_cache()

    def propagate(self, order: range, reporter: Reporter) -> Iterator[TrackedFrame]:
        """Yield what is on each frame; see :class:`.engines.video.VideoTrack`.

        With a phrase the first frames come late: the model holds them back until it knows which
        objects are false. When such a pass is stopped, it computes them again.
        """
        if not order:
            return
        with self._turn(reporter) as loaded:
            self._read_prompts(loaded, reporter)
        for part, sought in self._parts(order):
            sources = self._sources(part, sought, reporter)
            for frame in part:
                records: list[ObjectRecord] = []
                with self._turn(reporter) as loaded:
                    for phrase, session, pass_ in sources:
                        reporter.check()
                        records += self._records(phrase, next(pass_))
                        session.forget(loaded.model, frame, reverse=part.step < 0)
                tracked = frozenset(sought).union(
                    *(set(phrase.ids.values()) - self._hidden for phrase in self._phrases)
                )
                yield TrackedFrame(
                    frame, tuple(sorted(records, key=lambda record: record.id)), tracked
                )

    @contextmanager
    def _turn(self, reporter: Reporter) -> Iterator[LoadedMultiplex]:
        """Wait for this caller's turn; the work in it can be stopped."""
        with (
            self._working(reporter) as loaded,
            self._watched(compat_multiplex.vision_blocks(loaded.model), reporter),
        ):
            yield loaded

    def _read_prompts(self, loaded: LoadedMultiplex, reporter: Reporter) -> None:
        """Hand the new prompts to the sessions."""
        if self._pictures is None:
            self._pictures = Pictures(self._frames, loaded.model.image_size)
        for key in sorted(self._pending):
            reporter.check()
            if self._session is None:
                self._session = _Session(loaded.model, self._pictures, self._frames.shape)
            state = self._session.state
            points, labels, box = points_of(self._pending[key], self._frames.shape)
            compat_multiplex.add_points(loaded.model, state, *key, points, labels, box)
            compat_multiplex.forget_frames(state, key[0])
            del self._pending[key]
        for phrase in self._phrases:
            if phrase.session is None:
                session = _Session(loaded.model, self._pictures, self._frames.shape)
                compat_multiplex.add_phrase(loaded.model, session.state, phrase.frame, phrase.text)
                phrase.session = session

    def _parts(self, order: range) -> list[tuple[range, list[int]]]:
        """Return the parts of a pass in which the same objects take part, with their ids."""

        def sought(frame: int) -> list[int]:
            return [
                name
                for name, own in sorted(self._prompted.items())
                if any((frame - other) * order.step >= 0 for other in own)
            ]

        starts = [
            number
            for number, frame in enumerate(order)
            if number == 0 or sought(frame) != sought(frame - order.step)
        ]
        if self._phrases:
            # A pass for a phrase is one: it holds frames back. Objects join at its begin.
            starts = [0]
        ends = [*starts[1:], len(order)]
        return [
            (order[begin:end], sought(order[end - 1] if self._phrases else order[begin]))
            for begin, end in zip(starts, ends, strict=True)
        ]

    def _sources(
        self, part: range, sought: list[int], reporter: Reporter
    ) -> list[tuple[_Phrase | None, _Session, Iterator[dict[str, Any]]]]:
        """Return the passes through a part; nothing is computed before they are asked."""
        sources: list[tuple[_Phrase | None, _Session, Iterator[dict[str, Any]]]] = []
        with self._working(reporter) as loaded:
            for phrase in self._phrases:
                if phrase.session is not None:
                    pass_ = compat_multiplex.propagate(
                        loaded.model, phrase.session.state, part, None
                    )
                    sources.append((phrase, phrase.session, pass_))
            if sought and self._session is not None:
                pass_ = compat_multiplex.propagate(loaded.model, self._session.state, part, sought)
                sources.append((None, self._session, pass_))
        return sources

    def _records(self, phrase: _Phrase | None, answer: dict[str, Any]) -> list[ObjectRecord]:
        """Return the objects of an answer with our ids."""
        records = []
        for name, score, mask in zip(
            answer["out_obj_ids"].tolist(),
            answer["out_probs"].tolist(),
            answer["out_binary_masks"],
            strict=True,
        ):
            own, text = name, self._texts.get(name, "")
            if phrase is not None:
                text = phrase.text
                if name not in phrase.ids:
                    phrase.ids[name] = self._new_id()
                own = phrase.ids[name]
                if own in self._hidden:
                    continue
            record = ObjectRecord.from_mask(own, mask, score=score, text=text)
            if record is not None:
                records.append(record)
        return records
