"""Following objects through a stack: the verbs of the task 3D/video."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.prompts import PromptKind, PromptSet
from napari_sam3_assistant.core.tasks import Task, prompt_kind
from napari_sam3_assistant.core.track_table import TrackTable
from napari_sam3_assistant.core.tracks import FrameResult, Span
from napari_sam3_assistant.errors import ImageError, PromptError
from napari_sam3_assistant.jobs.handover import Handover
from napari_sam3_assistant.jobs.job import Job, JobState
from napari_sam3_assistant.session.availability import availability
from napari_sam3_assistant.session.model import Level, Message
from napari_sam3_assistant.session.stacks.open_tracking import OpenTracking, on_objects
from napari_sam3_assistant.session.wording import counted
from napari_sam3_assistant.workflows.stack_recipe import StackRecipe
from napari_sam3_assistant.workflows.track import Tracking
from napari_sam3_assistant.workflows.track_checks import check_prompts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.session.engine_in_use import EngineInUse
    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.session.results import Results
    from napari_sam3_assistant.session.running import Running
    from napari_sam3_assistant.session.scene import Scene
    from napari_sam3_assistant.session.stacks.scene import StackShot

_ON_THE_WAY = 2
"""How many frames may wait for the viewer: it shows one while the next is made."""


class Propagation:
    """The verbs of the task 3D/video. All are called on the GUI thread.

    What an engine knows of the objects lives in a ``Tracking`` between runs. Only the worker
    thread touches it, and closes it.

    Parameters
    ----------
    model : SessionModel
        The state.
    scene : Scene
        Where stacks, prompts and results live.
    engine : EngineInUse
        The engine.
    running : Running
        Starts jobs.
    results : Results
        The results table.

    Attributes
    ----------
    tracks : TrackTable
        The objects by frame, with their centroids.
    recipe : StackRecipe or None
        What made the latest propagated labels.
    """

    def __init__(
        self,
        model: SessionModel,
        scene: Scene,
        engine: EngineInUse,
        running: Running,
        results: Results,
    ) -> None:
        self.tracks = TrackTable()
        self._model = model
        self._scene = scene
        self._engine = engine
        self._running = running
        self._results = results
        self._open: OpenTracking | None = None
        self.recipe: StackRecipe | None = None
        self._job: Job | None = None
        self._last_words: Message | None = None
        engine.leaving.connect(self._forget)
        running.idle.connect(self._on_idle)
        for name in ("engine", "model_folder", "device"):
            getattr(model.events, name).connect(self._on_choice, max_args=0)

    # -- the verbs ------------------------------------------------------------------------

    def start(self) -> Job:
        """Follow what the prompts name through the stack; earlier results are removed.

        Raises
        ------
        Sam3AssistantError
            If it can't start; nothing has changed then.
        """
        model, spec = self._model, self._engine.spec
        can = availability(model, spec)
        if not can.can_run:
            raise PromptError(can.reason)
        stack = self._take(model.frame_axis)
        span = self._span()
        span.within(len(stack.frames))
        check_prompts(spec, stack.prompts, stack.frames)
        engine = self._engine.take()
        self.clear()
        self._results.forget_found()
        options = PredictOptions(model.threshold)
        opened = OpenTracking(Tracking(engine, stack.frames, options), stack, self._engine.choice)
        self._open = opened
        folder = Path(model.model_folder) if model.model_folder else None
        self.recipe = StackRecipe(stack.frames, stack.prompts, options, folder, stack.paths)
        return self._run(opened, stack.prompts, {}, [span])

    def go_on(self) -> Job:
        """Go on with the objects that are known: `Propagate Existing Session`.

        Prompts that were added or changed on any slice since are corrections; they spread from
        their slice, away from where the propagation began, and the frames on the other side
        stay. Without any it goes on where it was stopped, or else from the frame on show.

        Raises
        ------
        Sam3AssistantError
            If it can't; nothing has changed then.
        """
        model, opened, spec = self._model, self._open, self._engine.spec
        why_not = availability(model, spec).why_not_go_on
        if opened is None or why_not:
            raise PromptError(why_not or "Start a propagation first.")
        stack = self._take(opened.stack.target.axis)
        if stack.target.at(0) != opened.stack.target.at(0):
            raise PromptError(
                f"The propagation is of “{opened.stack.target.target.name}”, at another position "
                "of the sliders or another image than this.",
                "Go back there, or press Start 3D Propagation for this one.",
            )
        taken = opened.new_prompts(stack.prompts)
        plane = self._scene.stacks.plane
        shown = {frame: plane(opened.stack.target, frame) for frame in taken}
        new = on_objects(taken, shown)
        span = self._span()
        if new:
            check_prompts(spec, new, stack.frames)
            spans = opened.spans(span, new, model.tracked)
        else:
            spans = [] if opened.left else [replace(span, start=stack.frame)]
        for one in spans:
            one.within(len(stack.frames))
        return self._run(opened, new, shown, spans, taken)

    def remove(self, object_id: int) -> Job:
        """Forget an object, and take it out of the labels and the table.

        Raises
        ------
        PromptError
            If there is no such object.
        """
        opened = self._open
        if opened is None or object_id not in self._model.tracked:
            raise PromptError(
                f"There is no object {object_id} in this propagation.",
                "Choose one of its objects.",
            )

        def work(reporter: Reporter) -> Iterator[None]:
            reporter.check()
            opened.tracking.remove(object_id)
            yield None

        def erase(_: None) -> None:
            self._scene.stacks.erase(opened.stack.target, object_id, opened.boxes_of(object_id))
            self._results.remove(object_id)
            self.tracks.remove(object_id)
            if self.recipe is not None:
                self.recipe.removed(object_id)
            self._model.tracked = tuple(id_ for id_ in self._model.tracked if id_ != object_id)
            self._say(f"Object {object_id} is removed from all frames.", Level.SUCCESS)

        job = Job("Removing the object", work)
        job.yielded.connect(erase)
        return self._running.start(job)

    def end(self) -> None:
        """Forget the objects and free what the engine holds for them; the labels stay."""
        if self._open is None:
            return
        self._forget()
        if self._job is not None:
            self._job.cancel()
        if not self._model.running:
            self._running.runner.start(Job("Freeing memory", self._free))

    def clear(self) -> None:
        """End, and remove the propagated labels and their rows."""
        self.end()
        if self._model.propagated is not None:
            self._model.propagated = None
            self._results.forget_found()
        self._forget_results()
        self._scene.stacks.remove()

    def resume(self) -> None:
        """Know again the labels that an earlier session has left on show."""
        self._model.propagated = self._scene.stacks.left_on_show()

    def labels_removed(self, name: str) -> None:
        """Take note that the user removed the propagated labels; ``name`` was their name."""
        self._stop_without(name)
        self._model.propagated = None
        self._results.forget_found()
        self._forget_results()

    def image_removed(self, name: str) -> None:
        """Take note that the user removed the image; the labels stay. ``name`` was its name."""
        self._stop_without(name)

    def _stop_without(self, name: str) -> None:
        if self._open is None:
            return
        going = self._job is not None
        self.end()
        said = "the propagation was stopped" if going else "its propagation can't go on"
        self._say(f"“{name}” was removed; {said}.", Level.WARNING)

    # -- inside ---------------------------------------------------------------------------

    def _take(self, axis: int) -> StackShot:
        model = self._model
        kind = prompt_kind(Task.VIDEO, model.tool)
        stack = self._scene.stacks.take(model.image, kind, axis)
        if kind is PromptKind.TEXT:
            text = model.text.strip()
            stack = replace(stack, prompts={stack.frame: PromptSet(text=text)} if text else {})
        return stack

    def _span(self) -> Span:
        model = self._model
        return Span(
            model.direction,
            model.first_frame,
            model.last_frame,
            stop_after_lost=model.stop_after_lost or None,
        )

    def _run(
        self,
        opened: OpenTracking,
        prompts: Mapping[int, PromptSet],
        shown: Mapping[int, npt.NDArray[np.uint32]],
        spans: Sequence[Span],
        taken: Mapping[int, PromptSet] | None = None,
    ) -> Job:
        """Run a propagation; without spans, what an earlier one has left to do.

        ``taken`` are the prompts as the user has drawn them, by default the same.
        """
        handover, tracking, left = Handover(_ON_THE_WAY), opened.tracking, opened.left
        lost = self._model.stop_after_lost or None

        def work(reporter: Reporter) -> Iterator[tuple[range, ...] | FrameResult]:
            if prompts:
                tracking.add(prompts, reporter, shown)
            orders = [order for span in spans for order in tracking.orders(span)]
            beside = opened.left_beside(orders) if spans else left
            yield (*orders, *beside)
            for result in tracking.follow([*orders, *beside], reporter, stop_after_lost=lost):
                handover.wait(reporter)
                yield result

        began = time.monotonic()
        notes: list[str] = []

        def show(item: tuple[range, ...] | FrameResult) -> None:
            if isinstance(item, tuple):
                opened.left = item
                opened.note(prompts if taken is None else taken)
                if self.recipe is not None:
                    self.recipe.planned(item)
                return
            handover.taken()
            notes.extend(item.notes)
            self._show(opened, item)

        def end(state: JobState) -> None:
            self._job = None
            self._finish(opened, state, time.monotonic() - began, notes)

        job = self._engine.job("The propagation", tracking.engine, work, show)
        job.finished.connect(end)
        self._last_words = None
        self._job = job
        if self.recipe is not None:
            self.recipe.begins(prompts, shown, stop_after_lost=lost, goes_on=not spans)
        return self._running.start(job)

    def _show(self, opened: OpenTracking, result: FrameResult) -> None:
        model, target = self._model, opened.stack.target
        try:
            self._scene.stacks.show(target, result)
        except ImageError as error:
            self.end()
            self._say(str(error), Level.WARNING)
            return
        if self.recipe is not None:
            self.recipe.arrived(result.engine)
        opened.passed(result)
        self.tracks.add(result)
        self._results.add_frame(target, result)
        known = set(model.tracked) | result.tracked
        if known != set(model.tracked):
            model.tracked = tuple(sorted(known))
        model.propagated = target
        model.can_continue = True

    def _finish(
        self, opened: OpenTracking, state: JobState, seconds: float, notes: Sequence[str]
    ) -> None:
        self._results.list_frames()
        self._scene.stacks.finish()
        if opened is not self._open:
            return
        if not opened.done:
            # Nothing came of it: there is nothing to go on from.
            self.end()
            return
        if opened.choice != self._engine.choice:
            self.end()
        rest = sum(map(len, opened.left))
        count = counted(len(opened.done), "frame")
        if state is JobState.CANCELLED:
            self._last_words = Message(
                f"Stopped; {count} done. Propagate Existing Session does the {rest} left."
            )
        elif state is JobState.DONE:
            opened.left = ()
            objects = counted(len(self._model.tracked), "object")
            said = f"Propagated: {objects} on {count}, in {seconds:.1f} s. {' '.join(notes)}"
            self._last_words = Message(said.strip(), Level.SUCCESS)

    def _on_idle(self) -> None:
        if self._last_words is not None:
            self._model.message, self._last_words = self._last_words, None

    def _on_choice(self) -> None:
        # A run that is going ends by itself: it has an engine, and says so when it is done.
        if self._job is None:
            self.end()

    def _forget(self) -> None:
        """Leave the objects to be closed by the worker."""
        opened, self._open = self._open, None
        if opened is not None:
            self._engine.retire(opened.tracking)
        self._model.can_continue = False
        self._model.tracked = ()

    def _forget_results(self) -> None:
        """Forget what was found, and with what made it the pixels of the stack."""
        self.tracks.clear()
        self.recipe = None

    def _free(self, reporter: Reporter) -> Iterator[None]:
        reporter.check()
        self._engine.close_retired()
        yield None

    def _say(self, text: str, level: Level = Level.INFO) -> None:
        self._model.message = Message(text, level)
