"""Putting the results of several regions into one file of labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.core.masks.formats import ExportFormat, lost_place
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.io.atomic import explained
from napari_sam3_assistant.io.free_name import free_name, safe_name
from napari_sam3_assistant.io.ome_zarr_labels import open_levels
from napari_sam3_assistant.jobs.job import Job
from napari_sam3_assistant.session.disk.availability import regions_to_merge, why_no_merge
from napari_sam3_assistant.session.disk.stored import StoredKind, StoredLabels, folder_for
from napari_sam3_assistant.session.model import Level, Message
from napari_sam3_assistant.session.wording import counted
from napari_sam3_assistant.workflows.merge_regions import MergeRequest, merge_regions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from napari_sam3_assistant.core.images import LazyArray
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.session.disk.model import DiskModel
    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.session.scene import Scene


class Merging:
    """Merges the previews of regions. All methods are called on the GUI thread.

    Parameters
    ----------
    model : SessionModel
        The state.
    disk : DiskModel
        Says where large labels go.
    scene : Scene
        Where previews live.
    start : callable
        Starts a job in the place of a run.
    """

    def __init__(
        self,
        model: SessionModel,
        disk: DiskModel,
        scene: Scene,
        start: Callable[[Job], Job],
    ) -> None:
        self._model = model
        self._disk = disk
        self._scene = scene
        self._start = start

    @property
    def why_not(self) -> str:
        """Why regions can't be merged; empty if they can."""
        return why_no_merge(self._model)

    def run(self) -> Job:
        """Write the previews of regions, as they are on show, into one layer over a zarr file.

        The previews stay.

        Raises
        ------
        Sam3AssistantError
            If it can't start; nothing has changed then.
        """
        if self.why_not:
            raise PromptError(self.why_not)
        previews = regions_to_merge(self._model)
        target = previews[-1].target
        axes = self._scene.plane_axes(target)
        lost = lost_place(ExportFormat.OME_ZARR, axes)
        parts = tuple(
            (one.segmentation.region, np.asarray(self._scene.pixels(one).labels, np.uint32))
            for one in previews
        )
        folder = folder_for(self._model, self._disk)
        name = "_".join(map(safe_name, [target.name, *map(str, target.plane.leading)]))

        def work(reporter: Reporter) -> Iterator[tuple[Path, tuple[LazyArray, ...]]]:
            with explained(folder):
                folder.mkdir(parents=True, exist_ok=True)
            output = free_name(folder / f"{name}_merged_rois.zarr")
            for path in merge_regions(MergeRequest(parts, axes, output), reporter):
                yield path, open_levels(path, writable=True)

        def show(answer: tuple[Path, tuple[LazyArray, ...]]) -> None:
            path, levels = answer
            layer = self._scene.show_stored(StoredLabels(StoredKind.MERGED, target, path, levels))
            said = f"Merged {counted(len(parts), 'region')} into “{layer}”: {path}"
            level = Level.WARNING if lost else Level.SUCCESS
            self._model.message = Message(f"{said} {lost}".strip(), level)

        job = Job("The merge", work)
        job.yielded.connect(show)
        return self._start(job)
