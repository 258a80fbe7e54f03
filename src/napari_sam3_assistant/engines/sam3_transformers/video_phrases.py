"""All objects of phrases on their way through a stack, by the video model of SAM 3."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.results import ObjectRecord
from napari_sam3_assistant.engines.low_resolution_masks import to_records
from napari_sam3_assistant.engines.sam3_transformers.video_memory import Memory, open_session

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from napari_sam3_assistant.engines.sam3_transformers.loading import LoadedModel


class FollowedPhrases:
    """Phrases and what the model remembers of their objects.

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
    new_id : callable
        Returns the next free object id.
    """

    def __init__(
        self,
        model: LoadedModel,
        shape: tuple[int, int],
        count: int,
        state_device: str,
        new_id: Callable[[], int],
    ) -> None:
        from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoInferenceSession

        self._session = open_session(Sam3VideoInferenceSession, model, shape, count, state_device)
        self._shape = shape
        self._memory = Memory(model.video.tracker_model.config)
        self._new_id = new_id
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
    def features(self) -> Any:  # noqa: ANN401 - transformers ships no types
        """The features of the last frame, as the tracker takes them."""
        return self._session.cache

    def add(self, processor: Any, text: str) -> None:  # noqa: ANN401
        """Look for a phrase from the next frame on.

        Parameters
        ----------
        processor : Sam3VideoProcessor
            Prepares phrases.
        text : str
            The phrase, no longer than the text encoder takes.
        """
        processor.add_text_prompt(self._session, text)

    def begin(self, frame: int, *, reverse: bool) -> None:
        """Make ready for a pass."""
        for outputs in self.outputs:
            self._memory.begin(outputs, frame, reverse=reverse)

    def follow(
        self,
        model: LoadedModel,
        pixels: torch.Tensor,
        frame: int,
        *,
        reverse: bool,
    ) -> list[ObjectRecord]:
        """Return the objects on a frame; once the model is through with it, nothing stops it.

        Parameters
        ----------
        model : LoadedModel
            The weights.
        pixels : torch.Tensor, shape (1, 3, S, S)
            The frame as the model takes it.
        frame : int
            Its number.
        reverse : bool
            Whether the pass goes backward.
        """
        session = self._session
        try:
            answer = model.video(
                inference_session=session, frame=pixels, frame_idx=frame, reverse=reverse
            )
        finally:
            session.processed_frames.clear()
        self._memory.reached(frame, reverse=reverse)
        records = self._records(answer)
        self._forget()
        return records

    def _records(self, answer: Any) -> list[ObjectRecord]:  # noqa: ANN401
        """Return the objects of an answer, none over another one of its phrase.

        As ``Sam3VideoProcessor.postprocess_outputs``, which makes all masks large at once.
        """
        session = self._session
        by_score = sorted(
            (name for name in answer.obj_id_to_mask if name not in answer.suppressed_obj_ids),
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
                check=lambda: None,
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

    def _forget(self) -> None:
        """Let go what a streamed session never asks for again."""
        session = self._session
        for outputs in self.outputs:
            self._memory.forget_conditions(outputs)
            self._memory.trim(outputs)
        for inputs in (session.mask_inputs_per_obj, session.frames_tracked_per_obj):
            for by_frame in inputs.values():
                by_frame.clear()
        # By frame; only a session that holds back its first frames reads them.
        session.obj_id_to_tracker_score_frame_wise = defaultdict(dict)
        session.suppressed_obj_ids = defaultdict(set)
        session.unmatched_frame_inds = defaultdict(list)
        session.overlap_pair_to_frame_inds = defaultdict(list)
