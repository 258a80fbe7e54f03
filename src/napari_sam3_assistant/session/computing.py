"""Where the work is done: this computer, or a server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant.compute import open_remote_engine
from napari_sam3_assistant.compute.connection import find_connection, require_distributed
from napari_sam3_assistant.core.paths import expand_user
from napari_sam3_assistant.engines.base import Traffic
from napari_sam3_assistant.jobs import Job, JobRunner, JobState
from napari_sam3_assistant.session.messages import format_server_test
from napari_sam3_assistant.session.model import Level, Message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_sam3_assistant.core.progress import Deliver, Reporter
    from napari_sam3_assistant.session.engine import ModelLoading
    from napari_sam3_assistant.session.model import SessionModel


_REMEMBERED = 5


class Computing:
    """The verbs about the server that does the work. All are called on the GUI thread.

    Parameters
    ----------
    model : SessionModel
        The state.
    loading : ModelLoading
        Connects, and lets go.
    deliver : callable
        Runs what it is given on the thread that the session lives on.
    """

    def __init__(self, model: SessionModel, loading: ModelLoading, deliver: Deliver) -> None:
        self._model = model
        self._loading = loading
        # A thread of its own: runs go on meanwhile.
        self._tests = JobRunner(deliver)
        self._test: Job | None = None
        model.events.compute.connect(self._forget_server, max_args=0)

    @property
    def recent(self) -> tuple[str, ...]:
        """The servers that were used, the latest first."""
        return tuple(self._model.servers.splitlines())

    def use_server(self, compute: str) -> Job:
        """Have a server do the work from now on, and connect to it.

        Parameters
        ----------
        compute : str
            Its connection file, or an address on this computer.

        Raises
        ------
        EngineError
            If it is neither; nothing has changed then.
        EngineNotInstalled
            If Dask distributed is missing.
        """
        compute = _check(compute)
        self._model.servers = "\n".join(dict.fromkeys([compute, *self.recent][:_REMEMBERED]))
        self._model.compute = compute
        return self._loading.load()

    def use_this_computer(self) -> Job | None:
        """Work on this computer from now on; the server frees what it holds."""
        if not self._model.compute:
            return None
        self._model.compute = ""
        return self._loading.unload("This computer does the work now. The server is freed.")

    def test(self, compute: str = "") -> Job:
        """Find out who answers at a server, with which engine, and how quick the way to it is.

        Parameters
        ----------
        compute : str
            The server; by default the one that is in use.

        Raises
        ------
        EngineError
            If it is neither a connection file nor an address on this computer.
        EngineNotInstalled
            If Dask distributed is missing.
        """
        compute = _check(compute or self._model.compute)

        def work(reporter: Reporter) -> Iterator[str]:
            engine = open_remote_engine(compute)
            try:
                engine.load(reporter)
                yield format_server_test(engine.card, engine.measure(reporter))
            finally:
                engine.close()

        job = Job("The test", work)
        job.yielded.connect(self._show)
        job.finished.connect(lambda state: self._end(job, state))
        self._test = job
        self._model.testing = True
        self._model.server_test = Message("Connecting …")
        self._tests.start(job)
        return job

    def stop_test(self) -> None:
        """Stop the test that is going."""
        if self._test is not None:
            self._test.cancel()

    def close(self) -> None:
        """Stop what is going on."""
        self._tests.close()

    # -- inside ---------------------------------------------------------------------------

    def _show(self, answer: str) -> None:
        self._say(Message(answer, Level.SUCCESS))

    def _end(self, job: Job, state: JobState) -> None:
        if job is not self._test:
            return
        self._test, self._model.testing = None, False
        if job.error is not None:
            self._say(Message(str(job.error), Level.ERROR))
        elif state is JobState.CANCELLED:
            self._say(Message("The test was stopped."))

    def _say(self, message: Message) -> None:
        # Both where the test was asked for, and in the status line for who has closed that.
        self._model.server_test = message
        self._model.message = message

    def _forget_server(self) -> None:
        model = self._model
        model.server_spec, model.traffic = None, Traffic()
        model.device_in_use = None


def _check(compute: str) -> str:
    """Return what names a server, as it is kept."""
    require_distributed()
    compute = compute.strip()
    find_connection(compute)
    path = expand_user(compute)
    # napari may be started elsewhere the next time.
    return str(path.absolute()) if path.exists() else compute
