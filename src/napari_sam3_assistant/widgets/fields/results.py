"""Fields: the results table, measuring, soft masks."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt, QTimer
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QCheckBox,
    QGridLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QDoubleRangeSlider
from superqt.utils import signals_blocked

from napari_sam3_assistant.qt.bind import bind_enabled, show_errors, watch
from napari_sam3_assistant.qt.controls import FittedTable, ask_where, check_box, push_button
from napari_sam3_assistant.session.messages import (
    AREA,
    COLUMNS,
    SCORE,
    column_titles,
    column_values,
    count_channels,
    value_of,
)
from napari_sam3_assistant.session.model import FramePlace
from napari_sam3_assistant.session.results import (
    describe_row,
    format_row,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_sam3_assistant.session.model import ResultRow
    from napari_sam3_assistant.session.session import Session
    from napari_sam3_assistant.viewer.binding import Binding


class FilterField(QWidget):
    """Sliders that show and hide what was found, by score and by area, and how many are shown.

    Parameters
    ----------
    session : Session
        The verbs and the state.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._count = QLabel()
        self._count.setObjectName("shown_count")
        tip = "Bring back the objects that the sliders have hidden"
        show_all = session.filtering.show_all
        self._all = push_button(session.model, "Show All", "show_all", show_all, tip)
        self._all.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Fixed)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setColumnStretch(1, 1)
        self._rows = [RangeSlider(session, title) for title in (SCORE, AREA)]
        for place, slider in enumerate(self._rows):
            layout.addWidget(slider.title, place, 0)
            layout.addWidget(slider, place, 1)
            layout.addWidget(slider.ends, place, 2)
        layout.addWidget(self._count, 2, 0, 1, 2)
        layout.addWidget(self._all, 2, 2)
        watch(session.model, "results", self, self._show)

    def _show(self) -> None:
        previews = self._session.model.previews
        shown = sum(len(one.segmentation.objects) for one in previews)
        found = shown + sum(len(one.hidden) for one in previews)
        self._count.setText(f"{shown} of {found} shown" if found else "")
        self.setVisible(found > 0)
        self._all.setEnabled(any(one.ranges for one in previews))
        for slider in self._rows:
            slider.show_values()


_STEPS_A_SECOND = 20


class RangeSlider(QDoubleRangeSlider):  # type: ignore[misc, unused-ignore]
    """The range of one column that is on show; reaches over all values that were found.

    Parameters
    ----------
    session : Session
        The verbs and the state.
    column : str
        Title of the column.

    Attributes
    ----------
    title, ends : QLabel
        The name of the column, and the range in numbers.
    """

    def __init__(self, session: Session, column: str) -> None:
        super().__init__(Qt.Orientation.Horizontal)  # type: ignore[no-untyped-call]
        self._session, self._column = session, column
        self._limits = (0.0, 0.0)
        name = column.lower()
        self.setObjectName(f"filter_{name}")
        self.setToolTip(f"Show only objects whose {name} lies between the handles. Nothing is run.")
        self.setAccessibleName(f"{column} range")
        self.title, self.ends = QLabel(column), QLabel()
        # A mouse moves more often than 10 000 objects are painted.
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(1000 // _STEPS_A_SECOND)
        self._later.timeout.connect(show_errors(session.model, self._apply))
        self.valueChanged.connect(self._take)

    def show_values(self) -> None:
        """Show the range that holds, unless the user is changing it."""
        if self._later.isActive() or self.isSliderDown():
            return
        values = [value_of(row, self._column) for row in self._session.results.found]
        known = [value for value in values if value is not None]
        low, high = (min(known), max(known)) if known else (0.0, 0.0)
        self._limits = (low, high)
        ranges = [one for preview in self._session.model.previews for one in preview.ranges]
        chosen = next((one for one in ranges if one.column == self._column), None)
        ends = (low, high) if chosen is None else (max(low, chosen.low), min(high, chosen.high))
        with signals_blocked(self):
            self.setRange(low, max(high, low + 1e-9))
            self.setValue(ends)
        self.setEnabled(high > low)
        self._tell(ends)

    def _take(self, ends: tuple[float, float]) -> None:
        self._tell(ends)
        if not self._later.isActive():
            self._later.start()

    def _tell(self, ends: tuple[float, float]) -> None:
        self.ends.setText(" – ".join(f"{end:.3g}" if end < 1 else f"{end:.4g}" for end in ends))

    def _apply(self) -> None:
        low, high = map(float, self.value())
        least, most = self._limits
        # A handle at its end lets all through, also what a later edit makes larger.
        self._session.filtering.show_range(
            self._column,
            -math.inf if low <= least else low,
            math.inf if high >= most else high,
        )


_HEIGHT = 180
# In a narrow panel these give way to score and area: prompt, layer, object ID, frame.
_LEAST = ((1, 62), (0, 52), (3, 36), (2, 32), (1, 44), (0, 44))


class ResultsTable(QWidget):
    """One row an object; a row shows its object, and a clicked object its row."""

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
        model, results = binding.model, binding.session.results
        tip = "Empty the table; the previews stay"
        clear = push_button(model, "Clear Results", "clear_results", results.clear, tip)
        tip = "Copy the rows on show, with a header, for a spreadsheet"
        copy = push_button(model, "Copy Clipboard", "copy_results", self._copy_rows, tip)
        tip = "Write the rows on show to a CSV file"
        export = push_button(model, "Export CSV", "export_results", self._export_rows, tip)
        buttons = QGridLayout()
        buttons.setSpacing(4)
        buttons.addWidget(clear, 0, 0)
        buttons.addWidget(copy, 0, 1)
        buttons.addWidget(export, 1, 0, 1, 2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._filter)
        layout.addWidget(self._table)
        layout.addLayout(buttons)
        watch(self._model, "results", self, self._show)
        watch(self._model, "picked", self, self._show_picked)
        # Sorted or filtered anew, the table has forgotten which row was chosen.
        self._rows.modelReset.connect(self._show_picked)
        bind_enabled(self._model, "results", clear, copy)
        bind_enabled(self._model, "export_results", export)

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

    def _reveal(self, index: QModelIndex) -> None:
        row = self._rows.shown[index.row()]
        show_errors(self._model, lambda: self._binding.reveal(row))()

    def _copy_rows(self) -> None:
        text = self._binding.session.results.copy_text(self._rows.shown)
        clipboard = QApplication.clipboard()
        if clipboard is not None:
            clipboard.setText(text)

    def _export_rows(self) -> None:
        session = self._binding.session
        start = session.saving.propose_path("results", ".csv")
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


_ROLE = Qt.ItemDataRole
_NOWHERE = QModelIndex()


def _score_key(row: ResultRow) -> float:
    return -math.inf if row.record.score is None else row.record.score


_KEYS: tuple[Callable[[ResultRow], Any], ...] = (
    lambda row: row.preview.target.name,
    lambda row: row.record.text,
    lambda row: row.preview.target.plane.leading,
    lambda row: row.record.id,
    _score_key,
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
        self._channels = count_channels(rows)
        self._titles = (*COLUMNS, *column_titles(self._channels))
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
        self._shown = [row for row in self._all if not self._wanted or self._matches(row)]
        if self._order is not None:
            column, backwards = self._order
            self._shown.sort(key=self._sort_key(column), reverse=backwards)
        self.endResetModel()

    def _sort_key(self, column: int) -> Callable[[ResultRow], Any]:
        if column < len(COLUMNS):
            return _KEYS[column]
        # The last one is text; what is missing comes first in both.
        nothing: float | str = "" if column == len(self._titles) - 1 else -math.inf

        def key(row: ResultRow) -> float | str:
            value = column_values(row.measured, self._channels)[column - len(COLUMNS)]
            return nothing if value is None else value

        return key

    def _matches(self, row: ResultRow) -> bool:
        return any(self._wanted in cell.lower() for cell in describe_row(row))

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
            return format_row(self._shown[index.row()], self._channels)[index.column()]
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
        self._order = None if column < 0 else (column, backwards)
        self._arrange()


_MEASURE_TIP = (
    "Measure area, equivalent diameter, centroid and mean intensity of every object, in the "
    "image's units, into this table and the features of the preview labels"
)


def measure_button(session: Session) -> QPushButton:
    """Return the button that measures."""
    model = session.model
    made = push_button(model, "Measure", "measure", session.measuring.measure, _MEASURE_TIP)
    bind_enabled(model, "measure", made)
    return made


_SOFT_MASKS_TIP = (
    "Show, in the layer “SAM3 preview masks”, how likely each pixel belongs to an object "
    "(0 to 1; the preview is cut at 0.5), so that weak borders can be judged"
)


def soft_masks_box(session: Session) -> QCheckBox:
    """Return the box for the layer of soft masks."""
    model = session.model
    made = check_box(model, "soft_masks", "Show soft masks", _SOFT_MASKS_TIP)
    bind_enabled(model, "soft_masks", made)
    return made
