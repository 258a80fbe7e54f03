"""How much the tracker remembers: what a pass that goes on can still look at, and no more.

Meta's tracker keeps the mask and the memory of each frame that it has seen. On a frame it looks at
the prompted frames, at the memories of the last ``num_maskmem - 1`` frames whose score is good
enough, and at the object pointers of the last ``max_obj_ptrs_in_encoder - 1`` of them
(``sam3_tracker_base.py:518``). Kept are those round the frames from which a pass may go on: both
ends of what was gone through, and the prompts. So the masks are those of an unlimited memory.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.engines.sam3_meta import compat_video

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import torch

_STORED = ("maskmem_features", "pred_masks")
# Prompted frames that a phrase may give its objects: the model sets one every 16 frames.
MOST_CONDITIONS = 16


class Memory:
    """What to keep of a state of the tracker.

    Parameters
    ----------
    tracker : Sam3TrackerPredictor
        Says how far it looks back.
    whole : bool
        Whether frames are kept whole or not at all.
    """

    def __init__(self, tracker: Any, *, whole: bool = False) -> None:  # noqa: ANN401
        # Not the tracker itself: an open track would keep the weights of a closed engine.
        # With the frame just before, which is always looked at.
        self._memories = int(tracker.num_maskmem)
        self._pointers = int(tracker.max_obj_ptrs_in_encoder)
        self._least = float(tracker.mf_threshold) if tracker.use_memory_selection else None
        self._whole = whole
        self._ends: dict[bool, int] = {}

    def begin(self, state: dict[str, Any], frame: int, *, reverse: bool) -> None:
        """Forget frames without a memory that a pass from a frame on would look for."""
        step = 1 if reverse else -1
        while True:
            near = list(islice(_walk(state, self._good(state), frame, step), self._memories))
            bare = [other for other in near if _is_bare(_others(state)[other])]
            if not bare:
                return
            for other in bare:
                _forget(state, other)

    def reached(self, state: dict[str, Any], frame: int, *, reverse: bool) -> None:
        """Note how far a pass is, and forget what no pass can need."""
        self._ends[reverse] = frame
        self.trim(state)

    def trim(self, state: dict[str, Any]) -> None:
        """Forget what no pass can need."""
        prompted = state["output_dict"]["cond_frame_outputs"]
        good = self._good(state)
        whole: set[int] = set()
        pointers: set[int] = set()
        for anchor in {*prompted, *self._ends.values()}:
            for step in (1, -1):
                # From the anchor itself on: the next frame of a pass looks at it.
                walked = list(islice(_walk(state, good, anchor - step, step), self._pointers))
                whole.update(walked[: self._memories])
                pointers.update(walked)
        for frame in list(_others(state)):
            if frame not in pointers:
                _forget(state, frame)
            elif frame not in whole and not self._whole:
                _make_bare(state, frame)

    def _good(self, state: dict[str, Any]) -> set[int]:
        """Return the frames whose memories the tracker may look at, wherever it is."""
        import torch

        others = _others(state)
        if self._least is None:
            return set(others)
        scored = [frame for frame, record in others.items() if "eff_iou_score" in record]
        if not scored:
            return set()
        scores = torch.stack([others[frame]["eff_iou_score"].float() for frame in scored])
        above = (scores > self._least).tolist()
        return {frame for frame, good in zip(scored, above, strict=True) if good}


def forget_conditions(tracker: Any, state: dict[str, Any]) -> None:  # noqa: ANN401
    """Forget frames that the model has set as prompts by itself, all but the first and last."""
    prompted = sorted(state["output_dict"]["cond_frame_outputs"])
    for frame in prompted[1 : len(prompted) - MOST_CONDITIONS + 1]:
        compat_video.forget_prompt(tracker, state, frame)


def is_bare(state: dict[str, Any], frame: int) -> bool:
    """Return whether of a frame only the pointer is left."""
    return frame in _others(state) and _is_bare(_others(state)[frame])


def forget(state: dict[str, Any], frame: int) -> None:
    """Forget a frame that was not prompted."""
    _forget(state, frame)


def stored_bytes(states: Iterable[dict[str, Any]]) -> int:
    """Return the memory that the outputs of some states take, shared tensors once."""
    storages = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for state in states
        for tensor in _tensors(state)
    }
    return sum(storages.values())


def _others(state: dict[str, Any]) -> dict[int, dict[str, Any]]:
    others: dict[int, dict[str, Any]] = state["output_dict"]["non_cond_frame_outputs"]
    return others


def _walk(state: dict[str, Any], good: set[int], frame: int, step: int) -> Iterator[int]:
    """Yield the frames that the tracker looks at from a frame on, the nearest first."""
    others = _others(state)
    ahead = sorted((other for other in others if (other - frame) * step > 0), reverse=step < 0)
    for other in ahead:
        # The frame just before counts whatever its score is.
        if other in good or other == frame + step:
            yield other


def _is_bare(record: dict[str, Any]) -> bool:
    return record[_STORED[0]] is None or record[_STORED[0]].numel() == 0


def _records(state: dict[str, Any], frame: int) -> Iterator[dict[str, Any]]:
    """Yield what is kept of a frame: of all objects together, and the parts of each."""
    for outputs in (state["output_dict"], *state["output_dict_per_obj"].values()):
        record = outputs["non_cond_frame_outputs"].get(frame)
        if record is not None:
            yield record


def _make_bare(state: dict[str, Any], frame: int) -> None:
    """Leave only the object pointers; the rest keeps its objects, which may be taken out."""
    for record in _records(state, frame):
        for name in _STORED:
            if record[name] is not None and record[name].numel():
                record[name] = record[name].new_empty((len(record[name]), 0))


def _forget(state: dict[str, Any], frame: int) -> None:
    for outputs in (state["output_dict"], *state["output_dict_per_obj"].values()):
        outputs["non_cond_frame_outputs"].pop(frame, None)


def _tensors(state: dict[str, Any]) -> Iterator[torch.Tensor]:
    for outputs in (state["output_dict"], *state["output_dict_per_obj"].values()):
        for records in outputs.values():
            for record in records.values():
                for value in record.values():
                    if hasattr(value, "untyped_storage"):
                        yield value
                    elif isinstance(value, list):
                        yield from value
