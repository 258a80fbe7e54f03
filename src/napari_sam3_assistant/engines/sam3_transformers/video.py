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

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.tracks import TrackedFrame
from napari_sam3_assistant.engines.device import memory_device
from napari_sam3_assistant.engines.low_resolution_masks import to_records
from napari_sam3_assistant.engines.sam3_transformers.video_objects import FollowedObject
from napari_sam3_assistant.engines.sam3_transformers.video_phrases import FollowedPhrases
from napari_sam3_assistant.engines.stages import watched
from napari_sam3_assistant.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    import torch

    from napari_sam3_assistant.core.frames import FrameSource
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.results import ObjectRecord
    from napari_sam3_assistant.core.tracks import Seed
    from napari_sam3_assistant.engines.sam3_transformers.loading import LoadedModel

    Working = Callable[[Reporter], AbstractContextManager[LoadedModel]]


class TransformersTrack:
    """Follows objects through a stack with one copy of the weights.

    Parameters
    ----------
    frames : FrameSource
        The stack.
    folder : Path
        The model folder, of which the processors are read.
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
        folder: Path,
        working: Working,
        closing: Callable[[], None],
        new_id: Callable[[], int],
    ) -> None:
        self._frames = frames
        self._folder = folder
        self._working = working
        self._closing = closing
        self._new_id = new_id
        self._objects: dict[int, FollowedObject] = {}
        self._phrases: FollowedPhrases | None = None
        self._prompter: Any = None
        self._known: Callable[[int, Reporter], Any] = lambda _frame, _reporter: None

    def reuse(self, known: Callable[[int, Reporter], Any]) -> None:
        """Take what the image heads have encoded; see :class:`.engines.video.ReusesEncodings`."""
        self._known = known

    def add(self, seed: Seed) -> None:
        """Take what names an object on a frame; it is read when the frame is.

        Raises
        ------
        PromptError
            If it says only what does not belong to an object that the tracker does not know.
        """
        object_ = self._objects.get(seed.object_id)
        says_where = seed.mask or seed.box or any(point.positive for point in seed.points)
        if object_ is None:
            if not says_where:
                raise PromptError(
                    f"All points of object {seed.object_id} are negative.",
                    "Add a positive point on it, draw a box round it, or paint it.",
                )
            with self._working(NullReporter()) as model:
                object_ = FollowedObject(
                    model, self._frames.shape, len(self._frames), memory_device(model.device)
                )
            self._objects[seed.object_id] = object_
        object_.text = seed.text or object_.text
        object_.pending[seed.frame] = seed
        if self._phrases is not None:
            # From here on the object is the tracker's; the phrase's one is not shown twice.
            self._phrases.hidden.add(seed.object_id)

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
            if self._phrases is None:
                self._phrases = FollowedPhrases(
                    model,
                    self._frames.shape,
                    len(self._frames),
                    memory_device(model.device),
                    self._new_id,
                )
            processor = Sam3VideoProcessor.from_pretrained(self._folder, local_files_only=True)
            self._phrases.add(processor, text)

    def remove(self, object_id: int) -> None:
        """Forget an object; one of a phrase is not shown any more."""
        self._objects.pop(object_id, None)
        if self._phrases is not None:
            self._phrases.hidden.add(object_id)

    def close(self) -> None:
        """Let go of all memory."""
        self._objects.clear()
        self._phrases = None

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

    def _read_prompts(self, reporter: Reporter) -> None:
        """Segment the objects on the frames of new prompts."""
        waiting = {frame for object_ in self._objects.values() for frame in object_.pending}
        for frame in sorted(waiting):
            encoding = self._known(frame, reporter)
            with self._working(reporter) as model:
                if encoding is None:
                    features = self._encode(model, frame, reporter)
                else:
                    features = _features(model, encoding.vision, frame)
                for object_ in self._objects.values():
                    if frame in object_.pending:
                        self._check(reporter)
                        object_.prompt(model, self._processor(), features, frame)

    def _frame(
        self, model: LoadedModel, frame: int, *, reverse: bool, reporter: Reporter
    ) -> TrackedFrame:
        def check() -> None:
            self._check(reporter)

        records: list[ObjectRecord] = []
        features = None
        if self._phrases is not None:
            pixels = self._pixels(model, frame)
            with watched(_layers(model), "", NullReporter(), check):
                records = self._phrases.follow(
                    model, pixels, frame, reverse=reverse, check=lambda: None
                )
            features = self._phrases.features
        sought = {
            id_: object_
            for id_, object_ in self._objects.items()
            if object_.takes_part(frame, reverse=reverse)
        }
        if features is None and not all(one.is_known_at(frame) for one in sought.values()):
            features = self._encode(model, frame, reporter)
        for id_, object_ in sorted(sought.items()):
            check()
            low, score = object_.follow(model, features, frame, reverse=reverse)
            found = to_records(
                low[None],
                [score],
                self._frames.shape,
                cutoff=0.0,
                check=check,
                text=object_.text,
            )
            records += [replace(record, id=id_) for record in found]
        tracked = frozenset(sought)
        if self._phrases is not None:
            tracked |= self._phrases.ids
        return TrackedFrame(frame, tuple(sorted(records, key=lambda one: one.id)), tracked)

    def _encode(self, model: LoadedModel, frame: int, reporter: Reporter) -> Any:  # noqa: ANN401
        """Return the features of a frame, as the sessions of all objects take them."""
        pixels = self._pixels(model, frame)
        with watched(_layers(model), "", NullReporter(), lambda: self._check(reporter)):
            # Without the detector's own feature maps, which the tracker does not look at.
            hidden = model.detector.vision_encoder.backbone(pixels)
        return _features(model, hidden, frame)

    def _pixels(self, model: LoadedModel, frame: int) -> torch.Tensor:
        # A read-only or strided array would be refused, or warned of, by torch.
        picture = np.array(self._frames.read(frame), dtype=np.uint8, order="C")
        inputs = model.find_processor(
            images=picture, input_data_format="channels_last", return_tensors="pt"
        )
        pixels: torch.Tensor = inputs["pixel_values"].to(model.device, model.dtype)
        return pixels

    def _processor(self) -> Any:  # noqa: ANN401 - transformers ships no types
        if self._prompter is None:
            from transformers import Sam3TrackerVideoProcessor

            self._prompter = Sam3TrackerVideoProcessor.from_pretrained(
                self._folder, local_files_only=True
            )
        return self._prompter

    def _check(self, reporter: Reporter) -> None:
        self._closing()
        reporter.check()


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
