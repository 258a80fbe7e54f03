"""The job that is going: one at a time, with its end for the user; and what all verbs share."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_sam3_assistant.jobs import JobRunner, JobState
from napari_sam3_assistant.session.values import Level, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_sam3_assistant.core.display import ImageView
    from napari_sam3_assistant.core.progress import Deliver
    from napari_sam3_assistant.jobs import Job, JobProgress
    from napari_sam3_assistant.session.engine import EngineInUse
    from napari_sam3_assistant.session.model import ScanModel, SessionModel
    from napari_sam3_assistant.session.undo import Undo
    from napari_sam3_assistant.viewer.adapter import ViewerAdapter


LONG_S = 60.0
"""A user may have turned away from a job that takes longer than this, in seconds."""


_CANCELLED = Message("Cancelled.")


class Running:
    """Starts jobs, and keeps their progress in the model. All methods are called on the GUI thread.

    ``clock``: returns the time in seconds.

    ``current``: the job that is going.
    ``has_asked``: whether the latest job is to answer drawn prompts, and has given nothing yet.
    ``runner``: the session's worker, for work that nobody waits for.
    ``idle``: tells that the latest job has ended and no other has begun.
    ``begun``: tells that a job has begun.
    ``unanswered``: tells that drawn prompts get no answer: the job that was to give it failed, was
    cancelled or gave way to another one.
    ``chime``: tells, before ``idle``, that a long job is done and that the user wants to hear of
    it.
    """

    idle = Signal()
    begun = Signal()
    unanswered = Signal()
    chime = Signal()

    def __init__(
        self, model: SessionModel, deliver: Deliver, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.runner = JobRunner(deliver)
        self._model = model
        self._clock = clock
        self._began = clock()
        self._waiting: dict[Callable[[], None], None] = {}
        self._drawn: Job | None = None  # the latest one, if it answers what was drawn
        self.has_asked = False
        self.current: Job | None = None

    def start(
        self,
        job: Job,
        behind: Job | None = None,
        *,
        views: Sequence[ImageView] = (),
        is_drawn: bool = False,
    ) -> Job:
        """Start a job in the place of the one that is going, which is cancelled unless it writes.

        ``behind``: a job that nobody has asked for, and that this one waits for.
        ``views``: what it looks at. It ends with a warning where that has other pixels by then.
        ``is_drawn``: whether it answers prompts that were drawn; see :meth:`cancel_drawn`.
        """
        # Of the one that it waits for, too: its progress is progress of this one.
        for reporting in (job, behind):
            if reporting is not None:
                reporting.progressed.connect(self._on_progress, unique=True)
        job.finished.connect(partial(self._on_finished, job, views))
        self.current, before = job, self.current
        is_lost = self.has_asked and not is_drawn
        self._drawn, self.has_asked = (job, True) if is_drawn else (None, False)
        if is_drawn:
            job.yielded.connect(self._on_answered, max_args=0)
        if before is not None and not before.writes:
            before.cancel()
        self._model.progress = None
        self._model.running = True
        self._model.message = Message("Starting …")
        self._began = self._clock()
        self.begun.emit()
        if is_lost:
            self.unanswered.emit()
        self.runner.start(job, behind)
        return job

    def cancel(self, *, writing: bool = False) -> bool:
        """Stop the job, one that writes only if asked to; returns whether that was done."""
        if self.current is None or (self.current.writes and not writing):
            return False
        self.current.cancel()
        return True

    def cancel_drawn(self) -> None:
        """Stop the job if it answers drawn prompts: these are cleared, and nobody waits for it."""
        self.has_asked = False
        if self.current is not None and self.current is self._drawn:
            self.current.cancel()

    def part_from_prompts(self) -> None:
        """Let the job go on though the prompts that it answers are put away: it is of no others."""
        self._drawn, self.has_asked = None, False

    def when_idle(self, call: Callable[[], None]) -> None:
        """Call a function once when the latest job has ended, before ``idle`` is emitted."""
        self._waiting[call] = None

    def close(self, farewell: Callable[[], None]) -> None:
        """Stop the job and end the worker.

        ``farewell``: called last, on the worker thread if there is one.
        """
        self.cancel()
        self.runner.close(farewell)

    def _on_answered(self) -> None:
        self.has_asked = False

    def _on_progress(self, progress: JobProgress) -> None:
        self._model.progress = progress
        self._model.message = Message(f"{progress.step.message} …")

    def _on_finished(self, job: Job, views: Sequence[ImageView], state: JobState) -> None:
        if job is not self.current:
            return
        self.current = self._drawn = None  # what it has worked on may be freed
        done = state is JobState.DONE
        if self.has_asked and not done:
            self.unanswered.emit()
        self.has_asked = False
        # Whoever sees that nothing runs finds there why; of one that writes he who started it says.
        if not done and not job.writes:
            failed = job.error is not None
            self._model.message = Message(str(job.error), Level.ERROR) if failed else _CANCELLED
        self._model.running = False
        self._model.progress = None
        # Neither for a job that was cancelled, nor for one that failed: the sound says "ready".
        if done and self._model.sound and self._clock() - self._began > LONG_S:
            self.chime.emit()
        waiting, self._waiting = self._waiting, {}
        for call in waiting:
            call()
        if done:
            self._warn_of_replaced(views)
        self.idle.emit()

    def _warn_of_replaced(self, views: Sequence[ImageView]) -> None:
        message = self._model.message
        names = dict.fromkeys(f"“{view.replaced}”" for view in views if view.replaced)
        if message.level is Level.WARNING:  # it may say so itself
            names = {name: None for name in names if name not in message.text}
        if names:
            given = f"{', '.join(names)} {'was' if len(names) == 1 else 'were'} given other pixels"
            text = f"{message.text} Meanwhile {given}: this is of the earlier ones."
            self._model.message = replace(message, text=text, level=Level.WARNING)


@dataclass(frozen=True, slots=True)
class Services:
    """The state, the viewer, the engine, the job that is going, and the steps of undo."""

    model: SessionModel
    scan_model: ScanModel
    adapter: ViewerAdapter
    engine: EngineInUse
    jobs: Running
    undo: Undo
