"""Whether clicks are on the object or off it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QPushButton, QVBoxLayout, QWidget

from napari_sam3_assistant.core.tasks import Tool
from napari_sam3_assistant.widgets.allow import allow
from napari_sam3_assistant.widgets.bind import watch
from napari_sam3_assistant.widgets.fields.buttons import ChoiceButtons
from napari_sam3_assistant.widgets.notify import guarded

if TYPE_CHECKING:
    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.viewer.binding import Binding

_POLARITY = (
    (True, "Positive", "The next click is on the object (T switches)"),
    (False, "Negative", "The next click is off the object (T switches)"),
)


class PolarityButtons(ChoiceButtons):
    """The polarity of the next click.

    Parameters
    ----------
    model : SessionModel
        The state.
    """

    def __init__(self, model: SessionModel) -> None:
        super().__init__(model, "next_positive", _POLARITY, columns=2)


class PolarityField(QWidget):
    """The polarity of the next click, and a button that gives it to earlier ones.

    Parameters
    ----------
    binding : Binding
        The session and the viewer.
    """

    def __init__(self, binding: Binding) -> None:
        super().__init__()
        self._model = model = binding.model
        self._apply = QPushButton("Apply mode to selected points")
        self._apply.setObjectName("apply_polarity")
        self._apply.setToolTip(
            "Make the points that are selected in the points layer positive or negative"
        )
        self._apply.clicked.connect(guarded(model, binding.mark_selected))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._buttons = PolarityButtons(model)
        layout.addWidget(self._buttons)
        layout.addWidget(self._apply)
        watch(model, "tool", self, self._show)

    def _show(self) -> None:
        points = self._model.tool is Tool.POINTS
        why_not = "" if points else "Choose the prompt type Points first"
        self._buttons.allow(why_not)
        allow(self._apply, why_not)
