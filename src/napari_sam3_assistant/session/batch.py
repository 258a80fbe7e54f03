"""One run on several images, or with several phrases."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.prompts import PromptKind, prompt_kind
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.jobs import Job, JobState
from napari_sam3_assistant.session.messages import counted
from napari_sam3_assistant.session.model import ActiveRoi, Level, Message, Preview
from napari_sam3_assistant.session.runs import recipe_of
from napari_sam3_assistant.workflows.batch import BatchItem, BatchRequest, batch
from napari_sam3_assistant.workflows.segment import SegmentRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam3_assistant.session.engine import EngineInUse
    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.session.runs import LocalInference
    from napari_sam3_assistant.session.scene import Scene, Shot
    from napari_sam3_assistant.workflows.batch import BatchResult


class Record(Protocol):
    """Takes note of results, for undo."""

    def __call__(self, previews: tuple[Preview, ...], *, amend: bool) -> None:
        """Make results a step that can be taken back, or a part of the latest step."""


class Batch:
    """Starts batches. All methods are called on the GUI thread.

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
    start : callable
        Starts a job in the place of a run.
    record : callable
        Takes note of results, for undo.
    """

    def __init__(
        self,
        model: SessionModel,
        scene: Scene,
        engine: EngineInUse,
        local: LocalInference,
        start: Callable[[Job], Job],
        record: Record,
    ) -> None:
        self._model = model
        self._scene = scene
        self._engine = engine
        self._local = local
        self._start = start
        self._record = record

    def run(self) -> Job:
        """Run on each image, with each phrase; results come in one by one.

        Raises
        ------
        Sam3AssistantError
            If it can't start; nothing has changed then.
        """
        model = self._model
        kind = prompt_kind(model.task, model.tool)
        shots, failed = self._scene.take_shots(model.image, kind, every_image=model.runs_all_images)
        phrases = model.phrases
        if kind is PromptKind.TEXT and not phrases:
            # The one phrase is a prompt like any other: the results are named by the images alone.
            text = model.text.strip()
            shots = tuple(replace(one, prompts=replace(one.prompts, text=text)) for one in shots)
        usable = [shot for shot in shots if phrases or shot.prompts.kinds]
        failed += tuple(
            f"no prompt lies on “{shot.target.name}”" for shot in shots if shot not in usable
        )
        if not usable:
            raise PromptError(f"Nothing can be run: {'; '.join(failed)}.", "Add a prompt.")
        engine = self._engine.take()
        request = BatchRequest(
            tuple(self._item(number, shot) for number, shot in enumerate(usable)), phrases
        )
        model.active_rois = tuple(
            ActiveRoi(shot.target, item.request.region)
            for shot, item in zip(usable, request.items, strict=True)
            if item.request.region is not None
        )
        collected = _Collected(model, usable, request, self._record, list(failed))

        job = self._engine.job(
            "The batch",
            engine,
            lambda reporter: batch(engine, request, reporter),
            collected.add,
        )
        job.finished.connect(collected.sum_up)
        said = f"Running {counted(request.runs, 'batch job')}: {counted(len(usable), 'image')}"
        self._start(job)
        model.message = Message(f"{said}, {counted(max(1, len(phrases)), 'prompt')}.")
        return job

    def _item(self, number: int, shot: Shot) -> BatchItem:
        options = PredictOptions(self._model.threshold)
        region = self._local.region(shot)
        request = SegmentRequest(shot.view, shot.prompts, options, region)
        return BatchItem(str(number), shot.target.name, request)


class _Collected:
    """What a batch has found so far."""

    def __init__(
        self,
        model: SessionModel,
        shots: list[Shot],
        request: BatchRequest,
        record: Record,
        failed: list[str],
    ) -> None:
        self._request = request
        self._model = model
        self._shots = shots
        self._record = record
        self._failed = failed
        self._found: tuple[Preview, ...] = ()
        self._results = 0
        self._began = time.monotonic()

    def add(self, result: BatchResult) -> None:
        """Show one more result, or remember why there is none."""
        first = self._results == 0
        self._results += 1
        # As they are now: the user may have changed some meanwhile.
        self._found = () if first else self._model.previews
        if result.segmentation is None:
            self._failed.append(f"“{result.scope}”: {result.error}")
        else:
            shot = self._shots[int(result.key)]
            objects = tuple(
                replace(record, text=result.phrase or record.text)
                for record in result.segmentation.objects
            )
            segmentation = replace(result.segmentation, objects=objects)
            if objects:
                asked = self._request.items[int(result.key)].request
                if result.phrase:
                    asked = replace(asked, prompts=replace(asked.prompts, text=result.phrase))
                recipe = recipe_of(shot, asked, segmentation, self._model.model_folder)
                preview = Preview(shot.target, segmentation, result.seconds, result.scope, recipe)
                self._found = (*self._found, preview)
        self._model.show_previews(self._found)
        shown = self._model.previews
        self._failed += [
            f"“{one.label}”: its image was removed or replaced meanwhile"
            for one in self._found
            if one not in shown
        ]
        self._found = shown
        self._record(self._found, amend=not first)

    def sum_up(self, state: JobState) -> None:
        """Say what came out, unless the batch was stopped or failed as a whole."""
        if state is not JobState.DONE:
            return
        objects = sum(len(preview.segmentation.objects) for preview in self._found)
        seconds = time.monotonic() - self._began
        found = counted(objects, "object")
        said = f"Batch ready: {found} in {counted(self._results, 'result')}, {seconds:.1f} s."
        if self._failed:
            said += f" Left out: {'; '.join(self._failed)}"
        level = Level.SUCCESS if objects and not self._failed else Level.WARNING
        self._model.message = Message(said, level)
