"""All objects of a phrase on their way through a stack, by the video model of Meta's package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.results import ObjectRecord
from napari_sam3_assistant.engines.sam3_meta import compat_video
from napari_sam3_assistant.engines.sam3_meta.video_memory import Memory, forget_conditions

if TYPE_CHECKING:
    from collections.abc import Callable


class FollowedPhrase:
    """A phrase and what the model remembers of its objects: a session knows one phrase.

    Parameters
    ----------
    text : str
        The phrase.
    frame : int
        The frame on which it is looked for first.
    new_id : callable
        Returns the next free object id.
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
        video: Any,  # noqa: ANN401 - sam3 ships no types
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

    def follow(self, video: Any, frame: int, *, reverse: bool) -> Any:  # noqa: ANN401
        """Return the package's answer on a frame, for :meth:`records`."""
        state = self._state
        answer = compat_video.run_frame(video, state, frame, reverse=reverse)
        self._forget(video, state, frame)
        for tracked in state["tracker_inference_states"]:
            memory = self._memory(video, tracked)
            forget_conditions(video.tracker, tracked)
            memory.reached(tracked, frame, reverse=reverse)
            compat_video.forget_masks(tracked)
        return answer

    def features(self, frame: int) -> Any:  # noqa: ANN401
        """Return the features of the frame that was gone through last."""
        return self._state["feature_cache"][frame]

    def records(self, video: Any, answer: Any) -> list[ObjectRecord]:  # noqa: ANN401
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

    def _memory(self, video: Any, tracked: dict[str, Any]) -> Memory:  # noqa: ANN401
        return self._memories.setdefault(id(tracked), Memory(video.tracker))

    def _forget(self, video: Any, state: dict[str, Any], frame: int) -> None:  # noqa: ANN401
        compat_video.forget_frames(video, state, frame)
        alive = {id(tracked) for tracked in state["tracker_inference_states"]}
        self._memories = {name: own for name, own in self._memories.items() if name in alive}
