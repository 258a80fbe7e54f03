"""The one thread that does the work."""

from __future__ import annotations

import atexit
import queue
import threading
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam3_assistant.core.delivery import Deliver
    from napari_sam3_assistant.jobs.job import Job


_PATIENCE_S = 120.0
"""How long Python's exit waits for the engine: about one encoding at full size on a slow CPU."""


class JobRunner:
    """Runs jobs one after the other on a thread of its own, so an engine never has two callers.

    Parameters
    ----------
    deliver : callable
        Runs what it is given, at once or later, on the thread that shall receive the jobs'
        signals.
    """

    def __init__(self, deliver: Deliver) -> None:
        self._deliver = deliver
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._jobs: tuple[Job, ...] = ()  # those that are not over
        self._farewell: Callable[[], None] = lambda: None

    def start(self, job: Job, behind: Job | None = None) -> None:
        """Run a job; jobs that are waiting or running are cancelled first.

        Parameters
        ----------
        job : Job
            The job.
        behind : Job, optional
            One of the earlier jobs, which is not cancelled: the new one waits for it.
        """
        for earlier in self._jobs:
            if earlier is not behind:
                earlier.cancel()
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

        Parameters
        ----------
        farewell : callable, optional
            Called last, on the worker thread if there is one.
        """
        for job in self._jobs:
            job.cancel()
        if self._thread is None:
            farewell()
        else:
            self._farewell = farewell
            self._queue.put(None)
            self._thread = None

    def _forget(self, job: Job, *_: object) -> None:
        self._jobs = tuple(one for one in self._jobs if one is not job)

    def _leave(self, thread: threading.Thread) -> None:
        """Let the worker finish before Python goes.

        A thread that comes back from an engine's compiled code after that ends the process by
        "terminate called without an active exception".
        """
        for job in self._jobs:
            job.cancel()
        self._queue.put(None)
        thread.join(_PATIENCE_S)

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            job.run(self._deliver)
            del job
        self._farewell()
        atexit.unregister(self._leave)
