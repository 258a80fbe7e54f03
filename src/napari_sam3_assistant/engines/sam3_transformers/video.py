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

from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.tracks import TrackedFrame
from napari_sam3_assistant.engines.concepts import check_length
from napari_sam3_assistant.engines.device import memory_device
from napari_sam3_assistant.engines.sam3_track import ObjectTrack, TrackContext
from napari_sam3_assistant.engines.sam3_transformers.embedding import to_pixels
from napari_sam3_assistant.engines.sam3_transformers.grounding import MAX_TOKENS
from napari_sam3_assistant.engines.sam3_transformers.loading import LoadedModel, read_processor
from napari_sam3_assistant.engines.sam3_transformers.video_objects import FollowedObject
from napari_sam3_assistant.engines.sam3_transformers.video_phrases import FollowedPhrases

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.results import ObjectRecord


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
        self._prompter: Any = None
        self._known: Callable[[int, Reporter], Any] = lambda _frame, _reporter: None

    def reuse(self, known: Callable[[int, Reporter], Any]) -> None:
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

        with self._working(NullReporter()) as model:
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

    def close(self) -> None:
        """Let go of all memory, and give it back to the device."""
        self._phrases = None
        super().close()

    def propagate(self, order: range, reporter: Reporter) -> Iterator[TrackedFrame]:
        """Yield what is on each frame; see :class:`.engines.video.VideoTrack`."""
        reverse = order.step < 0
        self._read_prompts(reporter)
        for object_ in self._objects.values():
            object_.begin(order.start, reverse=reverse)
        if self._phrases is not None:
            self._phrases.begin(order.start, reverse=reverse)
        for frame in order:
            with self._working(reporter) as model:
                found = self._frame(model, frame, reverse=reverse, reporter=reporter)
            yield found

    def _new_object(self, model: LoadedModel) -> FollowedObject:
        return FollowedObject(
            model, self._frames.shape, len(self._frames), memory_device(model.device)
        )

    def _read_prompts(self, reporter: Reporter) -> None:
        """Segment the objects on the frames of new prompts."""
        for frame in self._unread():
            encoding = self._known(frame, reporter)
            with self._working(reporter) as model:
                if encoding is None:
                    features = self._encode(model, frame, reporter)
                else:
                    features = _features(model, encoding.vision, frame)
                for object_ in self._unread_on(frame):
                    self._check(reporter)
                    object_.prompt(model, self._processor(), features, frame)

    def _frame(
        self, model: LoadedModel, frame: int, *, reverse: bool, reporter: Reporter
    ) -> TrackedFrame:
        records: list[ObjectRecord] = []
        features = None
        if self._phrases is not None:
            pixels = to_pixels(model, self._frames.read(frame))
            with self._watched(_layers(model), reporter):
                found = self._phrases.follow(model, pixels, frame, reverse=reverse)
            records = [record for record in found if record.id not in self._hidden]
            features = self._phrases.features
        sought = self._sought(frame, reverse=reverse)
        if features is None and not all(one.is_known_at(frame) for one in sought.values()):
            features = self._encode(model, frame, reporter)
        records += self._followed(
            sought, lambda one: one.follow(model, features, frame, reverse=reverse), reporter
        )
        tracked = frozenset(sought)
        if self._phrases is not None:
            tracked |= self._phrases.ids - self._hidden
        return TrackedFrame(frame, tuple(sorted(records, key=lambda one: one.id)), tracked)

    def _encode(self, model: LoadedModel, frame: int, reporter: Reporter) -> Any:  # noqa: ANN401
        """Return the features of a frame, as the sessions of all objects take them."""
        pixels = to_pixels(model, self._frames.read(frame))
        with self._watched(_layers(model), reporter):
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
