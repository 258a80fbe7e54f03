"""The dock widget ``SAM3 Mask Operations``: where its session and its views are put together."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from napari import current_viewer  # noqa: TID251 (with its twin the one place that may ask)
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

from napari_sam3_assistant.viewer.masks.binding import masks_for
from napari_sam3_assistant.widgets.mask_operations.panel import CLEANUP, MaskPanel
from napari_sam3_assistant.widgets.qt_dispatch import QtDispatcher

if TYPE_CHECKING:
    from napari.components import ViewerModel

_NARROWEST = 420


class MaskOperationsWidget(QWidget):
    """SAM3 Mask Operations.

    Parameters
    ----------
    napari_viewer, viewer : ViewerModel, optional
        The viewer; by default the current one.
    """

    def __init__(
        self, napari_viewer: ViewerModel | None = None, viewer: ViewerModel | None = None
    ) -> None:
        super().__init__()
        chosen = napari_viewer or viewer or current_viewer()
        self.setObjectName("sam3_mask_operations")
        self.binding = binding = masks_for(chosen, QtDispatcher())
        self.panel = MaskPanel(binding.session)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 4, 0, 0)
        layout.addWidget(self.panel)
        self.setMinimumWidth(_NARROWEST)
        # Without this napari puts an empty stretch below.
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        binding.hold()
        # Once, whichever way the widget goes: taken out of its dock, destroyed by Qt, or forgotten.
        self._leave = leave = weakref.finalize(self, binding.release)
        leave.atexit = False
        self.destroyed.connect(lambda *_: leave())

    def changeEvent(self, event: QEvent | None) -> None:
        """Close for good when napari takes the widget out of its dock, as it closes a dock."""
        super().changeEvent(event)
        taken_out = event is not None and event.type() == QEvent.Type.ParentChange
        if taken_out and self.parent() is None:
            self._leave()
            self.deleteLater()

    def show_cleanup(self) -> None:
        """Bring Mask Cleanup to the front."""
        self.panel.tabs.setCurrentIndex(CLEANUP)
