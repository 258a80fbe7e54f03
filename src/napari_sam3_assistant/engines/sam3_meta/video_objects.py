"""One prompted object on its way through a stack, by the tracker of Meta's package.

Each object has a state of its own, as the package makes one for each object that is clicked.

How much the tracker remembers: what a pass that goes on can still look at, and no more.

Meta's tracker keeps the mask and the memory of each frame that it has seen. On a frame it looks at
the prompted frames, at the memories of the last ``num_maskmem - 1`` frames whose score is good
enough, and at the object pointers of the last ``max_obj_ptrs_in_encoder - 1`` of them
(``sam3_tracker_base.py:518``). Kept are those round the frames from which a pass may go on: both
ends of what was gone through, and the prompts. What is remembered of a prompted object on the
other frames goes to a file, and comes back when a pass begins there or a click corrects the mask
there. So the masks are those of an unlimited memory.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.sam3.mask_decoder import xyxy
from napari_sam3_assistant.engines.sam3.track import SavedFrames, TrackedPrompts
from napari_sam3_assistant.engines.sam3_meta import compat_video
from napari_sam3_assistant.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    import torch

    from napari_sam3_assistant.core.images import Untyped
    from napari_sam3_assistant.core.tracks import TrackSeed
    from napari_sam3_assistant.engines.sam3.track import MemoryFile


MOST_POINTS = 16
"""``max_point_num_in_prompt_enc``: of more points the tracker leaves out those in the middle."""

# A box goes to the tracker as two points, its corners.
_CORNERS = 2


def check_seed(seed: TrackSeed) -> None:
    """Refuse what the tracker would take only in part."""
    corners = _CORNERS if seed.box is not None else 0
    if len(seed.points) + corners > MOST_POINTS:
        box = " beside a box" if corners else ""
        raise PromptError(
            f"SAM 3 (Meta sam3 package) takes up to {MOST_POINTS - corners} points{box} on one "
            f"object and frame, these are {len(seed.points)}.",
            "Remove the points that matter least, or paint the object instead.",
        )


class FollowedObject(TrackedPrompts):
    """An object and what the tracker remembers of it.

    ``features``: where the features of the frame that is worked on are.
    ``shape``: height and width of a frame.
    ``count``: number of frames of the stack.
    ``file``: where its memory of far frames lies.
    ``on_cpu``: whether its memory lies in the computer's memory.
    """

    def __init__(
        self,
        tracker: Untyped,
        features: compat_video.Features,
        shape: tuple[int, int],
        count: int,
        file: MemoryFile,
        *,
        on_cpu: bool,
    ) -> None:
        super().__init__()
        self.state = compat_video.new_tracker_state(tracker, features, shape, count, on_cpu=on_cpu)
        self._shape = shape
        self._memory = Memory(tracker, file)

    @property
    def read(self) -> Collection[int]:
        """The frames whose prompts were read."""
        conditions: dict[int, object] = self.state["output_dict"]["cond_frame_outputs"]
        return conditions.keys()

    def forget(self) -> None:
        """Give back the place in the file; the object is not used any more."""
        self._memory.saved.clear()

    def begin(self, frame: int, *, reverse: bool) -> None:
        """Make ready for a pass."""
        self._memory.begin(self.state, frame, reverse=reverse)

    def prompt(self, tracker: Untyped, frame: int) -> None:
        """Segment the object on a frame by its prompts there; the features are there."""
        import torch

        seed = self.pending[frame]
        # Clicks are read with the mask that was there.
        self._memory.recall(self.state, frame)
        if seed.mask is not None:
            painted = torch.from_numpy(seed.mask.to_plane(self._shape))
            compat_video.add_mask(tracker, self.state, frame, painted)
        else:
            compat_video.add_points(tracker, self.state, frame, *points_of(seed, self._shape))
        del self.pending[frame]
        self._memory.renew(self.state, frame)
        self._memory.trim(self.state)

    def follow(
        self,
        tracker: Untyped,
        frame: int,
        *,
        reverse: bool,
        fill_area: int,
    ) -> tuple[torch.Tensor, float]:
        """Return the object's low-resolution mask logits, (h, w), on a frame, and its score."""
        found = compat_video.follow(
            tracker, self.state, frame, reverse=reverse, fill_area=fill_area
        )
        self._memory.renew(self.state, frame)
        self._memory.advance(self.state, frame, reverse=reverse)
        return found


def points_of(
    seed: TrackSeed, shape: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Return clicks and box of a seed as parts of the frame's width and height.

    Returns
    -------
    points : torch.Tensor, shape (N, 2), dtype float32
        x and y of the clicks.
    labels : torch.Tensor, shape (N,), dtype int32
        1 for a click on the object, 0 for one beside it.
    box : torch.Tensor, shape (4,), or None
        x0, y0, x1, y1.
    """
    import torch

    height, width = shape
    clicks = [(point.x / width, point.y / height) for point in seed.points]
    points = torch.tensor(clicks, dtype=torch.float32).reshape(-1, 2)
    labels = torch.tensor([point.positive for point in seed.points], dtype=torch.int32)
    if seed.box is None:
        return points, labels, None
    x0, y0, x1, y1 = xyxy(seed.box.cut(Region.whole(shape)))
    ends = (x0 / width, y0 / height, x1 / width, y1 / height)
    return points, labels, torch.tensor(ends, dtype=torch.float32)


_STORED = ("maskmem_features", "pred_masks")
# Prompted frames that a phrase may give its objects: the model sets one every 16 frames.
MOST_CONDITIONS = 16


class Memory:
    """What to keep of a state of the tracker.

    ``tracker``: says how far it looks back.
    ``file``: where the memories of one object lie that are far from where it is followed; without
    it they are forgotten.
    ``whole``: whether frames are kept whole or not at all.
    ``saved``: what is in the file.
    """

    def __init__(
        self, tracker: Untyped, file: MemoryFile | None = None, *, whole: bool = False
    ) -> None:
        # Not the tracker itself: an open track would keep the weights of a closed engine.
        # With the frame just before, which is always looked at.
        self._memories = int(tracker.num_maskmem)
        self._pointers = int(tracker.max_obj_ptrs_in_encoder)
        self._least = float(tracker.mf_threshold) if tracker.use_memory_selection else None
        self._whole = whole
        self._ends: dict[bool, int] = {}
        self.saved = SavedFrames(file)
        # Of these the score is good enough, or the object itself has no record any more.
        self._saved_good: set[int] = set()
        self._saved_cleared: set[int] = set()
        # So far round a prompt the tracker lets go of the object's own records.
        self._cleared = -1
        if file is not None and tracker.clear_non_cond_mem_around_input:
            self._cleared = self._memories * int(tracker.memory_temporal_stride_for_eval)

    def begin(self, state: dict[str, Any], frame: int, *, reverse: bool) -> None:
        """Restore the frames that a pass from a frame on needs, or drop them completely."""
        step = 1 if reverse else -1
        others, seen = _other_states(state), 0
        good = self._good(state) | self._saved_good
        for other in list(_walk({*others, *self.saved}, good, frame, step)):
            if seen < self._memories or other not in others:
                self.recall(state, other)
            seen += other in others
            if seen == self._pointers:
                return

    def recall(self, state: dict[str, Any], frame: int) -> None:
        """Restore a frame that was not prompted, or drop it completely."""
        others = _other_states(state)
        if frame in others and not _is_bare(others[frame]):
            return
        if frame not in self.saved:
            _forget(state, frame)
            return
        record: dict[str, Any] = {
            name: tensor.to(state["storage_device" if name in _STORED else "device"])
            for name, tensor in self.saved.load(frame).items()
        }
        record["maskmem_pos_enc"] = state["constants"]["maskmem_pos_enc"]
        others[frame] = record
        if frame not in self._saved_cleared:
            for outputs in state["output_dict_per_obj"].values():
                outputs["non_cond_frame_outputs"][frame] = dict(record)

    def renew(self, state: dict[str, Any], frame: int) -> None:
        """Let go of what was saved of a frame that the tracker has looked at again."""
        self.saved.forget(frame)
        self._saved_good.discard(frame)
        self._saved_cleared.discard(frame)
        if frame in state["output_dict"]["cond_frame_outputs"]:
            # As the tracker does with what it has (``_clear_non_cond_mem_around_input``).
            self._saved_cleared.update(
                other for other in self.saved if abs(other - frame) <= self._cleared
            )

    def advance(self, state: dict[str, Any], frame: int, *, reverse: bool) -> None:
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
                near = _walk(_other_states(state), good, anchor - step, step)
                walked = list(islice(near, self._pointers))
                whole.update(walked[: self._memories])
                pointers.update(walked)
        for frame in list(_other_states(state)):
            if frame not in pointers:
                self._save(state, frame, good=frame in good)
                _forget(state, frame)
            elif frame not in whole and not self._whole:
                self._save(state, frame, good=frame in good)
                _make_bare(state, frame)

    def _save(self, state: dict[str, Any], frame: int, *, good: bool) -> None:
        """Write a frame to the file that is still whole and not there."""
        record = _other_states(state)[frame]
        if frame in self.saved or _is_bare(record):
            return
        # The position encoding is the same for all frames.
        self.saved.save(frame, {k: v for k, v in record.items() if k != "maskmem_pos_enc"})
        if good:
            self._saved_good.add(frame)
        if not any(
            frame in outputs["non_cond_frame_outputs"]
            for outputs in state["output_dict_per_obj"].values()
        ):
            self._saved_cleared.add(frame)

    def _good(self, state: dict[str, Any]) -> set[int]:
        """Return the frames whose memories the tracker may look at, wherever it is."""
        import torch

        others = _other_states(state)
        if self._least is None:
            return set(others)
        scored = [frame for frame, record in others.items() if "eff_iou_score" in record]
        if not scored:
            return set()
        scores = torch.stack([others[frame]["eff_iou_score"].float() for frame in scored])
        above = (scores > self._least).tolist()
        return {frame for frame, good in zip(scored, above, strict=True) if good}


def forget_conditions(tracker: Untyped, state: dict[str, Any]) -> None:
    """Forget frames that the model has set as prompts by itself, all but the first and last."""
    prompted = sorted(state["output_dict"]["cond_frame_outputs"])
    for frame in prompted[1 : max(1, len(prompted) - MOST_CONDITIONS + 1)]:
        compat_video.forget_prompt(tracker, state, frame)


def _other_states(state: dict[str, Any]) -> dict[int, dict[str, Any]]:
    others: dict[int, dict[str, Any]] = state["output_dict"]["non_cond_frame_outputs"]
    return others


def _walk(others: Iterable[int], good: set[int], frame: int, step: int) -> Iterator[int]:
    """Yield the frames that the tracker looks at from a frame on, the nearest first."""
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
