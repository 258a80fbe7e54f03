"""How long work tells how far it is, and hears that it shall stop."""

from __future__ import annotations

import threading
from dataclasses import dataclass
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
    """What a workflow and an engine are given to report to."""

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
    """A reporter for work that nobody watches and nobody stops."""

    def report(self, progress: Progress) -> None:
        """Ignore the progress."""

    def check(self) -> None:
        """Go on."""
