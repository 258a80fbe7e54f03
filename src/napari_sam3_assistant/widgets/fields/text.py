"""The phrase."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QLineEdit

from napari_sam3_assistant.core.tasks import Tool
from napari_sam3_assistant.widgets.bind import bind_value, watch

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam3_assistant.session.model import SessionModel


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
        self.setObjectName("text")
        self.setPlaceholderText("Type a phrase, then press Enter")
        self.setToolTip(
            "A short noun phrase such as “nucleus” or “myelin sheath” for SAM 3, or "
            "“bright objects” or “dark objects” for the built-in engine. Enter runs."
        )
        self.setClearButtonEnabled(True)
        bind_value(model, "text", self, self.textChanged, self.text, self.setText)
        self.returnPressed.connect(run)
        watch(model, "tool", self, lambda: self.setEnabled(model.tool is Tool.TEXT))
