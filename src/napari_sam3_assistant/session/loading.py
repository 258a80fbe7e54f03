"""Loading the model before a run, and letting go of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant.core.tasks import Task
from napari_sam3_assistant.jobs.job import Job
from napari_sam3_assistant.session.model import Level, Message
from napari_sam3_assistant.workflows.load import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.session.engine_in_use import EngineInUse
    from napari_sam3_assistant.session.model import SessionModel

_NEXT = "Next: choose a task, create a prompt layer if needed, then run preview."
_NEXT_VIDEO = "Next: go to a slice or frame, add prompts, then start the propagation."


class ModelLoading:
    """The verbs that load and unload the model. All are called on the GUI thread.

    Parameters
    ----------
    model : SessionModel
        The state.
    engine : EngineInUse
        The engine.
    start : callable
        Starts a job in the place of a run.
    """

    def __init__(
        self, model: SessionModel, engine: EngineInUse, start: Callable[[Job], Job]
    ) -> None:
        self._model = model
        self._engine = engine
        self._start = start

    def load(self) -> Job:
        """Load the chosen engine, so that the first run need not.

        Raises
        ------
        EngineError
            If it can't run on this machine.
        """
        engine = self._engine.take()

        def show(_: str) -> None:
            hint = _NEXT_VIDEO if self._model.task is Task.VIDEO else _NEXT
            self._model.message = Message(f"{engine.spec.title} is loaded. {hint}", Level.SUCCESS)

        return self._start(
            self._engine.job("Loading", engine, lambda reporter: load(engine, reporter), show)
        )

    def unload(self, said: str = "The model is unloaded.") -> Job:
        """Let go of the engine and its memory; previews and prompts stay.

        Parameters
        ----------
        said : str
            What the status line says then.
        """
        self._engine.let_go()
        self._model.device_in_use = None

        def work(reporter: Reporter) -> Iterator[str]:
            reporter.check()
            self._engine.close_retired()
            yield said

        job = Job("Unloading", work)
        job.yielded.connect(
            lambda text: setattr(self._model, "message", Message(text, Level.SUCCESS))
        )
        return self._start(job)
