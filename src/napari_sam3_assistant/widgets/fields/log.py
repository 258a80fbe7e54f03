"""All that the status line said, with the time."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QPlainTextEdit, QPushButton, QVBoxLayout, QWidget

from napari_sam3_assistant.session.model import Level
from napari_sam3_assistant.widgets.bind import watch
from napari_sam3_assistant.widgets.notify import line_of

if TYPE_CHECKING:
    from napari_sam3_assistant.session.model import SessionModel

_LINES = 2000
_HEIGHT = 150


class LogField(QWidget):
    """The messages of the session, the newest last, to be read and copied.

    Parameters
    ----------
    model : SessionModel
        The state.
    """

    def __init__(self, model: SessionModel) -> None:
        super().__init__()
        self._model = model
        self._text = QPlainTextEdit()
        self._text.setObjectName("log")
        self._text.setReadOnly(True)
        self._text.setMaximumBlockCount(_LINES)
        self._text.setMinimumHeight(_HEIGHT)
        clear = QPushButton("Clear log")
        clear.setObjectName("clear_log")
        clear.clicked.connect(self._text.clear)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._text)
        layout.addWidget(clear)
        watch(model, "message", self, self._add)

    def _add(self) -> None:
        message, progress = self._model.message, self._model.progress
        if progress is not None and progress.step.total > 0 and message.level is Level.INFO:
            # Counted steps are in the progress bar: a thousand frames would hide all else.
            return
        now = datetime.now().astimezone()
        self._text.appendPlainText(f"{now:%H:%M:%S}  {line_of(message)}")
