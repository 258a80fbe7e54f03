"""Frames of a propagation whose labels the user has changed, measured again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from psygnal import Signal

from napari_sam3_assistant.core.tracks import measure_frame
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.jobs import Job, JobRunner, JobState
from napari_sam3_assistant.session.values import Level, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy as np
    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Deliver, Reporter
    from napari_sam3_assistant.core.tracks import TrackRow
    from napari_sam3_assistant.session.model import SessionModel


class EditedFrames:
    """Measures frames again of which the user has changed pixels, on a worker of its own.

    ``put``: takes a frame and the objects that its labels show.

    ``waiting``: the frames that are still to be measured, in the order in which they were changed.
    ``done``: tells that all frames are measured.
    """

    done = Signal()

    def __init__(
        self,
        model: SessionModel,
        deliver: Deliver,
        put: Callable[[int, Sequence[TrackRow]], None],
    ) -> None:
        self.waiting: dict[int, None] = {}
        self._model = model
        self._put = put
        self._runner = JobRunner(deliver)
        self._job: Job | None = None

    def add(self, frames: Iterable[int], read: Callable[[int], npt.NDArray[np.uint32]]) -> None:
        """Measure frames, given what reads the labels of one."""
        self.waiting |= dict.fromkeys(frames)
        frames_ = tuple(self.waiting)

        def work(reporter: Reporter) -> Iterator[tuple[int, tuple[TrackRow, ...]]]:
            for frame in frames_:
                reporter.check()
                yield frame, measure_frame(frame, read(frame))

        def put(measured: tuple[int, tuple[TrackRow, ...]]) -> None:
            del self.waiting[measured[0]]
            self._put(*measured)
            if not self.waiting:  # not at the end of the job: the rows are told of now
                self.done.emit()

        def end(state: JobState) -> None:
            if state is JobState.FAILED:
                self.waiting.clear()
                self._model.message = Message(str(job.error), Level.ERROR)
            if state is not JobState.DONE and not self.waiting:
                self.done.emit()

        # An earlier one is cancelled: what it has read may not be what is there now.
        job = self._job = Job("Counting the changed objects", work)
        job.yielded.connect(put)
        job.finished.connect(end)
        self._runner.start(job)

    def check_done(self) -> None:
        """Raise PromptError while frames are measured."""
        if self.waiting:
            raise PromptError("The changed objects are still being counted.", "Wait a moment.")

    def forget(self) -> None:
        """Measure nothing more of what there was."""
        self.waiting.clear()
        if self._job is not None:
            self._job.cancel()

    def close(self) -> None:
        """Stop the work."""
        self._runner.close()
