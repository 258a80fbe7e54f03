"""What the user sees of a scan on its way, and of how it ended."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_sam3_assistant.io.scan_folder import scan_folder_of
from napari_sam3_assistant.jobs.job import JobState
from napari_sam3_assistant.session.disk.model import StoppedScan
from napari_sam3_assistant.session.disk.stored import StoredKind, StoredLabels
from napari_sam3_assistant.session.measured_columns import object_features
from napari_sam3_assistant.session.model import Level, Message, ResultRow
from napari_sam3_assistant.session.wording import counted
from napari_sam3_assistant.workflows.scan import ScanResult, ScanStep

if TYPE_CHECKING:
    from pathlib import Path

    from napari_sam3_assistant.core.images import LazyArray
    from napari_sam3_assistant.session.disk.model import DiskModel
    from napari_sam3_assistant.session.model import SessionModel, Target
    from napari_sam3_assistant.session.results import Results
    from napari_sam3_assistant.session.scene import Scene


@dataclass(frozen=True, slots=True, eq=False)
class ScanNews:
    """What a scan tells as it goes.

    Parameters
    ----------
    output : Path
        The final name of the labels.
    step : ScanStep or ScanResult
        How far it is, or what came out.
    levels : tuple of array-like
        The labels as they are now, the largest size first.
    stored : StoredLabels or None
        At the end, the labels with what is known of their objects.
    rows : tuple of ResultRow
        At the end, the objects for the results table; made here, since they may be many.
    """

    output: Path
    step: ScanStep | ScanResult
    levels: tuple[LazyArray, ...]
    stored: StoredLabels | None = None
    rows: tuple[ResultRow, ...] = ()

    @classmethod
    def of_result(
        cls, target: Target, output: Path, result: ScanResult, levels: tuple[LazyArray, ...]
    ) -> ScanNews:
        """Return the last news, with a row an object."""
        features = object_features(result.objects, result.engine.title)
        stored = StoredLabels(StoredKind.SCAN, target, output, levels, features)
        rows = tuple(ResultRow(stored, record) for record in result.objects)
        return cls(output, result, levels, stored, rows)


class ScanOnShow:
    """One scan for the user. All methods are called on the GUI thread.

    Parameters
    ----------
    model : SessionModel
        The state.
    disk : DiskModel
        Takes note of a scan that was stopped.
    scene : Scene
        Shows the labels.
    results : Results
        The results table, which takes the objects.
    target : Target
        The image and the plane.
    choices : tuple
        What is scanned and how.
    began : float
        When, by the monotonic clock.
    """

    def __init__(
        self,
        model: SessionModel,
        disk: DiskModel,
        scene: Scene,
        results: Results,
        target: Target,
        choices: tuple[object, ...],
        began: float,
    ) -> None:
        self._model = model
        self._disk = disk
        self._scene = scene
        self._results = results
        self._target = target
        self._choices = choices
        self._began = began
        self._stored: StoredLabels | None = None
        self._latest: ScanStep | None = None

    def add(self, news: ScanNews) -> None:
        """Show what is new."""
        step = news.step
        if isinstance(step, ScanResult):
            self._finish(news, step)
            return
        if self._stored is None:
            self._stored = StoredLabels(
                StoredKind.SCAN, self._target, news.output, news.levels, complete=False
            )
            self._scene.show_stored(self._stored)
            if step.kept:
                said = f"Going on with a scan: {step.kept} of {counted(step.total, 'tile')} "
                said = f"{said}were finished before ({news.output.name})."
                self._say(said, Level.SUCCESS)
        elif step.changed is not None:
            self._scene.refresh_stored(self._stored, step.changed)
        self._latest = step

    def end(self, state: JobState) -> None:
        """Say what stays of a scan that was stopped or failed."""
        if state is JobState.DONE:
            self._disk.stopped_scan = None
            return
        stored, latest = self._stored, self._latest
        if stored is None or latest is None:
            return
        done = max(latest.done, latest.kept)
        if not done:
            self._scene.remove_stored(stored)
            return
        self._disk.stopped_scan = StoppedScan(self._choices, done, latest.total)
        self._scene.refresh_stored(stored, None)
        kept = (
            f"{done} of {counted(latest.total, 'tile')} are kept in {scan_folder_of(stored.path)}"
        )
        if state is JobState.CANCELLED:
            self._say(f"Scan stopped: {kept}. Press Continue scan to go on.")
        else:
            why = self._model.message.text
            self._say(f"{why} {kept}. Press Continue scan to go on.", Level.ERROR)

    def _finish(self, news: ScanNews, result: ScanResult) -> None:
        stored = news.stored
        if stored is not None and self._scene.show_stored(stored):
            self._results.add_stored(stored, news.rows)
        self._stored = stored
        seconds = time.monotonic() - self._began
        kept = self._latest.kept if self._latest else 0
        earlier = f" ({kept} by an earlier start)" if kept else ""
        found = f"{counted(len(result.objects), 'object')} in {counted(result.tiles, 'tile')}"
        said = f"Scan complete: {found}{earlier}, {seconds:.1f} s. Labels: {result.path}"
        level = Level.SUCCESS if result.objects else Level.WARNING
        self._say(" ".join([said, *result.notes]), level)

    def _say(self, text: str, level: Level = Level.INFO) -> None:
        self._model.message = Message(text, level)
