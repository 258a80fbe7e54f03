"""The same user, with Advanced mode open."""

import pytest
from qtpy.QtWidgets import QTableView, QWidget


class Advanced:
    """A user who works in the Advanced panel; `user` has hands, this knows where to look."""

    def __init__(self, user):
        user.click("mode_advanced")
        self.main = user.widget
        user.widget = user.widget.findChild(QWidget, "advanced_panel")
        self.user = user

    def cells(self):
        """What the results table shows, row by row."""
        table = self.user.widget.findChild(QTableView, "results_table").model()
        return [
            tuple(table.index(row, column).data() for column in range(table.columnCount()))
            for row in range(table.rowCount())
        ]

    @property
    def table(self):
        return self.user.widget.findChild(QTableView, "results_table")

    @property
    def chosen_row(self):
        """The place of the row that is selected, or None."""
        rows = self.table.selectionModel().selectedRows()
        return rows[0].row() if rows else None


@pytest.fixture
def advanced(user):
    """Somebody in Advanced mode, in a viewer that is not shown."""
    advanced = Advanced(user)
    yield advanced
    vars(advanced).clear()


@pytest.fixture
def open_advanced(open_window):
    """Open a real window in Advanced mode."""
    return lambda *image, **layer: Advanced(open_window(*image, **layer))
