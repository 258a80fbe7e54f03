"""Encoding the plane on show while the user still draws on it."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.tasks import Task
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.jobs.job import Job, JobState
from napari_sam3_assistant.session.model import EncodeAhead
from napari_sam3_assistant.workflows.encode import encode

if TYPE_CHECKING:
    from napari_sam3_assistant.core.views import ImageView
    from napari_sam3_assistant.engines.embeddings import EncodingEngine
    from napari_sam3_assistant.jobs.runner import JobRunner
    from napari_sam3_assistant.session.engine_in_use import EngineInUse
    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.session.scene import Scene

logger = logging.getLogger(__name__)


class Ahead:
    """Encodes the plane on show before it is asked for; never loads weights to do so.

    Every run comes before it: one of another plane ends it, one of the same plane waits for it
    and goes on with what it has made. All methods are called on the GUI thread.

    Parameters
    ----------
    model : SessionModel
        The state.
    scene : Scene
        Where images live.
    runner : JobRunner
        The session's worker.
    engine : EngineInUse
        The engine.
    """

    def __init__(
        self, model: SessionModel, scene: Scene, runner: JobRunner, engine: EngineInUse
    ) -> None:
        self._model = model
        self._scene = scene
        self._runner = runner
        self._engine = engine
        self._job: Job | None = None
        # What was encoded last, or is being encoded, or failed: not to be tried again.
        self._last: tuple[EncodingEngine, object] | None = None
        # Who types a phrase will run it on the plane on show.
        model.events.text.connect(self.begin, max_args=0)
        model.events.image.connect(self.follow, max_args=0)

    @property
    def enabled(self) -> bool:
        """Whether the user wants it: by default where the engine runs on a GPU."""
        if self._model.encode_ahead is EncodeAhead.AUTO:
            used = self._model.device_in_use
            return used is not None and used.name != "cpu"
        return self._model.encode_ahead is EncodeAhead.ON

    def begin(self) -> None:
        """Encode the plane on show, if that is wanted and the engine is loaded and idle."""
        engine = self._engine.loaded
        if engine is None or not engine.spec.needs_weights or not self.enabled:
            return
        if self._model.task is Task.VIDEO:
            # A tracker reads its frames by itself.
            return
        if self._model.large_image:
            # Which part a run will work on is known when it begins.
            return
        view = None if self._model.running else self._view()
        if view is None or self._last == (engine, view.key):
            return
        self.cancel()
        job = Job("Encoding ahead", partial(encode, engine, view))
        job.finished.connect(partial(self._on_finished, job))
        self._job, self._last = job, (engine, view.key)
        self._runner.start(job)

    def follow(self) -> None:
        """Stop if another plane is on show now, unless a run waits for the one in work."""
        if self._job is None or self._model.running:
            return
        view = self._view()
        if view is None or self._last is None or view.key != self._last[1]:
            self.cancel()

    def cancel(self) -> None:
        """Stop; nothing is left of an encoding that is not complete."""
        if self._job is not None:
            self._job.cancel()

    def job_for(self, engine: EncodingEngine, view: ImageView) -> Job | None:
        """Return the job that makes what a run of a plane needs, or None.

        Parameters
        ----------
        engine : EncodingEngine
            The engine of the run.
        view : ImageView
            What the run shall see.
        """
        return self._job if self._last == (engine, view.key) else None

    def _view(self) -> ImageView | None:
        try:
            return self._scene.take_view(self._model.image)
        except ImageError:
            # There is nothing to encode; a run says why.
            return None

    def _on_finished(self, job: Job, state: JobState) -> None:
        if job.error is not None:
            # Nobody has asked for it: a run on this plane will say it aloud.
            logger.info("Encoding ahead ended: %s", job.error)
        if job is self._job:
            self._job = None
            if state is JobState.CANCELLED:
                self._last = None
