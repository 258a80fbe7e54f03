"""Accept what is on show, change labels by edits, and take both back."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import Task
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.io.outputs import folder_beside, safe_name
from napari_sam3_assistant.jobs import Job, JobState
from napari_sam3_assistant.session.messages import CLASS, NOTHING, format_accepted
from napari_sam3_assistant.session.values import KeptPlace, Level, Message
from napari_sam3_assistant.workflows.edit_masks import accept, write_accepted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from napari_sam3_assistant.core.lineage import Lineage
    from napari_sam3_assistant.core.masks.edits import LabelEdit
    from napari_sam3_assistant.core.masks.merge import AcceptedObjects
    from napari_sam3_assistant.core.tracks import TrackTable
    from napari_sam3_assistant.session.jobs import Services
    from napari_sam3_assistant.session.saving import SaveAtAccept
    from napari_sam3_assistant.session.snapshots import Accepted, OtherLabels
    from napari_sam3_assistant.session.values import PlaneTarget, Preview, StackTarget
    from napari_sam3_assistant.viewer.accepted import Acceptance, PlacedObject


NOT_PUT_BACK = (
    "The layer of the accepted labels was deleted or replaced, so these objects are not in it "
    "again. Press Undo, then accept the preview once more."
)
_WAIT = "Wait for its end, or press Cancel to take it back."


class Accepting:
    """Writes to accepted labels: at once in memory, by a job where they are on the disk.

    All methods are called on the GUI thread.

    ``is_writing``: whether a job is at it.
    ``is_awaited``: whether something is accepted that is still to be found.
    ``classed``: tells the classes that propagated objects had, and have, by their numbers.
    """

    classed = Signal(object, object)

    def __init__(self, services: Services, save_at_accept: SaveAtAccept) -> None:
        self.is_writing = self.is_awaited = False
        self._model, self._adapter = services.model, services.adapter
        self._undo, self._jobs = services.undo, services.jobs
        self._save_at_accept = save_at_accept

    def close(self) -> None:
        """Let what is being written and saved come to its end."""
        self._save_at_accept.close()

    def check_idle(self) -> None:
        """Raise PromptError while accepted labels are being written, or are about to be."""
        self.check_found()
        self._check_written()

    def check_found(self) -> None:
        """Raise PromptError while something that is accepted is still to be found."""
        if self.is_awaited:
            raise PromptError("The object accepted last is still being looked for.", _WAIT)

    def _check_written(self) -> None:
        if self.is_writing:
            raise PromptError("The accepted labels are still being written.", _WAIT)

    def accept(self, note: str = "", *, at: int | None = None) -> None:
        """Add the previewed objects to the accepted labels and clear the prompts.

        ``note``: what to say besides.
        ``at``: the step that has cleared the prompts already, and waited for the objects.
        Raises Sam3AssistantError if that can't be done; nothing has changed then. Of labels on the
        disk that may turn out later: then it is said, and the preview comes back.
        """
        self.check_idle() if at is None else self._check_written()
        previews = [preview for preview in self._model.previews if preview.segmentation.objects]
        kept = self._adapter.accepted
        at_once = all(kept.are_in_memory(KeptPlace(preview.target)) for preview in previews)
        if not at_once and self._model.running and self._model.task is not Task.LIVE_POINTS:
            raise PromptError("A run is going on.", "Wait for its end, or cancel it first.")
        begun = [
            self._adapter.begin_accept(preview, self._place(preview.target)) for preview in previews
        ]
        if not at_once:
            self._step(begun, at)
            self._run(begun, note)
            return
        (found,) = accept([acceptance.request for acceptance in begun], NullReporter())
        self._step(begun, at)
        self._finish(begun, found, note)

    def accept_stack(self, stack: StackTarget, table: TrackTable) -> None:
        """Add the propagated objects on show to the accepted labels, and clear their prompts.

        The propagated labels stay.

        Raises Sam3AssistantError if that can't be done; nothing has changed then.
        """
        self.check_idle()
        begun = [self._adapter.begin_accept_stack(stack, table, self._place(stack.target))]
        before = self._undo.current
        self._adapter.clear_prompts(stack.target.image)
        accepted = (*before.accepted, begun[0].accepted)
        prompts = self._adapter.prompt_state()
        self._undo.push(replace(before, prompts=prompts, accepted=accepted, seed=None))
        self._run(begun)

    def accept_other(
        self, other_labels: OtherLabels, objects: Sequence[PlacedObject], note: str = ""
    ) -> None:
        """Add objects of labels of another tool to the accepted labels; prompts stay.

        ``note``: what to say besides.
        Raises Sam3AssistantError if that can't be done; nothing has changed then.
        """
        self.check_idle()
        begun = [
            self._adapter.accepted.begin_other(
                other_labels, objects, self._place(other_labels.target)
            )
        ]
        before = self._undo.current
        self._undo.push(replace(before, accepted=(*before.accepted, begun[0].accepted)))
        self._run(begun, note)

    def _run(self, begun: Sequence[Acceptance], note: str = "") -> None:
        """Write by a job, which may be cancelled."""
        job = Job(
            "Accepting", partial(accept, [acceptance.request for acceptance in begun]), writes=True
        )
        job.yielded.connect(partial(self._finish, begun, note=note))
        self._start(
            job, [acceptance.accepted for acceptance in begun], partial(self._withdraw, begun)
        )

    def change(
        self,
        changes: Sequence[Accepted],
        text: str = "",
        *,
        previews: tuple[Preview, ...] | None = None,
        lineage: Lineage | None = None,
    ) -> None:
        """Write edits of accepted labels, or of propagated ones: a step that can be taken back.

        ``text``: what to say then; empty for what has been said.
        ``previews``: the results on show then; by default what they were.
        ``lineage``: what is known of tracks then; by default what it was.
        Raises PromptError while labels are being written.
        """
        self.check_idle()
        before = self._undo.current
        known = before.lineage if lineage is None else lineage
        shown = before.previews if previews is None else previews
        accepted = (*before.accepted, *changes)
        self._undo.push(replace(before, previews=shown, accepted=accepted, lineage=known))
        self._model.lineage = known
        message = Message(text) if text else self._model.message
        self._write(changes, forward=True, message=message, withdraw=True)

    def write(self, removed: Sequence[Accepted], added: Sequence[Accepted]) -> bool:
        """Take accepted objects out again, or put them back, on the disk by a job.

        Returns whether their layers are there.
        """
        forward = bool(added)
        changed = added or tuple(reversed(removed))
        return self._write(changed, forward=forward, message=self._model.message) == len(changed)

    # -- inside ---------------------------------------------------------------------------

    def _place(self, target: PlaneTarget) -> Path | None:
        """Return where labels stay that don't fit into memory: beside the file of their image."""
        folder = folder_beside(self._adapter.file_of(target.image))
        if folder is None or not os.access(folder, os.W_OK):
            return None
        return folder / f"{safe_name(target.name)}_accepted.ome.zarr"

    def _step(self, begun: Sequence[Acceptance], at: int | None) -> None:
        """Make room for what comes next: a step without the previews and their prompts."""
        if at is not None:
            self._undo.accept_at(at, [acceptance.accepted for acceptance in begun])
            self._model.previews = ()
            return
        before = self._undo.current
        for image in dict.fromkeys(shown.target.image for shown in self._model.previews):
            self._adapter.clear_prompts(image)
        self._model.previews = ()
        accepted = (*before.accepted, *(acceptance.accepted for acceptance in begun))
        prompts = self._adapter.prompt_state()
        self._undo.push(replace(before, prompts=prompts, previews=(), accepted=accepted, seed=None))
        self._jobs.cancel_drawn()

    def _write(
        self,
        accepted: Sequence[Accepted],
        *,
        forward: bool,
        message: Message,
        withdraw: bool = False,
    ) -> int:
        """Write edits, or take them back, and say so; returns how many have their layers still.

        What can't be written comes to nothing, also as a step, where it is to be withdrawn.
        """
        found = self._adapter.accepted.find_written(accepted)
        there = [item for item, _ in found]

        def show(written: Iterable[LabelEdit]) -> None:
            self._adapter.accepted.note_written(zip(there, written, strict=True), listed=forward)
            for accepted_ in there:
                if accepted_.propagated and accepted_.features:
                    before, after = map(_classes_of, (accepted_.gone, accepted_.features))
                    self.classed.emit(*((before, after) if forward else (after, before)))
            self._save_at_accept.note(
                accepted_.image for accepted_ in there if not accepted_.propagated
            )
            self._model.message = message

        work = partial(write_accepted, [written for _, written in found], forward=forward)
        if any(accepted_.folder is not None for accepted_ in there):
            title = "Putting back what was accepted" if forward else "Taking back what was accepted"
            job = Job("Writing the change" if withdraw else title, work, writes=True)
            job.yielded.connect(show)

            def end(job: Job, state: JobState) -> None:
                if state is not JobState.DONE and withdraw:
                    self._undo.withdraw(there)
                if job.error is not None:
                    self._model.message = Message(str(job.error), Level.ERROR)

            self._start(job, there, end)
        elif there:
            for written in work(NullReporter()):
                show(written)
        return len(there)

    def _finish(
        self, begun: Sequence[Acceptance], objects: Sequence[AcceptedObjects], note: str = ""
    ) -> None:
        for acceptance, written in zip(begun, objects, strict=True):
            acceptance.finish(written)
        accepted = [acceptance.accepted for acceptance in begun]
        there = len(self._adapter.accepted.find_written(accepted)) == len(accepted)
        message = Message(f"{format_accepted(accepted)} {note}".strip(), Level.SUCCESS)
        self._model.message = message if there else Message(NOT_PUT_BACK, Level.WARNING)
        self._save_at_accept.note(accepted_.image for accepted_ in accepted)

    def _start(
        self, job: Job, accepted: Sequence[Accepted], ended: Callable[[Job, JobState], None]
    ) -> None:
        unlock = self._adapter.accepted.lock(accepted)

        def end(state: JobState) -> None:
            self.is_writing = False
            unlock()
            ended(job, state)

        job.finished.connect(end)
        self.is_writing = True
        self._jobs.start(job)

    def _withdraw(self, begun: Sequence[Acceptance], job: Job, state: JobState) -> None:
        """Where nothing was accepted, say so, and show again what was to be."""
        if state is JobState.DONE:
            return
        is_back = self._undo.withdraw([acceptance.accepted for acceptance in begun])
        again = "" if is_back else "Press Undo to go back to the preview."
        why = "Cancelled; nothing was accepted." if job.error is None else str(job.error)
        level = Level.INFO if job.error is None else Level.ERROR
        self._model.message = Message(f"{why} {again}".strip(), level)


def _classes_of(rows: Mapping[str, list[Any]]) -> dict[int, str]:
    """Return the class of each object of rows; empty for none."""
    pairs = zip(rows["index"], rows[CLASS], strict=True)
    return {int(id_): "" if name == NOTHING else str(name) for id_, name in pairs}
