"""Work on several pieces at once, in threads: numpy and scipy let go of Python's lock."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, TypeVar

from napari_sam3_assistant.core.progress import CancelToken

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_sam3_assistant.core.progress import Progress, Reporter


WORKERS = min(4, os.cpu_count() or 1)
POLL = 0.03  # seconds between two looks whether to go on

Piece = TypeVar("Piece")
Answer = TypeVar("Answer")


class _Stop:
    """What a piece of work asks whether to go on: the reporter itself belongs to its thread."""

    def __init__(self) -> None:
        self._token = CancelToken()

    def cancel(self) -> None:
        """Stop all pieces."""
        self._token.cancel()

    def report(self, progress: Progress) -> None:
        """Say nothing of the progress of a piece."""
        self._token.check()

    def check(self) -> None:
        """Raise JobCancelled if the work shall stop."""
        self._token.check()


def each(
    work: Callable[[Piece, Reporter], Answer], pieces: Sequence[Piece], reporter: Reporter
) -> list[Answer]:
    """Return the answers of work on each piece, in the order of the pieces.

    Parameters
    ----------
    work : callable
        Is given a piece and what to ask whether to go on.
    pieces : sequence
        The pieces.
    reporter : Reporter
        Stops the work; is asked in the calling thread only.

    Raises
    ------
    JobCancelled
        If the user stopped the work.
    """
    stop = _Stop()
    with ThreadPoolExecutor(WORKERS, thread_name_prefix="builtin-engine") as pool:
        futures = [pool.submit(work, piece, stop) for piece in pieces]
        try:
            while wait(futures, timeout=POLL).not_done:
                reporter.check()
        finally:
            stop.cancel()  # what is left, if an exception leads here
            for future in futures:
                future.cancel()
    return [future.result() for future in futures]
