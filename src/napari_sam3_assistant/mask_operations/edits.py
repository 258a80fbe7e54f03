"""Edits of labels on their way: computed, written, taken back, one job at a time."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.masks.edits import LabelEdit
from napari_sam3_assistant.core.masks.labels import whole_box
from napari_sam3_assistant.core.plurals import pluralize
from napari_sam3_assistant.errors import MaskError, Sam3AssistantError
from napari_sam3_assistant.io.edit_journal import array_folder, explain_unfinished, find_journals
from napari_sam3_assistant.jobs import Job, JobRunner, JobState
from napari_sam3_assistant.session.values import Level, Message
from napari_sam3_assistant.workflows.edit_masks import end_edit, write_edit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from napari_sam3_assistant.core.masks.edits import EditStep
    from napari_sam3_assistant.core.masks.labels import Box
    from napari_sam3_assistant.core.progress import Deliver, Reporter
    from napari_sam3_assistant.io.edit_journal import JournaledEdit
    from napari_sam3_assistant.jobs import JobProgress
    from napari_sam3_assistant.mask_operations.layers import LabelsAdapter
    from napari_sam3_assistant.mask_operations.model import MaskModel, RemovedLayer
    from napari_sam3_assistant.workflows.edit_masks import WriteResult


_OVER = object()


def do_nothing(*_: object) -> None:
    """Do nothing more."""


class MaskEdits:
    """Writes edits, makes layers, and keeps what can be taken back.

    An edit that takes longer is written by a job. The user can't paint on the layer meanwhile, so
    the steps of a layer stand in the order in which its pixels were changed.

    ``at_once``: edits up to this size take a few milliseconds and are written on the GUI thread.
    """

    at_once = 100_000

    def __init__(
        self, model: MaskModel, adapter: LabelsAdapter, jobs: MaskJobs, deliver: Deliver
    ) -> None:
        self.model = model
        self.history = adapter.history
        self._adapter = adapter
        self._jobs = jobs
        self._deliver = deliver
        self._collected: set[str] = set()
        self._writing = ""
        self._painted: list[tuple[str, LabelEdit]] = []
        self._after_stroke: list[Callable[[], None]] = []
        self._after_writing: list[Callable[[], None]] = []
        model.events.stroke.connect(self._on_stroke)
        model.events.target.connect(self.find_unfinished)

    def resume(self) -> None:
        """Go on with the history of the viewer; what does not fit its layers any more is dropped.

        It is what was there before the window was closed, or that of a session that was opened.
        """
        known = self.history.edits(sys.maxsize).values()
        for key in self.history.keys:
            edits = [edit for layer, edit, _ in known if layer == key]
            try:
                array = self._adapter.take_snapshot(key).array
            except MaskError:
                self.history.forget(key)
                continue
            kind = (tuple(array.shape), np.dtype(array.dtype))
            if any((edit.shape, np.dtype(edit.dtype)) != kind for edit in edits):
                self.history.forget(key)
        self.update_history()

    # -- doing ----------------------------------------------------------------------------

    def commit(self, key: str, edit: LabelEdit, done: str, on_done: Callable[[], None]) -> None:
        """Write an edit and remember what was written.

        ``on_done``: called afterwards.
        """

        def remember(written: LabelEdit) -> None:
            if written.pixels == 0:
                self._jobs.say(f"{edit.action.capitalize()} made no mask changes.")
                return
            self.remember(key, written, done)
            on_done()

        if edit.pixels == 0:
            remember(edit)
        else:
            self._write(key, edit, remember, partial(self.remember, key), forward=True)

    def make(self, built: object, action: str) -> tuple[str, str]:
        """Add a layer that was built; returns its key and its name."""
        key, name = self._adapter.add(built)
        self._collect(key, LayerAdded(action))
        return key, name

    def fill(
        self, key: str, edit: LabelEdit, metadata: dict[str, Any], on_done: Callable[[], None]
    ) -> None:
        """Write labels of the same type into a layer that was made before."""

        def remember(written: LabelEdit) -> None:
            before = self._adapter.describe(key, metadata)
            self._collect(key, LayerFilled(edit.action, written, before, metadata))
            on_done()

        if edit.pixels == 0:
            remember(edit)
        else:
            self._write(key, edit, remember, forward=True)

    def replace(
        self, key: str, labels: np.ndarray[Any, Any], metadata: dict[str, Any], action: str
    ) -> None:
        """Put labels of another type into a layer that was made before."""
        before = self._adapter.replace(key, labels, metadata)
        self._collect(key, LayerReplaced(action, *before))

    def follow(self, key: str) -> None:
        """Let the undo of what was collected know of an edit of a layer."""
        self._collected.add(key)
        self.update_history()

    def remember(self, key: str, step: EditStep, done: str = "") -> None:
        """Keep a step that was made already, so that it can be taken back."""
        dropped = self.history.push(key, step)
        if dropped:
            done = f"{done} {self._explain_dropped(dropped)}".strip()
        if done:
            self._jobs.say(done, Level.WARNING if dropped else Level.SUCCESS)
        self.update_history()

    def note_painting(self, key: str, edit: LabelEdit) -> None:
        """Record that the user, or a script, changed pixels of a layer."""
        if key == self._writing:
            self._painted.append((key, edit))  # its turn comes after what is being written
        else:
            self.remember(key, edit)

    def forget(self, key: str) -> None:
        """Forget a layer that is gone or has another shape."""
        self.history.forget(key)
        self._collected.discard(key)
        self.update_history()

    # -- what was stopped half-way --------------------------------------------------------

    def find_unfinished(self) -> None:
        """Find out whether an edit of the target was stopped half-way, as by a kill."""
        found = self._list_unfinished()
        self.model.unfinished = " ".join(explain_unfinished(found[0])) if found else ""

    def end_unfinished(self, *, forward: bool) -> None:
        """Write what was stopped half-way in the target to its end, or take it back.

        Raises MaskError if there is nothing of that kind, or something else is going on.
        """
        self._jobs.check_free()
        key, found = self.model.target, self._list_unfinished()
        if not found:
            self.find_unfinished()
            raise MaskError("Nothing was stopped half-way in these labels.")
        name, array = self.model.name_of(key), self._adapter.take_snapshot(key).array

        def done(written: WriteResult) -> None:
            # What was changed since is not what these steps began with.
            self.forget(key)
            self._show(key, whole_box(array.shape))
            if written.problem:
                raise MaskError(written.problem)
            did = "Finished" if forward else "Took back"
            self._jobs.say(f"{did}: {written.edit.action} on “{name}”.", Level.SUCCESS)

        work = partial(end_edit, found[0], forward=forward)
        end = partial(self._end_writing, self._adapter.lock(key))
        self._jobs.start("Writing the change", work, done, unstoppable=end)
        self._writing = key

    def _list_unfinished(self) -> list[JournaledEdit]:
        """Return the edits of the target that somebody else has begun and not ended."""
        key = self.model.target
        try:
            array, file = self._adapter.take_snapshot(key).array, self._adapter.file(key)
        except MaskError:
            return []  # there is no target
        path = array_folder(getattr(array, "stored", array)) or file
        return (
            []
            if path is None
            else [journal for journal in find_journals(path) if not journal.is_ours]
        )

    # -- taking back ----------------------------------------------------------------------

    def step(self, key: str, on_done: Callable[[], None], *, forward: bool) -> None:
        """Take the latest step of a layer back, or do the next one again.

        While an edit is being written, this is done after it.

        Raises MaskError if there is none, or the user is painting.
        """
        if self._writing:
            self._after_writing.append(partial(self.step, key, on_done, forward=forward))
            return
        if self.model.stroke:
            raise MaskError("You are painting.", "Let go of the mouse button first.")
        name = self.model.name_of(key)
        latest = self.history.latest({key}, forward=forward)
        if latest is None:
            raise MaskError(f"There is nothing to {'redo' if forward else 'undo'} on “{name}”.")
        step = latest[1]
        if isinstance(step, (LabelEdit, LayerFilled)):
            self._jobs.check_free()
            self._adapter.take_snapshot(key, editable=True)
        if isinstance(step, LayerAdded) and step.removed is not None:
            name = step.removed.name

        def tell() -> None:
            (self.history.redo if forward else self.history.undo)(key)
            did = "Did again" if forward else "Undid"
            self._jobs.say(f"{did}: {step.action} on “{name}”.", Level.SUCCESS)
            self.update_history()
            on_done()

        self._do(key, step, tell, forward=forward)

    def step_collected(self, *, forward: bool) -> None:
        """Take the latest step back on a layer that was collected here, or do it again.

        Raises MaskError if there is none.
        """
        latest = self.history.latest(self._collected, forward=forward)
        if latest is None:
            raise MaskError(f"There is nothing to {'redo' if forward else 'undo'} here.")
        self.step(latest[0], do_nothing, forward=forward)

    def update_history(self) -> None:
        """Show whether there is something to take back."""
        model, history = self.model, self.history
        model.can_undo = history.can_undo(model.target)
        model.can_redo = history.can_redo(model.target)
        model.undo_collected = self._title(forward=False)
        model.redo_collected = self._title(forward=True)

    # -- inside ---------------------------------------------------------------------------

    def _collect(self, key: str, step: EditStep) -> None:
        self.history.forget_undone(self._collected)
        self._collected.add(key)
        self.remember(key, step)

    def _title(self, *, forward: bool) -> str:
        latest = self.history.latest(self._collected, forward=forward)
        if latest is None:
            return ""
        key, step = latest
        taken = step.removed if isinstance(step, LayerAdded) else None
        name = taken.name if taken else self.model.name_of(key)
        return f"{step.action} (“{name}”)"

    def _do(self, key: str, step: EditStep, tell: Callable[[], None], *, forward: bool) -> None:
        if isinstance(step, LayerAdded):
            if forward and step.removed is not None:
                self._adapter.restore(step.removed)
                step.removed = None
            else:
                step.removed = self._adapter.remove(key)
            self._shrink(tell)
        elif isinstance(step, LayerReplaced):
            step.labels, step.metadata = self._adapter.replace(key, step.labels, step.metadata)
            self._shrink(tell)
        elif isinstance(step, LayerFilled):
            self._adapter.describe(key, step.after if forward else step.before)
            self._write(key, step.edit, lambda _: tell(), forward=forward)
        elif isinstance(step, LabelEdit):

            def amend(written: LabelEdit) -> None:
                tell()
                if written is not step:
                    self.history.amend(key, written, forward=forward)

            self._write(key, step, amend, forward=forward)

    def _shrink(self, tell: Callable[[], None]) -> None:
        tell()
        dropped = self.history.shrink()
        if dropped:
            self._jobs.say(self._explain_dropped(dropped), Level.WARNING)
            self.update_history()

    def _explain_dropped(self, count: int) -> str:
        limit = self.history.limit // 2**20
        were = "was" if count == 1 else "were"
        return f"To stay below {limit} MB, {pluralize(count, 'old undo step')} {were} dropped."

    def _write(
        self,
        key: str,
        edit: LabelEdit,
        on_done: Callable[[LabelEdit], None],
        in_part: Callable[[LabelEdit], None] = do_nothing,
        *,
        forward: bool,
    ) -> None:
        """Write an edit, or take it back.

        ``on_done`` gets what was written; ``in_part`` an edit of which the disk took a part only.
        """
        self._jobs.check_free()
        snapshot = self._adapter.take_snapshot(key, editable=True)
        if snapshot.array.shape != edit.shape or snapshot.array.dtype != edit.dtype:
            raise MaskError(f"“{snapshot.name}” has got other labels meanwhile.", "Try again.")
        if self.model.stroke:
            call = partial(self._write, key, edit, on_done, in_part, forward=forward)
            self._after_stroke.append(call)
            return
        in_memory = isinstance(snapshot.array, np.ndarray) and not snapshot.smaller
        if in_memory and edit.pixels <= self.at_once:
            written = edit.write(snapshot.array, forward=forward)
            self._show(key, edit.box)
            self._adapter.note_edit(key, written, forward=forward)
            on_done(written)
            return

        def done(written: WriteResult) -> None:
            if self._adapter.take_snapshot(key).array is not snapshot.array:
                return  # the layer has got other data, in which nothing was written
            self._show(key, edit.box)
            if not written.problem or written.is_left:
                self._adapter.note_edit(key, written.edit, forward=forward)
            if not written.problem:
                on_done(written.edit)
                return
            if written.is_left:
                in_part(written.edit)
            raise MaskError(written.problem)

        work = partial(write_edit, edit, snapshot.array, snapshot.smaller, forward=forward)
        end = partial(self._end_writing, self._adapter.lock(key))
        self._jobs.start("Writing the change", work, done, unstoppable=end)
        self._writing = key

    def _end_writing(self, unlock: Callable[[], None]) -> None:
        """Let the user paint again, and do what has waited."""
        unlock()
        self._writing = ""
        self.find_unfinished()
        painted, self._painted = self._painted, []
        for key, strokes in painted:
            self.remember(key, strokes)
        waiting, self._after_writing = self._after_writing, []
        for call in waiting:
            self._jobs.guard(call)

    def _show(self, key: str, box: Box) -> None:
        self._go_on(self._adapter.redraw(key, box))

    def _go_on(self, steps: Iterator[None]) -> None:
        """Draw one part; the next one has its turn after what else is waiting."""
        if next(steps, _OVER) is not _OVER:
            self._deliver(partial(self._go_on, steps))

    def _on_stroke(self, going_on: bool) -> None:
        if not going_on:
            waiting, self._after_stroke = self._after_stroke, []
            for call in waiting:
                # Not at once: napari tells what was painted after this.
                self._deliver(partial(self._jobs.guard, call))


@dataclass(slots=True, eq=False)
class LayerAdded:
    """A layer that was made.

    ``action``: what made it, for the user.
    ``removed``: the layer, while the step is taken back.
    """

    action: str
    removed: RemovedLayer | None = None

    @property
    def nbytes(self) -> int:
        """How much memory the step takes: the layer counts while it is not in the viewer."""
        return self.removed.nbytes if self.removed else 0


@dataclass(slots=True, eq=False)
class LayerFilled:
    """A layer that was filled anew with labels of the same type.

    ``action``: what filled it, for the user.
    ``edit``: its pixels.
    ``before`` and ``after``: what was known of it, and what is.
    """

    action: str
    edit: LabelEdit
    before: dict[str, Any]
    after: dict[str, Any]

    @property
    def nbytes(self) -> int:
        """How much memory the step takes."""
        return self.edit.nbytes


@dataclass(slots=True, eq=False)
class LayerReplaced:
    """A layer that was filled anew with labels of another type.

    ``action``: what filled it, for the user.
    ``labels``: the labels that are not in the layer now: the old ones, or once taken back the new
    ones.
    ``metadata``: what is known of these.
    """

    action: str
    labels: npt.NDArray[np.integer[Any]]
    metadata: dict[str, Any]

    @property
    def nbytes(self) -> int:
        """How much memory the step takes."""
        return self.labels.nbytes


class MaskJobs:
    """Runs the work of the mask operations."""

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
        on_done: Callable[[Any], None],
        *,
        unstoppable: Callable[[], None] | None = None,
        dropped: Callable[[], None] | None = None,
    ) -> Job:
        """Run a workflow that yields one result, and hand that on when the job is over.

        ``workflow``: takes a Reporter and returns an iterator of one result.
        ``on_done``: takes the result, if there is one.
        ``unstoppable``: says that the job writes, which can't be stopped half-way. Called at its
        end, however it ends, after ``on_done``.
        ``dropped``: says that nothing is lost if the job is stopped for the next one, such as a
        preview. Called when it was stopped, for that or by the user.
        Raises MaskError while a job is running that may not be stopped for another one.
        """
        self.check_free()
        job = Job(title, workflow)
        results: list[Any] = []
        job.yielded.connect(results.append)
        job.progressed.connect(self._on_progress)
        job.finished.connect(partial(self._on_finished, job, results, on_done))
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
        self, job: Job, results: list[Any], on_done: Callable[[Any], None], state: JobState
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
            self.guard(partial(on_done, results[-1]))
        if end is not None:
            end()
            if self._closed:
                self.close()

    def guard(self, verb: Callable[[], None]) -> None:
        """Do something, and say it if that can't be done."""
        try:
            verb()
        except Sam3AssistantError as error:
            self.say(str(error), Level.ERROR)
