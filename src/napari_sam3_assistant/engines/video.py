"""What an engine is that follows objects through a stack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_sam3_assistant.core.frames import FrameSource
    from napari_sam3_assistant.core.options import PredictOptions
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.tracks import Seed, TrackedFrame


class VideoTrack(Protocol):
    """Objects on their way through a stack.

    It stays open: prompts may be added and frames gone through again, until it is closed. It
    keeps no more than it needs to go on, whatever the length of the stack.
    """

    def add(self, seed: Seed) -> None:
        """Take what names an object on a frame; a second time for the same frame replaces it.

        Raises
        ------
        PromptError
            If the engine can't use it.
        """

    def add_phrase(self, text: str, frame: int) -> None:
        """Look for all objects of a phrase from a frame on; only where the spec says so."""

    def remove(self, object_id: int) -> None:
        """Forget an object; an unknown one is no error."""

    def propagate(self, order: range, reporter: Reporter) -> Iterator[TrackedFrame]:
        """Yield what is on each frame.

        An object takes part from its first prompted frame in the direction of the order. When
        the work is stopped, or the caller stops iterating, what was yielded holds and a new
        call can go on behind it.

        Parameters
        ----------
        order : range
            The frames one after the other, forward or backward, step 1 or -1.
        reporter : Reporter
            Stops the work between frames.

        Raises
        ------
        JobCancelled
            If the user stopped the work.
        """

    def close(self) -> None:
        """Free what it holds."""


@runtime_checkable
class ReusesEncodings(Protocol):
    """A track that need not encode a prompted frame again that the image heads have encoded."""

    def reuse(self, known: Callable[[int, Reporter], Any]) -> None:
        """Take a function that returns a frame's encoding, None where there is none.

        It waits for its turn with the engine, so it is not called within one.
        """


class VideoEngine(Protocol):
    """An image engine that can follow objects, too."""

    def track(
        self,
        frames: FrameSource,
        options: PredictOptions,
        new_id: Callable[[], int],
    ) -> VideoTrack:
        """Begin to follow objects through a stack; nothing is computed yet.

        Parameters
        ----------
        frames : FrameSource
            The frames.
        options : PredictOptions
            The choices of the run.
        new_id : callable
            Returns the next free id, for objects that appear by themselves.
        """
