"""The same prompts on every open image, and several phrases, one after another."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.plurals import pluralize
from napari_sam3_assistant.core.prompts import prompt_kind
from napari_sam3_assistant.core.results import set_class
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.jobs import Job, JobState
from napari_sam3_assistant.session.runs import drop_drawn, make_provenance
from napari_sam3_assistant.session.values import ActiveRoi, Level, Message, Preview
from napari_sam3_assistant.workflows.batch import BatchItem, BatchRequest, batch
from napari_sam3_assistant.workflows.segment import SegmentRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from napari_sam3_assistant.session.jobs import Services
    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.session.runs import RoiInference
    from napari_sam3_assistant.session.snapshots import ImageSnapshot
    from napari_sam3_assistant.session.undo import Undo
    from napari_sam3_assistant.workflows.batch import BatchResult


class Batch:
    """Starts batches. All methods are called on the GUI thread."""

    def __init__(self, services: Services, roi: RoiInference) -> None:
        self._model, self._adapter = services.model, services.adapter
        self._engine, self._jobs, self._undo = services.engine, services.jobs, services.undo
        self._roi = roi

    def run(self) -> Job:
        """Run on each image, with each phrase; results come in one by one.

        Raises Sam3AssistantError if it can't start; nothing has changed then.
        """
        model = self._model
        kind = prompt_kind(model.task, model.tool)
        snapshots, failed = self._adapter.take_snapshots(
            model.image, kind, every_image=model.runs_all_images
        )
        phrases = model.phrases
        if not phrases:
            # The one phrase is a prompt like any other: the results are named by the images alone.
            snapshots = tuple(
                replace(snapshot, prompts=model.add_typed(kind, snapshot.prompts))
                for snapshot in snapshots
            )
        usable = [snapshot for snapshot in snapshots if phrases or snapshot.prompts.kinds]
        failed += tuple(
            f"no prompt lies on “{snapshot.target.name}”"
            for snapshot in snapshots
            if snapshot not in usable
        )
        if not usable:
            raise PromptError(f"Nothing can be run: {'; '.join(failed)}.", "Add a prompt.")
        engine = self._engine.take()
        request = BatchRequest(
            tuple(self._make_item(number, snapshot) for number, snapshot in enumerate(usable)),
            phrases,
        )
        model.active_rois = tuple(
            ActiveRoi(snapshot.target, item.request.region)
            for snapshot, item in zip(usable, request.items, strict=True)
            if item.request.region is not None
        )
        known = self._undo.current.prompts

        def make_way(removed: Sequence[Preview]) -> object:
            dropped = drop_drawn(model, self._adapter, removed, kind, known)
            return self._adapter.prompt_state() if dropped else None

        collected = _BatchResults(
            model, usable, request, self._undo, self._engine.model_folder, list(failed), make_way
        )

        job = self._engine.make_job(
            "The batch",
            engine,
            lambda reporter: batch(engine, request, reporter),
            collected.add,
        )
        job.finished.connect(collected.sum_up)
        message = (
            f"Running {pluralize(request.runs, 'batch job')}: {pluralize(len(usable), 'image')}"
        )
        self._jobs.start(job, views=tuple(snapshot.view for snapshot in usable))
        model.message = Message(f"{message}, {pluralize(max(1, len(phrases)), 'prompt')}.")
        return job

    def _make_item(self, number: int, snapshot: ImageSnapshot) -> BatchItem:
        kind = prompt_kind(self._model.task, self._model.tool)
        options = self._engine.options(frozenset({kind}), snapshot.pixel)
        region = self._roi.choose_region(snapshot)
        request = SegmentRequest(snapshot.view, snapshot.prompts, options, region)
        return BatchItem(str(number), snapshot.target.name, request)


class _BatchResults:
    """What a batch has found so far."""

    def __init__(
        self,
        model: SessionModel,
        snapshots: list[ImageSnapshot],
        request: BatchRequest,
        undo: Undo,
        model_folder: Path | None,
        failed: list[str],
        make_way: Callable[[Sequence[Preview]], object],
    ) -> None:
        self._make_way = make_way
        self._request = request
        self._model = model
        self._snapshots = snapshots
        self._undo = undo
        self._model_folder = model_folder
        self._failed = failed
        self._found: tuple[Preview, ...] = ()
        self._results = 0
        self._began = time.monotonic()

    def add(self, result: BatchResult) -> None:
        """Show one more result, or remember why there is none."""
        first = self._results == 0
        prompts = self._make_way(self._model.previews) if first else None
        self._results += 1
        # As they are now: the user may have changed some meanwhile.
        self._found = () if first else self._model.previews
        if result.segmentation is None:
            self._failed.append(f"“{result.scope}”: {result.error}")
        else:
            snapshot = self._snapshots[int(result.key)]
            objects = tuple(
                replace(record, text=result.phrase or record.text)
                for record in result.segmentation.objects
            )
            found = replace(result.segmentation, objects=objects)
            segmentation = set_class(found, self._model.object_class)
            if objects:
                asked = self._request.items[int(result.key)].request
                if result.phrase:
                    asked = replace(asked, prompts=replace(asked.prompts, text=result.phrase))
                provenance = make_provenance(snapshot, asked, segmentation, self._model_folder)
                preview = Preview(
                    snapshot.target, segmentation, result.seconds, result.scope, provenance
                )
                self._found = (*self._found, preview)
        self._model.previews = self._found
        shown = self._model.previews
        self._failed += [
            f"“{item.label}”: its image was removed or replaced meanwhile"
            for item in self._found
            if item not in shown
        ]
        self._found = shown
        seed = self._undo.current.seed
        self._undo.go_on(self._found, seed, amend=not first, prompts=prompts)

    def sum_up(self, state: JobState) -> None:
        """Say what came out, unless the batch was stopped or failed as a whole."""
        if state is not JobState.DONE:
            return
        objects = sum(len(preview.segmentation.objects) for preview in self._found)
        seconds = time.monotonic() - self._began
        found = pluralize(objects, "object")
        message = f"Batch ready: {found} in {pluralize(self._results, 'result')}, {seconds:.1f} s."
        if self._failed:
            message += f" Left out: {'; '.join(self._failed)}"
        level = Level.SUCCESS if objects and not self._failed else Level.WARNING
        self._model.message = Message(message, level)
