"""One prompted object on its way through a stack, by the tracker of SAM 3.

Each object has a session of its own: the tracker works on one object after the other in any case,
so the results are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.sam3_track import Followed
from napari_sam3_assistant.engines.sam3_transformers.video_memory import Memory, open_session

if TYPE_CHECKING:
    from collections.abc import Collection

    import torch

    from napari_sam3_assistant.core.tracks import Seed
    from napari_sam3_assistant.engines.sam3_transformers.loading import LoadedModel

# The only object of its session.
_INDEX, _NAME = 0, 1


class FollowedObject(Followed):
    """An object and what the tracker remembers of it.

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
    """

    def __init__(
        self, model: LoadedModel, shape: tuple[int, int], count: int, state_device: str
    ) -> None:
        from transformers.models.sam3_tracker_video.modeling_sam3_tracker_video import (
            Sam3TrackerVideoInferenceSession,
        )

        super().__init__()
        self._session = open_session(
            Sam3TrackerVideoInferenceSession, model, shape, count, state_device
        )
        self._session.obj_id_to_idx(_NAME)
        self._shape = shape
        self._memory = Memory(model.video.tracker_model.config)
        self._walked: tuple[int, int] | None = None

    @property
    def outputs(self) -> dict[str, dict[int, dict[str, Any]]]:
        """What the session remembers, prompted frames and others."""
        kept: dict[str, dict[int, dict[str, Any]]] = self._session.output_dict_per_obj[_INDEX]
        return kept

    @property
    def read(self) -> Collection[int]:
        """The frames whose prompts were read."""
        return self.outputs["cond_frame_outputs"].keys()

    def begin(self, frame: int, *, reverse: bool) -> None:
        """Make ready for a pass."""
        self._memory.begin(self.outputs, frame, reverse=reverse)

    def prompt(self, model: LoadedModel, processor: Any, features: Any, frame: int) -> None:  # noqa: ANN401
        """Segment the object on a frame by the prompts that wait for it.

        Where the object was looked for before, clicks are read with what the tracker remembers
        of it. The answer counts as prompted: later frames keep to it.

        Parameters
        ----------
        model : LoadedModel
            The weights.
        processor : Sam3TrackerVideoProcessor
            Prepares prompts.
        features : Sam3TrackerVideoInferenceCache
            Holds the features of this frame.
        frame : int
            The frame.
        """
        seed, session = self.pending[frame], self._session
        processor.add_inputs_to_inference_session(
            session, frame, _NAME, original_size=self._shape, **_inputs(seed, self._shape)
        )
        session.frames_tracked_per_obj[_INDEX].clear()
        if self._walked is not None and self._walked[0] <= frame <= self._walked[1]:
            session.frames_tracked_per_obj[_INDEX][frame] = {"reverse": False}
        prompted = self.outputs["cond_frame_outputs"]
        before = prompted.pop(frame, None)
        if before is not None and not prompted:
            # Its first prompt is replaced: there is nothing else to remember it by.
            session.frames_tracked_per_obj[_INDEX].clear()
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
        features: Any,  # noqa: ANN401 - transformers ships no types
        frame: int,
        *,
        reverse: bool,
    ) -> tuple[torch.Tensor, float]:
        """Return the object's low-resolution mask logits, (h, w), on a frame, and its score."""
        low, score = self._run(model, features, frame, reverse=reverse)
        low_end, high_end = self._walked or (frame, frame)
        self._walked = (min(low_end, frame), max(high_end, frame))
        self._memory.reached(frame, reverse=reverse)
        self._memory.trim(self.outputs)
        return low, score

    def _run(
        self,
        model: LoadedModel,
        features: Any,  # noqa: ANN401
        frame: int,
        *,
        reverse: bool,
    ) -> tuple[torch.Tensor, float]:
        self._session.cache = features
        answer = model.video.tracker_model(
            inference_session=self._session, frame_idx=frame, reverse=reverse
        )
        self._session.frames_tracked_per_obj[_INDEX].clear()
        # Objects on different frames would keep as many encoded frames.
        self._session.cache = None
        low: torch.Tensor = answer.pred_masks[0, 0].float()
        return low, float(answer.object_score_logits.float().sigmoid().reshape(-1)[0])


def _inputs(seed: Seed, shape: tuple[int, int]) -> dict[str, Any]:
    """Return what names an object as the processor takes it."""
    import torch

    if seed.mask is not None:
        return {"input_masks": torch.from_numpy(seed.mask.to_plane(shape))}
    inputs: dict[str, Any] = {}
    if seed.points:
        inputs["input_points"] = [[[[float(p.x), float(p.y)] for p in seed.points]]]
        inputs["input_labels"] = [[[int(p.positive) for p in seed.points]]]
    if seed.box is not None:
        box = seed.box.intersect(Region.whole(shape))
        inputs["input_boxes"] = [[[float(end) for end in (box.x0, box.y0, box.x1, box.y1)]]]
    return inputs
