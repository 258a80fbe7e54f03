"""The engine: SAM 3 by Meta's own package, for planes and stacks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.progress import CancelOnlyReporter
from napari_sam3_assistant.core.results import ObjectRecord
from napari_sam3_assistant.core.tracks import TrackedFrame
from napari_sam3_assistant.engines.device import memory_device, objects_together
from napari_sam3_assistant.engines.sam3.engine import Sam3Engine, watch_layers, watch_numbers
from napari_sam3_assistant.engines.sam3.track import ObjectTrack, TrackContext
from napari_sam3_assistant.engines.sam3_meta import compat, compat_video
from napari_sam3_assistant.engines.sam3_meta.image import (
    Grounder,
    MetaEncoding,
    backbone_out,
    check_phrase,
    decode_objects,
    decode_points,
)
from napari_sam3_assistant.engines.sam3_meta.loading import LoadedModel, load_model, sam3_version
from napari_sam3_assistant.engines.sam3_meta.video_objects import (
    FollowedObject,
    Memory,
    check_seed,
    forget_conditions,
)

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
    from napari_sam3_assistant.core.tracks import TrackSeed
    from napari_sam3_assistant.engines.sam3.mask_decoder import Decoded, DecoderPrompt, PointDecoder


class Sam3MetaEngine(Sam3Engine[LoadedModel, MetaEncoding]):
    """SAM 3 by Meta's own package, from a folder with ``sam3.pt`` and its tokenizer files."""

    @property
    def version(self) -> str:
        """Version of the sam3 package."""
        return sam3_version()

    def unpack(self, shape: tuple[int, int], tensors: Mapping[str, torch.Tensor]) -> MetaEncoding:
        """Return the encoding that :meth:`MetaEncoding.tensors` was asked of."""
        model = self.model
        # As many for clicks as for the detector.
        numbers = range(len(tensors) // 2)
        maps, click_maps = (
            [tensors[f"{name}{number}"].to(model.device) for number in numbers]
            for name in ("map", "click")
        )
        with self._call_context(model, "encode"):
            positions = model.positions(lambda: compat.position_encodings(model.model, maps))
        return MetaEncoding(shape, backbone_out(maps, click_maps, positions))

    def track(
        self, frames: FrameSource, options: PredictOptions, new_id: Callable[[], int]
    ) -> MetaTrack:
        """Begin to follow objects through a stack; see :class:`.engines.base.VideoEngine`."""
        del options
        context = TrackContext(frames, self._working, new_id, objects_together(self.device))
        return MetaTrack(context)

    def _which_folder(self) -> str:
        return "Choose the folder with sam3.pt of facebook/sam3."

    def _load(self, folder: Path, reporter: Reporter) -> LoadedModel:
        return load_model(folder, self._requested, self._precision, reporter)

    def _make_finder(self, model: LoadedModel) -> Grounder:
        return Grounder(model)

    def _call_context(self, model: LoadedModel, part: Hashable) -> AbstractContextManager[object]:
        del part
        return compat.call_context(model.device, model.precision)

    def _embed(
        self, model: LoadedModel, image: npt.NDArray[np.uint8], reporter: Reporter
    ) -> MetaEncoding:
        from PIL import Image

        # The package takes an array's last two axes for height and width: (H, W, 3) would
        # be read as a plane of W x 3.
        picture = Image.fromarray(np.ascontiguousarray(image))
        blocks = compat.vision_blocks(model.model)
        with watch_layers(blocks, "Encoding the image", reporter):
            backbone = model.processor.set_image(picture)["backbone_out"]
        features = backbone_out(
            backbone["backbone_fpn"],
            backbone["sam2_backbone_out"]["backbone_fpn"],
            model.positions(lambda: backbone["vision_pos_enc"]),
        )
        return MetaEncoding((image.shape[0], image.shape[1]), features)

    def _decoder(
        self, model: LoadedModel, embedding: MetaEncoding, reporter: Reporter
    ) -> Callable[[DecoderPrompt], Decoded]:
        return partial(decode_objects, model, embedding, reporter)

    def _point_decoder(self, model: LoadedModel, embedding: MetaEncoding) -> PointDecoder:
        return partial(decode_points, model, embedding)


@dataclass(frozen=True, slots=True, eq=False)
class _FrameFindings:
    """What was found on a frame: the prompted objects, and the answers on the phrases."""

    records: tuple[ObjectRecord, ...]
    tracked: frozenset[int]
    answers: tuple[tuple[FollowedPhrase, Any], ...]


class MetaTrack(ObjectTrack[LoadedModel, FollowedObject]):
    """Follows objects through a stack with one copy of the weights.

    ``context``: the stack and the model.
    """

    def __init__(self, context: TrackContext[LoadedModel]) -> None:
        super().__init__(context)
        self._phrases: list[FollowedPhrase] = []
        self._features: compat_video.Features = {}
        self._pictures: compat_video.Pictures | None = None

    def add(self, seed: TrackSeed) -> None:
        """Take what names an object on a frame; it is read when the frame is."""
        check_seed(seed)
        super().add(seed)

    def add_phrase(self, text: str, frame: int) -> None:
        """Look for all objects of a phrase on every frame, beginning with one."""
        with self._working() as model:
            check_phrase(model, text)
        if text not in [phrase.text for phrase in self._phrases]:
            self._phrases.append(FollowedPhrase(text, frame, self._new_id))
            self._held.clear()

    def close(self) -> None:
        """Let go of all memory, and give it back to the device."""
        self._phrases.clear()
        self._features.clear()
        self._pictures = None
        super().close()

    def propagate(self, order: range, reporter: Reporter) -> Iterator[TrackedFrame]:
        """Yield what is on each frame; see :class:`.engines.base.VideoTrack`.

        Frames with phrases come late, as the package gives them.
        """
        if not order:
            return
        self._read_prompts(reporter)
        with self._working() as model:
            delay = self._begin(model, order, reporter)

        def search(frame: int) -> _FrameFindings:
            with self._working() as model:
                return self._search_frame(model, frame, order.step < 0, reporter)

        yield from self._held.pass_through(order, delay, search, self._finish, reporter)

    def _begin(self, model: LoadedModel, order: range, reporter: Reporter) -> int:
        """Make ready for a pass, and return how many frames are held back."""
        reverse = order.step < 0
        if not self._held.continue_with(order):
            for object_ in self._objects.values():
                object_.begin(order.start, reverse=reverse)
            blocks = compat.vision_blocks(model.model)
            for phrase in self._phrases:
                with watch_layers(blocks, "", CancelOnlyReporter(reporter)):
                    phrase.begin(
                        model.video,
                        self._get_pictures(model),
                        self._frames.shape,
                        order.start,
                        reverse=reverse,
                    )
        return int(model.video.hotstart_delay) if self._phrases else 1

    def _new_object(self, model: LoadedModel) -> FollowedObject:
        return FollowedObject(
            model.tracker,
            self._features,
            self._frames.shape,
            len(self._frames),
            self._file,
            on_cpu=memory_device(model.device) == "cpu",
        )

    def _read_prompts(self, reporter: Reporter) -> None:
        """Segment the objects on the frames of new prompts."""
        for frame in self._frames_to_read():
            with self._working() as model:
                self._encode(model, frame, reporter)
                for object_ in self._objects_to_read(frame):
                    reporter.check()
                    object_.prompt(model.tracker, frame)

    def _search_frame(
        self, model: LoadedModel, frame: int, reverse: bool, reporter: Reporter
    ) -> _FrameFindings:
        """Find and follow everything on a frame."""
        answers = []
        for phrase in self._phrases:
            with watch_layers(compat.vision_blocks(model.model), "", CancelOnlyReporter(reporter)):
                answers.append((phrase, phrase.follow(model.video, frame, reverse=reverse)))
            self._features.clear()
            self._features[frame] = phrase.features(frame)
        sought = self._objects_to_find(frame, reverse=reverse)
        if not all(followed.is_known_at(frame) for followed in sought.values()):
            self._encode(model, frame, reporter)
        fill_area = model.video.fill_hole_area
        records = self._follow_objects(
            sought,
            lambda followed: followed.follow(
                model.tracker, frame, reverse=reverse, fill_area=fill_area
            ),
            compat_video.networks(model.tracker),
            reporter,
        )
        return _FrameFindings(tuple(records), frozenset(sought), tuple(answers))

    def _finish(self, frame: int, seen: _FrameFindings) -> TrackedFrame:
        """Return what was found on a frame that is held."""
        records, tracked = list(seen.records), seen.tracked
        with self._working() as model:
            for phrase, answer in seen.answers:
                found = phrase.records(model.video, answer)
                records += [record for record in found if record.id not in self._hidden]
                tracked |= phrase.ids - self._hidden
        return TrackedFrame(frame, tuple(sorted(records, key=lambda record: record.id)), tracked)

    def _encode(self, model: LoadedModel, frame: int, reporter: Reporter) -> None:
        """Put the features of a frame where the tracker looks for them."""
        if frame in self._features:
            return
        self._features.clear()
        picture = self._get_pictures(model)[frame]
        with watch_layers(compat.vision_blocks(model.model), "", CancelOnlyReporter(reporter)):
            encoded = compat_video.encode(model.model, model.tracker, picture, model.device)
        self._features[frame] = encoded

    def _get_pictures(self, model: LoadedModel) -> compat_video.Pictures:
        if self._pictures is None:
            self._pictures = compat_video.Pictures(self._frames, model.tracker.image_size)
        return self._pictures


class FollowedPhrase:
    """A phrase and what the model remembers of its objects: a session knows one phrase.

    ``text``: the phrase.
    ``frame``: the frame on which it is looked for first.
    ``new_id``: returns the next free object id.
    """

    def __init__(self, text: str, frame: int, new_id: Callable[[], int]) -> None:
        self.text = text
        self._first = frame
        self._new_id = new_id
        self._ids: dict[int, int] = {}
        self._memories: dict[int, Memory] = {}
        self.state: dict[str, Any] | None = None

    @property
    def ids(self) -> frozenset[int]:
        """The objects that were found so far."""
        return frozenset(self._ids.values())

    def begin(
        self,
        video: Untyped,
        pictures: compat_video.Pictures,
        shape: tuple[int, int],
        frame: int,
        *,
        reverse: bool,
    ) -> None:
        """Make ready for a pass; before the first one, look for the phrase on its frame."""
        if self.state is None:
            state = compat_video.new_phrase_state(video, pictures, shape)
            video.add_prompt(state, frame_idx=self._first, text_str=self.text)
            self.state = state
            self._forget(video, state, self._first)
        compat_video.forget_ahead(self.state, frame)
        for tracked in self.state["tracker_inference_states"]:
            self._memory(video, tracked).begin(tracked, frame, reverse=reverse)

    def follow(self, video: Untyped, frame: int, *, reverse: bool) -> Untyped:
        """Return the package's answer on a frame, for :meth:`records`."""
        state = self._state
        parts = video.detector.transformer.decoder, video.tracker.sam_mask_decoder
        with watch_numbers(*parts):
            answer = compat_video.run_frame(video, state, frame, reverse=reverse)
        self._forget(video, state, frame)
        for tracked in state["tracker_inference_states"]:
            memory = self._memory(video, tracked)
            forget_conditions(video.tracker, tracked)
            memory.advance(tracked, frame, reverse=reverse)
            compat_video.forget_masks(tracked)
        return answer

    def features(self, frame: int) -> Untyped:
        """Return the features of the frame that was gone through last."""
        return self._state["feature_cache"][frame]

    def records(self, video: Untyped, answer: Untyped) -> list[ObjectRecord]:
        """Return the objects of an answer; asked some frames later, without the false ones."""
        found = compat_video.finish_frame(video, self._state, answer)
        records = []
        for name, score, mask in zip(
            found["out_obj_ids"].tolist(),
            found["out_probs"].tolist(),
            found["out_binary_masks"],
            strict=True,
        ):
            own = self._ids.get(name)
            if own is None:
                own = self._ids[name] = self._new_id()
            record = ObjectRecord.from_mask(own, mask, score=score, text=self.text)
            if record is not None:
                records.append(record)
        return records

    @property
    def _state(self) -> dict[str, Any]:
        if self.state is None:
            raise RuntimeError("begin comes first")
        return self.state

    def _memory(self, video: Untyped, tracked: dict[str, Any]) -> Memory:
        return self._memories.setdefault(id(tracked), Memory(video.tracker))

    def _forget(self, video: Untyped, state: dict[str, Any], frame: int) -> None:
        compat_video.forget_frames(video, state, frame)
        alive = {id(tracked) for tracked in state["tracker_inference_states"]}
        self._memories = {name: own for name, own in self._memories.items() if name in alive}
