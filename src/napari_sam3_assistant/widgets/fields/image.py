"""The image to segment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_sam3_assistant.widgets.allow import allow
from napari_sam3_assistant.widgets.bind import watch
from napari_sam3_assistant.widgets.fields.elided_combo import ElidedCombo
from napari_sam3_assistant.widgets.wrapped_label import WrappedLabel

if TYPE_CHECKING:
    from napari_sam3_assistant.viewer.binding import Binding


class ImageField(QWidget):
    """A list of the open images that follows the viewer, and how the chosen one is read.

    Parameters
    ----------
    binding : Binding
        The session and the viewer.
    """

    def __init__(self, binding: Binding) -> None:
        super().__init__()
        self._binding = binding
        self._model = model = binding.model
        # napari tells images of one name apart at the end: “cells”, “cells [1]”.
        self._combo = ElidedCombo(Qt.TextElideMode.ElideMiddle)
        self._combo.setObjectName("image")
        self._combo.setToolTip("The image to segment. Follows the selected layer.")
        self._summary = WrappedLabel()
        self._summary.setObjectName("image_summary")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo)
        layout.addWidget(self._summary)
        self._combo.activated.connect(self._choose)
        watch(model, "images image", self, self._show)

    def _choose(self) -> None:
        self._model.image = self._combo.value
        self._binding.get_ready()

    def _show(self) -> None:
        choices = self._model.images
        self._combo.offer([(one.key, one.name) for one in choices])
        allow(self._combo, "" if choices else "Open an image first")
        self._combo.choose(self._model.image)
        chosen = self._model.chosen_image
        self._summary.setText(chosen.summary if chosen else "Open an image to begin.")
