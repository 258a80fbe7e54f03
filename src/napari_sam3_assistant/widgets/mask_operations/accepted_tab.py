"""The tab that saves previews as accepted objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFormLayout, QHBoxLayout, QVBoxLayout, QWidget

from napari_sam3_assistant.session.masks.model import SaveMode
from napari_sam3_assistant.widgets.allow import allow
from napari_sam3_assistant.widgets.bind import watch
from napari_sam3_assistant.widgets.mask_operations.controls import (
    button,
    layer_list,
    options,
    text_line,
    whole_number,
)
from napari_sam3_assistant.widgets.mask_operations.undo_row import UndoRow

if TYPE_CHECKING:
    from napari_sam3_assistant.session.masks.session import MaskSession

_MODES = (
    (SaveMode.NEW, "Save as new layer"),
    (SaveMode.APPEND, "Append to existing accepted layer"),
    (SaveMode.REPLACE, "Replace existing accepted layer"),
)


class AcceptedTab(QWidget):
    """Accepted Objects.

    Parameters
    ----------
    session : MaskSession
        The session.
    """

    def __init__(self, session: MaskSession) -> None:
        super().__init__()
        model, collection = session.model, session.collection
        label = whole_number(model, "label", "Save one label only; 0 saves all of them")
        label.setSpecialValueText("all labels")
        target = layer_list(
            model, "accepted_target", "The accepted layer to change", lambda one: one.accepted
        )
        form = QFormLayout()
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        form.addRow(
            "Source layer", layer_list(model, "source", "The labels to save, such as a preview")
        )
        picked = button(
            model,
            "Picked",
            "take_picked",
            session.take_picked,
            "The label that you chose in the source layer: click on it in napari's pick mode",
        )
        one = QHBoxLayout()
        one.addWidget(label, 1)
        one.addWidget(picked)
        form.addRow("Label", one)
        form.addRow(
            "Object name",
            text_line(model, "object_name", "object_001", "By default the source layer's name"),
        )
        form.addRow(
            "Class name",
            text_line(model, "class_name", "myelin", "What the object is; by default “class”"),
        )
        form.addRow(
            "Class value",
            whole_number(model, "class_value", "The class's value in merged masks"),
        )
        form.addRow("Save mode", options(model, "save_mode", _MODES, "Where the object goes"))
        form.addRow("Target layer", target)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(
            button(
                model,
                "Save Accepted Object",
                "save_accepted",
                collection.save_accepted,
                "Keep the source, or one label of it, as an object with a class",
            )
        )
        layout.addWidget(UndoRow(session, "accepted"))
        layout.addStretch(1)
        watch(
            model,
            "save_mode",
            self,
            lambda: allow(
                target,
                "Choose to append or to replace first" if model.save_mode is SaveMode.NEW else "",
            ),
        )
