"""The results table and what can be done with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QGridLayout,
    QHeaderView,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_sam3_assistant.widgets.bind import watch
from napari_sam3_assistant.widgets.fields.fitted_table import FittedTable
from napari_sam3_assistant.widgets.fields.results_rows import ResultRows
from napari_sam3_assistant.widgets.notify import guarded
from napari_sam3_assistant.widgets.save_dialog import ask_where

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtCore import QModelIndex

    from napari_sam3_assistant.viewer.binding import Binding

_HEIGHT = 180
# In a narrow panel these give way to score and area: prompt, layer, object ID, frame.
_LEAST = ((1, 62), (0, 52), (3, 36), (2, 32), (1, 44), (0, 44))


class ResultsTable(QWidget):
    """One row an object; a row shows its object, and a clicked object its row.

    Parameters
    ----------
    binding : Binding
        The session and the viewer.
    """

    def __init__(self, binding: Binding) -> None:
        super().__init__()
        self._binding = binding
        self._model = binding.model
        self._rows = ResultRows()
        self._filter = QLineEdit()
        self._filter.setObjectName("results_filter")
        self._filter.setPlaceholderText("Filter: part of a layer, a prompt or a number")
        self._filter.setClearButtonEnabled(True)
        self._filter.textChanged.connect(self._rows.filter)
        self._table = self._make_table()
        self._clear = self._button("Clear Results", "clear_results", binding.session.results.clear)
        self._copy = self._button("Copy Clipboard", "copy_results", self._copy_rows)
        self._export = self._button("Export CSV", "export_results", self._export_rows)
        buttons = QGridLayout()
        buttons.setSpacing(4)
        buttons.addWidget(self._clear, 0, 0)
        buttons.addWidget(self._copy, 0, 1)
        buttons.addWidget(self._export, 1, 0, 1, 2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._filter)
        layout.addWidget(self._table)
        layout.addLayout(buttons)
        watch(self._model, "results", self, self._show)
        watch(self._model, "picked", self, self._show_picked)
        # Sorted or filtered anew, the table has forgotten which row was chosen.
        self._rows.modelReset.connect(self._show_picked)
        watch(self._model, "results running", self, self._show_buttons)

    def _make_table(self) -> FittedTable:
        table = FittedTable(self._rows, _LEAST)
        table.setObjectName("results_table")
        table.setMinimumHeight(_HEIGHT)
        table.setWordWrap(False)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        header = table.horizontalHeader()
        if header is not None:
            header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        names = QHeaderView(Qt.Orientation.Vertical)
        names.hide()
        table.setVerticalHeader(names)
        table.setSortingEnabled(True)
        table.clicked.connect(self._reveal)
        table.activated.connect(self._reveal)  # by Enter
        return table

    def _button(self, text: str, name: str, verb: Callable[[], object]) -> QPushButton:
        button = QPushButton(text)
        button.setObjectName(name)
        button.clicked.connect(guarded(self._model, verb))
        return button

    def _reveal(self, index: QModelIndex) -> None:
        row = self._rows.shown[index.row()]
        guarded(self._model, lambda: self._binding.reveal(row))()

    def _copy_rows(self) -> None:
        text = self._binding.session.results.copied(self._rows.shown)
        clipboard = QApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(text)

    def _export_rows(self) -> None:
        session = self._binding.session
        start = session.saving.proposed("results", ".csv")
        title = "Export the results"
        path, _ = ask_where(self, session.model, title, start, ["CSV (*.csv)"])
        if path is not None:
            file = path if path.suffix else path.with_name(f"{path.name}.csv")
            session.results.export(self._rows.shown, file)

    def _show(self) -> None:
        before = self._rows.columnCount()
        self._rows.show(self._model.results)
        if self._rows.columnCount() > before:
            # What was measured stands behind the edge of a narrow panel.
            self._table.scrollTo(self._rows.index(0, self._rows.columnCount() - 1))
            self._table.scrollTo(self._rows.index(0, before))

    def _show_picked(self) -> None:
        place = self._rows.place_of(self._model.picked)
        if place < 0:
            self._table.clearSelection()
        elif place != self._table.currentIndex().row() or not self._table.selectedIndexes():
            self._table.selectRow(place)

    def _show_buttons(self) -> None:
        there, running = bool(self._model.results), self._model.running
        nothing = "There are no results yet"
        self._clear.setEnabled(there)
        self._clear.setToolTip("Empty the table; the previews stay" if there else nothing)
        self._copy.setEnabled(there)
        self._copy.setToolTip(
            "Copy the rows on show, with a header, for a spreadsheet" if there else nothing
        )
        self._export.setEnabled(there and not running)
        wait = "Wait for the run to end" if running else nothing
        self._export.setToolTip(
            "Write the rows on show to a CSV file" if there and not running else wait
        )
