"""The way to the window of the mask operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QPushButton

from napari_sam3_assistant.widgets.mask_window import TITLE, open_mask_operations
from napari_sam3_assistant.widgets.notify import guarded

if TYPE_CHECKING:
    from napari_sam3_assistant.viewer.binding import Binding


class OpenMaskOperations(QPushButton):
    """Opens the window, on its clean-up tab.

    Parameters
    ----------
    binding : Binding
        The session and the viewer.
    """

    def __init__(self, binding: Binding) -> None:
        super().__init__(f"Open {TITLE}")
        self.setObjectName("open_mask_operations")
        self.setToolTip("Accept, merge, clean and export masks in a window of its own")
        self.clicked.connect(guarded(binding.model, lambda: open_mask_operations(binding.viewer)))
