"""A part of a panel that is folded away until somebody wants it."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget


class Fold(QWidget):
    """A button that shows and hides what is under it.

    The content keeps the height that it asks for, also where its text wraps.

    Parameters
    ----------
    title : str
        What is on the button.
    content : QWidget
        What is folded away.
    is_open : bool
        Whether it is shown at first.
    """

    turned = Signal(bool)

    def __init__(self, title: str, content: QWidget, *, is_open: bool = False) -> None:
        super().__init__()
        self._title = title
        self._content = content
        self._button = QPushButton()
        self._button.setObjectName("fold")
        self._button.setStyleSheet("text-align: left;")
        self._button.clicked.connect(self._turn)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._button)
        layout.addWidget(content)
        self._show(is_open=is_open)

    def _turn(self) -> None:
        is_open = self._content.isHidden()
        self._show(is_open=is_open)
        self.turned.emit(is_open)

    def _show(self, *, is_open: bool) -> None:
        self._content.setVisible(is_open)
        # The arrow is text, since an icon would not follow the theme.
        self._button.setText(f"{'▾' if is_open else '▸'} {self._title}")
