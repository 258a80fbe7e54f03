"""Somebody who uses the docked assistant by mouse and keys, for pictures and figures."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from demo_gui import Demo, wait_until
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from person import Person

if TYPE_CHECKING:
    from collections.abc import Callable

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
        self.qtbot = SimpleNamespace(wait=QTest.qWait)
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
