"""The verbs of a session. It alone starts jobs."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.prompts import PromptKind
from napari_sam3_assistant.core.tasks import Task, prompt_kind
from napari_sam3_assistant.engines import registry
from napari_sam3_assistant.engines.device import device_reason
from napari_sam3_assistant.errors import PromptError, Sam3AssistantError
from napari_sam3_assistant.jobs.job import Job, JobState
from napari_sam3_assistant.jobs.runner import JobRunner
from napari_sam3_assistant.session.ahead import Ahead
from napari_sam3_assistant.session.availability import Availability, availability, usable_tool
from napari_sam3_assistant.session.batch import Batch
from napari_sam3_assistant.session.engine_in_use import EngineInUse
from napari_sam3_assistant.session.history import History
from napari_sam3_assistant.session.loading import ModelLoading
from napari_sam3_assistant.session.local import LocalInference
from napari_sam3_assistant.session.model import DeviceInUse, Level, Message, Preview
from napari_sam3_assistant.session.model_setup import ModelSetup
from napari_sam3_assistant.session.recipes import recipe_of
from napari_sam3_assistant.session.refine import Seed, seed_of
from napari_sam3_assistant.session.results import Results
from napari_sam3_assistant.session.saving import SaveAndClean, Saving
from napari_sam3_assistant.session.settings import restore
from napari_sam3_assistant.session.step import Step
from napari_sam3_assistant.session.wording import outcome, prompts_used
from napari_sam3_assistant.workflows.segment import SegmentRequest, segment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_sam3_assistant.core.delivery import Deliver
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.results import Segmentation
    from napari_sam3_assistant.engines.base import EngineSpec
    from napari_sam3_assistant.jobs.job import JobProgress
    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.session.scene import Scene, Shot
    from napari_sam3_assistant.session.settings import SettingsStore


class Session:
    """What a user can do. All methods are called on the GUI thread.

    Parameters
    ----------
    model : SessionModel
        The state.
    scene : Scene
        Where images and prompts live.
    deliver : callable
        Runs what it is given on the thread that the session lives on.
    settings : SettingsStore
        Remembers choices.

    Attributes
    ----------
    setup : ModelSetup
        The verbs about the model folder and the device.
    loading : ModelLoading
        The verbs that load and unload the model.
    saving : Saving
        The verbs that keep results.
    cleaning : SaveAndClean
        Saves every preview and frees the memory.
    batch : Batch
        Runs on several images, or with several phrases.
    local : LocalInference
        Chooses the region of a run on a large image.
    results : Results
        The verbs about the results table.
    ahead : Ahead
        Encodes the plane on show while the user draws.
    """

    prompts_edited = Signal()

    def __init__(
        self, model: SessionModel, scene: Scene, deliver: Deliver, settings: SettingsStore
    ) -> None:
        self.model = model
        self._scene = scene
        self._runner = JobRunner(deliver)
        self._engine = EngineInUse(model)
        self._job: Job | None = None
        self._live_again = False
        self._history = History(Step(scene.prompt_state()))
        restore(model, settings)
        if model.engine not in registry.entries():
            model.engine = next(iter(registry.entries()))
        model.tool = usable_tool(model.task, model.tool)
        model.events.task.connect(self._on_task)
        self.setup = ModelSetup(model, self._start, deliver)
        self.loading = ModelLoading(model, self._engine, self._start)
        self.local = LocalInference(model)
        self.saving = Saving(model, scene, self._start)
        self.cleaning = SaveAndClean(model, scene, self._start, self._cleaned)
        self.batch = Batch(model, scene, self._engine, self.local, self._start, self._record)
        self.results = Results(model, self._start)
        self.ahead = Ahead(model, scene, self._runner, self._engine)
        self.prompts_edited.connect(self.ahead.begin)

    # -- what can be done ---------------------------------------------------------------

    @property
    def spec(self) -> EngineSpec:
        """The card of the chosen engine."""
        return registry.entry(self.model.engine).spec

    @property
    def engine_choices(self) -> tuple[EngineSpec, ...]:
        """The cards of all known engines."""
        return tuple(entry.spec for entry in registry.entries().values())

    @property
    def availability(self) -> Availability:
        """What can run now, and why not."""
        return availability(self.model, self.spec)

    # -- runs -----------------------------------------------------------------------------

    def run(self) -> Job:
        """Segment the plane on show with the prompts of the chosen task and tool.

        In a batch: all images, or one after the other with several phrases. A run that is going
        is cancelled.

        Raises
        ------
        Sam3AssistantError
            If it can't start; nothing has changed then.
        """
        if not self.model.is_batch:
            return self._run(live=False)
        if not self.availability.can_run:
            raise PromptError(self.availability.reason)
        return self.batch.run()

    def run_live(self) -> None:
        """Run Live Points again if there is something to run.

        While a run is going, it is run once more when that ends, so no click is lost and no
        encoding is thrown away.
        """
        if self.model.task is not Task.LIVE_POINTS:
            return
        if self.model.running:
            self._live_again = True
        elif self.availability.can_run:
            self._run(live=True)
        elif self.model.preview is not None and not self.model.prompts.elsewhere:
            self.model.show_previews(self.model.beside)
            self._history.amend(replace(self._history.current, previews=self.model.previews))

    def cancel(self) -> None:
        """Stop the run; what has come out of it stays."""
        self._live_again = False
        if self._job is not None:
            self._job.cancel()
            self.ahead.cancel()

    def clear_preview(self) -> None:
        """Remove the preview; prompts and saved labels stay."""
        self.cancel()
        self._push(replace(self._history.current, previews=(), seed=None))
        self.model.show_previews(())
        self._say("Preview cleared. Prompts and saved labels were kept.")

    def _cleaned(self, said: str) -> None:
        """Go on after all previews have been saved: without them, and without the model."""
        self._push(replace(self._history.current, previews=(), seed=None))
        self.model.show_previews(())
        self.loading.unload(said)

    def refine(self, object_id: int) -> None:
        """Refine one object of the preview by clicks that start from its mask.

        Parameters
        ----------
        object_id : int
            Which object.

        Raises
        ------
        PromptError
            If the preview has no such object.
        """
        preview = self.shown_preview()
        seed = seed_of(preview, object_id)
        self._scene.clear_prompts(preview.target.image)
        self._push(replace(self._history.current, prompts=self._scene.prompt_state(), seed=seed))
        self.model.task = Task.LIVE_POINTS
        self._say(f"Refining object {object_id}: click to add, or T and click to take away.")

    def accept(self) -> None:
        """Add the previewed objects to the accepted labels and clear the prompts.

        Raises
        ------
        PromptError
            If there is no preview.
        """
        preview = self.shown_preview()
        if not preview.segmentation.objects:
            raise PromptError("The preview is empty; nothing was accepted.", "Add a prompt first.")
        accepted = self._accept_all()
        before = self._history.current
        for image in {shown.target.image for shown in self.model.previews}:
            self._scene.clear_prompts(image)
        self.model.show_previews(())
        prompts = self._scene.prompt_state()
        self._push(Step(prompts, accepted=(*before.accepted, *accepted)))
        said = "; ".join(map(str, accepted))
        self._say(f"Accepted: {said}. Ready for the next object.", Level.SUCCESS)

    def _accept_all(self) -> tuple[object, ...]:
        accepted: list[object] = []
        try:
            accepted += map(self._scene.accept, self.model.previews)
        except Sam3AssistantError:
            for one in reversed(accepted):
                self._scene.undo_accept(one)
            raise
        return tuple(accepted)

    def close(self) -> None:
        """Stop the work and free the engine."""
        self.cancel()
        self._engine.let_go()
        self._runner.close(self._engine.close_retired)
        self.setup.close()

    # -- undo -------------------------------------------------------------------------------

    def note_prompts(self) -> None:
        """Take note that the user changed the prompts: a step that can be taken back."""
        prompts = self._scene.prompt_state()
        if prompts != self._history.current.prompts:
            self._push(replace(self._history.current, prompts=prompts))
            self.prompts_edited.emit()

    def undo(self) -> None:
        """Take the last step back: a prompt, a run, or an acceptance."""
        before = self._history.current
        self._go_to(before, self._history.undo())

    def redo(self) -> None:
        """Take the step again that was taken back."""
        before = self._history.current
        self._go_to(before, self._history.redo())

    def _go_to(self, before: Step, after: Step) -> None:
        self.cancel()
        for accepted in reversed(before.accepted[len(after.accepted) :]):
            self._scene.undo_accept(accepted)
        for accepted in after.accepted[len(before.accepted) :]:
            self._scene.redo_accept(accepted)
        self._scene.set_prompt_state(after.prompts)
        self.model.show_previews(after.previews)
        self.model.refining = after.seed.record.id if after.seed else 0
        self._tell_history()

    def _push(self, step: Step, *, amend: bool = False) -> None:
        put = self._history.amend if amend else self._history.push
        put(step)
        self.model.refining = step.seed.record.id if step.seed else 0
        self._tell_history()

    def _tell_history(self) -> None:
        self.model.can_undo = self._history.can_undo
        self.model.can_redo = self._history.can_redo

    # -- inside -----------------------------------------------------------------------------

    def _run(self, *, live: bool) -> Job:
        can = self.availability
        if not can.can_run:
            raise PromptError(can.reason)
        model = self.model
        kind = prompt_kind(model.task, model.tool)
        shot = self._scene.take_shot(model.image, kind)
        if kind is PromptKind.TEXT:
            shot = replace(shot, prompts=replace(shot.prompts, text=model.text.strip()))
        seed = self._seed_for(shot)
        if seed is not None:
            shot = replace(shot, prompts=seed.add_to(shot.prompts))
        shot.prompts.check(shot.view.shape)
        engine = self._engine.take()
        region = self.local.region(shot)
        request = SegmentRequest(shot.view, shot.prompts, PredictOptions(model.threshold), region)
        choice, known = self._engine.choice, model.device_in_use
        began = time.monotonic()

        def work(reporter: Reporter) -> Iterator[tuple[Segmentation, DeviceInUse]]:
            self._engine.close_retired()
            for result in segment(engine, request, reporter):
                used = result.engine.device
                # Asked for here and once, since it may start PyTorch's GPU.
                yield result, known or DeviceInUse(used, device_reason(model.device, used))

        def show(answer: tuple[Segmentation, DeviceInUse]) -> None:
            result, device = answer
            if choice == self._engine.choice:
                model.device_in_use = device
            whole = result if seed is None else seed.put_back(result)
            self._show(shot, request, whole, time.monotonic() - began, live=live)

        job = Job("The run", work)
        job.yielded.connect(show)
        return self._start(job, self.ahead.job_for(engine, shot.view))

    def _seed_for(self, shot: Shot) -> Seed | None:
        """Return the seed, if the run is of its plane and by clicks."""
        seed = self._history.current.seed
        same = seed is not None and seed.target == shot.target
        return seed if same and shot.prompts.points else None

    def _start(self, job: Job, behind: Job | None = None) -> Job:
        self._live_again = False
        # Of the one that it waits for, too: its progress is progress of this one.
        for told in (job, behind):
            if told is not None:
                told.progressed.connect(self._on_progress, unique=True)
        job.finished.connect(partial(self._on_finished, job))
        self._job, before = job, self._job
        if before is not None:
            before.cancel()
        self.model.progress = None
        self.model.running = True
        self._say("Starting …")
        self._runner.start(job, behind)
        return job

    def _show(
        self,
        shot: Shot,
        request: SegmentRequest,
        result: Segmentation,
        seconds: float,
        *,
        live: bool,
    ) -> None:
        beside = self.local.beside(shot.target, result.region)
        label = self.local.label(beside, result.region)
        recipe = recipe_of(shot, request, result, self.model.model_folder)
        preview = Preview(shot.target, result, seconds, label, recipe)
        found = (preview,) if result.objects else ()
        self._record((*beside, *found), amend=live)
        # The message first: where the preview can't be shown, a warning takes its place.
        used = prompts_used(shot.prompts.localise(result.region))
        self.model.message = outcome(preview, used)
        self.model.show_previews((*beside, preview))

    def _record(self, previews: tuple[Preview, ...], *, amend: bool) -> None:
        """Make results a step that can be taken back, or a part of the latest step."""
        self._push(replace(self._history.current, previews=previews), amend=amend)

    def _on_progress(self, progress: JobProgress) -> None:
        self.model.progress = progress
        self._say(f"{progress.step.message} …")

    def _on_finished(self, job: Job, state: JobState) -> None:
        if job is not self._job:
            return
        self._job = None
        self.model.running = False
        self.model.progress = None
        if state is JobState.CANCELLED:
            self._say("Cancelled.")
        elif job.error is not None:
            self.model.message = Message(str(job.error), Level.ERROR)
        if self._live_again:
            self.run_live()

    def _on_task(self, task: Task) -> None:
        self.model.tool = usable_tool(task, self.model.tool)

    def shown_preview(self) -> Preview:
        """Return the preview.

        Raises
        ------
        PromptError
            If there is none.
        """
        if self.model.preview is None:
            raise PromptError("There is no preview yet.", "Press Run Preview first.")
        return self.model.preview

    def _say(self, text: str, level: Level = Level.INFO) -> None:
        self.model.message = Message(text, level)
