"""What a scan and a folder batch have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.embeddings import EncodingEngine
    from napari_sam3_assistant.jobs.job import Job, JobState
    from napari_sam3_assistant.session.disk.model import DiskModel
    from napari_sam3_assistant.session.engine_in_use import EngineInUse
    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.session.scene import Scene

T = TypeVar("T")


class DiskVerb:
    """Starts runs of which the results go to files. All methods are called on the GUI thread.

    Parameters
    ----------
    model : SessionModel
        The state.
    disk : DiskModel
        The folders and what else was chosen for them.
    scene : Scene
        Where images and prompts live.
    engine : EngineInUse
        The engine.
    start : callable
        Starts a job in the place of a run.
    """

    def __init__(
        self,
        model: SessionModel,
        disk: DiskModel,
        scene: Scene,
        engine: EngineInUse,
        start: Callable[[Job], Job],
    ) -> None:
        self._model = model
        self._disk = disk
        self._scene = scene
        self._engine = engine
        self._start = start

    def _begin(
        self,
        title: str,
        engine: EncodingEngine,
        work: Callable[[Reporter], Iterator[T]],
        show: Callable[[T], None],
        end: Callable[[JobState], None],
    ) -> Job:
        """Start a job; ``end`` has the last word on how it ended, after the session's own."""
        job = self._engine.job(title, engine, work, show)
        self._start(job)
        job.finished.connect(end)
        return job
