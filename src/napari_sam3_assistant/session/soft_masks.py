"""Soft masks on show: made large off the GUI thread, and only while the user wants to see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.soft_masks import gives_soft_masks, max_probability
from napari_sam3_assistant.jobs.job import Job, JobState
from napari_sam3_assistant.jobs.runner import JobRunner
from napari_sam3_assistant.session.model import Level, Message

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

    from napari_sam3_assistant.core.delivery import Deliver
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.base import EngineSpec
    from napari_sam3_assistant.session.model import Preview, SessionModel


@dataclass(frozen=True, slots=True, eq=False)
class SoftImage:
    """The soft masks of a result, as one picture.

    Parameters
    ----------
    preview : Preview
        The result.
    pixels : ndarray, shape (h, w), dtype float32
        The highest probability of its objects at each pixel of its region, 0 to 1.
    """

    preview: Preview
    pixels: npt.NDArray[np.float32]


class SoftMasks:
    """Keeps ``soft_images`` of the model what the user wants to see of the results on show.

    It has a worker of its own, so that a run waits for no picture.

    Parameters
    ----------
    model : SessionModel
        The state.
    deliver : callable
        Runs what it is given on the thread that the session lives on.
    """

    def __init__(self, model: SessionModel, deliver: Deliver) -> None:
        self._model = model
        self._runner = JobRunner(deliver)
        self._job: Job | None = None
        for field in ("soft_masks", "preview", "beside"):
            getattr(model.events, field).connect(self._follow, max_args=0)

    def close(self) -> None:
        """Stop the work."""
        self._runner.close()

    def _follow(self) -> None:
        if self._job is not None:
            self._job.cancel()
            self._job = None
        wanted = self._wanted()
        ready = tuple(image for image in self._model.soft_images if image.preview in wanted)
        self._model.soft_images = ready
        there = {image.preview for image in ready}
        missing = [preview for preview in wanted if preview not in there]
        if missing:
            self._start(missing)

    def _wanted(self) -> list[Preview]:
        """Return the results whose soft masks the user wants to see, the latest first."""
        if not self._model.soft_masks:
            return []
        previews = reversed(self._model.previews)
        return [one for one in previews if gives_soft_masks(one.segmentation.objects)]

    def _start(self, previews: list[Preview]) -> None:
        def work(reporter: Reporter) -> Iterator[SoftImage]:
            for preview in previews:
                found = preview.segmentation
                pixels = max_probability(found.objects, found.region, reporter.check)
                yield SoftImage(preview, pixels)

        def show(image: SoftImage) -> None:
            self._model.soft_images = (*self._model.soft_images, image)

        def end(state: JobState) -> None:
            if state is JobState.FAILED:
                self._model.soft_masks = False
                self._model.message = Message(str(job.error), Level.ERROR)

        self._job = job = Job("Showing soft masks", work)
        job.yielded.connect(show)
        job.finished.connect(end)
        self._runner.start(job)


def why_no_soft_masks(model: SessionModel, spec: EngineSpec) -> str:
    """Return why there are no soft masks to show, and what to do; empty if there can be.

    Parameters
    ----------
    model : SessionModel
        The session's state.
    spec : EngineSpec
        The chosen engine's card.
    """
    given = any(gives_soft_masks(preview.segmentation.objects) for preview in model.previews)
    if given or spec.soft_masks:
        return ""
    return f"{spec.title} gives no soft masks. Choose a SAM 3 engine."
