"""Layers that are ticked, and put into the order of their priority."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractItemView, QHBoxLayout, QToolButton, QVBoxLayout, QWidget

from napari_sam3_assistant.widgets.bind import watch
from napari_sam3_assistant.widgets.mask_operations.controls import TickList

if TYPE_CHECKING:
    from qtpy.QtGui import QKeyEvent

    from napari_sam3_assistant.session.masks.model import MaskModel

_KEYS = {Qt.Key.Key_Up: -1, Qt.Key.Key_Down: 1}


class PriorityList(TickList):
    """Layers that are dragged, or moved by Alt+Up and Alt+Down, into the order of their priority.

    Parameters
    ----------
    model : MaskModel
        The state.
    """

    def __init__(self, model: MaskModel) -> None:
        super().__init__("final_layers", "The first one has the highest priority")
        self._model = model
        self._filling = False
        self.setDragDropMode(QAbstractItemView.DragDropMode.InternalMove)
        self.itemChanged.connect(self._on_ticked)
        rows: Any = self.model()
        rows.rowsMoved.connect(self._on_moved)
        watch(model, "layers final_order final_chosen", self, self._show)

    def move_current(self, by: int) -> None:
        """Move the current layer up (-1) or down (1)."""
        key, order = self.current_key, list(self.keys())
        if not key:
            return
        before = order.index(key)
        after = min(max(before + by, 0), len(order) - 1)
        order.insert(after, order.pop(before))
        self._model.final_order = tuple(order)
        self.setCurrentRow(after)

    @property
    def current_key(self) -> str:
        """The layer of the current row; empty if there is none."""
        return self.key(self.currentRow()) if self.currentRow() >= 0 else ""

    def keyPressEvent(self, event: QKeyEvent | None) -> None:
        """Move the current layer by Alt and an arrow key."""
        alt = event is not None and event.modifiers() & Qt.KeyboardModifier.AltModifier
        by = _KEYS.get(Qt.Key(event.key())) if event is not None and alt else None
        if by is None:
            super().keyPressEvent(event)
        else:
            self.move_current(by)

    def _show(self) -> None:
        texts = {one.key: _text(one.name, one.class_name, one.class_value)
                 for one in self._model.layers}  # fmt: skip
        rows = [(key, texts[key]) for key in self._model.final_order if key in texts]
        self._filling = True
        self.show_layers(rows, self._model.final_chosen)
        self._filling = False

    def _on_ticked(self) -> None:
        if not self._filling:
            self._model.final_chosen = self.ticked_after(self._model.final_chosen)

    def _on_moved(self) -> None:
        self._model.final_order = self.keys()


class Priorities(QWidget):
    """The list, and buttons that move its current layer.

    Parameters
    ----------
    model : MaskModel
        The state.
    """

    def __init__(self, model: MaskModel) -> None:
        super().__init__()
        layers = PriorityList(model)
        buttons = QVBoxLayout()
        for name, arrow, by, text in (
            ("priority_up", Qt.ArrowType.UpArrow, -1, "Higher priority (Alt+Up)"),
            ("priority_down", Qt.ArrowType.DownArrow, 1, "Lower priority (Alt+Down)"),
        ):
            made = QToolButton()
            made.setObjectName(name)
            made.setArrowType(arrow)
            made.setToolTip(text)
            made.setAccessibleName(text)
            made.clicked.connect(lambda *_, by=by: layers.move_current(by))
            buttons.addWidget(made)
        buttons.addStretch(1)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(layers, 1)
        row.addLayout(buttons)


def _text(name: str, class_name: str, value: int | None) -> str:
    return name if value is None else f"{name} ({class_name} = {value})"
