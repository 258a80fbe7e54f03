"""One run on the plane on show."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.prompts import PromptKind
from napari_sam3_assistant.core.tasks import prompt_kind
from napari_sam3_assistant.session.model import Preview
from napari_sam3_assistant.session.recipes import recipe_of
from napari_sam3_assistant.session.wording import outcome, prompts_used
from napari_sam3_assistant.workflows.segment import SegmentRequest, segment

if TYPE_CHECKING:
    from napari_sam3_assistant.core.results import Segmentation
    from napari_sam3_assistant.jobs.job import Job
    from napari_sam3_assistant.session.ahead import Ahead
    from napari_sam3_assistant.session.engine_in_use import EngineInUse
    from napari_sam3_assistant.session.local import LocalInference
    from napari_sam3_assistant.session.model import Message, SessionModel
    from napari_sam3_assistant.session.refine import Seed
    from napari_sam3_assistant.session.running import Running
    from napari_sam3_assistant.session.scene import Scene, Shot
    from napari_sam3_assistant.session.undo import Undo

_EDITS_GONE = "It takes the place of the preview that you changed by hand; Undo brings that back."


class SingleRun:
    """Starts runs on the plane on show. All methods are called on the GUI thread.

    Parameters
    ----------
    model : SessionModel
        The state.
    scene : Scene
        Where images and prompts live.
    engine : EngineInUse
        The engine.
    local : LocalInference
        Chooses the region of each run on a large image.
    ahead : Ahead
        What encodes the plane before it is asked for.
    running : Running
        Starts the jobs.
    undo : Undo
        Takes note of results.
    """

    def __init__(
        self,
        model: SessionModel,
        scene: Scene,
        engine: EngineInUse,
        local: LocalInference,
        ahead: Ahead,
        running: Running,
        undo: Undo,
    ) -> None:
        self._model = model
        self._scene = scene
        self._engine = engine
        self._local = local
        self._ahead = ahead
        self._running = running
        self._undo = undo

    def run(self, *, live: bool) -> Job:
        """Segment the plane on show with the prompts of the chosen task and tool.

        Parameters
        ----------
        live : bool
            Whether the result is a part of the step that the last click made.

        Raises
        ------
        Sam3AssistantError
            If it can't start; nothing has changed then.
        """
        model = self._model
        kind = prompt_kind(model.task, model.tool)
        shot = self._scene.take_shot(model.image, kind)
        if kind is PromptKind.TEXT:
            shot = replace(shot, prompts=replace(shot.prompts, text=model.text.strip()))
        seed, given = self._seed_for(shot), shot.prompts
        outside = model.prompts.outside
        if seed is not None:
            shot = replace(shot, prompts=seed.add_to(shot.prompts))
        shot.prompts.check(shot.view.shape)
        engine = self._engine.take()
        region = self._local.region(shot) if seed is None else self._local.region_of(seed, shot)
        request = SegmentRequest(shot.view, shot.prompts, PredictOptions(model.threshold), region)
        began = time.monotonic()

        def show(result: Segmentation) -> None:
            seconds = time.monotonic() - began
            if seed is None:
                beside = self._local.beside(shot.target, result.region)
                label = self._local.label(beside, result.region)
            else:
                # It takes the place of the preview that it came from, beside all others.
                result = seed.put_back(result)
                beside = tuple(one for one in model.previews if one.slot != seed.slot)
                label = seed.label
            recipe = recipe_of(shot, request, result, model.model_folder)
            preview = Preview(shot.target, result, seconds, label, recipe)
            used = prompts_used(given.localise(result.region))
            self._show(outcome(preview, used, outside), preview, beside, live=live)

        job = self._engine.job(
            "The run", engine, lambda reporter: segment(engine, request, reporter), show
        )
        return self._running.start(job, self._ahead.job_for(engine, shot.view))

    def _seed_for(self, shot: Shot) -> Seed | None:
        """Return the seed, if the run refines it."""
        seed = self._undo.current.seed
        return seed if seed is not None and seed.fits(shot) else None

    def _show(
        self, said: Message, preview: Preview, beside: tuple[Preview, ...], *, live: bool
    ) -> None:
        result = preview.segmentation
        found = (preview,) if result.objects else ()
        self._undo.record((*beside, *found), amend=live)
        # The message first: where the preview can't be shown, a warning takes its place.
        gone = [one for one in self._model.previews if one.edited and one not in beside]
        if gone and self._undo.current.seed is None:
            said = replace(said, text=f"{said.text} {_EDITS_GONE}")
        self._model.message = said
        self._model.show_previews((*beside, preview))
