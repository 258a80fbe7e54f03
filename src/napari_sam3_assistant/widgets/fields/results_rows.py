"""The results as a table for Qt: rows are looked up when they are shown, none is an item."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt

from napari_sam3_assistant.session.measured_columns import channels_of, titles, values
from napari_sam3_assistant.session.results import COLUMNS, cells, named
from napari_sam3_assistant.session.stacks.values import FramePlace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_sam3_assistant.session.model import ResultRow

_ROLE = Qt.ItemDataRole
_NOWHERE = QModelIndex()


def _score(row: ResultRow) -> float:
    return -math.inf if row.record.score is None else row.record.score


_KEYS: tuple[Callable[[ResultRow], Any], ...] = (
    lambda row: row.preview.target.name,
    lambda row: row.record.text,
    lambda row: row.preview.target.plane.leading,
    lambda row: row.record.id,
    _score,
    lambda row: row.record.area,
)


class ResultRows(QAbstractTableModel):
    """Rows in the order and with the filter that the user has chosen."""

    def __init__(self) -> None:
        super().__init__()
        self._all: tuple[ResultRow, ...] = ()
        self._shown: list[ResultRow] = []
        self._wanted = ""
        self._order: tuple[int, bool] | None = None
        self._channels = 0
        self._titles: tuple[str, ...] = COLUMNS

    @property
    def shown(self) -> Sequence[ResultRow]:
        """The rows that are shown, from the top."""
        return self._shown

    def show(self, rows: tuple[ResultRow, ...]) -> None:
        """Show other rows; where they only go on, the view stays where it is."""
        before, self._all = self._all, rows
        plain = before and not self._wanted and self._order is None
        # The same rows, and not only equal ones: these may have been measured.
        if plain and len(rows) > len(before) and all(map(operator.is_, before, rows)):
            self._append(rows[len(before) :])
            return
        self._channels = channels_of(rows)
        self._titles = (*COLUMNS, *titles(self._channels))
        if self._order is not None and self._order[0] >= len(self._titles):
            self._order = None
        self._arrange()

    def filter(self, text: str) -> None:
        """Show only rows of which a cell holds the text; areas are not looked at."""
        self._wanted = text.strip().lower()
        self._arrange()

    def place_of(self, row: ResultRow | None) -> int:
        """Return where a row is shown, or -1."""
        if row is None:
            return -1
        # Of many rows this is much quicker than to compare them; those of frames are made anew.
        same = (place for place, one in enumerate(self._shown) if one is row)
        found = next(same, -1)
        if found < 0 and isinstance(row.preview, FramePlace) and row in self._shown:
            return self._shown.index(row)
        return found

    def _append(self, rows: tuple[ResultRow, ...]) -> None:
        if rows:
            first = len(self._shown)
            self.beginInsertRows(_NOWHERE, first, first + len(rows) - 1)
            self._shown.extend(rows)
            self.endInsertRows()

    def _arrange(self) -> None:
        self.beginResetModel()
        self._shown = [row for row in self._all if not self._wanted or self._holds(row)]
        if self._order is not None:
            column, backwards = self._order
            self._shown.sort(key=self._key_of(column), reverse=backwards)
        self.endResetModel()

    def _key_of(self, column: int) -> Callable[[ResultRow], Any]:
        if column < len(COLUMNS):
            return _KEYS[column]
        # The last one is text; what is missing comes first in both.
        nothing: float | str = "" if column == len(self._titles) - 1 else -math.inf

        def key(row: ResultRow) -> float | str:
            value = values(row.measured, self._channels)[column - len(COLUMNS)]
            return nothing if value is None else value

        return key

    def _holds(self, row: ResultRow) -> bool:
        return any(self._wanted in cell.lower() for cell in named(row))

    # -- what Qt asks for -------------------------------------------------------------------

    def rowCount(self, parent: QModelIndex = _NOWHERE) -> int:
        """Return how many rows are shown."""
        return 0 if parent.isValid() else len(self._shown)

    def columnCount(self, parent: QModelIndex = _NOWHERE) -> int:
        """Return how many columns there are."""
        return 0 if parent.isValid() else len(self._titles)

    def data(self, index: QModelIndex, role: int = _ROLE.DisplayRole) -> Any:  # noqa: ANN401 (Qt's)
        """Return what a cell shows."""
        # The tooltip has the whole of what a narrow column cuts.
        if role in (_ROLE.DisplayRole, _ROLE.ToolTipRole):
            return cells(self._shown[index.row()], self._channels)[index.column()]
        return Qt.AlignmentFlag.AlignCenter if role == _ROLE.TextAlignmentRole else None

    def headerData(
        self,
        section: int,
        orientation: Qt.Orientation,
        role: int = _ROLE.DisplayRole,
    ) -> Any:  # noqa: ANN401 (Qt's)
        """Return the name of a column."""
        if (
            role in (_ROLE.DisplayRole, _ROLE.ToolTipRole)
            and orientation == Qt.Orientation.Horizontal
        ):
            return self._titles[section]
        return None

    def sort(self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder) -> None:
        """Sort by a column; -1 for the order in which the rows came."""
        backwards = order == Qt.SortOrder.DescendingOrder
        self._order = None if column < 0 else (column, backwards)
        self._arrange()
