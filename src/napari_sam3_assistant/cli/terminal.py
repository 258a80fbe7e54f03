"""Progress in a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

    from napari_sam3_assistant.core.progress import Progress


def printable(text: str) -> str:
    """Return a text as one line that a terminal only shows: names may hold what it would obey."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


class TerminalReporter:
    """Writes progress to standard error: one line that is written over, and nothing into a file.

    As a context manager it ends the line.
    """

    def __init__(self) -> None:
        self._width = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._width:
            sys.stderr.write("\n")

    def report(self, progress: Progress) -> None:
        """Show the progress, where somebody looks on."""
        if sys.stderr.isatty():
            message = printable(progress.message)
            sys.stderr.write(f"\r{message.ljust(self._width)}")
            sys.stderr.flush()
            self._width = len(message)

    def check(self) -> None:
        """Go on; Ctrl+C stops the work by itself."""
