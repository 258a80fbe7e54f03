"""Accept objects that are still to be found: their prompts make room for the next one at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from napari_sam3_assistant.errors import Sam3AssistantError
from napari_sam3_assistant.jobs import JobState
from napari_sam3_assistant.session.values import Level, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_sam3_assistant.jobs import Job
    from napari_sam3_assistant.session.accepting import Accepting
    from napari_sam3_assistant.session.jobs import Services
    from napari_sam3_assistant.session.runs import Frozen, SegmentRun


_AWAITED = "Accepted as soon as it is found. Ready for the next object."
_THEN = "Saved as soon as the object that you accepted is found."
_CANCELLED = "Cancelled; the object that was still looked for is not accepted."
_NOTHING = "Nothing was found there, so nothing was accepted."
_AGAIN = "Undo brings its prompts back."


@dataclass(slots=True, eq=False)
class Awaited:
    """What was accepted before it was found: the step that made room, and what will find it."""

    step: int
    frozen: Frozen
    job: Job | None


class Awaiting:
    """Accepts objects in the order in which that was asked for, each when it is found.

    All methods are called on the GUI thread.
    """

    def __init__(self, services: Services, accepting: Accepting, run: SegmentRun) -> None:
        self._model, self._adapter = services.model, services.adapter
        self._undo, self._jobs = services.undo, services.jobs
        self._accepting, self._run = accepting, run
        self._awaited: list[Awaited] = []
        self._then: Callable[[], object] | None = None

    def add(self, job: Job | None) -> None:
        """Put the prompts on show away: what they find is accepted.

        ``job``: the one that is going, if it answers them; by default there will be one.
        """
        model, frozen = self._model, self._run.freeze()
        if job is not None:
            self._run.settle_class()
        images = (model.image, *(shown.target.image for shown in model.previews))
        for image in dict.fromkeys(images):
            self._adapter.clear_prompts(image)
        self._undo.push(replace(self._undo.current, prompts=self._adapter.prompt_state()))
        awaited = Awaited(self._undo.step, frozen, job)
        self._awaited.append(awaited)
        self._accepting.is_awaited = True
        self._jobs.part_from_prompts()
        self.go_on()
        if awaited in self._awaited:
            model.message = Message(_AWAITED)

    def go_on(self) -> None:
        """Accept what has been found, and look for the next, unless a job is going."""
        while self._awaited and not self._model.running:
            first = self._awaited[0]
            try:
                if first.job is None:
                    first.job = self._run.run(first.frozen, live=True)
                    continue
                self._forget(first)
                if first.job.state is not JobState.DONE:
                    self.reopen([first], str(first.job.error or _CANCELLED))
                elif any(shown.segmentation.objects for shown in self._model.previews):
                    self._accepting.accept(at=first.step)
                else:
                    self.reopen([first], _NOTHING)
            except Sam3AssistantError as error:
                self._forget(first)
                self.reopen([first], str(error))
        if self._then is not None and not (self._awaited or self._model.running):
            self._save()

    def save_after(self, save: Callable[[], object]) -> None:
        """Call what saves, once all that is waited for is accepted: at once where nothing is.

        It is not called where something was not found, or is given up.
        """
        if not self._awaited:
            save()
            return
        self._then = save
        self._model.message = Message(_THEN)

    def _save(self) -> None:
        save, self._then = self._then, None
        try:
            if save is not None:
                save()
        except Sam3AssistantError as error:
            self._model.message = Message(str(error), Level.ERROR)

    def give_up(self) -> list[Awaited]:
        """Wait for nothing any more; returns what was waited for."""
        given_up, self._awaited, self._then = self._awaited, [], None
        self._accepting.is_awaited = False
        return given_up

    def reopen(self, given_up: Sequence[Awaited], why: str = _CANCELLED) -> bool:
        """Bring back the prompts of what is not accepted, and say so.

        Returns whether some are back; those that something came after, Undo brings back.
        """
        is_back, self._then = False, None
        for awaited in reversed(given_up):
            is_latest = self._undo.reopen(awaited.step)
            is_back = is_back or is_latest
            text = why if is_latest else f"{why} {_AGAIN}"
            self._model.message = Message(text, Level.WARNING)
        if is_back:
            self._jobs.unanswered.emit()
        return is_back

    def _forget(self, awaited: Awaited) -> None:
        if awaited in self._awaited:
            self._awaited.remove(awaited)
        self._accepting.is_awaited = bool(self._awaited)
