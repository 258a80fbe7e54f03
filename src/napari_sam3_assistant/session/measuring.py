"""Measuring the objects of the results table, when the user asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.jobs.job import Job, JobState
from napari_sam3_assistant.session.disk.stored import StoredLabels
from napari_sam3_assistant.session.measured_columns import features
from napari_sam3_assistant.session.model import Level, Message
from napari_sam3_assistant.session.stacks.values import FrameObject, FramePlace
from napari_sam3_assistant.session.wording import counted
from napari_sam3_assistant.workflows.measure import MeasureRequest, measure

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam3_assistant.core.measurements import Measurable, Measurement
    from napari_sam3_assistant.session.model import Preview, SessionModel
    from napari_sam3_assistant.session.results import Results
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
    results : Results
        The results table.
    """

    def __init__(
        self, model: SessionModel, scene: Scene, start: Callable[[Job], Job], results: Results
    ) -> None:
        self._model = model
        self._results = results
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
        found: dict[Preview | StoredLabels, list[Measurable]] = {}
        for row in self._model.results:
            # Of a propagation only the labels are kept.
            if not isinstance(row.record, FrameObject) and not isinstance(row.preview, FramePlace):
                found.setdefault(row.preview, []).append(row.record)
        requests = [
            MeasureRequest(
                self._scene.raw_plane(preview),
                tuple(objects),
                preview.levels[0] if isinstance(preview, StoredLabels) else None,
            )
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
        self,
        preview: Preview | StoredLabels,
        objects: list[Measurable],
        answers: tuple[Measurement | None, ...],
    ) -> None:
        # Of what the user has erased meanwhile there is nothing to tell.
        told = [pair for pair in zip(objects, answers, strict=True) if pair[1] is not None]
        measured = {id(record): answer for record, answer in told if answer is not None}
        self._results.measured(measured)
        self._scene.add_features(
            preview, [record.id for record, _ in told], features(measured.values())
        )


def why_not_measure(model: SessionModel) -> str:
    """Return why nothing can be measured now; empty if something can."""
    if not model.results:
        return "There are no results yet."
    if all(isinstance(row.preview, FramePlace) for row in model.results):
        return "Objects of a propagation are not measured."
    return ""
