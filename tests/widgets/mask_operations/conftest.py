"""A person who curates masks: sees the window, moves the mouse, types."""

import numpy as np
import pytest
from qtpy.QtCore import QPoint, QPointF, Qt, QTimer
from qtpy.QtGui import QMouseEvent
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QAbstractButton,
    QApplication,
    QComboBox,
    QLabel,
    QLineEdit,
    QListWidget,
    QTableView,
    QTabWidget,
)
from skimage.draw import disk

LEFT, RIGHT = Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton


class Curator:
    """Somebody with the window of the mask operations; knows no private name."""

    def __init__(self, viewer, qtbot, *, docked=True):
        self.viewer, self.qtbot = viewer, qtbot
        if docked:
            self.dock, self.widget = viewer.window.add_plugin_dock_widget(
                "napari-sam3-assistant", "SAM3 Mask Operations"
            )

    # -- the window -----------------------------------------------------------------------

    def settle(self):
        for _ in range(3):
            QApplication.sendPostedEvents()
            QApplication.processEvents()

    def tab(self, title):
        tabs = self.widget.findChild(QTabWidget, "mask_tabs")
        for index in range(tabs.count()):
            if tabs.tabText(index) == title:
                QTest.mouseClick(tabs.tabBar(), LEFT, pos=tabs.tabBar().tabRect(index).center())
        assert tabs.tabText(tabs.currentIndex()) == title

    def button(self, name):
        return self.widget.findChild(QAbstractButton, name)

    def click(self, name):
        assert self.button(name).isEnabled(), f"{name} is greyed out"
        QTest.mouseClick(self.button(name), LEFT)
        self.wait_for_end()

    def wait_for_end(self):
        cancel = self.button("mask_cancel")
        self.qtbot.waitUntil(lambda: cancel.isHidden(), timeout=20_000)

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

        def finish():
            # The drag runs a loop of its own, out of which only a timer is called.
            QTest.mouseMove(view, end)
            QTest.qWait(50)
            QTest.mouseRelease(view, LEFT, pos=end)

        QTimer.singleShot(400, finish)
        QTest.mousePress(view, LEFT, pos=begin)
        step = 1 if end.y() > begin.y() else -1
        for distance in range(4, 2 * QApplication.startDragDistance(), 4):
            QTest.mouseMove(view, begin + QPoint(0, step * distance))
            self.qtbot.wait(10)
        self.qtbot.wait(600)

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

    @property
    def canvas(self):
        return self.dock.window().findChild(QOpenGLWidget)

    def spot(self, layer, pixel):
        world = np.asarray(layer.data_to_world(pixel))[-2:]
        camera = getattr(self.viewer, "scene", self.viewer).camera
        y, x = (world - np.asarray(camera.center)[-2:]) * camera.zoom
        size = self.canvas.size()
        spot = QPoint(round(size.width() / 2 + x), round(size.height() / 2 + y))
        assert self.canvas.rect().contains(spot), f"pixel {pixel} is not on the canvas"
        return spot

    def click_at(self, layer, pixel, button=LEFT):
        spot = self.spot(layer, pixel)
        self._move(spot, Qt.MouseButton.NoButton)
        QTest.mouseClick(self.canvas, button, pos=spot)
        self.settle()
        self.wait_for_end()

    def drag(self, layer, *pixels):
        spots = [self.spot(layer, pixel) for pixel in pixels]
        self._move(spots[0], Qt.MouseButton.NoButton)
        QTest.mousePress(self.canvas, LEFT, pos=spots[0])
        for spot in spots[1:]:
            self._move(spot, LEFT)
        QTest.mouseRelease(self.canvas, LEFT, pos=spots[-1])
        self.settle()

    def _move(self, spot, held):
        canvas = self.canvas
        event = QMouseEvent(
            QMouseEvent.Type.MouseMove,
            QPointF(spot),
            QPointF(canvas.mapToGlobal(spot)),
            Qt.MouseButton.NoButton,
            held,
            Qt.KeyboardModifier.NoModifier,
        )
        QApplication.sendEvent(canvas, event)
        # No hand is faster: vispy drops what comes within 10 ms, napari puts it off for 5 ms.
        self.qtbot.wait(20)

    def press(self, key, modifier=Qt.KeyboardModifier.NoModifier):
        self.canvas.setFocus()
        QTest.keyClick(self.canvas, key, modifier)
        self.settle()
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
    curator.dock.window().resize(1300, 900)
    curator.settle()
    viewer.reset_view()
    curator.settle()
    return curator
