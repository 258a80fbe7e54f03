"""Drive napari and write the pictures of the chapter on 3D and video, each with a real result.

    python tools/screenshots_stacks.py [FOLDER]      (default: docs/images)

The task is shown in Simple and Advanced mode, in napari's dark and light theme; its steps in the
dark theme only. The display must have room for the window, such as
``xvfb-run -s "-screen 0 1600x1200x24"``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from demo_gui import Demo, open_demo, wait_until
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QApplication, QRadioButton
from screenshots import shoot
from skimage import draw

from napari_sam3_assistant.io.samples import cell_stack

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

_SLICE = 12
_CELLS = ((92, 73), (154, 142), (41, 124))
_LATER = (202, 112)
_THEMES = {"": "dark", "-light": "light"}
_HEIGHT, _REST = 1040, 780
_SIMPLE, _ADVANCED = 320, 760
_SETTLE_MS = 300


def arrange(demo: Demo, width: int) -> None:
    """Give the dock a width, and the rest of the window always the same room."""
    demo.dock.window().resize(_REST + width, _HEIGHT)
    QApplication.processEvents()
    demo.dock.window().resizeDocks([demo.dock], [width], Qt.Orientation.Horizontal)
    QApplication.processEvents()
    demo.viewer.reset_view()
    QApplication.processEvents()


def press(demo: Demo, name: str) -> None:
    """Press a button of the mode on show, also where it is scrolled away."""
    buttons = demo.widget.findChildren(QAbstractButton, name)
    next(one for one in buttons if one.isVisible()).click()
    QApplication.processEvents()


def click(demo: Demo, pixels: Sequence[tuple[float, float]]) -> None:
    """Place a positive point on each of several new objects of the slice on show."""
    layer = demo.viewer.layers["SAM3 points"]
    for number, (y, x) in enumerate(pixels):
        if number:
            press(demo, "new_object")
        place(demo, layer, y, x)


def place(demo: Demo, layer: object, y: float, x: float) -> None:
    """Place a point on the slice on show."""
    here = (demo.viewer.dims.current_step[0], y, x)
    layer.add(layer.world_to_data(demo.viewer.layers[0].data_to_world(here)))


def finish(demo: Demo, button: str) -> None:
    """Press a button and wait for the end of the propagation.

    Raises
    ------
    RuntimeError
        If it ended with an error.
    """
    press(demo, button)
    # The words of the run before stay until this one begins.
    wait_until(lambda: not demo.status.startswith("✓ Propagated"))
    wait_until(lambda: demo.status.startswith(("✓ Propagated", "✕")))
    if demo.status.startswith("✕"):
        raise RuntimeError(demo.status)


def show(demo: Demo, frame: int) -> None:
    """Move the slider."""
    demo.viewer.dims.set_current_step(0, frame)
    QApplication.processEvents()


def picture(demo: Demo, path: Path) -> None:
    """Shoot the window once Qt has arranged it: text that wraps takes several turns."""
    QTest.qWait(_SETTLE_MS)
    shoot(demo, path)


def in_themes(demo: Demo, folder: Path, name: str) -> None:
    """Shoot the window in both themes."""
    for mark, theme in _THEMES.items():
        demo.viewer.theme = theme
        picture(demo, folder / f"{name}{mark}.png")
    demo.viewer.theme = "dark"


def cells(folder: Path) -> None:
    """Start, look, go on with another object, in both modes."""
    ((data, layer, _),) = cell_stack()
    demo = open_demo(data, **layer)
    arrange(demo, _SIMPLE)
    show(demo, _SLICE)
    press(demo, "task_3d_video_propagation")
    press(demo, "tool_points")
    click(demo, _CELLS)
    picture(demo, folder / "3d-start.png")
    finish(demo, "run_preview")
    show(demo, _SLICE + 1)
    in_themes(demo, folder, "3d-simple")
    show(demo, _SLICE + 2)
    press(demo, "new_object")
    place(demo, demo.viewer.layers["SAM3 points"], *_LATER)
    finish(demo, "propagate_existing")
    picture(demo, folder / "3d-go-on.png")
    demo.widget.findChild(QRadioButton, "mode_advanced").click()
    arrange(demo, _ADVANCED)
    in_themes(demo, folder, "3d-advanced")
    demo.viewer.close()


def movie() -> npt.NDArray[np.uint8]:
    """Return discs on their ways through 40 frames of 200 x 240 pixels, with noise."""
    rng = np.random.default_rng(5)
    frames = rng.normal(40, 6, (40, 200, 240))
    starts = np.array([(30, 40), (100, 40), (165, 190)], float)
    speeds = np.array([(0.8, 3.6), (0.3, 2.4), (0.2, -3.4)])
    for number, frame in enumerate(frames):
        wave = 6 * np.sin(number / 5 + np.arange(3))[:, None] * (1, -1)
        for y, x in starts + number * speeds + wave:
            frame[draw.disk((y, x), 13, shape=frame.shape)] += 120
    return frames.clip(0, 255).astype(np.uint8)


def tracks(folder: Path) -> None:
    """Follow discs through time, with their tracks."""
    demo = open_demo(movie(), "movie", axis_labels=("t", "y", "x"))
    arrange(demo, _SIMPLE)
    show(demo, 0)
    press(demo, "task_3d_video_propagation")
    press(demo, "tool_points")
    click(demo, ((30, 40), (105, 35), (170, 185)))
    press(demo, "tracks_layer")
    finish(demo, "run_preview")
    show(demo, 32)
    picture(demo, folder / "3d-tracks.png")
    demo.viewer.close()


def main(folder: Path) -> None:
    """Play every scene and shoot it."""
    folder.mkdir(parents=True, exist_ok=True)
    tracks(folder)
    # Last, as it ends in Advanced mode, which is remembered.
    cells(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images"))
