"""The button that makes the layer for prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QPushButton

from napari_sam3_assistant.core.tasks import Tool
from napari_sam3_assistant.session.model import Message
from napari_sam3_assistant.widgets.bind import watch
from napari_sam3_assistant.widgets.notify import guarded

if TYPE_CHECKING:
    from napari_sam3_assistant.viewer.binding import Binding


class CreatePromptLayer(QPushButton):
    """Makes the layer of the chosen tool, or goes back to it.

    Parameters
    ----------
    binding : Binding
        The session and the viewer.
    """

    def __init__(self, binding: Binding) -> None:
        super().__init__("Create Prompt Layer")
        self._binding = binding
        self._model = model = binding.model
        self.setObjectName("create_prompt_layer")
        self.arm = guarded(model, self._arm)
        self.clicked.connect(self.arm)
        watch(model, "image tool", self, self._show)

    def _arm(self) -> None:
        self._model.message = Message(self._binding.arm())

    def _show(self) -> None:
        image, text = bool(self._model.image), self._model.tool is Tool.TEXT
        self.setEnabled(image and not text)
        if text:
            self.setToolTip("A phrase needs no prompt layer")
        elif image:
            self.setToolTip("Make the layer for your prompts, or go back to it")
        else:
            self.setToolTip("Open an image first")
