"""The columns of a table in panels of several widths."""

import operator

import pytest
from qtpy.QtCore import QAbstractTableModel, QModelIndex, Qt
from qtpy.QtGui import QStandardItem, QStandardItemModel

from napari_sam3_assistant.qt.layout import FittedTable

TITLES = ("Layer", "Prompt", "Frame", "Object ID", "Score", "Area")
SCORE, AREA = 4, 5
NOWHERE = QModelIndex()
LEAST = ((1, 0), (0, 0))


@pytest.fixture
def table(qtbot):
    rows = QStandardItemModel(0, len(TITLES))
    rows.setHorizontalHeaderLabels(TITLES)
    table = FittedTable(rows, LEAST)
    qtbot.addWidget(table)
    table.verticalHeader().hide()
    table.show()
    cells = ("a long name of a layer", "bright objects", "-", "1", "0.972", "3123")
    rows.appendRow([QStandardItem(cell) for cell in cells])
    return table


def titles(table):
    """Return how wide the titles are."""
    return [16 + table.fontMetrics().horizontalAdvance(title) for title in TITLES]


def widths(table, width):
    """Return the widths of the columns in a table of a width."""
    table.resize(width, 200)
    return [table.columnWidth(column) for column in range(table.model().columnCount())]


def test_a_wide_table_is_filled_and_the_first_column_takes_what_is_left(table):
    wide, wider = widths(table, 800), widths(table, 900)

    assert sum(wider) == table.viewport().width()
    assert wider[0] == wide[0] + 100
    assert wider[1:] == wide[1:]


def test_in_a_narrow_table_texts_give_way_and_numbers_stay_whole(table):
    wide = widths(table, 800)
    # What the table needs at least, so that the test holds for other fonts, too.
    narrow = widths(table, sum(wide[2:]) + sum(titles(table)[:2]) + 10)

    assert sum(narrow) <= table.viewport().width()
    assert narrow[SCORE:] == wide[SCORE:]
    assert narrow[0] < wide[0]
    assert narrow[1] < wide[1]


def test_what_does_not_fit_is_reached_by_scrolling(table):
    narrowest = widths(table, 120)

    assert narrowest[:2] == titles(table)[:2]
    assert all(map(operator.ge, narrowest, titles(table))), "a title is cut"
    assert table.horizontalScrollBar().maximum() > 0


def test_a_column_without_anything_is_hidden_until_a_row_has_something(qtbot):
    rows = QStandardItemModel(0, len(TITLES))
    rows.setHorizontalHeaderLabels(TITLES)
    shown = [("cells", "-", "-", "1", "-", "9"), ("cells", "nuclei", "-", "2", "0.9", "9")]

    def is_empty(column):
        return all(rows.item(row, column).text() == "-" for row in range(rows.rowCount()))

    table = FittedTable(rows, LEAST, is_empty)
    qtbot.addWidget(table)
    table.show()
    hidden = []
    for cells in shown:
        rows.appendRow([QStandardItem(cell) for cell in cells])
        hidden.append([TITLES[at] for at in range(len(TITLES)) if table.isColumnHidden(at)])
    assert hidden == [["Prompt", "Frame", "Score"], ["Frame"]]
    assert table.columnWidth(1) >= titles(table)[1]


def test_a_column_that_was_dragged_stays(table):
    widths(table, 800)
    table.horizontalHeader().resizeSection(1, 123)
    before = widths(table, 800)

    assert widths(table, 400) == before
    assert before[1] == 123


class CountingRows(QAbstractTableModel):
    """Many rows, and how often Qt has asked for a cell."""

    asked = 0

    def rowCount(self, parent=NOWHERE):
        return 100_000

    def columnCount(self, parent=NOWHERE):
        return len(TITLES)

    def data(self, index, role=Qt.ItemDataRole.DisplayRole):
        self.asked += 1
        return "text" if role == Qt.ItemDataRole.DisplayRole else None


def test_of_many_rows_only_those_on_show_are_measured(qtbot):
    rows = CountingRows()
    table = FittedTable(rows, LEAST)
    qtbot.addWidget(table)
    rows.modelReset.emit()
    assert rows.asked == 0

    table.resize(600, 200)
    table.show()

    assert 0 < rows.asked < 5000
    shown = sum(table.columnWidth(column) for column in range(len(TITLES)))
    assert shown == table.viewport().width()
