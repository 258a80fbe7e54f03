"""Which object of a stack the next click is on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QSpinBox, QWidget

from napari_sam3_assistant.core.tasks import Task, Tool
from napari_sam3_assistant.widgets.bind import bind_value, watch
from napari_sam3_assistant.widgets.notify import guarded

if TYPE_CHECKING:
    from napari_sam3_assistant.viewer.binding import Binding

_MOST = 99999


class ObjectField(QWidget):
    """The number of the object that clicks are on, and a button for the next number.

    Parameters
    ----------
    binding : Binding
        The session and the viewer.
    """

    def __init__(self, binding: Binding) -> None:
        super().__init__()
        self._model = model = binding.model
        number = QSpinBox()
        number.setObjectName("object_id")
        number.setRange(1, _MOST)
        number.setToolTip(
            "The object that the next click is on: its value in the labels. A click on an object "
            "that was found corrects that one, whatever the number is."
        )
        bind_value(model, "object_id", number, number.valueChanged, number.value, number.setValue)
        new = QPushButton("New Object")
        new.setObjectName("new_object")
        new.setToolTip("Let the next click be on a new object, also in the pixels of another")
        new.clicked.connect(guarded(model, binding.new_object))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(QLabel("Object"))
        layout.addWidget(number, 1)
        layout.addWidget(new)
        watch(model, "task tool", self, self._show)

    def _show(self) -> None:
        model = self._model
        self.setVisible(model.task is Task.VIDEO and model.tool is Tool.POINTS)
