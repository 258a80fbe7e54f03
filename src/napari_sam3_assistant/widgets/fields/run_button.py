"""The button that everything leads to, and the line under it that says why it can't be pressed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari.utils.theme import get_theme
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from qtpy.QtGui import QResizeEvent
    from qtpy.QtWidgets import QPushButton

_LINES = 2
_READY = "Ready to run."


class RunButton(QWidget):
    """A button that stands out, over a line that says why it can't be pressed.

    The line has room for two lines of text, so what is below stays where it is.

    Parameters
    ----------
    button : QPushButton
        The button.
    viewer : ViewerModel
        Says which theme is on.
    """

    def __init__(self, button: QPushButton, viewer: ViewerModel) -> None:
        super().__init__()
        self._button = button
        self._line = line = QLabel()
        line.setObjectName("run_reason")
        line.setWordWrap(True)
        line.setAlignment(Qt.AlignmentFlag.AlignTop | Qt.AlignmentFlag.AlignLeft)
        line.setBuddy(button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addWidget(button)
        layout.addWidget(line)

        def colour(_: object = None) -> None:
            # Of what is chosen elsewhere in napari: a theme has no colour of its own for this.
            accent = get_theme(viewer.theme).current.as_hex()
            button.setStyleSheet(
                "QPushButton { font-weight: bold; padding: 7px; }"
                f"QPushButton:enabled:!hover {{ background-color: {accent}; }}"
            )

        def leave(*_: object) -> None:
            viewer.events.theme.disconnect(colour)

        colour()
        viewer.events.theme.connect(colour)
        self.destroyed.connect(leave)

    def tell(self, reason: str, tip: str, note: str = "") -> None:
        """Let the button be pressed, or say why not.

        Parameters
        ----------
        reason : str
            Why it can't be pressed; empty where it can.
        tip : str
            What it will do.
        note : str
            What to know before; empty for nothing.
        """
        said = reason or tip
        self._button.setEnabled(not reason)
        self._button.setToolTip(said)
        # A screen reader reads it with the button, also while that can't be pressed.
        self._button.setAccessibleDescription(said)
        self._line.setText(reason or note or _READY)

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Keep the room for two lines, in the font that the theme has brought."""
        self._line.setMinimumHeight(_LINES * self._line.fontMetrics().lineSpacing())
        super().resizeEvent(event)
