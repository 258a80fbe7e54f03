"""Several images, and several phrases, in one run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QSizePolicy, QTextEdit

from napari_sam3_assistant.core.tasks import Task
from napari_sam3_assistant.widgets.bind import bind_value, watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtGui import QKeyEvent

    from napari_sam3_assistant.session.model import SessionModel

_HEIGHT = 78
_COLOURS = """
QTextEdit { background-color: rgba(128, 128, 128, 32); }
QTextEdit:disabled { placeholder-text-color: rgb(135, 135, 135); }
"""
_WHY_NO_BATCH = {
    Task.LIVE_POINTS: "Live Points correct one image; choose another task for a batch",
    Task.VIDEO: "3D/video goes through one stack; choose a 2D task for a batch",
}


class BatchImagesField(QCheckBox):
    """Whether a run takes every image.

    Parameters
    ----------
    model : SessionModel
        The state.
    """

    def __init__(self, model: SessionModel) -> None:
        super().__init__("Batch all image layers")
        self._model = model
        self.setObjectName("batch_images")
        self.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        bind_value(model, "batch_images", self, self.toggled, self.isChecked, self.setChecked)
        watch(model, "task", self, self._show)

    def _show(self) -> None:
        why_not = _WHY_NO_BATCH.get(self._model.task, "")
        self.setEnabled(not why_not)
        self.setToolTip(
            why_not
            or "Run the same prompts, where they lie in the world, on every image. Each image "
            "gets layers of its own."
        )


class BatchTextField(QTextEdit):
    """Several phrases, one a line; Ctrl+Enter runs.

    Parameters
    ----------
    model : SessionModel
        The state.
    run : callable
        Called when the user presses Ctrl+Enter.
    """

    def __init__(self, model: SessionModel, run: Callable[[], None]) -> None:
        super().__init__()
        self._model = model
        self._run = run
        self.setObjectName("batch_text")
        self.setAcceptRichText(False)
        # napari's own is almost black in the dark theme, and the hint on it unreadable.
        self.setStyleSheet(_COLOURS)
        self.setMaximumHeight(_HEIGHT)
        self.setTabChangesFocus(True)
        self.setPlaceholderText("One phrase a line, # for a comment")
        bind_value(model, "batch_text", self, self.textChanged, self.toPlainText, self.setPlainText)
        watch(model, "task", self, self._show)

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Run on Ctrl+Enter."""
        control = Qt.KeyboardModifier.ControlModifier
        enter = (Qt.Key.Key_Return, Qt.Key.Key_Enter)
        if event is not None and event.key() in enter and event.modifiers() & control:
            self._run()
        else:
            super().keyPressEvent(event)

    def _show(self) -> None:
        text = self._model.task is Task.TEXT
        self.setEnabled(text)
        self.setToolTip(
            "Each phrase runs by itself and gets layers of its own. Ctrl+Enter runs."
            if text
            else "Choose the task Text segmentation first"
        )
