"""A label for any text: as it is, no wider than its place, and no longer than can be read."""

from __future__ import annotations

import html
import re

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel

_LONG_WORD = re.compile(r"\S{25,}")
_INSIDE = re.compile(r"(?<=\w)(?=\w)")
_BREAK = "\u200b"  # the zero width space
_THOUSANDS = re.compile(r"(?<=\d) (?=\d{3}(?!\d))")
_FIRST, _LAST = 220, 80
"""Of a longer text so many letters are shown: the end mostly says what to do."""
_TOLD = 2000
"""So many letters of it are in the tooltip."""


class WrappedLabel(QLabel):
    """A text that may hold names and phrases of the user.

    What looks like HTML is shown as it was typed. Long words, such as the names of files, are
    broken where the line ends; Qt would make the whole panel as wide as the word. The middle of a
    text that would make the panel much higher is left out; the tooltip has it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._given = ""
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setWordWrap(True)

    def setText(self, text: str | None) -> None:
        """Show a text."""
        self._given = text or ""
        shown = shortened(self._given, _FIRST, _LAST)
        whole = html.escape(shortened(self._given, _TOLD, _LAST))
        # As rich text Qt wraps it.
        self.setToolTip("" if shown == self._given else f"<p>{whole}</p>")
        shown = _THOUSANDS.sub("\u00a0", shown)  # 2 025 stays on its line
        super().setText(_LONG_WORD.sub(_breakable, shown))

    def text(self) -> str:
        """Return the text that was given."""
        return self._given


def shortened(text: str, first: int, last: int) -> str:
    """Return a text, of a long one its beginning and its end."""
    if len(text) <= first + last:
        return text
    return f"{text[:first].rstrip()} … {text[-last:].lstrip()}"


def _breakable(word: re.Match[str]) -> str:
    return _INSIDE.sub(_BREAK, word.group())
