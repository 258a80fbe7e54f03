"""The operations of Mask Cleanup, each with its number, a live preview and Apply."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import QGridLayout, QGroupBox, QLabel, QPushButton, QWidget

from napari_sam3_assistant.core.masks.operations import Operation
from napari_sam3_assistant.session.masks.cleanup import OF_ROWS
from napari_sam3_assistant.widgets.allow import allow
from napari_sam3_assistant.widgets.bind import watch
from napari_sam3_assistant.widgets.mask_operations.controls import (
    number,
    text_line,
    tick,
    whole_number,
)
from napari_sam3_assistant.widgets.mask_operations.preview_button import PreviewButton
from napari_sam3_assistant.widgets.notify import guarded

if TYPE_CHECKING:
    from napari_sam3_assistant.session.masks.session import MaskSession

_DELAY_MS = 200
_FIELDS = (
    "minimum hole_size radius distance centres values_text new_value connectivity scope physical "
    "per_slice per_label by_component"
)


class OperationsGroup(QGroupBox):
    """One row an operation.

    Parameters
    ----------
    session : MaskSession
        The session.
    """

    def __init__(self, session: MaskSession) -> None:
        super().__init__("Operations")
        self._session = session
        model = session.model
        self._grid = QGridLayout(self)
        self._grid.setSpacing(4)
        self._grid.setContentsMargins(4, 4, 4, 4)
        self._grid.setColumnStretch(0, 1)
        self._delay = QTimer(self)
        self._delay.setSingleShot(True)
        self._delay.setInterval(_DELAY_MS)
        self._delay.timeout.connect(guarded(model, self._preview_again))
        self._add(
            Operation.REMOVE_SMALL,
            "Remove Small Objects",
            whole_number(model, "minimum", "Components with fewer pixels go", 1, " px"),
        )
        holes = whole_number(
            model, "hole_size", "Larger holes stay; other labels in a hole stay too", 0, " px"
        )
        holes.setSpecialValueText("any size")
        self._add(Operation.FILL_HOLES, "Fill Holes", holes)
        self._add(
            Operation.SMOOTH,
            "Smooth Mask",
            number(model, "radius", "Radius: narrower spikes and gaps go"),
        )
        self._add(
            Operation.KEEP_LARGEST,
            "Keep Largest Object",
            tick(model, "per_label", "of each label", "Instead of one object in all"),
        )
        self._add(
            Operation.SPLIT,
            "Split Touching Objects",
            number(model, "centres", "Least distance between the centres of two objects"),
        )
        self._add(
            Operation.EXPAND,
            "Expand Labels",
            number(model, "distance", "By how much; labels take nothing from each other"),
        )
        self._add(
            Operation.SHRINK,
            "Shrink Labels",
            number(model, "distance", "By how much; touching labels get a gap"),
        )
        self._add(
            Operation.RENUMBER,
            "Renumber",
            tick(model, "by_component", "each component", "Instead of each label value"),
        )
        values = text_line(model, "values_text", "such as 3,4,5,6", "The labels to replace")
        new_value = whole_number(model, "new_value", "The value that replaced labels get")
        for title, control in (("Values to replace", values), ("New value", new_value)):
            row = self._grid.rowCount()
            self._grid.addWidget(QLabel(title), row, 0, Qt.AlignmentFlag.AlignRight)
            self._grid.addWidget(control, row, 1)
        self._add(Operation.MERGE_VALUES, "Merge Label Values")
        watch(model, _FIELDS, self, self._on_choice)
        watch(model, "selected", self, self._on_rows)

    def _add(self, operation: Operation, text: str, field: QWidget | None = None) -> None:
        session, model = self._session, self._session.model
        apply = QPushButton(text)
        apply.setObjectName(f"apply_{operation.name.lower()}")
        apply.clicked.connect(guarded(model, lambda: session.cleanup.apply(operation)))
        row = self._grid.rowCount()
        self._grid.addWidget(apply, row, 0)
        if field is not None:
            self._grid.addWidget(field, row, 1)
        self._grid.addWidget(PreviewButton(session, operation), row, 2)

        def show() -> None:
            allow(apply, "" if model.target else "Choose a target layer first")

        watch(model, "target", apply, show)

    def _on_choice(self) -> None:
        if self._session.model.previewing is not None:
            self._delay.start()

    def _on_rows(self) -> None:
        if self._session.model.previewing in OF_ROWS:
            self._delay.start()

    def _preview_again(self) -> None:
        operation = self._session.model.previewing
        if operation is not None:
            self._session.cleanup.show_preview(operation)
