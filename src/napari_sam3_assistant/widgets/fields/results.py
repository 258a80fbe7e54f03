"""Fields: the results table, measuring, soft masks, figures."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import (
    QBuffer,
    QByteArray,
    QIODevice,
    QItemSelection,
    QItemSelectionModel,
    QModelIndex,
    QPointF,
    QRectF,
    QSize,
    Qt,
)
from qtpy.QtGui import QAction, QColor, QFont, QFontMetricsF, QImage, QPainter, QPen, QPolygonF
from qtpy.QtSvg import QSvgGenerator
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QButtonGroup,
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QMenu,
    QPushButton,
    QRadioButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import signals_blocked

from napari_sam3_assistant.qt.bind import bind_enabled, show_errors, watch
from napari_sam3_assistant.qt.controls import ask_where, check_box, push_button
from napari_sam3_assistant.qt.layout import FittedTable
from napari_sam3_assistant.session.messages import COLUMN_CHOICES
from napari_sam3_assistant.viewer.keys import CLASS_KEYS
from napari_sam3_assistant.widgets.fields.gallery import Gallery, ResultRows, drop_by_key, on_keys

if TYPE_CHECKING:
    from collections.abc import Hashable

    from qtpy.QtGui import QPaintDevice

    from napari_sam3_assistant.core.display import Figure
    from napari_sam3_assistant.session.session import Session
    from napari_sam3_assistant.session.values import ResultRow
    from napari_sam3_assistant.viewer.binding import Binding

_LEAST_SIDE = 1200
"""Smaller images are enlarged, so that lines and letters are not as coarse as their pixels."""
_MOST_SIDE = 12_000
# Told apart by the colour-blind, too: Okabe and Ito's, the brightest first.
_COLOURS = ("#f0e442", "#56b4e9", "#e69f00", "#cc79a7", "#009e73", "#d55e00")
_BACK = QColor(0, 0, 0, 150)


def _either(views: dict[str, QWidget]) -> QWidget:
    """Return one place for several views, and a button for each above it."""
    widget, stack, switch = QWidget(), QStackedWidget(), QHBoxLayout()
    group = QButtonGroup(widget)
    for place, (title, view) in enumerate(views.items()):
        stack.addWidget(view)
        button = QRadioButton(title)
        button.setObjectName(f"results_{title.lower()}_button")
        button.setChecked(place == 0)
        group.addButton(button)

        def show(_: bool, view: QWidget = view) -> None:
            stack.setCurrentWidget(view)

        button.clicked.connect(show)
        switch.addWidget(button)
    switch.addStretch(1)
    layout = QVBoxLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addLayout(switch)
    layout.addWidget(stack)
    return widget


_ICON = 28
_HEIGHT = 180
# In a narrow panel these give way to the numbers: the prompt, and the layer beside its picture.
_LEAST = ((1, 62), (0, 84), (1, 0), (0, 0))


class ResultsTable(QWidget):
    """One row an object; a row shows its object, and a clicked object its row."""

    def __init__(self, binding: Binding) -> None:
        super().__init__()
        self._binding = binding
        self._model = binding.model
        self._rows = ResultRows(binding.session)
        self._filter = QLineEdit()
        self._filter.setObjectName("results_filter")
        self._filter.setAccessibleName("Filter of the results")
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
        buttons.addWidget(export, 1, 0)
        buttons.addWidget(figure_button(binding.session), 1, 1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._filter)
        layout.addWidget(_either({"Table": self._table, "Gallery": Gallery(binding, self._rows)}))
        layout.addLayout(buttons)
        for field in ("results", "columns"):
            watch(self._model, field, self, self._show)
        watch(self._model, "picked", self, self._show_picked)
        # Of rows that are sorted, filtered, measured or classed the table forgets the chosen ones.
        self._chosen: set[Hashable] = set()
        self._rows.modelAboutToBeReset.connect(self._remember_chosen)
        self._rows.modelReset.connect(self._choose_again)
        self._rows.modelReset.connect(self._show_order)
        bind_enabled(self._model, "results", clear, copy)
        bind_enabled(self._model, "export_results", export)

    def _make_table(self) -> FittedTable:
        table = FittedTable(self._rows, _LEAST, self._rows.is_empty)
        table.setObjectName("results_table")
        table.setAccessibleName("Results")
        table.setMinimumHeight(_HEIGHT)
        table.setWordWrap(False)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        header = table.horizontalHeader()
        if header is not None:
            header.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        names = QHeaderView(Qt.Orientation.Vertical)
        names.hide()
        table.setVerticalHeader(names)
        table.setSortingEnabled(True)
        table.setIconSize(QSize(_ICON, _ICON))
        names.setDefaultSectionSize(_ICON + 2)
        table.clicked.connect(self._reveal)
        table.activated.connect(self._reveal)  # by Enter
        drop_by_key(table, self._binding, self._rows)
        for number, key in enumerate(CLASS_KEYS, 1):
            verb = show_errors(self._model, partial(self._classify, table, number))
            on_keys(table, (getattr(Qt.Key, f"Key_{key}"),), verb)
        return table

    def _classify(self, table: FittedTable, number: int) -> None:
        """Give the objects of the chosen rows the class of a key."""
        selection = table.selectionModel()
        if selection is not None:
            rows = [self._rows.shown[index.row()] for index in selection.selectedRows()]
            self._binding.session.classes.press(number, rows)

    def _reveal(self, index: QModelIndex) -> None:
        row = self._rows.shown[index.row()]
        show_errors(self._model, lambda: self._binding.actions.reveal(row))()

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
            session.results.export(self._rows.shown, path)

    def _show(self) -> None:
        self._rows.show(self._model.results)

    def _show_picked(self) -> None:
        place = self._rows.place_of(self._model.picked)
        if place < 0:
            self._table.clearSelection()
        elif place != self._table.currentIndex().row() or not self._table.selectedIndexes():
            self._table.selectRow(place)

    def _show_order(self) -> None:
        """Mark the column that the rows are sorted by, also where the gallery was told to."""
        header, (column, falling) = self._table.horizontalHeader(), self._rows.order or (-1, False)
        orders = Qt.SortOrder
        if header is not None:
            with signals_blocked(header):
                header.setSortIndicator(
                    column, orders.DescendingOrder if falling else orders.AscendingOrder
                )

    def _remember_chosen(self) -> None:
        places = {index.row() for index in self._table.selectedIndexes()}
        self._chosen = {_object_of(self._rows.shown[place]) for place in places}

    def _choose_again(self) -> None:
        """Choose the rows of the same objects again, wherever they are now."""
        selection, picked, chosen = self._table.selectionModel(), self._model.picked, self._chosen
        there = map(_object_of, self._rows.shown) if chosen else ()
        places = {known: place for place, known in enumerate(there) if known in chosen}
        marked = None if picked is None else places.get(_object_of(picked))
        if selection is None or not places or (picked is not None and marked is None):
            self._show_picked()
            return
        again, last = QItemSelection(), self._rows.columnCount() - 1
        at = list(places.values())
        for run in np.split(at, np.flatnonzero(np.diff(at) > 1) + 1):
            again.select(self._rows.index(int(run[0]), 0), self._rows.index(int(run[-1]), last))
        current = self._rows.index(at[0] if marked is None else marked, 0)
        command = QItemSelectionModel.SelectionFlag
        selection.setCurrentIndex(current, command.NoUpdate)
        selection.select(again, command.ClearAndSelect)


def _object_of(row: ResultRow) -> Hashable:
    """Return what is the same of an object that was measured or got another class."""
    preview, record = row.preview, row.record
    return type(preview), preview.slot, preview.target.plane, record.id, record.region, record.area


_MEASURE_TIP = (
    "Measure area, equivalent diameter, centroid and mean intensity of every object, in the "
    "image's units, into this table and the features of the preview labels"
)


def measure_field(session: Session) -> QWidget:
    """Return the button that measures, beside the one that chooses what."""
    widget = QWidget()
    layout = QHBoxLayout(widget)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(_measure_button(session), 1)
    layout.addWidget(_columns_button(session))
    return widget


def _columns_button(session: Session) -> QPushButton:
    button, menu, model = QPushButton("Columns"), QMenu(), session.model
    button.setObjectName("columns")
    button.setToolTip("Choose what is measured")
    button.setMenu(menu)
    menu.setParent(button, menu.windowFlags())

    def choose(_: bool) -> None:
        chosen = [action.text() for action in menu.actions() if action.isChecked()]
        model.columns = ", ".join(chosen)

    def show() -> None:
        for action in menu.actions():
            action.setChecked(action.text() in model.columns.split(", "))

    for title in COLUMN_CHOICES:
        action = QAction(title, menu)
        action.setCheckable(True)
        action.triggered.connect(choose)
        menu.addAction(action)
    watch(model, "columns", button, show)
    return button


def _measure_button(session: Session) -> QPushButton:
    """Return the button that measures."""
    model = session.model
    button = push_button(model, "Measure", "measure", session.measuring.measure, _MEASURE_TIP)
    bind_enabled(model, "measure", button)
    return button


_SOFT_MASKS_TIP = (
    "Show, in the layer “SAM3 preview masks”, how likely each pixel belongs to an object "
    "(0 to 1; the preview is cut at 0.5), so that weak borders can be judged"
)


def soft_masks_box(session: Session) -> QCheckBox:
    """Return the box for the layer of soft masks."""
    model = session.model
    box = check_box(model, "soft_masks", "Show soft masks", _SOFT_MASKS_TIP)
    bind_enabled(model, "soft_masks", box)
    return box


def figure_button(session: Session) -> QPushButton:
    """Return the button that saves a figure of the plane on show."""
    button, model = QPushButton("Save Figure …"), session.model
    button.setObjectName("save_figure")
    button.setToolTip("Save the image with outlines, scale bar and legend, as PNG or SVG")

    def save() -> None:
        start = session.saving.propose_path("figure", ".png")
        kinds = ["PNG (*.png)", "SVG (*.svg)"]
        path, kind = ask_where(button, model, "Save a figure", start, kinds)
        if path is not None:
            session.save_figure(path, draw_figure, ".svg" if "svg" in kind else ".png")

    button.clicked.connect(show_errors(model, save))
    bind_enabled(model, "figure", button)
    return button


def draw_figure(figure: Figure, ending: str) -> bytes:
    """Return a figure as a PNG or SVG file."""
    height, width = figure.pixels.shape[:2]
    longest = max(width, height * figure.aspect)
    scale = max(1.0, _LEAST_SIDE / longest)
    scale = min(scale, _MOST_SIDE / longest)
    size = QSize(max(1, round(width * scale)), max(1, round(height * scale * figure.aspect)))
    kept = QByteArray()
    buffer = QBuffer(kept)
    buffer.open(QIODevice.OpenModeFlag.WriteOnly)
    if ending == ".svg":
        vector = QSvgGenerator()
        vector.setOutputDevice(buffer)
        vector.setSize(size)
        vector.setViewBox(QRectF(0, 0, size.width(), size.height()))
        _paint(vector, figure, size)
    else:
        image = QImage(size, QImage.Format.Format_RGB32)
        _paint(image, figure, size)
        image.save(buffer, "PNG")
    buffer.close()
    return bytes(kept.data())


def _paint(device: QPaintDevice, figure: Figure, size: QSize) -> None:
    height, width = figure.pixels.shape[:2]
    x, y = size.width() / width, size.height() / height
    data = np.ascontiguousarray(figure.pixels).tobytes()
    shown = QImage(data, width, height, 3 * width, QImage.Format.Format_RGB888)
    unit = max(size.width(), size.height()) / _LEAST_SIDE  # what is a pixel of the smallest figure
    font = QFont()
    font.setPixelSize(max(1, round(22 * unit)))
    painter = QPainter(device)
    try:
        painter.drawImage(QRectF(0, 0, size.width(), size.height()), shown)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setFont(font)
        for number, corners in figure.outlines:
            painter.setPen(QPen(QColor(_COLOURS[number % len(_COLOURS)]), 2.5 * unit))
            painter.drawPolygon(QPolygonF([QPointF(x * left, y * top) for left, top in corners]))
        _paint_bar(painter, figure.bar[0] * x, figure.bar[1], size, unit)
        _paint_legend(painter, figure.names, unit)
    finally:
        painter.end()


def _paint_bar(painter: QPainter, length: float, text: str, size: QSize, unit: float) -> None:
    """Draw the bar and its length at the lower right, on a dark ground that any image lets see."""
    metrics = QFontMetricsF(painter.font())
    wide, high = max(length, metrics.horizontalAdvance(text)), metrics.height()
    margin, thick = 12 * unit, 6 * unit
    ground = QRectF(0, 0, wide + 2 * margin, high + thick + 2 * margin)
    ground.moveBottomRight(QPointF(size.width() - margin, size.height() - margin))
    painter.fillRect(ground, _BACK)
    inner = ground.adjusted(margin, margin, -margin, -margin)
    painter.setPen(Qt.GlobalColor.white)
    painter.drawText(inner, Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop, text)
    left = inner.center().x() - length / 2
    painter.fillRect(QRectF(left, inner.bottom() - thick, length, thick), Qt.GlobalColor.white)


def _paint_legend(painter: QPainter, names: tuple[str, ...], unit: float) -> None:
    """Draw what each colour is at the upper left."""
    if not names:
        return
    metrics = QFontMetricsF(painter.font())
    high, margin = metrics.height(), 12 * unit
    wide = max((metrics.horizontalAdvance(name) for name in names), default=0.0)
    ground = QRectF(margin, margin, wide + high + 3 * margin, high * len(names) + 2 * margin)
    painter.fillRect(ground, _BACK)
    for number, name in enumerate(names):
        top = ground.top() + margin + number * high
        square = QRectF(ground.left() + margin, top + 0.2 * high, 0.6 * high, 0.6 * high)
        painter.setPen(QPen(QColor(_COLOURS[number % len(_COLOURS)]), 2.5 * unit))
        painter.drawRect(square)
        painter.setPen(Qt.GlobalColor.white)
        text_box = QRectF(square.right() + margin, top, wide + margin, high)
        painter.drawText(text_box, Qt.AlignmentFlag.AlignVCenter, name)
