"""The phrase."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QLineEdit

from napari_sam3_assistant.core.tasks import Tool
from napari_sam3_assistant.widgets.allow import allow
from napari_sam3_assistant.widgets.bind import bind_value, watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam3_assistant.session.model import SessionModel


_TIP = (
    "A short noun phrase such as “nucleus” or “myelin sheath” for SAM 3, or "
    "“bright objects” or “dark objects” for the built-in engine. Enter runs."
)
_NO_PHRASE = "Choose the task Text segmentation, or the prompt type Text only, first"
_REPLACED = "The batch text prompts of Advanced mode run in its place; clear them to use this line."


class TextField(QLineEdit):
    """A line for the phrase; Enter runs.

    Parameters
    ----------
    model : SessionModel
        The state.
    run : callable
        Called when the user presses Enter.
    """

    def __init__(self, model: SessionModel, run: Callable[[], None]) -> None:
        super().__init__()
        self._model = model
        self.setObjectName("text")
        self.setToolTip(_TIP)
        self.setPlaceholderText("Type a phrase, then press Enter")
        self.setClearButtonEnabled(True)
        # napari's is too faint to be read.
        self.setStyleSheet("QLineEdit:disabled { placeholder-text-color: rgb(140, 140, 140); }")
        bind_value(model, "text", self, self.textChanged, self.text, self.setText)
        self.returnPressed.connect(run)
        watch(model, "tool task batch_text", self, self._show)

    def _show(self) -> None:
        model = self._model
        why_not = _REPLACED if model.phrases else "" if model.tool is Tool.TEXT else _NO_PHRASE
        allow(self, why_not)
