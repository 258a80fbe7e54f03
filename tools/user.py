"""Somebody who uses both windows by mouse and keys, for pictures and figures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo_gui import Demo, wait_until
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QComboBox, QLineEdit, QListWidget, QTabWidget

from napari_sam3_assistant.widgets.fields.save import open_mask_operations

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from person import Person

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari import Viewer

    from napari_sam3_assistant.session.model import SessionModel


class User(Person):
    """A person in front of a demo's window.

    Parameters
    ----------
    demo : Demo
        The window.
    dock_width, width, height : int
        Sizes of the dock and of the window, in pixels.
    """

    def __init__(self, demo: Demo, *, dock_width: int, width: int, height: int) -> None:
        self.demo = demo
        self.viewer: Any = demo.viewer
        self.widget: Any = demo.widget
        self.window: Any = demo.dock.window()
        self.window.resize(width, height)
        self.window.show()
        QTest.qWait(500)
        self.window.resizeDocks([demo.dock], [dock_width], Qt.Orientation.Horizontal)
        QTest.qWait(500)
        self.look_at_all()

    @property
    def model(self) -> SessionModel:
        """What is so now."""
        return self.widget.binding.model

    def wait_for(self, done: Callable[[], bool]) -> None:
        """Wait until something is so and nothing runs."""
        wait_until(lambda: done() and not self.model.running)
        QTest.qWait(300)

    def type_phrase(self, phrase: str) -> None:
        """Type a phrase where the keyboard is, press Enter, and wait for what is found."""
        self.press(Qt.Key.Key_X)
        QTest.keyClicks(self.window.focusWidget(), phrase)
        QTest.keyClick(self.window.focusWidget(), Qt.Key.Key_Return)
        self.wait_for(lambda: self.model.preview is not None)


class MaskOperations:
    """The second window, in somebody's hands.

    Parameters
    ----------
    viewer : Viewer
        Where it is opened.
    """

    def __init__(self, viewer: Viewer) -> None:
        self.widget: Any = open_mask_operations(viewer)
        QTest.qWait(500)

    def tab(self, index: int) -> None:
        """Bring a tab to the front."""
        self.widget.findChild(QTabWidget, "mask_tabs").setCurrentIndex(index)
        QTest.qWait(100)

    def click(self, name: str) -> None:
        """Press a button and wait for the work."""
        button = self.widget.findChild(QAbstractButton, name)
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)
        while not self.widget.findChild(QAbstractButton, "mask_cancel").isHidden():
            QTest.qWait(20)
        QTest.qWait(200)

    def type_in(self, name: str, text: str) -> None:
        """Type a text, or a number."""
        found = self.widget.findChild(object, name)
        line = found if isinstance(found, QLineEdit) else found.findChild(QLineEdit)
        line.selectAll()
        QTest.keyClicks(line, text)
        QTest.keyClick(line, Qt.Key.Key_Return)

    def choose(self, name: str, text: str) -> None:
        """Choose from a list."""
        box = self.widget.findChild(QComboBox, name)
        box.setCurrentText(text)
        box.activated.emit(box.currentIndex())
        QTest.qWait(100)

    def save_accepted(self, object_name: str, class_name: str, value: int) -> None:
        """Save what was accepted as an object of a class."""
        self.tab(0)
        self.type_in("object_name", object_name)
        self.type_in("class_name", class_name)
        self.type_in("class_value", str(value))
        self.click("save_accepted")

    def tick(self, name: str, most: int | None = None) -> None:
        """Tick the layers of a list, or its first ones."""
        layers = self.widget.findChild(QListWidget, name)
        for row in range(layers.count())[:most]:
            layers.item(row).setCheckState(Qt.CheckState.Checked)
        QTest.qWait(300)
