"""The engine: SAM 3 by Hugging Face transformers, for planes and stacks.

Phrases are followed as in the library's use of a whole video, which holds frames back until it is
known which objects are false. It asks a package that would be fetched from a hub for doubles and
holes; these are found with SciPy (:class:`Kernel`), and nothing is fetched.

What is encoded when: of a prompted frame that the image heads have encoded, only the small neck of
the tracker runs again, as the maps that the image heads keep of it have their "no memory" embedding
added. For a phrase every frame is encoded once by
``Sam3VideoModel.forward``, which takes pixels and no encoding (transformers 5.23), so a frame
with a phrase and clicks is encoded twice: once for the clicks, before the pass begins, as objects
keep to prompts that lie ahead, and once in the pass.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.progress import CancelOnlyReporter, NullReporter
from napari_sam3_assistant.core.results import ObjectRecord
from napari_sam3_assistant.core.tracks import TrackedFrame
from napari_sam3_assistant.engines.base import package_version
from napari_sam3_assistant.engines.device import memory_device, objects_together
from napari_sam3_assistant.engines.sam3.engine import (
    Sam3Engine,
    replace_attribute,
    watch_layers,
    watch_numbers,
)
from napari_sam3_assistant.engines.sam3.grounding import check_length
from napari_sam3_assistant.engines.sam3.mask_decoder import to_records
from napari_sam3_assistant.engines.sam3.together import Network, run_together
from napari_sam3_assistant.engines.sam3.track import TrackContext
from napari_sam3_assistant.engines.sam3_transformers.image import (
    MAX_TOKENS,
    Grounder,
    LoadedSam3,
    Sam3Embedding,
    click_features,
    load_model,
)
from napari_sam3_assistant.engines.sam_transformers.engine import TrackerTrack, as_features
from napari_sam3_assistant.engines.sam_transformers.image import (
    decode_objects,
    decode_points,
    to_pixels,
)
from napari_sam3_assistant.engines.sam_transformers.loading import read_processor
from napari_sam3_assistant.engines.sam_transformers.video_objects import Memory, open_session

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    import numpy.typing as npt
    import torch

    from napari_sam3_assistant.core.display import FrameSource
    from napari_sam3_assistant.core.images import Untyped
    from napari_sam3_assistant.core.options import PredictOptions
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.sam3.mask_decoder import Decoded, DecoderPrompt, PointDecoder


class Sam3TransformersEngine(Sam3Engine[LoadedSam3, Sam3Embedding]):
    """SAM 3 by Hugging Face transformers, from the folder of ``facebook/sam3``."""

    @property
    def version(self) -> str:
        """Version of transformers."""
        return package_version("transformers")

    def unpack(self, shape: tuple[int, int], tensors: Mapping[str, torch.Tensor]) -> Sam3Embedding:
        """Return the encoding that :meth:`Sam3Embedding.tensors` was asked of."""
        model = self.model
        with self._call_context(model, "encode"):
            return Sam3Embedding.from_tensors(model, shape, tensors)

    def track(
        self, frames: FrameSource, options: PredictOptions, new_id: Callable[[], int]
    ) -> TransformersTrack:
        """Begin to follow objects through a stack; see :class:`.engines.base.VideoEngine`."""
        del options
        context = TrackContext(frames, self._working, new_id, objects_together(self.device))
        return TransformersTrack(self._named_folder(), context)

    def _which_folder(self) -> str:
        return "Choose the folder with config.json and model.safetensors of facebook/sam3."

    def _load(self, folder: Path, reporter: Reporter) -> LoadedSam3:
        device, precision = self._choose()
        return load_model(folder, device, precision, reporter)

    def _make_finder(self, model: LoadedSam3) -> Grounder:
        return Grounder(model)

    def _call_context(self, model: LoadedSam3, part: Hashable) -> AbstractContextManager[object]:
        return model.calling(part, self._folder)

    def _embed(
        self, model: LoadedSam3, image: npt.NDArray[np.uint8], reporter: Reporter
    ) -> Sam3Embedding:
        pixels = to_pixels(model, model.find_processor, image)
        layers = model.detector.vision_encoder.backbone.layers
        with watch_layers(layers, "Encoding the image", reporter):
            vision = model.detector.get_vision_features(pixel_values=pixels)
        return Sam3Embedding(shape=(image.shape[0], image.shape[1]), vision=vision)

    def _decoder(
        self, model: LoadedSam3, embedding: Sam3Embedding, reporter: Reporter
    ) -> Callable[[DecoderPrompt], Decoded]:
        features = click_features(model, embedding)
        return partial(decode_objects, model, features, embedding.shape, reporter)

    def _point_decoder(self, model: LoadedSam3, embedding: Sam3Embedding) -> PointDecoder:
        features = click_features(model, embedding)
        return partial(decode_points, model, features, embedding.shape)


class TransformersTrack(TrackerTrack[LoadedSam3]):
    """Follows prompted objects and phrases through a stack with one copy of the weights.

    ``folder``: the model folder, of which the processors are read.
    ``context``: the stack and the model.
    """

    def __init__(self, folder: Path, context: TrackContext[LoadedSam3]) -> None:
        super().__init__(folder, context)
        self._phrases: FollowedPhrases | None = None

    def add_phrase(self, text: str, frame: int) -> None:
        """Look for all objects of a phrase on every frame."""
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
        self._held.clear()

    def close(self) -> None:
        """Let go of all memory, and give it back to the device."""
        self._phrases = None
        super().close()

    def _begin(self, frame: int, *, reverse: bool) -> None:
        if self._phrases is not None:
            self._phrases.begin(frame, reverse=reverse)

    @property
    def _delay(self) -> int:
        return 1 if self._phrases is None else self._phrases.delay

    def _search(
        self, model: LoadedSam3, frame: int, *, reverse: bool, reporter: Reporter
    ) -> tuple[TrackedFrame, Untyped]:
        if self._phrases is None:
            return self._frame(model, frame, reverse=reverse, reporter=reporter), None
        pixels = to_pixels(model, model.find_processor, self._frames.read(frame))
        with watch_layers(_layers(model), "", CancelOnlyReporter(reporter)):
            answer = self._phrases.follow(
                model, pixels, frame, reverse=reverse, together=self._together
            )
        features = self._phrases.features
        return (
            self._frame(model, frame, reverse=reverse, reporter=reporter, features=features),
            answer,
        )

    def _finish(self, frame: int, output: tuple[TrackedFrame, Untyped]) -> TrackedFrame:
        prompted, answer = output
        if self._phrases is None or answer is None:
            return prompted
        with self._working():
            named = self._phrases.records(answer)
        shown = [record for record in named if record.id not in self._hidden]
        objects = sorted((*shown, *prompted.objects), key=lambda record: record.id)
        tracked = prompted.tracked | (self._phrases.ids - self._hidden)
        return TrackedFrame(frame, tuple(objects), tracked)

    def _encode(self, model: LoadedSam3, frame: int, reporter: Reporter) -> Untyped:
        pixels = to_pixels(model, model.find_processor, self._frames.read(frame))
        with watch_layers(_layers(model), "", CancelOnlyReporter(reporter)):
            # Without the detector's own feature maps, which the tracker does not look at.
            hidden = model.detector.vision_encoder.backbone(pixels)
        return self._hidden_features(model, hidden, frame)

    def _features(self, model: LoadedSam3, encoding: Sam3Embedding, frame: int) -> Untyped:
        return self._hidden_features(model, encoding.vision, frame)

    def _hidden_features(self, model: LoadedSam3, encoded: Untyped, frame: int) -> Untyped:
        """Return what the tracker looks at of the image encoder's own output."""
        maps, positions = model.video.get_vision_features_for_tracker(encoded)
        return as_features(model, maps, positions, frame)

    def _make_prompter(self, model: LoadedSam3) -> Untyped:
        from transformers import Sam3TrackerVideoProcessor

        del model
        return read_processor(Sam3TrackerVideoProcessor, self._folder)


def _layers(model: LoadedSam3) -> Untyped:
    return model.detector.vision_encoder.backbone.layers


class FollowedPhrases:
    """Phrases and what the model remembers of their objects.

    ``shape``: height and width of a frame.
    ``count``: number of frames of the stack.
    ``state_device``: where its memory lies.
    ``new_id``: returns the next free object id.
    ``delay``: with so many frames it is known which objects of the first of them are false.
    """

    def __init__(
        self,
        model: LoadedSam3,
        shape: tuple[int, int],
        count: int,
        state_device: str,
        new_id: Callable[[], int],
    ) -> None:
        self._session = open_session(model, model.video, shape, count, state_device)
        self._shape = shape
        self._memory = Memory(model.tracker.config, state_device)
        self._new_id = new_id
        self.delay = int(model.video.hotstart_delay)
        # Of these lists of frames only the lengths count, up to their thresholds.
        self._unmatched = max(1, int(model.video.hotstart_unmatch_thresh))
        self._doubled = max(1, int(model.video.hotstart_dup_thresh))
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
    def features(self) -> Untyped:
        """The features of the last frame, as the tracker takes them."""
        return self._session.cache

    def add(self, processor: Untyped, text: str) -> None:
        """Look for a phrase from the next frame on."""
        processor.add_text_prompt(self._session, text)

    def begin(self, frame: int, *, reverse: bool) -> None:
        """Make ready for a pass."""
        for outputs in self.outputs:
            self._memory.recall(outputs, frame, reverse=reverse)
            self._memory.forget_conditions(outputs, frame, reverse=reverse)

    def follow(
        self,
        model: LoadedSam3,
        pixels: torch.Tensor,
        frame: int,
        *,
        reverse: bool,
        together: int,
    ) -> Untyped:
        """Return the model's answer on a frame, for :meth:`records`.

        ``pixels`` (shape (1, 3, S, S)): the frame as the model takes it.
        ``frame``: its number.
        ``reverse``: whether the pass goes backward.
        ``together``: how many objects go through the tracker's networks at once.
        """
        session = self._session
        # Not by `add_new_frame`, which would send it to the CPU and back.
        session.processed_frames[frame] = pixels[0]
        try:
            with (
                _kernel_of_ours(model.video),
                _objects_together(model.video.tracker_model, session, together),
                watch_numbers(model.detector.detr_decoder, model.tracker.mask_decoder),
            ):
                # Without `frame`, with which false objects are not looked for.
                answer = model.video(inference_session=session, frame_idx=frame, reverse=reverse)
        finally:
            session.processed_frames.clear()
        session.hotstart_removed_obj_ids.update(answer.removed_obj_ids)
        self._memory.advance(frame, reverse=reverse)
        self._forget(frame, reverse=reverse)
        return answer

    def records(self, answer: Untyped) -> list[ObjectRecord]:
        """Return the objects of an answer, without the false ones and none over another one.

        As ``Sam3VideoProcessor.postprocess_outputs``, which makes all masks large at once.
        """
        session = self._session
        hidden = {*answer.suppressed_obj_ids, *session.hotstart_removed_obj_ids}
        by_score = sorted(
            (name for name in answer.obj_id_to_mask if name not in hidden),
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

    def _forget(self, frame: int, *, reverse: bool) -> None:
        """Let go what the session never asks for again."""
        session = self._session
        for outputs in self.outputs:
            self._memory.forget_conditions(outputs, frame, reverse=reverse)
            self._memory.trim(outputs)
        for inputs in (session.mask_inputs_per_obj, session.frames_tracked_per_obj):
            for by_frame in inputs.values():
                by_frame.clear()
        # By frame, and copied for each frame.
        session.obj_id_to_tracker_score_frame_wise = defaultdict(dict)
        session.suppressed_obj_ids = defaultdict(set)
        for frames in session.unmatched_frame_inds.values():
            del frames[self._unmatched :]
        for frames in session.overlap_pair_to_frame_inds.values():
            del frames[self._doubled :]


class Kernel:
    """What the video model asks of the package ``kernels``, which would fetch it from a hub."""

    @staticmethod
    def generic_nms(
        overlaps: torch.Tensor, scores: torch.Tensor, least: float, *, use_iou_matrix: bool
    ) -> torch.Tensor:
        """Return which masks to keep: none that overlaps with a better one by more than a share.

        ``overlaps`` (shape (N, N)): intersection over union of each two masks.
        ``scores`` has the shape (N,).

        Returns
        -------
        torch.Tensor, shape (K,), dtype int64
            Their numbers.
        """
        import torch

        del use_iou_matrix
        doubles = (overlaps > least).cpu().numpy()
        kept: list[int] = []
        for number in scores.float().argsort(descending=True, stable=True).tolist():
            if not doubles[number, kept].any():
                kept.append(number)
        return torch.tensor(kept, dtype=torch.int64, device=overlaps.device)

    @staticmethod
    def cc_2d(masks: torch.Tensor, *, get_counts: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the connected components of masks, and of each pixel the size of its component.

        ``masks`` (shape (N, 1, H, W), dtype uint8): not 0 inside.

        Returns
        -------
        labels, counts : torch.Tensor, shape (N, 1, H, W), dtype int32
            0 outside; pixels that touch at a corner are connected.
        """
        import torch
        from scipy import ndimage

        del get_counts
        inside = masks.cpu().numpy() != 0
        labels, counts = np.zeros(inside.shape, np.int32), np.zeros(inside.shape, np.int32)
        for number, mask in enumerate(inside[:, 0]):
            found, _ = ndimage.label(mask, np.ones((3, 3)))
            sizes = np.bincount(found.ravel())
            sizes[0] = 0
            labels[number, 0], counts[number, 0] = found, sizes[found]
        return (
            torch.from_numpy(labels).to(masks.device),
            torch.from_numpy(counts).to(masks.device),
        )


@contextmanager
def _objects_together(tracker: Untyped, session: Untyped, together: int) -> Iterator[None]:
    """Have the tracker find several objects at once that its ``forward`` asks for one by one.

    The library does so because their prompts may differ; these have none on the frame.
    """
    name = "_run_single_frame_inference"
    single = getattr(tracker, name)
    networks = (Network(tracker.memory_attention, 1), Network(tracker.mask_decoder, 0))
    ahead: dict[int, Any] = {}

    def is_followed(index: int, frame: int) -> bool:
        prompted = session.output_dict_per_obj[index]["cond_frame_outputs"]
        return frame not in prompted and (
            session.obj_idx_to_id(index) not in session.obj_with_new_inputs
        )

    def find(**call: Any) -> Untyped:  # noqa: ANN401 - of the library
        index, frame = call["obj_idx"], call["frame_idx"]
        prompts = (call["point_inputs"], call["mask_inputs"])
        is_prompted = call["is_init_cond_frame"] or any(prompt is not None for prompt in prompts)
        if is_prompted or not is_followed(index, frame):
            return single(**call)
        if index not in ahead:
            remaining = (
                number
                for number in range(index, session.get_obj_num())
                if is_followed(number, frame)
            )
            some = list(islice(remaining, together))
            steps = [partial(single, **{**call, "obj_idx": number}) for number in some]
            ahead.update(zip(some, run_together(steps, networks), strict=True))
        return ahead.pop(index)

    setattr(tracker, name, find)
    try:
        yield
    finally:
        delattr(tracker, name)  # its own one is the class's


def _kernel_of_ours(video: Untyped) -> AbstractContextManager[None]:
    """Have the video model's module find :class:`Kernel` where it keeps what it has fetched."""
    return replace_attribute(sys.modules[type(video).__module__], "cv_utils_kernel", Kernel)
