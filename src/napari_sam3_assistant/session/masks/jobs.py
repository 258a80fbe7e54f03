"""One job at a time for the mask operations."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.errors import MaskError
from napari_sam3_assistant.jobs.job import Job, JobState
from napari_sam3_assistant.jobs.runner import JobRunner
from napari_sam3_assistant.session.model import Level, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_sam3_assistant.core.delivery import Deliver
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.jobs.job import JobProgress
    from napari_sam3_assistant.session.masks.model import MaskModel


class MaskJobs:
    """Runs the work of the mask operations.

    Parameters
    ----------
    model : MaskModel
        The state.
    deliver : callable
        Runs what it is given on the GUI thread.
    """

    def __init__(self, model: MaskModel, deliver: Deliver) -> None:
        self.model = model
        self._runner = JobRunner(deliver)
        self._job: Job | None = None
        self._end: Callable[[], None] | None = None
        self._dropped: Callable[[], None] | None = None
        self._closed = False

    def start(
        self,
        title: str,
        workflow: Callable[[Reporter], Iterator[Any]],
        then: Callable[[Any], None],
        *,
        unstoppable: Callable[[], None] | None = None,
        dropped: Callable[[], None] | None = None,
    ) -> Job:
        """Run a workflow that yields one result, and hand that on when the job is over.

        Parameters
        ----------
        title : str
            What the user reads.
        workflow : callable
            Takes a Reporter and returns an iterator of one result.
        then : callable
            Takes the result, if there is one.
        unstoppable : callable, optional
            Says that the job writes, which can't be stopped half-way. Called at its end, however
            it ends, after ``then``.
        dropped : callable, optional
            Says that nothing is lost if the job is stopped for the next one, such as a preview.
            Called when it was stopped, for that or by the user.

        Raises
        ------
        MaskError
            While a job is running that may not be stopped for another one.
        """
        self.check_free()
        job = Job(title, workflow)
        results: list[Any] = []
        job.yielded.connect(results.append)
        job.progressed.connect(self._on_progress)
        job.finished.connect(partial(self._on_finished, job, results, then))
        before, self._job = self._job, job
        give_up, self._dropped = self._dropped, dropped
        if before is not None and give_up is not None:
            before.cancel()
            give_up()
        self.model.progress = None
        self.model.running = True
        self._end = unstoppable
        self._runner.start(job)
        return job

    def check_free(self) -> None:
        """Raise MaskError while something is done that may not be stopped for something else."""
        if self._end is not None:
            raise MaskError("The last change is still being written.", "Wait a moment.")
        if self._job is not None and self._dropped is None:
            raise MaskError(f"{self._job.title} is not finished.", "Wait for it, or press Cancel.")

    def cancel(self) -> None:
        """Stop the job, unless it is writing."""
        if self._job is not None and self._end is None:
            self._job.cancel()

    def close(self) -> None:
        """Stop the work; what is being written is written to its end before."""
        self._closed = True
        if self._end is None:
            self._runner.close()

    def say(self, text: str, level: Level = Level.INFO) -> None:
        """Show a line to the user."""
        self.model.message = Message(text, level)

    def _on_progress(self, progress: JobProgress) -> None:
        self.model.progress = progress
        self.say(f"{progress.step.message} …")

    def _on_finished(
        self, job: Job, results: list[Any], then: Callable[[Any], None], state: JobState
    ) -> None:
        if job is not self._job:
            return
        end, dropped, self._job, self._end = self._end, self._dropped, None, None
        self.model.running = False
        self.model.progress = None
        if state is JobState.CANCELLED:
            self.say("Cancelled. Nothing was changed.")
            if dropped is not None:
                dropped()
        elif job.error is not None:
            self.say(str(job.error), Level.ERROR)
        else:
            self.guard(partial(then, results[-1]))
        if end is not None:
            end()
            if self._closed:
                self.close()

    def guard(self, verb: Callable[[], None]) -> None:
        """Do something, and say it if that can't be done."""
        try:
            verb()
        except MaskError as error:
            self.say(str(error), Level.ERROR)
