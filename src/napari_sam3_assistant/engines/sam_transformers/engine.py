"""The engine: SAM 2, SAM 1 and EdgeTAM by Hugging Face transformers, for planes and stacks.

Through a stack a frame is encoded once for all objects that are followed through it. A prompted
frame that the image heads have encoded (to find objects, or for a preview before) is not encoded
again for its prompts.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from napari_sam3_assistant.core.progress import CancelOnlyReporter
from napari_sam3_assistant.core.tracks import TrackedFrame
from napari_sam3_assistant.engines.base import package_version
from napari_sam3_assistant.engines.device import memory_device, objects_together
from napari_sam3_assistant.engines.sam3.engine import SamEngine
from napari_sam3_assistant.engines.sam3.together import Network
from napari_sam3_assistant.engines.sam3.track import ObjectTrack, TrackContext
from napari_sam3_assistant.engines.sam_transformers.image import (
    SamEmbedding,
    click_features,
    decode_objects,
    decode_points,
    encode,
)
from napari_sam3_assistant.engines.sam_transformers.loading import LoadedModel, load_sam
from napari_sam3_assistant.engines.sam_transformers.video_objects import FollowedObject, partner

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt
    import torch

    from napari_sam3_assistant.core.display import FrameSource
    from napari_sam3_assistant.core.images import Untyped
    from napari_sam3_assistant.core.options import PredictOptions
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.sam3.mask_decoder import Decoded, DecoderPrompt, PointDecoder


class SamTransformersEngine(SamEngine[LoadedModel, SamEmbedding]):
    """A SAM that takes clicks, boxes and masks, from a folder of the Hugging Face Hub."""

    @property
    def version(self) -> str:
        """Version of transformers."""
        return package_version("transformers")

    def unpack(self, shape: tuple[int, int], tensors: Mapping[str, torch.Tensor]) -> SamEmbedding:
        """Return the encoding that :meth:`SamEmbedding.tensors` was asked of."""
        device = self.model.device
        maps = tuple(tensors[f"map{number}"].to(device) for number in range(len(tensors)))
        return SamEmbedding(shape, maps)

    def track(
        self, frames: FrameSource, options: PredictOptions, new_id: Callable[[], int]
    ) -> SamTrack:
        """Begin to follow objects through a stack; see :class:`.engines.base.VideoEngine`."""
        del options
        context = TrackContext(frames, self._working, new_id, objects_together(self.device))
        return SamTrack(self._named_folder(), context)

    def _which_folder(self) -> str:
        return (
            "Choose the folder with config.json and model.safetensors of a SAM 2.1, such as "
            "facebook/sam2.1-hiera-tiny."
        )

    def _load(self, folder: Path, reporter: Reporter) -> LoadedModel:
        device, precision = self._choose()
        return load_sam(folder, self.spec.model_name, device, precision, reporter)

    def _call_context(self, model: LoadedModel, part: Hashable) -> AbstractContextManager[object]:
        return model.calling(part, self._folder)

    def _embed(
        self, model: LoadedModel, image: npt.NDArray[np.uint8], reporter: Reporter
    ) -> SamEmbedding:
        return encode(model, image, "Encoding the image", reporter)

    def _decoder(
        self, model: LoadedModel, embedding: SamEmbedding, reporter: Reporter
    ) -> Callable[[DecoderPrompt], Decoded]:
        features = click_features(model, embedding)
        return partial(decode_objects, model, features, embedding.shape, reporter)

    def _point_decoder(self, model: LoadedModel, embedding: SamEmbedding) -> PointDecoder:
        features = click_features(model, embedding)
        return partial(decode_points, model, features, embedding.shape)


M = TypeVar("M", bound=LoadedModel)


class TrackerTrack(ObjectTrack[M, FollowedObject], Generic[M]):
    """Follows prompted objects through a stack with one copy of the weights.

    ``folder``: the model folder, of which the processors are read.
    ``context``: the stack and the model.
    """

    def __init__(self, folder: Path, context: TrackContext[M]) -> None:
        super().__init__(context)
        self._folder = folder
        self._prompter: Any = None
        self._known: Callable[[int], Any] = lambda _frame: None

    def reuse(self, known: Callable[[int], Any]) -> None:
        """Take what the image heads have encoded; see :class:`.engines.base.ReusesEncodings`."""
        self._known = known

    def propagate(self, order: range, reporter: Reporter) -> Iterator[TrackedFrame]:
        """Yield what is on each frame; see :class:`.engines.base.VideoTrack`."""
        reverse = order.step < 0
        self._read_prompts(reporter)
        if not self._held.continue_with(order):
            self._begin(order.start, reverse=reverse)

        def search(frame: int) -> Any:  # noqa: ANN401 - what _finish takes
            with self._working() as model:
                return self._search(model, frame, reverse=reverse, reporter=reporter)

        yield from self._held.pass_through(order, self._delay, search, self._finish, reporter)

    @property
    def _delay(self) -> int:
        """How many frames are held back until it is known what is on the first of them."""
        return 1

    def _search(self, model: M, frame: int, *, reverse: bool, reporter: Reporter) -> Any:  # noqa: ANN401 - what _finish takes
        """Find and follow everything on a frame."""
        return self._frame(model, frame, reverse=reverse, reporter=reporter)

    def _finish(self, frame: int, answer: Any) -> TrackedFrame:  # noqa: ANN401 - what _search gives
        """Return what was found on a frame that was held."""
        del frame
        seen: TrackedFrame = answer
        return seen

    def _begin(self, frame: int, *, reverse: bool) -> None:
        """Make ready for a pass that begins on a frame."""

    def _new_object(self, model: M) -> FollowedObject:
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
                    features = self._features(model, encoding, frame)
                if self._prompter is None:
                    self._prompter = self._make_prompter(model)
                for object_ in self._objects_to_read(frame):
                    reporter.check()
                    object_.prompt(model, self._prompter, features, frame)

    def _frame(
        self,
        model: M,
        frame: int,
        *,
        reverse: bool,
        reporter: Reporter,
        features: Untyped = None,
    ) -> TrackedFrame:
        """Return the prompted objects on a frame; it is encoded if no features are given."""
        sought = self._objects_to_find(frame, reverse=reverse)
        if features is None and not all(
            followed.is_known_at(frame) for followed in sought.values()
        ):
            features = self._encode(model, frame, reporter)
        records = self._follow_objects(
            sought,
            lambda followed: followed.follow(model, features, frame, reverse=reverse),
            (Network(model.tracker.memory_attention, 1), Network(model.tracker.mask_decoder, 0)),
            reporter,
        )
        return TrackedFrame(frame, tuple(records), frozenset(sought))

    @abstractmethod
    def _encode(self, model: M, frame: int, reporter: Reporter) -> Untyped:
        """Return the features of a frame, as the sessions of all objects take them."""

    @abstractmethod
    def _features(self, model: M, encoding: Untyped, frame: int) -> Untyped:
        """Return the same of what the image heads have encoded."""

    @abstractmethod
    def _make_prompter(self, model: M) -> Untyped:
        """Return the processor that prepares prompts."""


def as_features(
    model: LoadedModel, maps: Sequence[torch.Tensor], positions: Sequence[torch.Tensor], frame: int
) -> Untyped:
    """Return an encoded frame as the sessions of a tracker take it.

    ``maps`` and ``positions`` (shape (h * w, 1, C)): feature maps, fine to coarse, and the position
    encodings that belong to them.
    ``frame``: the frame's number.
    """
    features = partner(model.tracker, "InferenceCache")(model.device, model.device)
    features.cache_vision_features(
        frame, {"vision_feats": list(maps), "vision_pos_embeds": list(positions)}
    )
    return features


class SamTrack(TrackerTrack[LoadedModel]):
    """Follows prompted objects by SAM 2 or EdgeTAM."""

    def _encode(self, model: LoadedModel, frame: int, reporter: Reporter) -> Untyped:
        quiet = CancelOnlyReporter(reporter)
        encoding = encode(model, self._frames.read(frame), "", quiet)
        return self._features(model, encoding, frame)

    def _features(self, model: LoadedModel, encoding: SamEmbedding, frame: int) -> Untyped:
        tracker, coarse = model.tracker, encoding.maps[-1]
        shape = (1, coarse.shape[-1], *tracker.backbone_feature_sizes[-1])
        # As the neck makes it for each image; those of the finer maps are not looked at.
        make = tracker.vision_encoder.neck.position_encoding
        positions = make(shape, coarse.device, coarse.dtype).flatten(2).permute(2, 0, 1)
        return as_features(model, encoding.maps, [positions], frame)

    def _make_prompter(self, model: LoadedModel) -> Untyped:
        from transformers import Sam2VideoProcessor, Sam2VideoVideoProcessor

        own = model.click_processor
        # Frames come as images; the part for videos is not asked for anything.
        return Sam2VideoProcessor(
            own.image_processor, Sam2VideoVideoProcessor(), target_size=own.target_size
        )
