"""One prompted object on its way through a stack, by the tracker of SAM 2 or SAM 3.

Each object has a session of its own: the tracker works on one object after the other in any case,
so the results are the same.

How much of a video session is kept: what the memory of the model can still reach.

The sessions of transformers keep every frame, every mask and every memory that they have seen.
The model looks at the memories of the last ``num_maskmem - 1`` frames, at the object pointers of
the last ``max_object_pointers_in_encoder - 1``, and at the prompted frames. Beside these only the
surroundings of the frames are kept from which a pass may go on: both ends, and the prompts. What is
remembered of a prompted object on the other frames goes to a file, for corrections there.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.sam3.mask_decoder import xyxy
from napari_sam3_assistant.engines.sam3.track import SavedFrames, TrackedPrompts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import torch

    from napari_sam3_assistant.core.images import Untyped
    from napari_sam3_assistant.core.tracks import TrackSeed
    from napari_sam3_assistant.engines.sam3.track import MemoryFile
    from napari_sam3_assistant.engines.sam_transformers.loading import LoadedModel


# The only object of its session.
_INDEX, _NAME = 0, 1


class FollowedObject(TrackedPrompts):
    """An object and what the tracker remembers of it.

    ``shape``: height and width of a frame.
    ``count``: number of frames of the stack.
    ``state_device``: where its memory lies.
    ``file``: where its memory of far frames lies.
    """

    def __init__(
        self,
        model: LoadedModel,
        shape: tuple[int, int],
        count: int,
        state_device: str,
        file: MemoryFile,
    ) -> None:
        super().__init__()
        self._session = open_session(model, model.tracker, shape, count, state_device)
        self._session.obj_id_to_idx(_NAME)
        self._shape = shape
        self._memory = Memory(model.tracker.config, state_device, file)
        # Frames that were not prompted when the tracker came to them.
        self._tracked: set[int] = set()

    @property
    def outputs(self) -> dict[str, dict[int, dict[str, Any]]]:
        """What the session remembers, prompted frames and others."""
        kept: dict[str, dict[int, dict[str, Any]]] = self._session.output_dict_per_obj[_INDEX]
        return kept

    @property
    def read(self) -> Collection[int]:
        """The frames whose prompts were read."""
        return self.outputs["cond_frame_outputs"].keys()

    def forget(self) -> None:
        """Give back the place in the file; the object is not used any more."""
        self._memory.saved.clear()

    def prompt(self, model: LoadedModel, processor: Untyped, features: Untyped, frame: int) -> None:
        """Segment the object on a frame by the prompts that wait for it.

        Where the object was looked for before, clicks are read with what the tracker remembers
        of it. The answer counts as prompted: later frames keep to it.
        """
        seed, session = self.pending[frame], self._session
        processor.add_inputs_to_inference_session(
            session, frame, _NAME, original_size=self._shape, **_inputs(seed, self._shape)
        )
        if frame in self._tracked:
            session.frames_tracked_per_obj[_INDEX][frame] = {"reverse": False}
        prompted = self.outputs["cond_frame_outputs"]
        # Its earlier prompts there are among the new ones.
        prompted.pop(frame, None)
        self._run(model, features, frame, reverse=False)
        others = self.outputs["non_cond_frame_outputs"]
        if frame in others:
            prompted[frame] = others.pop(frame)
        session.point_inputs_per_obj[_INDEX].clear()
        session.mask_inputs_per_obj[_INDEX].clear()
        del self.pending[frame]
        self._memory.trim(self.outputs)

    def follow(
        self,
        model: LoadedModel,
        features: Untyped,
        frame: int,
        *,
        reverse: bool,
    ) -> tuple[torch.Tensor, float]:
        """Return the object's low-resolution mask logits, (h, w), on a frame, and its score."""
        low, score = self._run(model, features, frame, reverse=reverse)
        if frame not in self.outputs["cond_frame_outputs"]:
            self._tracked.add(frame)
        self._memory.advance(frame, reverse=reverse)
        self._memory.trim(self.outputs)
        return low, score

    def _run(
        self,
        model: LoadedModel,
        features: Untyped,
        frame: int,
        *,
        reverse: bool,
    ) -> tuple[torch.Tensor, float]:
        self._session.cache = features
        self._memory.recall(self.outputs, frame, reverse=reverse)
        answer = model.tracker(inference_session=self._session, frame_idx=frame, reverse=reverse)
        # The model has looked at it again.
        self._memory.saved.forget(frame)
        self._session.frames_tracked_per_obj[_INDEX].clear()
        # Objects on different frames would keep as many encoded frames.
        self._session.cache = None
        low: torch.Tensor = answer.pred_masks[0, 0].float()
        return low, float(answer.object_score_logits.float().sigmoid().reshape(-1)[0])


def _inputs(seed: TrackSeed, shape: tuple[int, int]) -> dict[str, Any]:
    """Return what names an object as the processor takes it."""
    import torch

    if seed.mask is not None:
        return {"input_masks": torch.from_numpy(seed.mask.to_plane(shape))}
    inputs: dict[str, Any] = {}
    if seed.points:
        inputs["input_points"] = [[[[float(p.x), float(p.y)] for p in seed.points]]]
        inputs["input_labels"] = [[[int(p.positive) for p in seed.points]]]
    if seed.box is not None:
        inputs["input_boxes"] = [[xyxy(seed.box.cut(Region.whole(shape)))]]
    return inputs


if TYPE_CHECKING:
    Outputs = dict[str, dict[int, dict[str, Any]]]

_MEMORY = ("maskmem_features", "maskmem_pos_enc")
# The position encoding depends on the size only; the others are the results of the frame itself.
_NOT_SAVED = ("maskmem_pos_enc", "pred_masks", "high_res_masks")
# Prompted frames that a phrase may give one object whole; the model sets some by itself.
MOST_CONDITIONS = 16


class Frames(dict[int, Any]):
    """The frames of a session: their number is that of the stack, the pixels are let go.

    ``count``: number of frames of the stack. The model asks for it to know where the stack ends.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count

    def __len__(self) -> int:
        return self._count


def partner(model: Untyped, part: str) -> Callable[..., Any]:
    """Return the library's class of a part that goes with a model of videos."""
    kind = type(model)
    name = f"{kind.__name__.removesuffix('Model')}{part}"
    output: Callable[..., Any] = getattr(sys.modules[kind.__module__], name)
    return output


def open_session(
    model: LoadedModel,
    network: Untyped,
    shape: tuple[int, int],
    count: int,
    state_device: str,
) -> Untyped:
    """Return a session of the library that keeps no frames."""
    import torch

    session = partner(network, "InferenceSession")(
        video_height=shape[0],
        video_width=shape[1],
        inference_device=model.device,
        inference_state_device=state_device,
        video_storage_device="cpu",
        dtype=torch.float32,
    )
    session.processed_frames = Frames(count)
    return session


class Memory:
    """What to keep of the outputs of objects.

    ``config``: how far the model looks back.
    ``device``: where the memories lie.
    ``file``: where those of one object lie that are far from where it is followed; without it they
    are forgotten.
    ``saved``: what is there.
    """

    def __init__(
        self,
        config: Untyped,
        device: str,
        file: MemoryFile | None = None,
    ) -> None:
        self._memories = int(config.num_maskmem) - 1
        # Prompted frames whose memory is looked at, the nearest; -1 is all of them.
        self._selected = int(config.max_cond_frame_num)
        self._pointers = int(config.max_object_pointers_in_encoder) - 1
        self._device = device
        self.saved = SavedFrames(file)
        self._reached: dict[bool, int] = {}
        self._positions: torch.Tensor | None = None

    def recall(self, outputs: Outputs, frame: int, *, reverse: bool) -> None:
        """Have what the model looks for from a frame on: all of it, or nothing of a frame."""
        others = outputs["non_cond_frame_outputs"]
        step = -1 if reverse else 1
        for back in range(1, self._pointers + 1):
            other = frame - back * step
            record = others.get(other, {})
            if _MEMORY[0] in record or (record and back > self._memories):
                continue
            if other in self.saved:
                found = self.saved.load(other)
                others[other] = {name: tensor.to(self._device) for name, tensor in found.items()}
                others[other]["maskmem_pos_enc"] = self._positions
            elif record:
                # Without a memory the model can't take it.
                del others[other]

    def advance(self, frame: int, *, reverse: bool) -> None:
        """Note how far a pass is."""
        self._reached[reverse] = frame

    def trim(self, outputs: Outputs) -> None:
        """Forget what no pass can need of one object's outputs; prompted frames are kept."""
        prompted, others = outputs["cond_frame_outputs"], outputs["non_cond_frame_outputs"]
        anchors = {*prompted, *self._reached.values()}
        for frame in list(others):
            away = min((abs(frame - anchor) for anchor in anchors), default=0)
            record = others[frame]
            record.pop("pred_masks", None)
            if away > self._memories:
                self._save(frame, record)
                for name in _MEMORY:
                    record.pop(name, None)
            if away > self._pointers:
                del others[frame]
        for record in (*prompted.values(), *others.values()):
            record.pop("high_res_masks", None)
            self._place(record)

    def forget_conditions(self, outputs: Outputs, frame: int, *, reverse: bool) -> None:
        """Keep pointers alone of frames that the model has set as prompts by itself.

        All but the first ones and the last: it looks at the pointers of all, but at the memory of
        the nearest. Where it could come near to one again that one is forgotten.
        """
        if self._selected < 0:
            return
        prompted, step = outputs["cond_frame_outputs"], -1 if reverse else 1
        whole = [other for other, record in prompted.items() if _MEMORY[0] in record]
        first = max(self._selected, self._memories + 1)
        for other in whole[first : max(first, len(whole) - MOST_CONDITIONS + first)]:
            for name in (*_MEMORY, "pred_masks"):
                prompted[other].pop(name, None)
        nearer = 0
        for other in sorted(prompted, key=lambda number: abs(number - frame)):
            back = (frame - other) * step
            if _MEMORY[0] in prompted[other]:
                nearer += back >= 0
            elif back <= self._memories or nearer < self._selected:
                del prompted[other]

    def _save(self, frame: int, record: dict[str, Any]) -> None:
        """Write a record to the file that is still whole and not there."""
        if frame not in self.saved and _MEMORY[0] in record:
            kept = {name: tensor for name, tensor in record.items() if name not in _NOT_SAVED}
            self.saved.save(frame, kept)

    def _place(self, record: dict[str, Any]) -> None:
        """Put a memory where it shall lie, with the one copy of the position encoding."""
        positions = record.get("maskmem_pos_enc")
        if positions is None:
            return
        kept = self._positions
        if kept is None or kept.shape != positions.shape or kept.device != positions.device:
            # A part of a batch would keep the whole of it.
            self._positions = kept = positions.clone()
        record["maskmem_pos_enc"] = kept
        # The model leaves it where it works, wherever the rest of its memory lies.
        features = record["maskmem_features"].to(self._device)
        if features.untyped_storage().nbytes() > features.nbytes:
            features = features.clone()
        record["maskmem_features"] = features
