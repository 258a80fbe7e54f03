"""Jobs: work off the GUI thread, one at a time, with progress, an end and a way to cancel."""

from __future__ import annotations

import atexit
import logging
import queue
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

    from napari_sam3_assistant.core.progress import Deliver, Reporter


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

    ``step``: what the workflow reported.
    ``elapsed``: seconds since the job began.
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

    ``title``: what the user reads.
    ``workflow``: takes a Reporter and returns an iterator of results; it runs on the worker thread.
    ``writes``: whether it writes what nobody shall find half of: the next job waits for it, and
    cancelled it ends when the workflow has taken back what it wrote.
    """

    progressed: ClassVar[Signal] = Signal(JobProgress)
    yielded: ClassVar[Signal] = Signal(object)
    finished: ClassVar[Signal] = Signal(JobState)

    def __init__(
        self, title: str, workflow: Callable[[Reporter], Iterator[Any]], *, writes: bool = False
    ) -> None:
        self.title = title
        self.writes = writes
        self.state = JobState.WAITING
        self.error: Sam3AssistantError | None = None
        self._workflow = workflow
        self._token = CancelToken()
        self._lock = threading.RLock()
        self._begun = threading.Event()
        self._over = threading.Event()

    def cancel(self) -> None:
        """End the job now; what it has yielded stays, what it is doing is thrown away."""
        self._token.cancel()
        if not (self.writes and self._begun.is_set()):
            self._end(JobState.CANCELLED)

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the job has ended; returns whether it has."""
        return self._over.wait(timeout)

    def run(self, deliver: Deliver) -> None:
        """Do the work on this thread and hand every signal to ``deliver``."""
        self._begun.set()
        if self._token.is_set:
            deliver(partial(self._end, JobState.CANCELLED))
            return
        began = time.monotonic()
        deliver(self._set_running)

        def tell(step: Progress) -> None:
            job_progress = JobProgress(step, time.monotonic() - began)
            deliver(partial(self._emit, self.progressed, job_progress))

        try:
            for result in self._workflow(_JobReporter(self._token, tell)):
                self._check()
                deliver(partial(self._emit, self.yielded, result))
            self._check()
        except JobCancelled:
            deliver(partial(self._end, JobState.CANCELLED))
        except Sam3AssistantError as error:
            deliver(partial(self._end, JobState.FAILED, error))
        except Exception as error:
            logger.exception("%s failed", self.title)
            failure = Sam3AssistantError(
                f"{self.title} failed by a fault of the plugin ({type(error).__name__}: {error}).",
                "Try again; if it comes back, report it with the traceback from napari's log.",
            )
            deliver(partial(self._end, JobState.FAILED, failure))
        else:
            deliver(partial(self._end, JobState.DONE))

    def _check(self) -> None:
        # One that writes takes back itself what it is too early for; what it has done is done.
        if not self.writes:
            self._token.check()

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


_EXIT_PATIENCE_S = 120.0
"""How long Python's exit waits for the engine: about one encoding at full size on a slow CPU."""


class JobRunner:
    """Runs jobs one after the other on a thread of its own, so an engine never has two callers.

    ``deliver``: runs what it is given, at once or later, on the thread that shall receive the jobs'
    signals.
    """

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._jobs: tuple[Job, ...] = ()  # those that are not over
        self._farewell: Callable[[], None] = lambda: None

    def start(self, job: Job, behind: Job | None = None) -> None:
        """Run a job; jobs that are waiting or running are cancelled first, but for writing ones.

        ``behind``: one of the earlier jobs, which is not cancelled: the new one waits for it.
        """
        self._cancel_but(behind)
        # What a job has worked on goes with it, and not when the next one comes.
        job.finished.connect(partial(self._forget, job))
        self._jobs = (*self._jobs, job)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="sam3-jobs", daemon=True)
            atexit.register(self._leave, self._thread)
            self._thread.start()
        self._queue.put(job)

    def close(self, farewell: Callable[[], None] = lambda: None) -> None:
        """Cancel the job and end the thread when the engine gives control back.

        ``farewell``: called last, on the worker thread if there is one.
        """
        self._cancel_but(None)
        if self._thread is None:
            farewell()
        else:
            self._farewell = farewell
            self._queue.put(None)
            self._thread = None

    def finish(self) -> None:
        """End the thread when the jobs are done; Python's exit waits for that."""
        self._jobs = ()
        if self._thread is not None:
            self._queue.put(None)
            self._thread = None

    def _cancel_but(self, kept: Job | None) -> None:
        for job in self._jobs:
            if job is not kept and not job.writes:
                job.cancel()

    def _forget(self, job: Job, *_: object) -> None:
        self._jobs = tuple(known for known in self._jobs if known is not job)

    def _leave(self, thread: threading.Thread) -> None:
        """Let the worker finish before Python goes.

        A thread that comes back from an engine's compiled code after that ends the process by
        "terminate called without an active exception".
        """
        self._cancel_but(None)
        self._queue.put(None)
        thread.join(_EXIT_PATIENCE_S)

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            job.run(self._deliver)
            del job
        self._farewell()
        atexit.unregister(self._leave)


_POLL_S = 0.05


class Backpressure:
    """Holds the worker back while its results pile up, so that memory stays bounded.

    ``most``: how many results may be on their way.
    """

    def __init__(self, most: int) -> None:
        self._free = threading.Semaphore(most)

    def wait(self, reporter: Reporter) -> None:
        """Wait for room for one more result; called by the worker."""
        while not self._free.acquire(timeout=_POLL_S):
            reporter.check()

    def free_slot(self) -> None:
        """Make room: a result was taken."""
        self._free.release()
