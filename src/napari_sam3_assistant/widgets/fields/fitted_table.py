"""A table whose columns share the room that there is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHeaderView, QTableView

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtCore import QAbstractItemModel
    from qtpy.QtGui import QResizeEvent, QShowEvent

_MOST = 160
"""No column asks for more pixels than this."""

_PADDING = 16
_HORIZONTAL = Qt.Orientation.Horizontal


class FittedTable(QTableView):
    """Its columns are as wide as what they hold; the first one takes the room that is left.

    Where there is too little, columns become narrower and cut their texts, and what does not fit
    then is reached by scrolling. Once the user drags a column, all stay as they are.

    Parameters
    ----------
    model : QAbstractItemModel
        The rows.
    least : sequence of (int, int)
        The columns that may become narrower, in this order, and their least width in pixels.
    """

    def __init__(self, model: QAbstractItemModel, least: Sequence[tuple[int, int]]) -> None:
        super().__init__()
        self._least = least
        self._fitting = False
        self._dragged = False
        header = QHeaderView(_HORIZONTAL)
        header.setSectionsClickable(True)
        header.setTextElideMode(Qt.TextElideMode.ElideRight)
        # Only what is on show is measured, whatever the number of rows.
        header.setResizeContentsPrecision(0)
        header.sectionResized.connect(self._note)
        self.setHorizontalHeader(header)
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.setHorizontalScrollMode(QTableView.ScrollMode.ScrollPerPixel)
        self.setModel(model)
        model.modelReset.connect(self.fit)
        model.rowsInserted.connect(self.fit)

    def fit(self) -> None:
        """Share the room anew, once the table is on show: Qt measures every row of a hidden one."""
        header, view, rows = self.horizontalHeader(), self.viewport(), self.model()
        if self._dragged or not self.isVisible() or header is None or view is None or rows is None:
            return
        # The header's own hint keeps room for the arrow of sorting in every column.
        titles = [
            self.fontMetrics().horizontalAdvance(str(rows.headerData(column, _HORIZONTAL)))
            for column in range(rows.columnCount())
        ]
        widths = [
            min(_MOST, max(title + _PADDING, self.sizeHintForColumn(column)))
            for column, title in enumerate(titles)
        ]
        spare = view.width() - sum(widths)
        widths[0] += max(0, spare)
        for column, least in self._least:
            given = min(max(0, -spare), max(0, widths[column] - least))
            widths[column] -= given
            spare += given
        self._fitting = True
        for column, width in enumerate(widths):
            self.setColumnWidth(column, width)
        self._fitting = False

    def showEvent(self, event: QShowEvent | None) -> None:
        """Share the room of what came in while the table was hidden."""
        super().showEvent(event)
        self.fit()

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Share the new room."""
        super().resizeEvent(event)
        self.fit()

    def _note(self, _column: int, before: int, _now: int) -> None:
        # A new column has no width before.
        self._dragged = self._dragged or (not self._fitting and before > 0)
