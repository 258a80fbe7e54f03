"""Measuring the objects of the results table, when the user asks for it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.results import ObjectRecord
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.jobs.job import Job, JobState
from napari_sam3_assistant.session.measured_columns import features
from napari_sam3_assistant.session.model import Level, Message, Preview
from napari_sam3_assistant.session.wording import counted
from napari_sam3_assistant.workflows.measure import MeasureRequest, measure

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam3_assistant.core.measurements import Measurement
    from napari_sam3_assistant.session.model import ResultRow, SessionModel
    from napari_sam3_assistant.session.scene import Scene


class Measuring:
    """The verb that measures. Called on the GUI thread.

    Parameters
    ----------
    model : SessionModel
        The state.
    scene : Scene
        Where images and results live.
    start : callable
        Starts a job in the place of a run.
    """

    def __init__(self, model: SessionModel, scene: Scene, start: Callable[[Job], Job]) -> None:
        self._model = model
        self._scene = scene
        self._start = start

    def measure(self) -> Job:
        """Measure every object of the results table, into the table and the layers' features.

        Raises
        ------
        PromptError
            If there are no results.
        ImageError
            If an image is gone.
        """
        why_not = why_not_measure(self._model)
        if why_not:
            raise PromptError(why_not, "Press Run Preview first.")
        found: dict[Preview, list[ObjectRecord]] = {}
        for row in self._model.results:
            if isinstance(row.preview, Preview) and isinstance(row.record, ObjectRecord):
                found.setdefault(row.preview, []).append(row.record)
        requests = [
            MeasureRequest(self._scene.raw_plane(preview), tuple(objects))
            for preview, objects in found.items()
        ]
        waiting = iter(found.items())
        job = Job("Measuring", lambda reporter: measure(requests, reporter))
        job.yielded.connect(lambda answer: self._show(*next(waiting), answer))

        def end(state: JobState) -> None:
            if state is JobState.DONE:
                count = sum(map(len, found.values()))
                said = f"Measured {counted(count, 'object')}."
                self._model.message = Message(said, Level.SUCCESS)

        job.finished.connect(end)
        return self._start(job)

    def _show(
        self, preview: Preview, objects: list[ObjectRecord], answers: tuple[Measurement, ...]
    ) -> None:
        measured = dict(zip(map(id, objects), answers, strict=True))

        def with_answer(row: ResultRow) -> ResultRow:
            return replace(row, measured=measured.get(id(row.record), row.measured))

        picked = self._model.picked
        self._model.results = tuple(map(with_answer, self._model.results))
        self._model.picked = None if picked is None else with_answer(picked)
        ids = [record.id for record in objects]
        self._scene.add_features(preview, ids, features(answers))


def why_not_measure(model: SessionModel) -> str:
    """Return why nothing can be measured now; empty if something can."""
    if not model.results:
        return "There are no results yet."
    if not any(isinstance(row.preview, Preview) for row in model.results):
        return "Objects of a propagation are not measured."
    return ""
