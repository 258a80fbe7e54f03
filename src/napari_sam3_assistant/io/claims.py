"""Marks in a folder, by which work that writes there knows of others that do the same."""

from __future__ import annotations

import os
import threading
import uuid
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Self

from napari_sam3_assistant.errors import ExportError
from napari_sam3_assistant.io.atomic import explain_os_errors, is_running, process_mark

if TYPE_CHECKING:
    from pathlib import Path


_RENEWED_S = 60.0
_SILENT_S = 300.0
"""Another machine whose mark is older than this has ended without a word."""


class Claim(AbstractContextManager["Claim"]):
    """A mark of this process on work in a folder; as a context manager for as long as that lasts.

    It is renewed each minute, by which other machines know that the work goes on.

    Parameters
    ----------
    folder : Path
        Where the work writes.
    work : str
        What the marks of the same work begin with.
    message, hint : str
        What to tell who finds that another one is at it.
    """

    def __init__(self, folder: Path, work: str, message: str, hint: str) -> None:
        self._begin, self._said = f"{work}-", (message, hint)
        self._folder = folder
        self._mark = folder / f"{self._begin}{process_mark()}-{uuid.uuid4().hex[:8]}"
        self._left = threading.Event()

    def __enter__(self) -> Self:
        self.take()
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def check(self) -> None:
        """Raise if another one is at the same work now; of other machines :meth:`take` knows.

        Raises
        ------
        ExportError
            With the message.
        """
        for mark in self._folder.glob(f"{self._begin}*"):
            try:
                running = is_running(mark.name.removeprefix(self._begin).rsplit("-", 1)[0])
            except ValueError:  # a copy of a mark that a service which syncs folders made
                continue
            if running is None:
                running = self._was_renewed(mark) or None
            if running and mark != self._mark:
                raise ExportError(*self._said)
            if running is False:  # it was killed
                with suppress(OSError):
                    mark.unlink()

    def take(self) -> None:
        """Begin the work; the folder must exist.

        Raises
        ------
        ExportError
            If another one is at it, or nothing can be written there.
        """
        self.check()
        with explain_os_errors(self._folder):
            self._mark.touch()
        try:
            # Once more: of two that begin at the same time each sees the other's mark now.
            self.check()
        except ExportError:
            self.leave()
            raise
        self._left.clear()
        threading.Thread(target=self._renew, name="sam3-claim", daemon=True).start()

    def _renew(self) -> None:
        while not self._left.wait(_RENEWED_S):
            with suppress(OSError):  # the network may come back
                os.utime(self._mark)

    def _was_renewed(self, mark: Path) -> bool:
        """Return whether a mark is about as new as this one, by the clock of their disk."""
        try:
            return abs(mark.stat().st_mtime - self._mark.stat().st_mtime) < _SILENT_S
        except OSError:
            return False

    def leave(self) -> bool:
        """End the work; returns False where the mark, and the folder with it, is gone."""
        self._left.set()
        try:
            self._mark.unlink()
        except OSError:
            return False
        return True
