"""One piece of work: a workflow, its progress, its results and its end."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from psygnal import Signal, SignalInstance

from napari_sam3_assistant.core.progress import CancelToken, Progress
from napari_sam3_assistant.errors import JobCancelled, Sam3AssistantError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_sam3_assistant.core.delivery import Deliver
    from napari_sam3_assistant.core.progress import Reporter

logger = logging.getLogger(__name__)


class JobState(StrEnum):
    """Where a job is in its life."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def is_over(self) -> bool:
        """Whether the job has ended, one way or another."""
        return self in {JobState.DONE, JobState.CANCELLED, JobState.FAILED}


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a job is.

    Parameters
    ----------
    step : Progress
        What the workflow reported.
    elapsed : float
        Seconds since the job began.
    """

    step: Progress
    elapsed: float

    @property
    def remaining(self) -> float | None:
        """Seconds left, as the work says or at the present speed; None while not known."""
        if self.step.seconds_left is not None:
            return self.step.seconds_left
        if self.step.done <= 0 or self.step.total <= 0:
            return None
        return self.elapsed / self.step.done * (self.step.total - self.step.done)


class Job:
    """A workflow on its way.

    The signals are emitted where ``deliver`` runs what it is given: on the GUI thread in the
    widget. Nothing is emitted after the job has ended, so a cancelled job's late results are
    dropped.

    Parameters
    ----------
    title : str
        What the user reads.
    workflow : callable
        Takes a Reporter and returns an iterator of results; it runs on the worker thread.
    """

    progressed: ClassVar[Signal] = Signal(JobProgress)
    yielded: ClassVar[Signal] = Signal(object)
    finished: ClassVar[Signal] = Signal(JobState)

    def __init__(self, title: str, workflow: Callable[[Reporter], Iterator[Any]]) -> None:
        self.title = title
        self.state = JobState.WAITING
        self.error: Sam3AssistantError | None = None
        self._workflow = workflow
        self._token = CancelToken()
        self._lock = threading.RLock()
        self._over = threading.Event()

    def cancel(self) -> None:
        """End the job now; what it has yielded stays, what it is doing is thrown away."""
        self._token.cancel()
        self._end(JobState.CANCELLED)

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the job has ended; returns whether it has."""
        return self._over.wait(timeout)

    def run(self, deliver: Deliver) -> None:
        """Do the work on this thread and hand every signal to ``deliver``."""
        if self._token.is_set:
            return
        began = time.monotonic()
        deliver(self._set_running)

        def tell(step: Progress) -> None:
            told = JobProgress(step, time.monotonic() - began)
            deliver(partial(self._emit, self.progressed, told))

        try:
            for result in self._workflow(_JobReporter(self._token, tell)):
                self._token.check()
                deliver(partial(self._emit, self.yielded, result))
            self._token.check()
        except JobCancelled:
            deliver(partial(self._end, JobState.CANCELLED))
        except Sam3AssistantError as error:
            deliver(partial(self._end, JobState.FAILED, error))
        except Exception as error:
            logger.exception("%s failed", self.title)
            told = Sam3AssistantError(
                f"{self.title} failed by a fault of the plugin ({type(error).__name__}: {error}).",
                "Try again; if it comes back, report it with the traceback from napari's log.",
            )
            deliver(partial(self._end, JobState.FAILED, told))
        else:
            deliver(partial(self._end, JobState.DONE))

    def _set_running(self) -> None:
        with self._lock:
            if not self.state.is_over:
                self.state = JobState.RUNNING

    def _emit(self, signal: SignalInstance, value: object) -> None:
        with self._lock:
            if not self.state.is_over:
                signal.emit(value)

    def _end(self, state: JobState, error: Sam3AssistantError | None = None) -> None:
        with self._lock:
            if self.state.is_over:
                return
            self.state, self.error = state, error
            self.finished.emit(state)
            self._over.set()


class _JobReporter:
    """The reporter that a job gives its workflow."""

    def __init__(self, token: CancelToken, tell: Callable[[Progress], None]) -> None:
        self._token = token
        self._tell = tell

    def report(self, progress: Progress) -> None:
        self._token.check()
        self._tell(progress)

    def check(self) -> None:
        self._token.check()
