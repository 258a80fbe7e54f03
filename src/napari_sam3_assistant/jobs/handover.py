"""How far a worker may be ahead of who takes what it makes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_sam3_assistant.core.progress import Reporter

_PATIENCE_S = 0.05


class Handover:
    """Holds the worker back while its results pile up, so that memory stays bounded.

    Parameters
    ----------
    most : int
        How many results may be on their way.
    """

    def __init__(self, most: int) -> None:
        self._free = threading.Semaphore(most)

    def wait(self, reporter: Reporter) -> None:
        """Wait for room for one more result; called by the worker.

        Raises
        ------
        JobCancelled
            If the work was stopped meanwhile.
        """
        while not self._free.acquire(timeout=_PATIENCE_S):
            reporter.check()

    def taken(self) -> None:
        """Make room: a result was taken."""
        self._free.release()
