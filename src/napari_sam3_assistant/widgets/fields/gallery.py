"""Fields: the objects as pictures, in the order of a value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, QSize, Qt
from qtpy.QtGui import QKeyEvent
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

from napari_sam3_assistant.qt.bind import show_errors, watch
from napari_sam3_assistant.qt.controls import ElidedCombo
from napari_sam3_assistant.session.thumbnails import SIDE
from napari_sam3_assistant.widgets.fields.result_rows import ResultRows

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtCore import QModelIndex
    from qtpy.QtWidgets import QStyleOptionViewItem

    from napari_sam3_assistant.session.model import ResultRow
    from napari_sam3_assistant.viewer.binding import Binding
_HEIGHT = 220


def drop_by_key(view: QAbstractItemView, binding: Binding, rows: ResultRows) -> None:
    """Let Del take the chosen object out of its result; the next one is chosen then."""
    model = binding.model

    def drop() -> None:
        place = view.currentIndex().row()
        if not 0 <= place < len(rows.shown):
            return
        binding.session.drop(rows.shown[place])
        if rows.shown:
            model.picked = rows.shown[min(place, len(rows.shown) - 1)]

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
    made = Gallery(binding, rows)
    watch(model, "results", made, lambda: rows.show(model.results))
    return made


class Gallery(QWidget):
    """The objects as pictures: a click goes there, Enter refines, Del takes it out.

    Parameters
    ----------
    binding : Binding
        The viewer and its session.
    rows : ResultRows
        The objects in their order, shared with a table.
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
        view.clicked.connect(lambda index: self._do(self._binding.reveal, index))
        on_keys(
            view,
            (Qt.Key.Key_Return, Qt.Key.Key_Enter),
            lambda: self._do(self._binding.refine_row, view.currentIndex()),
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
