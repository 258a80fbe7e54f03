"""Runs on the plane on show: whole, on the region round the prompts, and refining one object."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.prompts import PromptKind, Task, prompt_kind
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.tiling import LocalRoi, left_out, local_roi, roi_messages
from napari_sam3_assistant.session.messages import counted, outcome, prompts_used
from napari_sam3_assistant.session.model import ActiveRoi, Message, Preview
from napari_sam3_assistant.workflows.provenance import Recipe
from napari_sam3_assistant.workflows.segment import SegmentRequest, segment

if TYPE_CHECKING:
    from napari_sam3_assistant.core.images import PlaneRef
    from napari_sam3_assistant.core.results import Segmentation
    from napari_sam3_assistant.jobs import Job
    from napari_sam3_assistant.session.engine import Ahead, EngineInUse
    from napari_sam3_assistant.session.jobs import Running
    from napari_sam3_assistant.session.model import SessionModel, Target
    from napari_sam3_assistant.session.scene import Scene, Shot
    from napari_sam3_assistant.session.undo import Seed, Undo


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


def recipe_of(
    shot: Shot, request: SegmentRequest, result: Segmentation, model_folder: str
) -> Recipe:
    """Return what made a result.

    Parameters
    ----------
    shot : Shot
        What the run saw.
    request : SegmentRequest
        What it was asked.
    result : Segmentation
        What came out.
    model_folder : str
        Folder of the weights; empty for none.
    """
    return Recipe(
        request.view,
        request.prompts,
        request.options,
        result.engine,
        Path(model_folder) if model_folder and result.engine.weights else None,
        shot.paths,
        request.region,
        notes=result.notes,
    )


LARGE_PLANE = 4096
"""Of planes with a longer side, in pixels, it is proposed to work on a part."""


def large_hint(model: SessionModel) -> str:
    """Return why large-image mode fits the chosen image; empty if it does not, or is on."""
    image = model.chosen_image
    proposed = model.task is not Task.VIDEO and not model.large_image
    if image is None or not proposed or max(image.shape) <= LARGE_PLANE:
        return ""
    height, width = image.shape
    return (
        f"This image is {height} x {width} pixels: a run on all of it takes long and much memory, "
        "and small objects may be missed. Large-image mode works on a square around your points "
        "or boxes."
    )


class LocalInference:
    """Chooses the region of a run, and which earlier results stay beside it.

    Parameters
    ----------
    model : SessionModel
        The state.
    """

    def __init__(self, model: SessionModel) -> None:
        self._model = model
        self._rois: dict[tuple[str, PlaneRef], LocalRoi] = {}
        model.events.large_image.connect(self._on_switch)

    def region(self, shot: Shot) -> Region | None:
        """Return the region that a run shall work on; None for the whole plane.

        Parameters
        ----------
        shot : Shot
            What the run shall see.
        """
        model = self._model
        if not model.large_image:
            return None
        target = shot.target
        place = (target.image, target.plane)
        named = shot.anchors if shot.anchors.kinds else shot.prompts
        roi = local_roi(named, shot.view.shape, model.roi_size, self._rois.get(place))
        for said in roi_messages(enabled=True, roi=roi):
            model.message = Message(said)
        if roi is None:
            model.active_rois = ()
            return None
        self._rois[place] = roi
        self._work_in(shot, roi.region)
        return roi.region

    def region_of(self, seed: Seed, shot: Shot) -> Region | None:
        """Return the region of a run that refines an object: within what its preview covers.

        Parameters
        ----------
        seed : Seed
            The object.
        shot : Shot
            What the run shall see.
        """
        if seed.region == Region.whole(shot.view.shape):
            return self.region(shot)
        target = shot.target
        if self._model.large_image:
            place = (target.image, target.plane)
            self._rois[place] = LocalRoi(seed.region, self._model.roi_size)
        self._work_in(shot, seed.region)
        return seed.region

    def _work_in(self, shot: Shot, region: Region) -> None:
        self._model.active_rois = (ActiveRoi(shot.target, region),)
        outside = left_out(shot.prompts, region)
        if outside:
            said = f"{counted(outside, 'prompt')} outside the region took no part."
            self._model.message = Message(said)

    def beside(self, target: Target, region: Region) -> tuple[Preview, ...]:
        """Return the results that stay on show beside a new one of a region."""
        if not self._model.large_image:
            return ()
        return tuple(
            preview
            for preview in self._model.previews
            if preview.segmentation.objects
            and preview.target == target
            and preview.segmentation.region != region
        )

    def label(self, beside: tuple[Preview, ...], region: Region) -> str:
        """Return what tells a result of a region from those beside it."""
        if not any(preview.label == "" for preview in beside):
            return ""
        return f"y={region.y0}:{region.y1}, x={region.x0}:{region.x1}"

    def _on_switch(self, enabled: bool) -> None:
        self._rois.clear()
        self._model.active_rois = ()
        size = self._model.roi_size
        said = (
            f"Large-image mode ON: local ROI inference ({size} x {size})."
            if enabled
            else roi_messages(enabled=False, roi=None)[0]
        )
        self._model.message = Message(said)
