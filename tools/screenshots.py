"""Drive napari and write the pictures of the documentation, each with a real result.

    python tools/screenshots.py [FOLDER]      (default: docs/images)

Every task is shown in napari's dark and light theme, with a dock 320 and 600 pixels wide; the
other tools of the 2D task, the steps of Advanced mode, a region of a large image and a batch in the
dark theme only. The display must have room for the window: ``make screenshots`` sees to it.
"""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from demo_gui import open_demo, wait_until
from PIL import Image
from qtpy.QtCore import QEvent, QPoint, QPointF, Qt
from qtpy.QtGui import QMouseEvent
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QPushButton, QRadioButton, QScrollArea, QWidget
from skimage import data, draw

from napari_sam3_assistant.qt.layout import Fold

if TYPE_CHECKING:
    from collections.abc import Callable

    from demo_gui import Demo

_HEIGHT, _REST = 860, 780
_WIDTHS = {"": 320, "_wide": 600}
_ADVANCED_WIDTHS = {"": 330, "_wide": 780}
_THEMES = {"": "dark", "_light": "light"}
_STEPS = {
    "Step 1.": "step1",
    "Step 2.": "step2",
    "Step 3.": "step3",
    "Step 4.": "step4",
    "Step 5.": "step5",
    "Step 6.": "step6",
    "Log.": "log",
}
_COIN, _BESIDE_IT, _ANOTHER = (54, 45), (54, 72), (124, 336)
_BOXES = (((30, 18), (78, 74)), ((100, 312), (148, 360)))


def points(demo: Demo) -> None:
    """Click on a coin, and off it."""
    demo.click("task_2d_segmentation")
    demo.click("tool_points")
    demo.viewer.layers["SAM3 points"].add(_COIN)
    demo.click("next_positive_False")
    demo.viewer.layers["SAM3 points"].add(_BESIDE_IT)
    demo.click("run_preview")
    demo.wait_for_result()


def box(demo: Demo) -> None:
    """Draw boxes around two coins."""
    demo.click("task_2d_segmentation")
    demo.click("tool_box")
    for corners in _BOXES:
        demo.viewer.layers["SAM3 boxes"].add_rectangles(np.array(corners))
    demo.click("run_preview")
    demo.wait_for_result()


def labels(demo: Demo) -> None:
    """Paint roughly over a coin."""
    demo.click("task_2d_segmentation")
    demo.click("tool_mask")
    painted = demo.viewer.layers["SAM3 mask prompt"]
    painted.brush_size = 24
    for y, x in zip(*draw.line(48, 36, 62, 54), strict=True):
        painted.paint((y, x), 1)
    demo.click("run_preview")
    demo.wait_for_result()


def text(demo: Demo) -> None:
    """Name what to find."""
    demo.click("task_text_segmentation")
    demo.type_phrase("bright objects")
    demo.wait_for_result()


def live_points(demo: Demo) -> None:
    """Accept one coin, and click on the next."""
    demo.click("task_refinement")
    demo.viewer.layers["SAM3 points"].add(_COIN)
    demo.wait_for_result()
    demo.click("accept")
    demo.viewer.layers["SAM3 points"].add(_ANOTHER)
    demo.wait_for_result()


def exemplar(demo: Demo) -> None:
    """Box one coin, and find those like it."""
    demo.click("task_exemplar_segmentation")
    demo.viewer.layers["SAM3 boxes"].add_rectangles(np.array(_BOXES[0]))
    demo.click("run_preview")
    demo.wait_for_result()


def advanced(demo: Demo) -> None:
    """Look at a result in Advanced mode."""
    text(demo)
    to_advanced(demo)


def to_advanced(demo: Demo) -> None:
    """Switch to Advanced mode."""
    # A radio button's middle may lie beside what reacts to a click, so no mouse here.
    demo.widget.findChild(QRadioButton, "mode_advanced").click()
    QApplication.processEvents()


TASKS: tuple[Callable[[Demo], None], ...] = (points, text, live_points, exemplar)
TOOLS: tuple[Callable[[Demo], None], ...] = (box, labels)
MODES: tuple[Callable[[Demo], None], ...] = (advanced,)  # last: the mode is remembered


def shoot(demo: Demo, path: Path) -> None:
    """Write a picture of the whole window."""
    QApplication.processEvents()
    pixels = demo.viewer.window.screenshot(canvas_only=False, flash=False)
    # All colours are kept: of few, those of a click or an outline would not be among them.
    Image.fromarray(pixels[..., :3]).save(path, optimize=True)


def arrange(demo: Demo, width: int) -> None:
    """Give the dock a width, and the rest of the window always the same room."""
    window = demo.dock.window()
    window.resize(_REST + width, _HEIGHT)
    QApplication.processEvents()
    window.resizeDocks([demo.dock], [width], Qt.Orientation.Horizontal)
    QApplication.processEvents()
    demo.viewer.reset_view()
    QApplication.processEvents()


def steps(folder: Path) -> None:
    """Shoot each step of Advanced mode by itself."""
    demo = open_demo(data.coins(), "coins")
    arrange(demo, _ADVANCED_WIDTHS[""])
    advanced(demo)
    for fold in demo.widget.findChildren(Fold):
        heading = fold.findChild(QPushButton, "fold").text()
        name = next((_STEPS[title] for title in _STEPS if title in heading), "")
        if name and fold.isVisible():
            fold.grab()
            QTest.qWait(500)  # the pictures of objects are made when they come into view
            fold.grab().save(str(folder / f"advanced_{name}.png"))
    demo.viewer.close()


def region(folder: Path) -> None:
    """Click in a large image, of which a square is worked on."""
    demo = open_demo(np.tile(data.coins(), (4, 4)), "large")
    arrange(demo, _ADVANCED_WIDTHS[""])
    demo.click("task_2d_segmentation")
    demo.click("tool_points")
    to_advanced(demo)
    shown(demo, "large_image").click()
    sizes = shown(demo, "roi_size")
    sizes.setCurrentIndex(0)
    sizes.activated.emit(0)
    demo.viewer.layers["SAM3 points"].add((660, 813))
    shown(demo, "run_preview").click()
    demo.wait_for_result()
    see(demo, "run_reason")
    shoot(demo, folder / "advanced_region.png")
    demo.viewer.close()


def batch(folder: Path) -> None:
    """Run a phrase on two images."""
    demo = open_demo(data.coins(), "coins")
    demo.viewer.add_image(data.coins()[::-1], name="coins upside down", translate=(0, 400))
    arrange(demo, _ADVANCED_WIDTHS[""])
    demo.click("task_text_segmentation")
    to_advanced(demo)
    shown(demo, "batch_images").click()
    shown(demo, "text").setText("bright objects")
    shown(demo, "run_preview").click()
    wait_until(lambda: demo.status.startswith("✓"))
    see(demo, "text")
    shoot(demo, folder / "advanced_batch.png")
    demo.viewer.close()


def correct(folder: Path) -> None:
    """Merge two coins by the mouse, split one along a line, and begin another line."""
    demo = open_demo(data.coins(), "coins")
    arrange(demo, _WIDTHS[""])
    text(demo)
    demo.click("task_2d_segmentation")
    demo.click("tool_points")
    canvas = demo.dock.window().findChild(QOpenGLWidget)
    camera = getattr(demo.viewer, "scene", demo.viewer).camera  # moved in napari 0.9

    def spot(pixel: tuple[int, int]) -> QPoint:
        y, x = (np.array(pixel) - np.asarray(camera.center)[-2:]) * camera.zoom
        return QPoint(round(canvas.width() / 2 + x), round(canvas.height() / 2 + y))

    def move(pixel: tuple[int, int], held: Qt.MouseButton) -> None:
        where = QPointF(spot(pixel))
        event = QMouseEvent(
            QEvent.Type.MouseMove,
            where,
            QPointF(canvas.mapToGlobal(spot(pixel))),
            Qt.MouseButton.NoButton,
            held,
            Qt.KeyboardModifier.NoModifier,
        )
        QApplication.sendEvent(canvas, event)
        QTest.qWait(20)  # vispy drops what comes within 10 ms

    def line(*pixels: tuple[int, int], release: bool) -> None:
        QTest.keyClick(canvas, Qt.Key.Key_S, Qt.KeyboardModifier.ShiftModifier)
        move(pixels[0], Qt.MouseButton.NoButton)
        QTest.mousePress(canvas, Qt.MouseButton.LeftButton, pos=spot(pixels[0]))
        for pixel in pixels[1:]:
            move(pixel, Qt.MouseButton.LeftButton)
        if release:
            QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=spot(pixels[-1]))

    alt = Qt.KeyboardModifier.AltModifier
    for pixel in (_COIN, (56, 110)):
        QTest.mouseClick(canvas, Qt.MouseButton.LeftButton, alt, spot(pixel))
    line((84, 336), (125, 338), (168, 335), release=True)
    line((96, 203), (124, 206), (152, 208), release=False)
    shoot(demo, folder / "correct-on-canvas.png")
    QTest.mouseRelease(canvas, Qt.MouseButton.LeftButton, pos=spot((152, 208)))
    demo.viewer.close()


def shown(demo: Demo, name: str) -> Any:  # noqa: ANN401 (of any class)
    """Return the widget of an object name that is on show, of those of both modes."""
    found = demo.widget.findChildren(QWidget, name)
    return next(one for one in found if one.isVisible())


def see(demo: Demo, name: str) -> None:
    """Scroll Advanced mode to a field."""
    panel = demo.widget.findChild(QScrollArea, "advanced_panel")
    panel.ensureWidgetVisible(shown(demo, name))
    QApplication.processEvents()


def main(folder: Path) -> None:
    """Play every scene and shoot it."""
    folder.mkdir(parents=True, exist_ok=True)
    for play in TASKS + TOOLS + MODES:
        demo = open_demo(data.coins(), "coins")
        arrange(demo, _WIDTHS[""])
        play(demo)
        widths = _ADVANCED_WIDTHS if play is advanced else _WIDTHS
        for (theme_mark, theme), (width_mark, width) in product(_THEMES.items(), widths.items()):
            if play in TOOLS and theme_mark + width_mark:
                continue
            demo.viewer.theme = theme
            arrange(demo, width)
            shoot(demo, folder / f"{play.__name__}{theme_mark}{width_mark}.png")
        demo.viewer.close()
    for more in (steps, region, batch, correct):
        more(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images"))
