"""What is going on in the window of the mask operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_sam3_assistant.widgets.bind import watch
from napari_sam3_assistant.widgets.notify import line_of
from napari_sam3_assistant.widgets.wrapped_label import WrappedLabel

if TYPE_CHECKING:
    from napari_sam3_assistant.session.masks.session import MaskSession


class MaskStatus(QWidget):
    """The status line, and while work is going on a progress bar and Cancel.

    Parameters
    ----------
    session : MaskSession
        The session.
    """

    def __init__(self, session: MaskSession) -> None:
        super().__init__()
        self._model = session.model
        self._message = WrappedLabel()
        self._message.setObjectName("mask_status")
        self._bar = QProgressBar()
        self._bar.setObjectName("mask_progress")
        self._cancel = QPushButton("Cancel")
        self._cancel.setObjectName("mask_cancel")
        self._cancel.setToolTip("Stop the work. Nothing is changed by half.")
        self._cancel.clicked.connect(session.cancel)
        row = QHBoxLayout()
        row.addWidget(self._bar, 1)
        row.addWidget(self._cancel)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 0, 6, 4)
        layout.addLayout(row)
        layout.addWidget(self._message)
        watch(self._model, "message", self, self._show_message)
        watch(self._model, "running progress", self, self._show_progress)

    def _show_message(self) -> None:
        message = self._model.message
        self._message.setText(line_of(message))
        self._message.setProperty("level", str(message.level))

    def _show_progress(self) -> None:
        running, progress = self._model.running, self._model.progress
        self._bar.setVisible(running)
        self._cancel.setVisible(running)
        if progress is None or progress.step.total <= 0:
            self._bar.setRange(0, 0)
            return
        # Pixels of huge layers don't fit Qt's whole numbers.
        self._bar.setRange(0, 1000)
        self._bar.setValue(round(1000 * progress.step.done / progress.step.total))
