"""SAM 3 through a stack: prompted objects by its tracker, phrases by its video model.

What is encoded when: a frame once for all objects that are followed through it. A prompted frame
that the image heads have encoded (to find objects, or for a preview before) is not encoded again
for its prompts; only the tracker's small neck runs again, as the maps that the image heads keep of
it have their "no memory" embedding added. For a phrase every frame is encoded once by
``Sam3VideoModel.forward``, which takes pixels and no encoding (transformers 5.23), so a frame
with a phrase and clicks is encoded twice: once for the clicks, before the pass begins, as objects
keep to prompts that lie ahead, and once in the pass.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.progress import CancelOnlyReporter, NullReporter
from napari_sam3_assistant.core.results import ObjectRecord
from napari_sam3_assistant.core.tracks import TrackedFrame
from napari_sam3_assistant.engines.device import memory_device
from napari_sam3_assistant.engines.sam3.engine import watch_layers
from napari_sam3_assistant.engines.sam3.grounding import check_length
from napari_sam3_assistant.engines.sam3.mask_decoder import to_records
from napari_sam3_assistant.engines.sam3.track import MemoryFile, ObjectTrack, TrackContext
from napari_sam3_assistant.engines.sam3_transformers.image import MAX_TOKENS, to_pixels
from napari_sam3_assistant.engines.sam3_transformers.loading import LoadedModel, read_processor
from napari_sam3_assistant.engines.sam3_transformers.video_objects import (
    FollowedObject,
    Memory,
    open_session,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import torch

    from napari_sam3_assistant.core.progress import Reporter


class TransformersTrack(ObjectTrack[LoadedModel, FollowedObject]):
    """Follows objects through a stack with one copy of the weights.

    Parameters
    ----------
    folder : Path
        The model folder, of which the processors are read.
    context : TrackContext
        The stack and the model.
    """

    def __init__(self, folder: Path, context: TrackContext[LoadedModel]) -> None:
        super().__init__(context)
        self._folder = folder
        self._phrases: FollowedPhrases | None = None
        self._file = MemoryFile()
        self._prompter: Any = None
        self._known: Callable[[int], Any] = lambda _frame: None

    def reuse(self, known: Callable[[int], Any]) -> None:
        """Take what the image heads have encoded; see :class:`.engines.video.ReusesEncodings`."""
        self._known = known

    def add_phrase(self, text: str, frame: int) -> None:
        """Look for all objects of a phrase on every frame.

        Raises
        ------
        PromptError
            If it is too long.
        """
        del frame
        from transformers import Sam3VideoProcessor

        with self._working() as model:
            processor = read_processor(Sam3VideoProcessor, self._folder)
            # Refused before there are phrases: without one the model can't be asked for any.
            check_length(len(processor.tokenizer(text)["input_ids"]), MAX_TOKENS)
            if self._phrases is None:
                self._phrases = FollowedPhrases(
                    model,
                    self._frames.shape,
                    len(self._frames),
                    memory_device(model.device),
                    self._new_id,
                )
            self._phrases.add(processor, text)

    def remove(self, object_id: int) -> None:
        """Forget an object; one of a phrase is not shown any more."""
        if object_id in self._objects:
            self._objects[object_id].forget()
        super().remove(object_id)

    def close(self) -> None:
        """Let go of all memory, and give it back to the device."""
        self._phrases = None
        self._file.close()
        super().close()

    def propagate(self, order: range, reporter: Reporter) -> Iterator[TrackedFrame]:
        """Yield what is on each frame; see :class:`.engines.video.VideoTrack`."""
        reverse = order.step < 0
        self._read_prompts(reporter)
        if self._phrases is not None:
            self._phrases.begin(order.start, reverse=reverse)
        for frame in order:
            with self._working() as model:
                found = self._frame(model, frame, reverse=reverse, reporter=reporter)
            yield found

    def _new_object(self, model: LoadedModel) -> FollowedObject:
        return FollowedObject(
            model, self._frames.shape, len(self._frames), memory_device(model.device), self._file
        )

    def _read_prompts(self, reporter: Reporter) -> None:
        """Segment the objects on the frames of new prompts."""
        for frame in self._frames_to_read():
            encoding = self._known(frame)
            with self._working() as model:
                if encoding is None:
                    features = self._encode(model, frame, reporter)
                else:
                    features = _features(model, encoding.vision, frame)
                for object_ in self._objects_to_read(frame):
                    reporter.check()
                    object_.prompt(model, self._processor(), features, frame)

    def _frame(
        self, model: LoadedModel, frame: int, *, reverse: bool, reporter: Reporter
    ) -> TrackedFrame:
        records: list[ObjectRecord] = []
        features = None
        if self._phrases is not None:
            pixels = to_pixels(model, self._frames.read(frame))
            with watch_layers(_layers(model), "", CancelOnlyReporter(reporter)):
                found = self._phrases.follow(model, pixels, frame, reverse=reverse)
            records = [record for record in found if record.id not in self._hidden]
            features = self._phrases.features
        sought = self._objects_to_find(frame, reverse=reverse)
        if features is None and not all(one.is_known_at(frame) for one in sought.values()):
            features = self._encode(model, frame, reporter)
        records += self._follow_objects(
            sought, lambda one: one.follow(model, features, frame, reverse=reverse), reporter
        )
        tracked = frozenset(sought)
        if self._phrases is not None:
            tracked |= self._phrases.ids - self._hidden
        return TrackedFrame(frame, tuple(sorted(records, key=lambda one: one.id)), tracked)

    def _encode(self, model: LoadedModel, frame: int, reporter: Reporter) -> Any:  # noqa: ANN401
        """Return the features of a frame, as the sessions of all objects take them."""
        pixels = to_pixels(model, self._frames.read(frame))
        with watch_layers(_layers(model), "", CancelOnlyReporter(reporter)):
            # Without the detector's own feature maps, which the tracker does not look at.
            hidden = model.detector.vision_encoder.backbone(pixels)
        return _features(model, hidden, frame)

    def _processor(self) -> Any:  # noqa: ANN401 - transformers ships no types
        if self._prompter is None:
            from transformers import Sam3TrackerVideoProcessor

            self._prompter = read_processor(Sam3TrackerVideoProcessor, self._folder)
        return self._prompter


def _features(model: LoadedModel, encoded: Any, frame: int) -> Any:  # noqa: ANN401
    """Return what the tracker looks at of an encoded frame, as its sessions take it.

    Parameters
    ----------
    model : LoadedModel
        The weights.
    encoded : Sam3VisionEncoderOutput or BaseModelOutput
        Of it only the image encoder's own output is used, ``last_hidden_state``.
    frame : int
        The frame's number.
    """
    from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import (
        Sam3TrackerVideoInferenceCache,
    )

    maps, positions = model.video.get_vision_features_for_tracker(encoded)
    features = Sam3TrackerVideoInferenceCache(model.device, model.device)
    features.cache_vision_features(frame, {"vision_feats": maps, "vision_pos_embeds": positions})
    return features


def _layers(model: LoadedModel) -> Any:  # noqa: ANN401 - transformers ships no types
    return model.detector.vision_encoder.backbone.layers


class FollowedPhrases:
    """Phrases and what the model remembers of their objects.

    Parameters
    ----------
    model : LoadedModel
        The weights.
    shape : tuple of int
        Height and width of a frame.
    count : int
        Number of frames of the stack.
    state_device : str
        Where its memory lies.
    new_id : callable
        Returns the next free object id.
    """

    def __init__(
        self,
        model: LoadedModel,
        shape: tuple[int, int],
        count: int,
        state_device: str,
        new_id: Callable[[], int],
    ) -> None:
        from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoInferenceSession

        self._session = open_session(Sam3VideoInferenceSession, model, shape, count, state_device)
        self._shape = shape
        self._memory = Memory(model.video.tracker_model.config, state_device)
        self._new_id = new_id
        self._ids: dict[int, int] = {}

    @property
    def ids(self) -> frozenset[int]:
        """The objects that were found so far."""
        return frozenset(self._ids.values())

    @property
    def outputs(self) -> list[dict[str, dict[int, dict[str, Any]]]]:
        """What the session remembers of each object."""
        return list(self._session.output_dict_per_obj.values())

    @property
    def features(self) -> Any:  # noqa: ANN401 - transformers ships no types
        """The features of the last frame, as the tracker takes them."""
        return self._session.cache

    def add(self, processor: Any, text: str) -> None:  # noqa: ANN401
        """Look for a phrase from the next frame on.

        Parameters
        ----------
        processor : Sam3VideoProcessor
            Prepares phrases.
        text : str
            The phrase, no longer than the text encoder takes.
        """
        processor.add_text_prompt(self._session, text)

    def begin(self, frame: int, *, reverse: bool) -> None:
        """Make ready for a pass."""
        for outputs in self.outputs:
            self._memory.recall(outputs, frame, reverse=reverse)

    def follow(
        self,
        model: LoadedModel,
        pixels: torch.Tensor,
        frame: int,
        *,
        reverse: bool,
    ) -> list[ObjectRecord]:
        """Return the objects on a frame; once the model is through with it, nothing stops it.

        Parameters
        ----------
        model : LoadedModel
            The weights.
        pixels : torch.Tensor, shape (1, 3, S, S)
            The frame as the model takes it.
        frame : int
            Its number.
        reverse : bool
            Whether the pass goes backward.
        """
        session = self._session
        try:
            answer = model.video(
                inference_session=session, frame=pixels, frame_idx=frame, reverse=reverse
            )
        finally:
            session.processed_frames.clear()
        self._memory.advance(frame, reverse=reverse)
        records = self._records(answer)
        self._forget()
        return records

    def _records(self, answer: Any) -> list[ObjectRecord]:  # noqa: ANN401
        """Return the objects of an answer, none over another one of its phrase.

        As ``Sam3VideoProcessor.postprocess_outputs``, which makes all masks large at once.
        """
        session = self._session
        by_score = sorted(
            (name for name in answer.obj_id_to_mask if name not in answer.suppressed_obj_ids),
            key=lambda name: (-answer.obj_id_to_tracker_score.get(name, 0.0), name),
        )
        taken: dict[int, np.ndarray[Any, np.dtype[np.bool_]]] = {}
        records = []
        for name in by_score:
            phrase = session.obj_id_to_prompt_id[name]
            found = to_records(
                answer.obj_id_to_mask[name].float(),
                [float(answer.obj_id_to_score[name])],
                self._shape,
                cutoff=0.0,
                reporter=NullReporter(),
                text=session.prompts[phrase],
            )
            for record in found:
                free = taken.setdefault(phrase, np.ones(self._shape, bool))
                mask = record.mask & free[record.region.slices]
                free[record.region.slices] &= ~record.mask
                own = self._ids.get(name)
                if own is None:
                    own = self._ids[name] = self._new_id()
                kept = ObjectRecord.from_mask(
                    own,
                    mask,
                    offset=(record.region.y0, record.region.x0),
                    score=record.score,
                    text=record.text,
                )
                if kept is not None:
                    records.append(kept)
        return sorted(records, key=lambda record: record.id)

    def _forget(self) -> None:
        """Let go what a streamed session never asks for again."""
        session = self._session
        for outputs in self.outputs:
            self._memory.forget_conditions(outputs)
            self._memory.trim(outputs)
        for inputs in (session.mask_inputs_per_obj, session.frames_tracked_per_obj):
            for by_frame in inputs.values():
                by_frame.clear()
        # By frame; only a session that holds back its first frames reads them.
        session.obj_id_to_tracker_score_frame_wise = defaultdict(dict)
        session.suppressed_obj_ids = defaultdict(set)
        session.unmatched_frame_inds = defaultdict(list)
        session.overlap_pair_to_frame_inds = defaultdict(list)
