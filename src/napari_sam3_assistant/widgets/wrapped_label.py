"""A label for any text: as it is, and no wider than its place."""

from __future__ import annotations

import re

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel

_LONG_WORD = re.compile(r"\S{25,}")
_INSIDE = re.compile(r"(?<=\w)(?=\w)")
_BREAK = "\u200b"  # the zero width space


class WrappedLabel(QLabel):
    """A text that may hold names and phrases of the user.

    What looks like HTML is shown as it was typed. Long words, such as the names of files, are
    broken where the line ends; Qt would make the whole panel as wide as the word.
    """

    def __init__(self) -> None:
        super().__init__()
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setWordWrap(True)

    def setText(self, text: str | None) -> None:
        """Show a text."""
        super().setText(_LONG_WORD.sub(_breakable, text or ""))

    def text(self) -> str:
        """Return the text that was given."""
        return super().text().replace(_BREAK, "")


def _breakable(word: re.Match[str]) -> str:
    return _INSIDE.sub(_BREAK, word.group())
