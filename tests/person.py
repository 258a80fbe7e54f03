"""Hands and eyes: somebody who sees a window of napari, moves the mouse and types."""

import numpy as np
from qtpy.QtCore import QDeadlineTimer, QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QApplication

LEFT = Qt.MouseButton.LeftButton


class Person:
    """What all who work in a window can do; has `viewer`, `widget` and `window`."""

    def wait_till(self, is_so):
        """Wait as long as the slowest machine takes; tools do so without pytest's `qtbot`."""
        deadline = QDeadlineTimer(240_000)
        while not is_so():
            assert not deadline.hasExpired()
            QTest.qWait(10)

    def settle(self):
        """Let Qt do all that it has put off."""
        for _ in range(3):
            QApplication.sendPostedEvents()
            QApplication.processEvents()

    def find(self, kind, name):
        """A part of the panel that is looked at, or of what stands beside all panels."""
        found = self.widget.findChild(kind, name)
        return self.window.findChild(kind, name) if found is None else found

    def button(self, name):
        return self.find(QAbstractButton, name)

    def click(self, name):
        button = self.button(name)
        if button is None:
            self.pick(name)
            return
        # Everybody waits until a button can be pressed.
        self.wait_till(lambda: self.button(name).isEnabled())
        QTest.mouseClick(self.button(name), LEFT)

    def pick(self, name, menu_button="engine_menu"):
        """Click on an entry of a button's menu."""
        menu = self.button(menu_button).menu()
        self.click(menu_button)
        self.wait_till(menu.isVisible)
        entry = next((one for one in menu.actions() if one.objectName() == name), None)
        assert entry is not None, f"there is no {name}"
        self.wait_till(entry.isEnabled)
        QTest.mouseClick(menu, LEFT, pos=menu.actionGeometry(entry).center())

    # -- the canvas -----------------------------------------------------------------------

    @property
    def canvas(self):
        return self.window.findChild(QOpenGLWidget)

    def look_at_all(self):
        self.settle()
        self.viewer.reset_view()
        self.settle()

    def spot(self, layer, pixel):
        """Where on the canvas a pixel of a layer is shown."""
        world = np.asarray(layer.data_to_world(pixel))[-2:]
        camera = getattr(self.viewer, "scene", self.viewer).camera  # moved in napari 0.9
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

    def drag(self, layer, *pixels):
        self.hold(layer, *pixels)
        self.let_go(layer, pixels[-1])

    def hold(self, layer, *pixels):
        """Press the left button at the first pixel, move over the others and keep it down."""
        spots = [self.spot(layer, pixel) for pixel in pixels]
        self._move(spots[0], Qt.MouseButton.NoButton)
        QTest.mousePress(self.canvas, LEFT, pos=spots[0])
        self.drag_on(layer, *pixels[1:])

    def drag_on(self, layer, *pixels):
        """Move over pixels with the left button down."""
        for pixel in pixels:
            self._move(self.spot(layer, pixel), LEFT)

    def let_go(self, layer, pixel):
        QTest.mouseRelease(self.canvas, LEFT, pos=self.spot(layer, pixel))
        self.settle()

    def drag_over(self, widget, spot):
        """Move the pointer over a widget with the left button held."""
        self._move(spot, LEFT, widget)

    def _move(self, spot, held, widget=None):
        # QTest.mouseMove moves the pointer of the system, which holds no button.
        canvas = self.canvas if widget is None else widget
        event = QMouseEvent(
            QEvent.Type.MouseMove,
            QPointF(spot),
            QPointF(canvas.mapToGlobal(spot)),
            Qt.MouseButton.NoButton,
            held,
            Qt.KeyboardModifier.NoModifier,
        )
        QApplication.sendEvent(canvas, event)
        # No hand is faster: vispy drops what comes within 10 ms, napari puts it off for 5 ms.
        QTest.qWait(20)

    def press(self, key, modifier=Qt.KeyboardModifier.NoModifier):
        self.canvas.setFocus()
        QTest.keyClick(self.canvas, key, modifier)
        self.settle()
