"""How much of a video session is kept: what the memory of the model can still reach.

The sessions of transformers keep every frame, every mask and every memory that they have seen.
The model looks at the memories of the last ``num_maskmem - 1`` frames, at the object pointers of
the last ``max_object_pointers_in_encoder - 1``, and at the prompted frames. Beside these only the
surroundings of the frames are kept from which a pass may go on: both ends, and the prompts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import torch

    from napari_sam3_assistant.engines.sam3_transformers.loading import LoadedModel

    Outputs = dict[str, dict[int, dict[str, Any]]]

_MEMORY = ("maskmem_features", "maskmem_pos_enc")
# Prompted frames that a phrase may give one object; the model sets some by itself.
MOST_CONDITIONS = 16


class Frames(dict[int, Any]):
    """The frames of a session: their number is that of the stack, the pixels are let go.

    Parameters
    ----------
    count : int
        Number of frames of the stack. The model asks for it to know where the stack ends.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self._count = count

    def __len__(self) -> int:
        return self._count


def open_session(
    kind: Callable[..., Any],
    model: LoadedModel,
    shape: tuple[int, int],
    count: int,
    state_device: str,
) -> Any:  # noqa: ANN401 - transformers ships no types
    """Return a session of the library that keeps no frames.

    Parameters
    ----------
    kind : type
        ``Sam3TrackerVideoInferenceSession`` or ``Sam3VideoInferenceSession``.
    model : LoadedModel
        The weights.
    shape : tuple of int
        Height and width of a frame.
    count : int
        Number of frames of the stack.
    state_device : str
        Where its memory lies.
    """
    session = kind(
        video_height=shape[0],
        video_width=shape[1],
        inference_device=model.device,
        inference_state_device=state_device,
        video_storage_device="cpu",
        dtype=model.dtype,
    )
    session.processed_frames = Frames(count)
    return session


class Memory:
    """What to keep of the outputs of objects.

    Parameters
    ----------
    config : Sam3TrackerVideoConfig
        How far the model looks back.
    """

    def __init__(self, config: Any) -> None:  # noqa: ANN401 - transformers ships no types
        self._memories = int(config.num_maskmem) - 1
        self._pointers = int(config.max_object_pointers_in_encoder) - 1
        self._reached: dict[bool, int] = {}
        self._positions: torch.Tensor | None = None

    def begin(self, outputs: Outputs, frame: int, *, reverse: bool) -> None:
        """Forget outputs without a memory that a pass from a frame on would look for."""
        others = outputs["non_cond_frame_outputs"]
        step = -1 if reverse else 1
        for back in range(1, self._memories + 1):
            if (record := others.get(frame - back * step)) and _MEMORY[0] not in record:
                del others[frame - back * step]

    def reached(self, frame: int, *, reverse: bool) -> None:
        """Note how far a pass is."""
        self._reached[reverse] = frame

    def trim(self, outputs: Outputs) -> None:
        """Forget what no pass can need of one object's outputs; prompted frames are kept."""
        prompted, others = outputs["cond_frame_outputs"], outputs["non_cond_frame_outputs"]
        anchors = {*prompted, *self._reached.values()}
        for frame in list(others):
            away = min((abs(frame - anchor) for anchor in anchors), default=0)
            if away > self._pointers:
                del others[frame]
                continue
            record = others[frame]
            record.pop("pred_masks", None)
            if away > self._memories:
                for name in _MEMORY:
                    record.pop(name, None)
        for record in (*prompted.values(), *others.values()):
            record.pop("high_res_masks", None)
            self._share_positions(record)

    def forget_conditions(self, outputs: Outputs) -> None:
        """Forget frames that the model has set as prompts by itself, all but the first and last."""
        prompted = outputs["cond_frame_outputs"]
        for frame in list(prompted)[1 : len(prompted) - MOST_CONDITIONS + 1]:
            del prompted[frame]

    def _share_positions(self, record: dict[str, Any]) -> None:
        """Let all memories hold one copy of the position encoding: it depends on the size only."""
        positions = record.get("maskmem_pos_enc")
        if positions is None:
            return
        kept = self._positions
        if kept is None or kept.shape != positions.shape or kept.device != positions.device:
            # A part of a batch would keep the whole of it.
            self._positions = kept = positions.clone()
        record["maskmem_pos_enc"] = kept
        features = record["maskmem_features"]
        if features.untyped_storage().nbytes() > features.nbytes:
            record["maskmem_features"] = features.clone()


def stored_bytes(outputs: Iterable[Outputs]) -> int:
    """Return the memory that the tensors of some objects' outputs take, shared ones once."""
    storages = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for one in outputs
        for tensor in _tensors(one)
    }
    return sum(storages.values())


def _tensors(outputs: Outputs) -> Iterator[torch.Tensor]:
    for records in outputs.values():
        for record in records.values():
            yield from record.values()
