"""What is going on, how far it is, and what came out."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QLabel, QProgressBar, QVBoxLayout, QWidget

from napari_sam3_assistant.core.tasks import Task
from napari_sam3_assistant.session.wording import propagation_line, results_line
from napari_sam3_assistant.widgets.bind import watch
from napari_sam3_assistant.widgets.notify import line_of
from napari_sam3_assistant.widgets.wrapped_label import WrappedLabel

if TYPE_CHECKING:
    from napari_sam3_assistant.session.model import SessionModel

_TICK_MS = 200


class StatusField(QWidget):
    """A progress bar with count and time, the status line, and the results line.

    Parameters
    ----------
    model : SessionModel
        The state.
    """

    def __init__(self, model: SessionModel) -> None:
        super().__init__()
        self._model = model
        self._began = 0.0
        self._bar = QProgressBar()
        self._bar.setObjectName("progress")
        self._message = WrappedLabel()
        self._message.setObjectName("status")
        self._results = QLabel()
        self._results.setObjectName("results")
        self._results.setWordWrap(True)
        self._clock = QTimer(self)
        self._clock.setInterval(_TICK_MS)
        self._clock.timeout.connect(self._show_progress)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._bar)
        layout.addWidget(self._message)
        layout.addWidget(self._results)
        watch(model, "message", self, self._show_message)
        watch(model, "preview propagated tracked can_continue task", self, self._show_results)
        watch(model, "running", self, self._show_running)
        watch(model, "progress", self, self._show_progress)

    def _show_message(self) -> None:
        message = self._model.message
        self._message.setText(line_of(message))
        self._message.setProperty("level", str(message.level))

    def _show_results(self) -> None:
        model = self._model
        followed = model.task is Task.VIDEO and model.propagated is not None
        self._results.setText(propagation_line(model) if followed else results_line(model.preview))

    def _show_running(self) -> None:
        running = self._model.running
        self._bar.setVisible(running)
        if running:
            self._began = time.monotonic()
            self._clock.start()
        else:
            self._clock.stop()
        self._show_progress()

    def _show_progress(self) -> None:
        progress = self._model.progress
        elapsed = time.monotonic() - self._began
        if progress is None or progress.step.total <= 0:
            self._bar.setRange(0, 0)
            self._bar.setFormat(f"{elapsed:.0f} s")
            return
        step = progress.step
        self._bar.setRange(0, step.total)
        self._bar.setValue(step.done)
        left = progress.remaining
        ahead = "" if left is None else f", about {left:.0f} s left"
        self._bar.setFormat(f"{step.done} of {step.total}, {elapsed:.0f} s{ahead}")
