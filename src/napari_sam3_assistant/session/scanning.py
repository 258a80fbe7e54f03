"""Work on whole planes: scans and merged regions."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from napari_sam3_assistant.core.masks.objects import ExportFormat, explain_lost_place
from napari_sam3_assistant.core.plurals import group_digits, pluralize
from napari_sam3_assistant.core.prompts import (
    prompt_kind,
)
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.io.atomic import explain_os_errors
from napari_sam3_assistant.io.ome_zarr_labels import open_levels
from napari_sam3_assistant.io.outputs import free_name, safe_name
from napari_sam3_assistant.io.provenance import write_object_classes
from napari_sam3_assistant.io.scan_folder import count_kept_tiles, scan_folder_path
from napari_sam3_assistant.jobs import Job, JobState
from napari_sam3_assistant.session.availability import regions_to_merge
from napari_sam3_assistant.session.messages import describe_place, object_features
from napari_sam3_assistant.session.model import output_folder_for
from napari_sam3_assistant.session.values import (
    FileBackedKind,
    FileBackedLabels,
    Level,
    Message,
    ResultRow,
    StoppedScan,
)
from napari_sam3_assistant.workflows.save import MergeRequest, merge_regions
from napari_sam3_assistant.workflows.scan import (
    ScanRequest,
    ScanResult,
    ScanStep,
    place_output,
    scan,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from napari_sam3_assistant.core.display import ImageView
    from napari_sam3_assistant.core.images import LazyArray
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.caching_engine import CachingEngine
    from napari_sam3_assistant.session.jobs import Services
    from napari_sam3_assistant.session.model import ScanModel, SessionModel
    from napari_sam3_assistant.session.results import Results
    from napari_sam3_assistant.session.snapshots import ImageSnapshot
    from napari_sam3_assistant.session.values import PlaneTarget
    from napari_sam3_assistant.viewer.adapter import ViewerAdapter


@dataclass(frozen=True, slots=True, eq=False)
class ScanNews:
    """What a scan reports on its way.

    Parameters
    ----------
    output : Path
        The final name of the labels.
    step : ScanStep or ScanResult
        How far it is, or what came out.
    levels : tuple of array-like
        The labels as they are now, the largest size first.
    stored : FileBackedLabels or None
        At the end, the labels with what is known of their objects.
    rows : tuple of ResultRow
        At the end, the objects for the results table; made here, since they may be many.
    """

    output: Path
    step: ScanStep | ScanResult
    levels: tuple[LazyArray, ...]
    stored: FileBackedLabels | None = None
    rows: tuple[ResultRow, ...] = ()

    @classmethod
    def of_result(
        cls,
        target: PlaneTarget,
        output: Path,
        result: ScanResult,
        levels: tuple[LazyArray, ...],
        class_name: str,
    ) -> ScanNews:
        """Return the last news, with a row an object, all of one class or none."""
        objects = tuple(replace(record, class_name=class_name) for record in result.objects)
        features = object_features(objects, result.engine.title)
        stored = FileBackedLabels(FileBackedKind.SCAN, target, output, levels, features)
        rows = tuple(ResultRow(stored, record) for record in objects)
        return cls(output, result, levels, stored, rows)


class ScanProgress:
    """One scan for the user. All methods are called on the GUI thread.

    ``scan_model``: takes note of a scan that was stopped.
    ``results``: the results table, which takes the objects.
    ``choices``: what is scanned and how.
    ``began``: when, by the monotonic clock.
    """

    def __init__(
        self,
        model: SessionModel,
        scan_model: ScanModel,
        adapter: ViewerAdapter,
        results: Results,
        target: PlaneTarget,
        choices: tuple[object, ...],
        began: float,
    ) -> None:
        self._model = model
        self._scan_model = scan_model
        self._adapter = adapter
        self._results = results
        self._target = target
        self._choices = choices
        self._began = began
        self._stored: FileBackedLabels | None = None
        self._latest: ScanStep | None = None

    def add(self, news: ScanNews) -> None:
        """Show what is new."""
        step = news.step
        if isinstance(step, ScanResult):
            self._finish(news, step)
            return
        if self._stored is None:
            self._stored = FileBackedLabels(
                FileBackedKind.SCAN, self._target, news.output, news.levels, complete=False
            )
            self._adapter.show_file_backed(self._stored)
            self._scan_model.scan_begun = str(news.output)
            if step.kept:
                kept = f"{group_digits(step.kept)} of {pluralize(step.total, 'tile')}"
                message = f"Going on with a scan: {kept} were finished before ({news.output.name})."
                self._say(message, Level.SUCCESS)
        elif step.changed is not None:
            self._adapter.refresh_file_backed(self._stored, step.changed)
        self._latest = step

    def end(self, state: JobState) -> None:
        """Say what stays of a scan that was stopped or failed."""
        if state is JobState.DONE:
            self._scan_model.stopped_scan = None
            self._scan_model.scan_begun = ""
            return
        stored, latest = self._stored, self._latest
        if stored is None or latest is None:
            return
        # Not from the latest step: it may be on its way still, or tiles after it are finished.
        done = count_kept_tiles(stored.path)
        if not done:
            self._adapter.remove_file_backed(stored)
            self._scan_model.scan_begun = ""
            return
        self._scan_model.stopped_scan = StoppedScan(self._choices, done, latest.total)
        self._adapter.refresh_file_backed(stored, None)
        folder = scan_folder_path(stored.path)
        kept = f"{group_digits(done)} of {pluralize(latest.total, 'tile')} are kept in {folder}"
        if state is JobState.CANCELLED:
            self._say(f"Scan stopped: {kept}. Press Continue scan to go on.")
        else:
            why = self._model.message.text
            self._say(f"{why} {kept}. Press Continue scan to go on.", Level.ERROR)

    def _finish(self, news: ScanNews, result: ScanResult) -> None:
        stored = news.stored
        if stored is not None and self._adapter.show_file_backed(stored):
            self._results.add_stored(stored, news.rows)
        self._stored = stored
        seconds = time.monotonic() - self._began
        kept = self._latest.kept if self._latest else 0
        earlier = f" ({kept} by an earlier start)" if kept else ""
        found = f"{pluralize(len(result.objects), 'object')} in {pluralize(result.tiles, 'tile')}"
        on_device = describe_place(result.engine.device)
        message = (
            f"Scan complete: {found}{on_device}{earlier}, {seconds:.1f} s. Labels: {result.path}"
        )
        level = Level.SUCCESS if result.objects else Level.WARNING
        self._say(" ".join([message, *result.notes]), level)

    def _say(self, text: str, level: Level = Level.INFO) -> None:
        self._model.message = Message(text, level)


class Merging:
    """Merges the previews of regions. All methods are called on the GUI thread."""

    def __init__(self, services: Services) -> None:
        self._model, self._adapter = services.model, services.adapter
        self._scan_model, self._start = services.scan_model, services.jobs.start

    def run(self) -> Job:
        """Write the previews of regions, as they are on show, into one layer over a zarr file.

        The previews stay.

        Raises Sam3AssistantError if it can't start; nothing has changed then.
        """
        if self._model.why_not.merge_rois:
            raise PromptError(self._model.why_not.merge_rois)
        previews = regions_to_merge(self._model)
        target = previews[-1].target
        axes = self._adapter.plane_axes(target)
        lost = explain_lost_place(ExportFormat.OME_ZARR, axes)
        parts = tuple(
            (
                preview.segmentation.region,
                np.asarray(self._adapter.pixels(preview).labels, np.uint32),
            )
            for preview in previews
        )
        folder = output_folder_for(self._model, self._scan_model)
        name = "_".join(map(safe_name, [target.name, *map(str, target.plane.leading)]))

        def work(reporter: Reporter) -> Iterator[tuple[Path, tuple[LazyArray, ...]]]:
            with explain_os_errors(folder):
                folder.mkdir(parents=True, exist_ok=True)
            output = free_name(folder / f"{name}_merged_rois.zarr")
            for path in merge_regions(MergeRequest(parts, axes, output), reporter):
                yield path, open_levels(path, writable=True)

        def show(answer: tuple[Path, tuple[LazyArray, ...]]) -> None:
            path, levels = answer
            layer = self._adapter.show_file_backed(
                FileBackedLabels(FileBackedKind.MERGED, target, path, levels)
            )
            message = f"Merged {pluralize(len(parts), 'region')} into “{layer}”: {path}"
            level = Level.WARNING if lost else Level.SUCCESS
            self._model.message = Message(f"{message} {lost}".strip(), level)

        job = Job("The merge", work)
        job.yielded.connect(show)
        return self._start(job)


T = TypeVar("T")


class FileRun:
    """Starts runs of which the results go to files. All methods are called on the GUI thread."""

    def __init__(self, services: Services) -> None:
        self._model, self._adapter = services.model, services.adapter
        self._scan_model, self._engine = services.scan_model, services.engine
        self._start = services.jobs.start

    def _begin(
        self,
        title: str,
        engine: CachingEngine,
        work: Callable[[Reporter], Iterator[T]],
        show: Callable[[T], None],
        end: Callable[[JobState], None],
        views: Sequence[ImageView] = (),
    ) -> Job:
        """Start a job; ``end`` has the last word on how it ended, after the session's own."""
        job = self._engine.make_job(title, engine, work, show)
        self._start(job, views=views)
        job.finished.connect(end)
        return job


_LONGEST_PHRASE = 60  # letters of a phrase that become part of a file name


class Scanning(FileRun):
    """Starts scans."""

    def __init__(self, services: Services, results: Results) -> None:
        super().__init__(services)
        self._results = results

    @property
    def folder(self) -> Path:
        """Where the labels will be written."""
        return output_folder_for(self._model, self._scan_model)

    @property
    def choices(self) -> tuple[object, ...]:
        """What would be scanned and how: the same choices go on with a scan that was stopped."""
        model, scan_model = self._model, self._scan_model
        return (
            model.image,
            prompt_kind(model.task, model.tool),
            model.text.strip(),
            model.threshold,
            model.diameter.strip(),
            self._engine.choice,
            self.folder,
            scan_model.scan_tile,
            scan_model.scan_overlap,
        )

    def find_stopped(self) -> StoppedScan | None:
        """Return the scan that a start would go on with, or None."""
        stopped = self._scan_model.stopped_scan
        return stopped if stopped is not None and stopped.choices == self.choices else None

    def run(self) -> Job:
        """Scan the plane on show; the labels are in a layer that fills in.

        A scan with the same choices that was stopped, also by the end of the process, goes on.

        Raises Sam3AssistantError if it can't start; nothing has changed then.
        """
        if self._model.why_not.scan:
            raise PromptError(self._model.why_not.scan)
        model = self._model
        snapshot = self._adapter.take_snapshot(model.image, prompt_kind(model.task, model.tool))
        request = self._request(snapshot)
        request.prompts.check(request.view.shape)
        engine, class_name = self._engine.take(), model.object_class

        def work(reporter: Reporter) -> Iterator[ScanNews]:
            ready = place_output(engine, request, reporter)
            levels = None
            for step in scan(engine, ready, reporter):
                if isinstance(step, ScanResult):
                    levels = open_levels(step.path, writable=True)
                    if class_name:
                        ids = (record.id for record in step.objects)
                        write_object_classes(step.path, dict.fromkeys(ids, class_name))
                    yield ScanNews.of_result(
                        snapshot.target, ready.output, step, levels, class_name
                    )
                else:
                    levels = levels or open_levels(step.labels)
                    yield ScanNews(ready.output, step, levels)

        on_show = ScanProgress(
            model,
            self._scan_model,
            self._adapter,
            self._results,
            snapshot.target,
            self.choices,
            time.monotonic(),
        )
        views = (snapshot.view,)
        return self._begin("The scan", engine, work, on_show.add, on_show.end, views)

    def _request(self, snapshot: ImageSnapshot) -> ScanRequest:
        model = self._model
        kind = prompt_kind(model.task, model.tool)
        prompts = model.add_typed(kind, snapshot.prompts)
        return ScanRequest(
            snapshot.view,
            prompts,
            self.folder / _make_file_name(snapshot, prompts.text),
            self._engine.options(prompts.kinds, snapshot.pixel),
            self._scan_model.tiles(),
            self._adapter.plane_axes(snapshot.target),
            model_folder=self._engine.model_folder,
            paths=snapshot.paths,
            address=snapshot.address,
        )


def _make_file_name(snapshot: ImageSnapshot, phrase: str) -> str:
    """Return a file name by which the same scan is found again."""
    parts = [snapshot.target.name, *map(str, snapshot.target.plane.leading)]
    looked_for = phrase[:_LONGEST_PHRASE] or "examples"
    return f"{'_'.join(map(safe_name, [*parts, looked_for]))}_scan.zarr"
