"""A person who curates masks: sees the window, moves the mouse, types."""

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import QEvent, QObject, QPoint, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QApplication,
    QComboBox,
    QLabel,
    QLineEdit,
    QListWidget,
    QTableView,
    QTabWidget,
)
from skimage.draw import disk

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests are not a package
Person = import_module("person").Person

LEFT = Qt.MouseButton.LeftButton


class Drag(QObject):
    """Drops what is dragged from a list where it shall go, once the drag is on its way."""

    def __init__(self, ticks, end):
        super().__init__(ticks)
        self._view, self._end = ticks.viewport(), end
        self.dropped = False

    def eventFilter(self, watched, event):
        # The drag is a child of the list. It runs a loop of its own, out of which only a timer
        # is called.
        if event.type() == QEvent.Type.ChildAdded and watched is not self._view:
            QTimer.singleShot(0, lambda: QTest.mouseMove(self._view, self._end))
        elif event.type() == QEvent.Type.DragMove and event.position().toPoint() == self._end:
            QTimer.singleShot(0, lambda: QTest.mouseRelease(self._view, LEFT, pos=self._end))
        elif event.type() == QEvent.Type.Drop:
            self.dropped = True
        return False


class Curator(Person):
    """Somebody with the window of the mask operations; knows no private name."""

    def __init__(self, viewer, qtbot, *, docked=True):
        self.viewer, self.qtbot = viewer, qtbot
        if docked:
            self.dock, self.widget = viewer.window.add_plugin_dock_widget(
                "napari-sam3-assistant", "SAM3 Mask Operations"
            )

    # -- the window -----------------------------------------------------------------------

    @property
    def window(self):
        return self.dock.window()

    def tab(self, title):
        tabs = self.widget.findChild(QTabWidget, "mask_tabs")
        # In a narrow window a title has two lines.
        titles = [tabs.tabText(index).replace("\n", " ") for index in range(tabs.count())]
        at = titles.index(title)
        QTest.mouseClick(tabs.tabBar(), LEFT, pos=tabs.tabBar().tabRect(at).center())
        assert tabs.currentIndex() == at

    def click(self, name):
        super().click(name)
        self.wait_for_end()

    def wait_for_end(self):
        cancel = self.button("mask_cancel")
        self.qtbot.waitUntil(lambda: cancel.isHidden(), timeout=240_000)

    @property
    def status(self):
        return self.widget.findChild(QLabel, "mask_status").text()

    def type_in(self, name, text):
        line = self.widget.findChild(QLineEdit, name)
        line.clear()
        QTest.keyClicks(line, text)

    def set_number(self, name, text):
        spin = self.widget.findChild(object, name)
        line = spin.findChild(QLineEdit)
        line.selectAll()
        QTest.keyClicks(line, text)
        QTest.keyClick(line, Qt.Key.Key_Return)

    def choose(self, name, text):
        combo = self.widget.findChild(QComboBox, name)
        index = combo.findText(text)
        assert index >= 0, (
            f"{text} is not among {[combo.itemText(i) for i in range(combo.count())]}"
        )
        combo.setCurrentIndex(index)
        combo.activated.emit(index)
        self.settle()

    def listed(self, name):
        combo = self.widget.findChild(QComboBox, name)
        return [combo.itemText(index) for index in range(combo.count())]

    def tick(self, list_name, text):
        ticks = self.widget.findChild(QListWidget, list_name)
        (item,) = [
            ticks.item(row) for row in range(ticks.count()) if ticks.item(row).text() == text
        ]
        ticks.setCurrentItem(item)
        QTest.keyClick(ticks, Qt.Key.Key_Space)
        self.wait_for_end()

    def row_of(self, list_name, text):
        ticks = self.widget.findChild(QListWidget, list_name)
        return next(row for row in range(ticks.count()) if ticks.item(row).text() == text)

    def drag_row(self, list_name, text, onto):
        """Drag a row with the mouse to just above another one."""
        ticks = self.widget.findChild(QListWidget, list_name)
        view = ticks.viewport()

        def place(row):
            return ticks.visualItemRect(ticks.item(row)).center()

        begin, end = place(self.row_of(list_name, text)), place(self.row_of(list_name, onto))
        end -= QPoint(0, ticks.visualItemRect(ticks.item(0)).height() // 2 - 2)
        drag = Drag(ticks, end)
        ticks.installEventFilter(drag)
        view.installEventFilter(drag)
        QTest.mousePress(view, LEFT, pos=begin)
        step = 1 if end.y() > begin.y() else -1
        for distance in range(4, 2 * QApplication.startDragDistance(), 4):
            QTest.mouseMove(view, begin + QPoint(0, step * distance))
        self.qtbot.waitUntil(lambda: drag.dropped, timeout=240_000)

    # -- the table ------------------------------------------------------------------------

    @property
    def table(self):
        return self.widget.findChild(QTableView, "component_table")

    def rows(self, table=None):
        model = (table or self.table).model()
        return [
            [model.index(row, column).data() for column in range(model.columnCount())]
            for row in range(model.rowCount())
        ]

    def click_row(self, row, *, double=False):
        table = self.table
        table.scrollTo(table.model().index(row, 0))
        spot = table.visualRect(table.model().index(row, 0)).center()
        QTest.mouseClick(table.viewport(), LEFT, pos=spot)
        if double:
            QTest.mouseDClick(table.viewport(), LEFT, pos=spot)
        self.settle()

    def sort_by(self, column):
        header = self.table.horizontalHeader()
        x = header.sectionViewportPosition(column) + header.sectionSize(column) // 2
        QTest.mouseClick(header.viewport(), LEFT, pos=QPoint(x, header.height() // 2))
        self.settle()

    def chosen_rows(self):
        rows = self.table.selectionModel().selectedRows()
        return [self.rows()[index.row()][0] for index in rows]

    # -- the canvas -----------------------------------------------------------------------

    def click_at(self, layer, pixel, button=LEFT):
        super().click_at(layer, pixel, button)
        self.wait_for_end()

    def press(self, key, modifier=Qt.KeyboardModifier.NoModifier):
        super().press(key, modifier)
        self.wait_for_end()


@pytest.fixture
def masks():
    """Three discs, two specks, and a ring: (120, 150) uint16."""
    labels = np.zeros((120, 150), np.uint16)
    for number, centre in enumerate(((30, 40), (30, 110), (85, 40)), 1):
        labels[disk(centre, 14)] = number
    labels[disk((85, 110), 14)] = 4
    labels[disk((85, 110), 5)] = 0
    labels[5, 5] = labels[110, 75] = 9
    return labels


@pytest.fixture
def curator(viewer, qtbot, masks):
    """The window docked in a viewer that is not shown, with masks to work on."""
    viewer.add_labels(masks.copy(), name="SAM3 preview labels")
    return Curator(viewer, qtbot)


@pytest.fixture
def at_canvas(plugin_manager, settings_file, make_napari_viewer, qtbot, masks):
    """The window docked in a real window: for the mouse and the keyboard on the canvas."""
    viewer = make_napari_viewer(show=True)
    viewer.add_labels(masks.copy(), name="SAM3 preview labels")
    curator = Curator(viewer, qtbot)
    curator.window.resize(1300, 900)
    curator.look_at_all()
    return curator
