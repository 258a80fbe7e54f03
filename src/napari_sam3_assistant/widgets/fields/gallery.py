"""Fields: the objects of the results as pictures, and the rows that all views of them take."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QAbstractTableModel, QEvent, QModelIndex, QObject, QSize, Qt
from qtpy.QtGui import QIcon, QImage, QKeyEvent, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QHBoxLayout,
    QListView,
    QStyledItemDelegate,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import signals_blocked

from napari_sam3_assistant.core.plurals import format_number
from napari_sam3_assistant.qt.bind import show_errors, watch
from napari_sam3_assistant.qt.controls import ElidedCombo
from napari_sam3_assistant.session.messages import (
    COLUMNS,
    FRAME,
    SAID,
    SCORE,
    UNIT,
    column_titles,
    column_values,
    value_of,
)
from napari_sam3_assistant.session.results import describe_row, format_row
from napari_sam3_assistant.session.thumbnails import SIDE
from napari_sam3_assistant.session.values import FramePlace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import numpy.typing as npt
    from qtpy.QtWidgets import QStyleOptionViewItem

    from napari_sam3_assistant.session.session import Session
    from napari_sam3_assistant.session.values import ResultRow
    from napari_sam3_assistant.viewer.binding import Binding

_HEIGHT = 220
_ROLE = Qt.ItemDataRole
_NOWHERE = QModelIndex()
_IN_ROW: dict[int, Callable[[ResultRow], object]] = {
    1: lambda row: row.record.text,
    2: lambda row: row.preview.target.plane.leading,
    4: lambda row: row.record.score is not None,
}
"""What has to be there for a row to have something in a column; in the others each has."""


def drop_by_key(view: QAbstractItemView, binding: Binding, rows: ResultRows) -> None:
    """Let Del take the chosen objects out of their results; the next one is chosen then."""
    model = binding.model

    def drop() -> None:
        places = sorted({index.row() for index in view.selectedIndexes()})
        if not places:
            return
        binding.session.drop(*(rows.shown[place] for place in places))
        if rows.shown:
            model.picked = rows.shown[min(places[0], len(rows.shown) - 1)]

    on_keys(view, (Qt.Key.Key_Delete, Qt.Key.Key_Backspace), show_errors(model, drop))


def on_keys(view: QWidget, keys: tuple[Qt.Key, ...], call: Callable[[], object]) -> None:
    """Call something when one of some keys is pressed in a view."""
    view.installEventFilter(_Keys(view, keys, call))


class _Keys(QObject):
    def __init__(self, view: QWidget, keys: tuple[Qt.Key, ...], call: Callable[[], object]) -> None:
        super().__init__(view)
        self._keys, self._call = keys, call

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Take the keys, and leave all else to the view."""
        pressed = event.type() == QEvent.Type.KeyPress if event is not None else False
        if pressed and isinstance(event, QKeyEvent) and event.key() in self._keys:
            self._call()
            return True
        return super().eventFilter(watched, event)


class _Captions(QStyledItemDelegate):
    """Under each picture the object's number, and the value that the pictures are sorted by."""

    def __init__(self, rows: ResultRows, parent: QWidget) -> None:
        super().__init__(parent)
        self._rows = rows

    def initStyleOption(self, option: QStyleOptionViewItem | None, index: QModelIndex) -> None:
        """Put the caption in the place of the text of the table's first column."""
        super().initStyleOption(option, index)
        if option is not None:
            option.text = self._rows.caption(index.row())


def lone_gallery(binding: Binding) -> Gallery:
    """Return a gallery that stands without a table."""
    rows, model = ResultRows(binding.session), binding.model
    gallery = Gallery(binding, rows)
    watch(model, "results", gallery, lambda: rows.show(model.results))
    return gallery


class Gallery(QWidget):
    """The objects as pictures: a click goes there, Enter refines, Del takes it out.

    ``rows``: the objects in their order, shared with a table.
    """

    def __init__(self, binding: Binding, rows: ResultRows) -> None:
        super().__init__()
        self._binding, self._rows = binding, rows
        self._sort = ElidedCombo()
        self._sort.setObjectName("gallery_sort")
        self._sort.setAccessibleName("Sort by")
        self._sort.setToolTip("Put the objects in the order of a value: what is wrong stands out")
        self._sort.activated.connect(self._arrange)
        self._falling = QCheckBox("Largest first")
        self._falling.setObjectName("gallery_falling")
        self._falling.toggled.connect(self._arrange)
        self._view = view = self._make_view()
        above = QHBoxLayout()
        above.addWidget(self._sort, 1)
        above.addWidget(self._falling)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(above)
        layout.addWidget(view)
        rows.modelReset.connect(self._show)
        watch(binding.model, "picked", self, self._show_picked)
        self._show()

    def _make_view(self) -> QListView:
        view = QListView()
        view.setObjectName("gallery")
        view.setModel(self._rows)
        view.setItemDelegate(_Captions(self._rows, view))
        view.setViewMode(QListView.ViewMode.IconMode)
        view.setMovement(QListView.Movement.Static)
        view.setResizeMode(QListView.ResizeMode.Adjust)
        # All are of one size, so none but those in sight is asked for.
        view.setUniformItemSizes(True)
        view.setIconSize(QSize(SIDE, SIDE))
        view.setGridSize(QSize(SIDE + 8, SIDE + 10 + view.fontMetrics().height()))
        view.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        view.setMinimumHeight(_HEIGHT)
        view.setToolTip("A click goes to the object, Enter refines it, Del takes it out")
        view.setAccessibleName("Pictures of the objects")
        view.clicked.connect(lambda index: self._do(self._binding.actions.reveal, index))
        on_keys(
            view,
            (Qt.Key.Key_Return, Qt.Key.Key_Enter),
            lambda: self._do(self._binding.actions.refine_row, view.currentIndex()),
        )
        drop_by_key(view, self._binding, self._rows)
        return view

    def _do(self, verb: Callable[[ResultRow], object], index: QModelIndex) -> None:
        if index.isValid():
            row = self._rows.shown[index.row()]
            show_errors(self._binding.model, lambda: verb(row))()

    def _arrange(self, *_: object) -> None:
        column = self._sort.currentIndex() - 1
        orders = Qt.SortOrder
        falling = self._falling.isChecked()
        self._rows.sort(column, orders.DescendingOrder if falling else orders.AscendingOrder)

    def _show(self) -> None:
        """Offer the columns that there are, and show which one the rows are in the order of."""
        titles = ["Sort: as found", *self._rows.titles]
        self._sort.offer([(title, title) for title in titles])
        column, falling = self._rows.order or (-1, self._falling.isChecked())
        self._sort.setCurrentIndex(column + 1)
        with signals_blocked(self._falling):
            self._falling.setChecked(falling)
        self._show_picked()

    def _show_picked(self) -> None:
        place = self._rows.place_of(self._binding.model.picked)
        if place < 0:
            self._view.clearSelection()
        elif place != self._view.currentIndex().row() or not self._view.selectedIndexes():
            self._view.setCurrentIndex(self._rows.index(place, 0))


def _make_icon(picture: npt.NDArray[np.uint8] | None) -> QIcon:
    """Return a picture as Qt shows it; an empty one while it is being made."""
    pixmap = QPixmap(SIDE, SIDE)
    if picture is None:
        pixmap.fill(Qt.GlobalColor.transparent)
    else:
        rows, columns, _ = picture.shape
        data = np.ascontiguousarray(picture).tobytes()
        shown = QImage(data, columns, rows, 3 * columns, QImage.Format.Format_RGB888)
        pixmap = QPixmap.fromImage(shown)
    return QIcon(pixmap)


def _score_key(row: ResultRow) -> float:
    return -math.inf if row.record.score is None else row.record.score


_KEYS: tuple[Callable[[ResultRow], Any], ...] = (
    lambda row: row.preview.target.name,
    lambda row: row.record.text,
    lambda row: row.parts[0].preview.target.plane.leading,
    lambda row: row.record.id,
    _score_key,
    lambda row: row.area,
)


class ResultRows(QAbstractTableModel):
    """Rows in the order and with the filter that the user has chosen."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._pictures = session.thumbnails
        self._all: tuple[ResultRow, ...] = ()
        self._shown: list[ResultRow] = []
        self._places: dict[int, int] = {}
        self._wanted = ""
        # By title: a column that comes or goes gives the others other places.
        self._order: tuple[str, bool] | None = None
        self._model = session.model
        self._titles: tuple[str, ...] = COLUMNS
        self._empty: set[int] = set()
        self._pictures.made.connect(self._on_picture)

    @property
    def titles(self) -> tuple[str, ...]:
        """The names of the columns."""
        return self._titles

    @property
    def order(self) -> tuple[int, bool] | None:
        """The column that the rows are sorted by, and whether the largest comes first."""
        if self._order is None:
            return None
        title, backwards = self._order
        return self._titles.index(title), backwards

    @property
    def shown(self) -> Sequence[ResultRow]:
        """The rows that are shown, from the top."""
        return self._shown

    def show(self, rows: tuple[ResultRow, ...]) -> None:
        """Show other rows; where they only go on, the view stays where it is."""
        before, self._all = self._all, rows
        plain = before and not self._wanted and self._order is None
        chosen, new = self._model.columns.split(", "), rows[len(before) :]
        # The same rows, and not only equal ones: these may have been measured.
        only_go_on = plain and new and all(map(operator.is_, before, rows))
        # The first one with a class, or of a division, brings a column.
        if only_go_on and set(column_titles(new, chosen)) <= set(self._titles):
            self._empty = self._find_empty(self._empty, new)
            self._append(new)
            return
        self._empty = self._find_empty(_IN_ROW, rows) if rows else set()
        self._titles = (*COLUMNS, *column_titles(rows, chosen))
        if self._order is not None and self._order[0] not in self._titles:
            self._order = None
        self._arrange()

    def filter(self, text: str) -> None:
        """Show only rows of which a cell holds the text; areas are not looked at."""
        self._wanted = text.strip().lower()
        self._arrange()

    @staticmethod
    def _find_empty(columns: Iterable[int], rows: Sequence[ResultRow]) -> set[int]:
        return {column for column in columns if not any(map(_IN_ROW[column], rows))}

    def is_empty(self, column: int) -> bool:
        """Return whether no row has anything in a column."""
        return column in self._empty

    def place_of(self, row: ResultRow | None) -> int:
        """Return where a row is shown, or -1."""
        if row is None:
            return -1
        # Those of frames are made anew.
        found = self._places.get(id(row.record), -1)
        if found < 0 and isinstance(row.preview, FramePlace) and row in self._shown:
            return self._shown.index(row)
        return found

    def _append(self, rows: tuple[ResultRow, ...]) -> None:
        if rows:
            first = len(self._shown)
            self.beginInsertRows(_NOWHERE, first, first + len(rows) - 1)
            self._shown.extend(rows)
            self._places.update((id(row.record), first + at) for at, row in enumerate(rows))
            self.endInsertRows()

    def _arrange(self) -> None:
        self.beginResetModel()
        self._shown = [row for row in self._all if not self._wanted or self._matches(row)]
        if self.order is not None:
            column, backwards = self.order
            self._shown.sort(key=self._sort_key(column), reverse=backwards)
        self._places = {id(row.record): place for place, row in enumerate(self._shown)}
        self.endResetModel()

    def caption(self, place: int) -> str:
        """Return what stands under the picture of a row: its number, and what it is sorted by."""
        row = self._shown[place]
        title = SCORE if self._order is None else self._order[0]
        number = str(row.record.id)
        value = value_of(row, title) if title != "Object ID" else None
        if title == FRAME:  # as the table says it: of several axes there are several numbers
            return f"{number}: {describe_row(row)[COLUMNS.index(FRAME)]}"
        return number if value is None else f"{number}: {format_number(value, 3)}"

    def _on_picture(self, row: ResultRow) -> None:
        place = self._places.get(id(row.record))
        if place is not None:
            cell = self.index(place, 0)
            self.dataChanged.emit(cell, cell, [_ROLE.DecorationRole])

    def _sort_key(self, column: int) -> Callable[[ResultRow], Any]:
        if column < len(COLUMNS):
            return _KEYS[column]
        title = self._titles[column]
        if title in SAID:
            return SAID[title]
        # What is missing comes first, of numbers and of text.
        nothing: float | str = "" if title == UNIT else -math.inf

        def key(row: ResultRow) -> float | str:
            (value,) = column_values(row.measured, [title])
            return nothing if value is None else value

        return key

    def _matches(self, row: ResultRow) -> bool:
        cells = (*describe_row(row), *(text_of(row) for text_of in SAID.values()))
        return any(self._wanted in cell.lower() for cell in cells)

    # -- what Qt asks for -------------------------------------------------------------------

    def rowCount(self, parent: QModelIndex = _NOWHERE) -> int:
        """Return how many rows are shown."""
        return 0 if parent.isValid() else len(self._shown)

    def columnCount(self, parent: QModelIndex = _NOWHERE) -> int:
        """Return how many columns there are."""
        return 0 if parent.isValid() else len(self._titles)

    def data(self, index: QModelIndex, role: int = _ROLE.DisplayRole) -> object:
        """Return what a cell shows."""
        # The tooltip has the whole of what a narrow column cuts.
        if role in (_ROLE.DisplayRole, _ROLE.ToolTipRole):
            titles = self._titles[len(COLUMNS) :]
            return format_row(self._shown[index.row()], titles)[index.column()]
        if role == _ROLE.DecorationRole and index.column() == 0:
            return _make_icon(self._pictures.find(self._shown[index.row()]))
        return Qt.AlignmentFlag.AlignCenter if role == _ROLE.TextAlignmentRole else None

    def headerData(
        self,
        section: int,
        orientation: Qt.Orientation,
        role: int = _ROLE.DisplayRole,
    ) -> object:
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
        self._order = None if column < 0 else (self._titles[column], backwards)
        self._arrange()
