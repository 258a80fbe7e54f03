"""Merge ROIs: the results of several regions in one layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QPushButton

from napari_sam3_assistant.widgets.bind import watch
from napari_sam3_assistant.widgets.notify import guarded

if TYPE_CHECKING:
    from napari_sam3_assistant.session.session import Session


class MergeRegions(QPushButton):
    """The button Merge ROIs.

    Parameters
    ----------
    session : Session
        The session.
    """

    def __init__(self, session: Session) -> None:
        super().__init__("Merge ROIs")
        self._session = session
        self.setObjectName("merge_rois")
        self.clicked.connect(guarded(session.model, session.merging.run))
        watch(session.model, "preview beside running", self, self._show)

    def _show(self) -> None:
        why_not = self._session.merging.why_not
        self.setEnabled(not why_not)
        self.setToolTip(
            why_not
            or "Write the previews of all regions into one layer over a zarr file, in the folder "
            "of the scans. The previews stay."
        )
