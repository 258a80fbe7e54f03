"""The tab that merges accepted objects by class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFormLayout, QLabel, QVBoxLayout, QWidget

from napari_sam3_assistant.widgets.bind import watch
from napari_sam3_assistant.widgets.mask_operations.controls import (
    TickList,
    button,
    note,
    text_line,
)
from napari_sam3_assistant.widgets.mask_operations.undo_row import UndoRow
from napari_sam3_assistant.widgets.notify import guarded

if TYPE_CHECKING:
    from napari_sam3_assistant.session.masks.session import MaskSession


class MergeTab(QWidget):
    """Class Merge.

    Parameters
    ----------
    session : MaskSession
        The session.
    """

    def __init__(self, session: MaskSession) -> None:
        super().__init__()
        self._model = session.model
        self._list = TickList("merge_layers", "The accepted layers to merge")
        self._overlap = QLabel()
        self._overlap.setObjectName("merge_overlap")
        self._overlap.setWordWrap(True)
        form = QFormLayout()
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        form.addRow(
            "Class filter",
            text_line(self._model, "class_filter", "all classes", "List one class only"),
        )
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(note("Tick the accepted objects. Where they overlap, the upper one wins."))
        layout.addWidget(self._list, 1)
        layout.addWidget(self._overlap)
        output = QFormLayout()
        output.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        output.addRow(
            "Output layer",
            text_line(
                self._model,
                "merge_output",
                "class_working_mask",
                "A layer of this name that was merged before is filled anew",
            ),
        )
        layout.addLayout(output)
        layout.addWidget(
            button(
                self._model,
                "Merge Accepted Objects",
                "merge_accepted",
                session.collection.merge_accepted,
                "Make one mask in which each object holds its class value",
            )
        )
        layout.addWidget(UndoRow(session, "merge"))
        self._list.itemChanged.connect(self._on_ticked)
        watch(self._model, "layers class_filter merge_chosen", self, self._show)
        watch(self._model, "merge_chosen merge_overlap class_filter", self, self._show_overlap)
        count = guarded(self._model, session.collection.count_overlap)
        self._list.itemChanged.connect(count)

    def _show(self) -> None:
        rows = [
            (one.key, f"{one.name} ({one.class_name} = {one.class_value})")
            for one in self._model.accepted_of_class
        ]
        # Filling the list must not look like ticking.
        was = self._list.blockSignals(True)
        self._list.show_layers(rows, self._model.merge_chosen)
        self._list.blockSignals(was)

    def _on_ticked(self) -> None:
        listed = set(self._list.keys())
        hidden = [key for key in self._model.merge_chosen if key not in listed]
        ticked = self._list.ticked_after(self._model.merge_chosen)
        self._model.merge_chosen = (*hidden, *ticked)

    def _show_overlap(self) -> None:
        pixels = self._model.merge_overlap
        self._overlap.setVisible(pixels >= 0)
        self._overlap.setText(
            f"Overlap: the ticked objects share {pixels} pixels."
            if pixels
            else "Overlap: the ticked objects share no pixel."
        )
