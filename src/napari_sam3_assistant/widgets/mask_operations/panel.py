"""The arrangement of the window of the mask operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFrame, QScrollArea, QTabWidget, QVBoxLayout, QWidget

from napari_sam3_assistant.widgets.mask_operations.accepted_tab import AcceptedTab
from napari_sam3_assistant.widgets.mask_operations.cleanup_tab import CleanupTab
from napari_sam3_assistant.widgets.mask_operations.final_tab import FinalTab
from napari_sam3_assistant.widgets.mask_operations.merge_tab import MergeTab
from napari_sam3_assistant.widgets.mask_operations.status_bar import MaskStatus

if TYPE_CHECKING:
    from napari_sam3_assistant.session.masks.session import MaskSession

CLEANUP = 2


class MaskPanel(QWidget):
    """Four tabs, and what is going on.

    Parameters
    ----------
    session : MaskSession
        The session.
    """

    def __init__(self, session: MaskSession) -> None:
        super().__init__()
        self.tabs = QTabWidget()
        self.tabs.setObjectName("mask_tabs")
        self.tabs.setUsesScrollButtons(True)
        for tab, title in (
            (AcceptedTab(session), "Accepted Objects"),
            (MergeTab(session), "Class Merge"),
            (CleanupTab(session), "Mask Cleanup"),
            (FinalTab(session), "Final Merge / Export"),
        ):
            self.tabs.addTab(_scrolled(tab), title)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.tabs, 1)
        layout.addWidget(MaskStatus(session))


def _scrolled(tab: QWidget) -> QScrollArea:
    scroll = QScrollArea()
    scroll.setWidgetResizable(True)
    scroll.setFrameShape(QFrame.Shape.NoFrame)
    scroll.setWidget(tab)
    return scroll
