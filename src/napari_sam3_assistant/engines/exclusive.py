"""One caller at a time on a loaded model, which another thread may close."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_sam3_assistant.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_sam3_assistant.core.progress import Reporter

# How often a caller that waits for another one looks whether it shall stop, in seconds.
_PATIENCE = 0.05


class Exclusive:
    """A lock that a waiting caller can be stopped at, and that can stop who holds it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._counting = threading.Lock()
        self._waiting = 0

    @property
    def is_wanted(self) -> bool:
        """Whether an urgent caller waits for his turn."""
        return self._waiting > 0

    @contextmanager
    def turn(self, reporter: Reporter, *, urgent: bool = True) -> Iterator[None]:
        """Wait until no other thread uses the model; a caller that waits can be stopped.

        Parameters
        ----------
        reporter : Reporter
            Stops the waiting.
        urgent : bool
            Whether who waits shall be seen by :attr:`is_wanted`.
        """
        self._count(urgent)
        try:
            while not self._lock.acquire(timeout=_PATIENCE):
                reporter.check()
        finally:
            self._count(-urgent)
        try:
            reporter.check()
            yield
        finally:
            self._lock.release()

    @contextmanager
    def last_turn(self) -> Iterator[None]:
        """Stop who uses the model at its next :meth:`check`, and wait until it has stopped."""
        self._closing.set()
        try:
            with self._lock:
                yield
        finally:
            self._closing.clear()

    def check(self) -> None:
        """Raise if the model is being closed.

        Raises
        ------
        EngineError
            If it is.
        """
        if self._closing.is_set():
            raise EngineError("SAM 3 was closed while it worked.", "Load it and run again.")

    def _count(self, change: int) -> None:
        with self._counting:
            self._waiting += change
