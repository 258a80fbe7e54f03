"""Open napari with the coins image, the SAM3 Assistant docked, and a first result.

Nothing is remembered: the settings of napari and of the plugin stay as they are.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QDeadlineTimer, QEventLoop, QSettings, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QLabel, QLineEdit, QPushButton, QWidget

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

_LONGEST_WAIT_MS = 300_000


@dataclass(frozen=True, slots=True, eq=False)
class Demo:
    """A napari window with the widget docked.

    Parameters
    ----------
    viewer : napari.Viewer
        The viewer.
    dock, widget : QWidget
        The dock and the SAM3 Assistant in it.
    """

    viewer: Any
    dock: QWidget
    widget: QWidget

    def click(self, name: str) -> None:
        """Click the button of an object name."""
        button = self.widget.findChild(QPushButton, name)
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)

    def type_phrase(self, phrase: str) -> None:
        """Type a phrase and press Enter."""
        line = self.widget.findChild(QLineEdit, "text")
        line.clear()
        QTest.keyClicks(line, phrase)
        QTest.keyClick(line, Qt.Key.Key_Return)

    def wait_for_result(self) -> None:
        """Wait until a run has ended with a result.

        Raises
        ------
        RuntimeError
            If it ended with an error.
        """
        wait_until(lambda: self.status.startswith(("✓ Preview ready", "✕")))
        if self.status.startswith("✕"):
            raise RuntimeError(self.status)

    @property
    def status(self) -> str:
        """The status line."""
        return str(self.widget.findChild(QLabel, "status").text())


def open_demo(
    image: npt.NDArray[np.generic] | Path, name: str | None = None, **layer: object
) -> Demo:
    """Open a window with an image and the widget docked through the plugin's manifest.

    Parameters
    ----------
    image : ndarray or Path
        The pixels, or a file of them.
    name : str, optional
        The layer's name; by default the file's.
    **layer : object
        More for ``viewer.add_image``.
    """
    # Read by napari when its settings are imported: empty means none are read or written.
    os.environ["NAPARI_CONFIG"] = ""
    import napari

    folder = Path(tempfile.mkdtemp(prefix="napari-sam3-demo-"))
    os.environ["XDG_STATE_HOME"] = str(folder)  # no journal of another session is offered
    for form in (QSettings.Format.NativeFormat, QSettings.Format.IniFormat):
        QSettings.setPath(form, QSettings.Scope.UserScope, str(folder))
    viewer = napari.Viewer()
    if isinstance(image, Path):
        viewer.open(image, plugin="napari", name=name, **layer)
    else:
        viewer.add_image(image, name=name, **layer)
    dock, widget = viewer.window.add_plugin_dock_widget("napari-sam3-assistant", "SAM3 Assistant")
    return Demo(viewer, dock, widget)


def wait_until(done: Callable[[], bool]) -> None:
    """Work on events until something is done.

    Raises
    ------
    TimeoutError
        If it is not done within five minutes.
    """
    deadline = QDeadlineTimer(_LONGEST_WAIT_MS)
    while not done():
        if deadline.hasExpired():
            raise TimeoutError("napari did not get there within five minutes")
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 50)


def main() -> None:
    """Open the coins, find them by a phrase, and leave the window to the user."""
    import napari
    from skimage.data import coins

    demo = open_demo(coins(), "coins")
    demo.click("task_text_segmentation")
    demo.type_phrase("bright objects")
    demo.wait_for_result()
    napari.run()


if __name__ == "__main__":
    main()
