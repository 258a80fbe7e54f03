"""Scanning the whole plane on show tile by tile, into a file that is seen as it grows."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.prompts import PromptKind
from napari_sam3_assistant.core.tasks import prompt_kind
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.io.free_name import safe_name
from napari_sam3_assistant.io.ome_zarr_labels import open_levels
from napari_sam3_assistant.session.disk.availability import takes_scans, why_no_scan, worth_a_scan
from napari_sam3_assistant.session.disk.scan_on_show import ScanNews, ScanOnShow
from napari_sam3_assistant.session.disk.stored import folder_for
from napari_sam3_assistant.session.disk.verb import DiskVerb
from napari_sam3_assistant.workflows.scan import ScanRequest, ScanResult, scan
from napari_sam3_assistant.workflows.scan_place import placed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.jobs.job import Job
    from napari_sam3_assistant.session.disk.model import DiskModel
    from napari_sam3_assistant.session.engine_in_use import EngineInUse
    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.session.results import Results
    from napari_sam3_assistant.session.scene import Scene, Shot

_LONGEST_PHRASE = 60  # letters of a phrase that become part of a file name


class Scanning(DiskVerb):
    """Starts scans.

    Parameters
    ----------
    model, disk, scene, engine, start
        As those of every :class:`.verb.DiskVerb`.
    results : Results
        The results table, which takes what was found.
    """

    def __init__(
        self,
        model: SessionModel,
        disk: DiskModel,
        scene: Scene,
        engine: EngineInUse,
        start: Callable[[Job], Job],
        results: Results,
    ) -> None:
        super().__init__(model, disk, scene, engine, start)
        self._results = results

    @property
    def why_not(self) -> str:
        """Why no scan can start; empty if one can."""
        return why_no_scan(self._model, self._disk, self._engine.spec)

    @property
    def is_worth_it(self) -> bool:
        """Whether what was chosen can be scanned for, and the image is of more than one tile."""
        return takes_scans(self._model) and worth_a_scan(self._model, self._disk)

    @property
    def folder(self) -> Path:
        """Where the labels will be written."""
        return folder_for(self._model, self._disk)

    @property
    def choices(self) -> tuple[object, ...]:
        """What would be scanned and how: the same choices go on with a scan that was stopped."""
        model, disk = self._model, self._disk
        return (
            model.image,
            prompt_kind(model.task, model.tool),
            model.text.strip(),
            model.threshold,
            self._engine.choice,
            self.folder,
            disk.scan_tile,
            disk.scan_overlap,
        )

    @property
    def goes_on(self) -> bool:
        """Whether a start would go on with the scan that was stopped last."""
        stopped = self._disk.stopped_scan
        return stopped is not None and stopped.choices == self.choices

    def run(self) -> Job:
        """Scan the plane on show; the labels are in a layer that fills in.

        A scan with the same choices that was stopped, also by the end of the process, goes on.

        Raises
        ------
        Sam3AssistantError
            If it can't start; nothing has changed then.
        """
        if self.why_not:
            raise PromptError(self.why_not)
        model = self._model
        shot = self._scene.take_shot(model.image, prompt_kind(model.task, model.tool))
        request = self._request(shot)
        request.prompts.check(request.view.shape)
        engine = self._engine.take()

        def work(reporter: Reporter) -> Iterator[ScanNews]:
            ready = placed(engine, request, reporter)
            levels = None
            for step in scan(engine, ready, reporter):
                if isinstance(step, ScanResult):
                    levels = open_levels(step.path, writable=True)
                    yield ScanNews.of_result(shot.target, ready.output, step, levels)
                else:
                    levels = levels or open_levels(step.labels)
                    yield ScanNews(ready.output, step, levels)

        on_show = ScanOnShow(
            model,
            self._disk,
            self._scene,
            self._results,
            shot.target,
            self.choices,
            time.monotonic(),
        )
        return self._begin("The scan", engine, work, on_show.add, on_show.end)

    def _request(self, shot: Shot) -> ScanRequest:
        model = self._model
        prompts = shot.prompts
        if prompt_kind(model.task, model.tool) is PromptKind.TEXT:
            prompts = replace(prompts, text=model.text.strip())
        return ScanRequest(
            shot.view,
            prompts,
            self.folder / _name(shot, prompts.text),
            PredictOptions(model.threshold),
            self._disk.tiles(),
            self._scene.plane_axes(shot.target),
            model_folder=Path(model.model_folder) if model.model_folder else None,
            paths=shot.paths,
        )


def _name(shot: Shot, phrase: str) -> str:
    """Return a file name by which the same scan is found again."""
    parts = [shot.target.name, *map(str, shot.target.plane.leading)]
    looked_for = phrase[:_LONGEST_PHRASE] or "examples"
    return f"{'_'.join(map(safe_name, [*parts, looked_for]))}_scan.zarr"
