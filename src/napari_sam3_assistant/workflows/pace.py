"""How long work that consists of many like pieces will take, and how the user is told."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam3_assistant.core.progress import Progress, Reporter


class Pace:
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
        self._began = 0.0

    def step(self) -> float | None:
        """Take note that a piece is done; returns the seconds left, None while not known."""
        self._done += 1
        if self._done == 1:
            # The first one pays for what is done once.
            self._began = self._clock()
            return None
        each = (self._clock() - self._began) / (self._done - 1)
        return each * max(0, self._pieces - self._done)

    def leave_out(self, pieces: int) -> None:
        """Take note that so many pieces will not be done."""
        self._pieces -= pieces


class Quiet:
    """A reporter for the parts of a larger work: it hears of a cancel and tells nothing.

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


def duration(seconds: float) -> str:
    """Return a time for people, such as ``40 s``, ``12 min`` or ``3 h 20 min``."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
