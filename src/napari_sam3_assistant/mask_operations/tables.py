"""Tables of any number of rows, straight from arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import (
    QAbstractTableModel,
    QItemSelection,
    QItemSelectionModel,
    QItemSelectionRange,
    QModelIndex,
    Qt,
)
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableView

from napari_sam3_assistant.qt.bind import watch

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.masks.components import Components
    from napari_sam3_assistant.mask_operations.model import MaskModel


_NO_PARENT = QModelIndex()
_ROW_HEIGHT = 22


class ArrayTable(QAbstractTableModel):
    """Columns of numbers that can be sorted; rows keep their numbers."""

    def __init__(self, heads: Sequence[str]) -> None:
        super().__init__()
        self._heads = list(heads)
        self._columns: list[npt.NDArray[Any]] = []
        self._order = np.zeros(0, np.intp)
        self._place = np.zeros(0, np.intp)
        self._sorted = (0, Qt.SortOrder.AscendingOrder)

    def fill(self, heads: Sequence[str], columns: Sequence[npt.NDArray[Any]]) -> None:
        """Show other columns, in the order in which the user sorted the last ones."""
        self.beginResetModel()
        self._heads, self._columns = list(heads), list(columns)
        self._arrange()
        self.endResetModel()

    def number(self, row: int) -> int:
        """Return the number of the row at a place."""
        return int(self._order[row])

    def numbers(self, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.intp]:
        """Return the numbers of the rows at places."""
        return self._order[rows]

    def place(self, number: int) -> int:
        """Return the place of a row by its number."""
        return int(self._place[number])

    def rowCount(self, parent: QModelIndex = _NO_PARENT) -> int:
        """Return the number of rows."""
        return 0 if parent.isValid() else self._order.size

    def columnCount(self, parent: QModelIndex = _NO_PARENT) -> int:
        """Return the number of columns."""
        return 0 if parent.isValid() else len(self._heads)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> object:
        """Return the name of a column, with a tooltip that has it in full."""
        shown = role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole)
        if orientation != Qt.Orientation.Horizontal or not shown:
            return None
        head = self._heads[section]
        whole = role == Qt.ItemDataRole.ToolTipRole
        return head if whole else head.removeprefix("Component ").removeprefix("Centroid ")

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> object:
        """Return what a cell shows."""
        if role == Qt.ItemDataRole.TextAlignmentRole:
            return int(Qt.AlignmentFlag.AlignCenter)
        if role not in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            return None
        value = self._columns[index.column()][self._order[index.row()]]
        if np.ndim(value):
            return ", ".join(f"{low}:{high}" for low, high in value)
        return f"{value:.2f}" if isinstance(value, np.floating) else str(value)

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column."""
        self._sorted = (column, order)
        self.beginResetModel()
        self._arrange()
        self.endResetModel()

    def _arrange(self) -> None:
        count = len(self._columns[0]) if self._columns else 0
        column, direction = self._sorted
        self._order = np.arange(count)
        if 0 <= column < len(self._columns):
            keys = self._columns[column]
            if count:
                # Boxes are compared number by number, beginning with the first.
                self._order = np.lexsort(tuple(keys.reshape(count, -1).T[::-1]))
            if direction == Qt.SortOrder.DescendingOrder:
                self._order = self._order[::-1]
        self._place = np.empty(count, np.intp)
        self._place[self._order] = np.arange(count)


class ArrayView(QTableView):
    """A sortable table in which rows are chosen."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setObjectName(name)
        self.table = ArrayTable([])
        self.setModel(self.table)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setAlternatingRowColors(False)
        # Qt's stubs say that each of these may be missing; after setModel none is.
        rows: Any = self.verticalHeader()
        rows.hide()
        rows.setDefaultSectionSize(_ROW_HEIGHT)
        columns: Any = self.horizontalHeader()
        columns.setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        # The heads show no selection: to know theirs, Qt would ask for every cell of a column.
        columns.setSelectionModel(QItemSelectionModel(self.table, self))
        self.picker: Any = self.selectionModel()
        self.setMinimumHeight(140)
        self.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        self.setSortingEnabled(True)

    def chosen(self) -> tuple[int, ...]:
        """Return the numbers of the chosen rows."""
        places = [np.arange(part.top(), part.bottom() + 1) for part in self.picker.selection()]
        # A stretch of cells stands once for each column that was chosen by itself.
        rows = np.unique(np.concatenate(places)) if places else np.zeros(0, np.intp)
        return tuple(np.sort(self.table.numbers(rows)).tolist())

    def choose(self, numbers: Sequence[int]) -> None:
        """Choose rows by their numbers and show the first of them."""
        if tuple(sorted(numbers)) == self.chosen():
            return
        places = np.sort([self.table.place(number) for number in numbers]).astype(int)
        last, rows = self.table.columnCount() - 1, QItemSelection()
        # One selection of stretches: Qt and all who listen hear of it once.
        for stretch in np.split(places, np.flatnonzero(np.diff(places) != 1) + 1):
            if stretch.size:
                ends = (
                    self.table.index(int(stretch[0]), 0),
                    self.table.index(int(stretch[-1]), last),
                )
                rows.append(QItemSelectionRange(*ends))
        self.picker.select(rows, QItemSelectionModel.SelectionFlag.ClearAndSelect)
        if numbers:
            self.scrollTo(self.table.index(self.table.place(numbers[0]), 0))


class ComponentTable(ArrayView):
    """The components of the target, its rows bound to the chosen components."""

    def __init__(self, model: MaskModel) -> None:
        super().__init__("component_table")
        self.setAccessibleName("Components")
        self._model = model
        self.setToolTip("Double-click a row to go there. Right-click to delete the chosen ones.")
        watch(model, "components", self, self._show)
        watch(model, "selected", self, self._show_chosen)
        self.picker.selectionChanged.connect(self._on_chosen)
        self.table.modelReset.connect(self._show_chosen)

    def _show(self) -> None:
        found = self._model.components
        choice = self._model.choice(self._model.target)
        names = choice.names if found is not None and choice is not None else ()
        self.table.fill(*component_columns(found, names))

    def _show_chosen(self) -> None:
        found = self._model.components
        count = 0 if found is None else len(found)
        if self.table.rowCount() == count:
            self.choose([number for number in self._model.selected if number < count])

    def _on_chosen(self) -> None:
        self._model.selected = self.chosen()


class ValueTable(ArrayView):
    """The label values of the target and how many pixels each has."""

    def __init__(self, model: MaskModel) -> None:
        super().__init__("value_table")
        self.setAccessibleName("Values")
        self._model = model
        self._values = np.zeros(0, np.int64)
        self.setToolTip("Choose values, then Change Selected To")
        watch(model, "components", self, self._show)

    def _show(self) -> None:
        found = self._model.components
        pixels = np.zeros(0, np.int64)
        self._values = np.zeros(0, np.int64)
        if found is not None:
            self._values, which = np.unique(found.values, return_inverse=True)
            pixels = np.bincount(which, found.areas, len(self._values)).astype(np.int64)
        self.table.fill(["Value", "Pixels"], [self._values, pixels])

    def chosen_values(self) -> list[int]:
        """Return the values of the chosen rows."""
        return [int(self._values[number]) for number in self.chosen()]


def component_columns(
    components: Components | None,
    names: Sequence[str] = (),
) -> tuple[list[str], list[npt.NDArray[Any]]]:
    """Return the heads and the columns of the table of components.

    ``names``: what the axes before rows and columns are.
    """
    axes = [name.upper() or str(axis) for axis, name in enumerate((*names, "y", "x"))]
    heads = ["Component ID", "Label", "Area", *(f"Centroid {axis}" for axis in axes), "BBox"]
    if components is None:
        return heads, []
    columns = [
        np.arange(1, len(components) + 1),
        components.values,
        components.areas,
        *components.centroids.T,
    ]
    return heads, [*columns, np.stack([components.lows, components.highs], axis=2)]
