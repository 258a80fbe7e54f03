"""One job at a time for the mask operations, and edits that are written and remembered."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.masks.history import EditHistory
from napari_sam3_assistant.errors import MaskError
from napari_sam3_assistant.jobs.job import Job, JobState
from napari_sam3_assistant.jobs.runner import JobRunner
from napari_sam3_assistant.session.model import Level, Message
from napari_sam3_assistant.session.wording import counted
from napari_sam3_assistant.workflows.edit_masks import write_edit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_sam3_assistant.core.delivery import Deliver
    from napari_sam3_assistant.core.masks.edits import LabelEdit
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.jobs.job import JobProgress
    from napari_sam3_assistant.session.mask_model import MaskModel
    from napari_sam3_assistant.session.mask_scene import MaskScene

_AT_ONCE = 200_000  # pixels that are written and shown within a few milliseconds


class MaskJobs:
    """Runs the work of the mask operations and keeps what can be taken back.

    Parameters
    ----------
    model : MaskModel
        The state.
    scene : MaskScene
        Where the labels live.
    deliver : callable
        Runs what it is given on the GUI thread.
    """

    def __init__(self, model: MaskModel, scene: MaskScene, deliver: Deliver) -> None:
        self.model = model
        self.history = EditHistory()
        self._scene = scene
        self._runner = JobRunner(deliver)
        self._job: Job | None = None
        self._writing = False

    def start(
        self,
        title: str,
        workflow: Callable[[Reporter], Iterator[Any]],
        then: Callable[[Any], None],
    ) -> Job:
        """Run a workflow that yields one result, and hand that on when the job is over.

        A job that is running is cancelled.

        Raises
        ------
        MaskError
            While an edit is being written: that can't be stopped half-way.
        """
        if self._writing:
            raise MaskError("The last change is still being written.", "Wait a moment.")
        job = Job(title, workflow)
        results: list[Any] = []
        job.yielded.connect(results.append)
        job.progressed.connect(self._on_progress)
        job.finished.connect(partial(self._on_finished, job, results, then))
        before, self._job = self._job, job
        if before is not None:
            before.cancel()
        self.model.progress = None
        self.model.running = True
        self._runner.start(job)
        return job

    def cancel(self) -> None:
        """Stop the job, unless it is writing."""
        if self._job is not None and not self._writing:
            self._job.cancel()

    def close(self) -> None:
        """Stop the work."""
        if self._job is not None:
            self._job.cancel()
        self._runner.close(_nothing)

    def commit(self, key: str, edit: LabelEdit, done: str, then: Callable[[], None]) -> None:
        """Write an edit and remember it.

        Parameters
        ----------
        key : str
            The layer.
        edit : LabelEdit
            What to write.
        done : str
            What to say afterwards.
        then : callable
            Called afterwards.
        """
        if edit.pixels == 0:
            self.say(f"{edit.action.capitalize()} made no mask changes.")
            return

        def remember() -> None:
            self.remember(key, edit, done)
            then()

        self._write(key, edit, remember, forward=True)

    def remember(self, key: str, edit: LabelEdit, done: str = "") -> None:
        """Keep an edit that is written already, so that it can be taken back."""
        dropped = self.history.push(key, edit)
        if dropped:
            limit = self.history.limit // 2**20
            done = (
                f"{done} To stay below {limit} MB, {counted(dropped, 'old undo step')} "
                f"{'was' if dropped == 1 else 'were'} dropped."
            ).strip()
        if done:
            self.say(done, Level.WARNING if dropped else Level.SUCCESS)
        self.tell_history()

    def step(self, key: str, then: Callable[[], None], *, forward: bool) -> None:
        """Take the latest edit of a layer back, or do the next one again.

        Raises
        ------
        MaskError
            If there is none, or one is still being written.
        """
        name = self.model.name_of(key)
        if self._writing:
            raise MaskError("The last change is still being written.", "Wait a moment.")
        self._scene.freeze(key, editable=True)
        edit = self.history.redo(key) if forward else self.history.undo(key)
        if edit is None:
            raise MaskError(f"There is nothing to {'redo' if forward else 'undo'} on “{name}”.")

        def tell() -> None:
            did = "Did again" if forward else "Undid"
            self.say(f"{did}: {edit.action} on “{name}”.", Level.SUCCESS)
            self.tell_history()
            then()

        self._write(key, edit, tell, forward=forward)

    def tell_history(self) -> None:
        """Show whether there is something to take back on the target."""
        self.model.can_undo = self.history.can_undo(self.model.target)
        self.model.can_redo = self.history.can_redo(self.model.target)

    def say(self, text: str, level: Level = Level.INFO) -> None:
        """Show a line to the user."""
        self.model.message = Message(text, level)

    def _write(self, key: str, edit: LabelEdit, then: Callable[[], None], *, forward: bool) -> None:
        array = self._scene.freeze(key, editable=True).array

        def shown(_: Any = None) -> None:  # noqa: ANN401 - what the job yielded
            self._scene.changed(key, edit)
            then()

        if edit.pixels <= _AT_ONCE and not hasattr(array, "chunks"):
            self._scene.write(key, edit, forward=forward)
            then()
            return
        title = "Writing the change"
        self.start(title, lambda told: write_edit(edit, array, told, forward=forward), shown)
        self._writing = True

    def _on_progress(self, progress: JobProgress) -> None:
        self.model.progress = progress
        self.say(f"{progress.step.message} …")

    def _on_finished(
        self, job: Job, results: list[Any], then: Callable[[Any], None], state: JobState
    ) -> None:
        if job is not self._job:
            return
        self._job = None
        self._writing = False
        self.model.running = False
        self.model.progress = None
        if state is JobState.CANCELLED:
            self.say("Cancelled. Nothing was changed.")
        elif job.error is not None:
            self.say(str(job.error), Level.ERROR)
        else:
            try:
                then(results[-1])
            except MaskError as error:
                self.say(str(error), Level.ERROR)


def _nothing() -> None:
    """Say no farewell."""
