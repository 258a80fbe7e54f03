"""Running the present prompts on every image of a folder."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from napari_sam3_assistant.core.axes import FIND_OUT
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.prompts import PromptKind, PromptSet
from napari_sam3_assistant.core.tasks import prompt_kind
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.io.outputs import typed_folder
from napari_sam3_assistant.jobs.job import Job, JobState
from napari_sam3_assistant.session.disk.availability import why_no_folder_batch
from napari_sam3_assistant.session.disk.model import LARGEST
from napari_sam3_assistant.session.disk.verb import DiskVerb
from napari_sam3_assistant.session.model import Level, Message
from napari_sam3_assistant.session.wording import counted
from napari_sam3_assistant.workflows.folder import (
    SUMMARY,
    FolderRequest,
    FolderRow,
    segment_folder,
)


class FolderBatch(DiskVerb):
    """Starts batches on folders."""

    @property
    def why_not(self) -> str:
        """Why no folder batch can start; empty if one can."""
        return why_no_folder_batch(self._model, self._disk, self._engine.spec)

    def run(self) -> Job:
        """Run the present phrases, or the prompts drawn on the image on show, on every image.

        Raises
        ------
        Sam3AssistantError
            If it can't start; nothing has changed then.
        """
        if self.why_not:
            raise PromptError(self.why_not)
        model, disk = self._model, self._disk
        request = self._request()
        engine = self._engine.take()
        rows: list[FolderRow] = []

        def end(state: JobState) -> None:
            if rows:
                disk.folder_done = str(request.output)
            if state is not JobState.FAILED:
                model.message = _summed_up(rows, request.output, state)

        return self._begin(
            "The folder batch",
            engine,
            lambda reporter: segment_folder(engine, request, reporter),
            rows.append,
            end,
        )

    def _request(self) -> FolderRequest:
        model, disk = self._model, self._disk
        kind = prompt_kind(model.task, model.tool)
        if kind is PromptKind.TEXT:
            prompts = PromptSet()
            phrases = model.phrases or (model.text.strip(),)
        else:
            prompts = self._scene.take_shot(model.image, kind).prompts
            phrases = ()
        chosen = None if model.channel_axis == FIND_OUT else model.channel_axis
        return FolderRequest(
            typed_folder(disk.folder_source),
            typed_folder(disk.folder_output),
            prompts,
            PredictOptions(model.threshold),
            phrases,
            disk.folder_pattern.strip() or "*",
            disk.folder_format,
            Path(model.model_folder)
            if model.model_folder and self._engine.spec.needs_weights
            else None,
            {"channel_axis": chosen},
            disk.folder_skips,
            None if disk.folder_series == LARGEST else disk.folder_series,
        )


def _summed_up(rows: list[FolderRow], output: Path, state: JobState) -> Message:
    """Return what came out of a folder."""
    statuses = Counter(row.status for row in rows)
    objects = sum(row.objects or 0 for row in rows if row.status == "done")
    parts = [f"{statuses['done']} done ({counted(objects, 'object')})"]
    parts += [f"{statuses[name]} {name}" for name in ("skipped", "failed") if statuses[name]]
    counts = ", ".join(parts)
    if state is JobState.CANCELLED:
        said = f"Folder batch stopped: {counts}. What is done is kept; start again to go on."
        return Message(said)
    failed = [f"{row.image}: {row.message}" for row in rows if row.status == "failed"]
    why = f" First failure: {failed[0]}" if failed else ""
    left_out = statuses["left out"]
    others = f" Left out: {counted(left_out, 'file')}, see there." if left_out else ""
    noted = sum(bool(row.message) for row in rows if row.status == "done")
    others += f" Notes: on {counted(noted, 'image')}, see there." if noted else ""
    said = f"Folder batch ready: {counts}. Summary: {output / SUMMARY}.{others}{why}"
    return Message(said, Level.WARNING if failed else Level.SUCCESS)
