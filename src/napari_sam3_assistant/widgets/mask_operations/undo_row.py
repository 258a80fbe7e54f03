"""Undo and redo of the layers that were made or changed by the tabs that collect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QHBoxLayout, QWidget

from napari_sam3_assistant.widgets.bind import watch
from napari_sam3_assistant.widgets.mask_operations.controls import button

if TYPE_CHECKING:
    from napari_sam3_assistant.session.masks.session import MaskSession


class UndoRow(QWidget):
    """Two buttons that say what they would do.

    Parameters
    ----------
    session : MaskSession
        The session.
    tab : str
        Where the buttons are; part of their names.
    """

    def __init__(self, session: MaskSession, tab: str) -> None:
        super().__init__()
        model, collection = session.model, session.collection
        undo = button(model, "Undo", f"undo_{tab}", collection.undo, "")
        redo = button(model, "Redo", f"redo_{tab}", collection.redo, "")
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        row.addWidget(undo)
        row.addWidget(redo)

        def show() -> None:
            undo.setEnabled(bool(model.undo_collected))
            redo.setEnabled(bool(model.redo_collected))
            undo.setToolTip(
                f"Take back: {model.undo_collected}"
                if model.undo_collected
                else "Takes back what was saved or merged here; nothing was yet"
            )
            redo.setToolTip(
                f"Do again: {model.redo_collected}"
                if model.redo_collected
                else "Does again what was taken back"
            )

        watch(model, "undo_collected redo_collected", self, show)
