"""How long work reports its progress, estimates the time left, and is cancelled."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from napari_sam3_assistant.errors import JobCancelled


@dataclass(frozen=True, slots=True)
class Progress:
    """One step of a piece of work.

    Parameters
    ----------
    done, total : int
        Units of work done and to do. A total of 0 means that it is not known.
    message : str
        What is being done, for the status line.
    seconds_left : float or None
        Time left, where the work knows it better than by its units; None where it does not.
    """

    done: int
    total: int
    message: str
    seconds_left: float | None = None


class Reporter(Protocol):
    """What a workflow and an engine are given to report to.

    A workflow reports that a piece is done after it has yielded it: what is reported exists.
    """

    def report(self, progress: Progress) -> None:
        """Show the progress; raises JobCancelled when the user has stopped the work."""

    def check(self) -> None:
        """Raise JobCancelled when the user has stopped the work."""


class CancelToken:
    """A flag that one thread sets and another looks at."""

    def __init__(self) -> None:
        self._event = threading.Event()

    @property
    def is_set(self) -> bool:
        """Whether the work shall stop."""
        return self._event.is_set()

    def cancel(self) -> None:
        """Ask the work to stop."""
        self._event.set()

    def check(self) -> None:
        """Raise JobCancelled if the work shall stop."""
        if self.is_set:
            raise JobCancelled


class NullReporter:
    """A reporter that shows nothing and never cancels."""

    def report(self, progress: Progress) -> None:
        """Ignore the progress."""

    def check(self) -> None:
        """Go on."""


Deliver = Callable[[Callable[[], None]], None]
"""Runs what it is given, at once or later, on the thread that shall have it."""


def deliver_inline(call: Callable[[], None]) -> None:
    """Run it here and now: for headless use."""
    call()


class RemainingTime:
    """The time that the pieces which are left will take.

    Parameters
    ----------
    pieces : int
        How many pieces take time.
    clock : callable
        Returns seconds.
    """

    def __init__(self, pieces: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._pieces = pieces
        self._clock = clock
        self._done = 0
        self._began = self._last = 0.0

    def step(self) -> float | None:
        """Record that a piece is done; returns the seconds left, None while not known."""
        self._done += 1
        self._last = self._clock()
        if self._done == 1:
            # The first one pays for what is done once.
            self._began = self._last
            return None
        per_piece = (self._last - self._began) / (self._done - 1)
        return per_piece * max(0, self._pieces - self._done)

    @property
    def rate(self) -> float | None:
        """Pieces a second, up to the last one that was done; None while not known."""
        took = self._last - self._began
        return (self._done - 1) / took if self._done > 1 and took > 0 else None

    def skip(self, pieces: int) -> None:
        """Record that so many pieces will not be done."""
        self._pieces -= pieces


class PartReporter:
    """A reporter for the parts of a larger job: their messages follow the latest one of the whole.

    Parameters
    ----------
    reporter : Reporter
        The reporter of the whole.
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._whole = Progress(0, 0, "")

    def begin(self, whole: Progress) -> None:
        """Report how far the whole is; raises JobCancelled when the user has stopped the work."""
        self._whole = whole
        self._reporter.report(whole)

    def report(self, progress: Progress) -> None:
        """Report what a part says, with the count and the time left of the whole."""
        message = f"{self._whole.message}: {progress.message}"
        self._reporter.report(replace(self._whole, message=message))

    def check(self) -> None:
        """Raise JobCancelled when the user has stopped the work."""
        self._reporter.check()


class CancelOnlyReporter:
    """A reporter for the parts of a larger job: it passes cancellation on and reports nothing.

    Parameters
    ----------
    reporter : Reporter
        The reporter of the whole.
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def report(self, progress: Progress) -> None:
        """Leave the progress out; raises JobCancelled when the user has stopped the work."""
        self._reporter.check()

    def check(self) -> None:
        """Raise JobCancelled when the user has stopped the work."""
        self._reporter.check()


def format_duration(seconds: float) -> str:
    """Return a time for people, such as ``40 s``, ``12 min`` or ``3 h 20 min``."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
