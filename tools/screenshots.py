"""Drive napari and write the pictures of the documentation, each with a real result.

    python tools/screenshots.py [FOLDER]      (default: docs/images)

Every task is shown in napari's dark and light theme, with a dock 320 and 600 pixels wide; the
other tools of the 2D task in the dark theme only. The display must have room for the window, such
as ``xvfb-run -s "-screen 0 1600x1200x24"``.
"""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from demo_gui import open_demo
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QRadioButton
from skimage import data, draw

if TYPE_CHECKING:
    from collections.abc import Callable

    from demo_gui import Demo

_HEIGHT, _REST = 800, 780
_WIDTHS = {"": 320, "_wide": 600}
_ADVANCED_WIDTHS = {"": 330, "_wide": 780}
_THEMES = {"": "dark", "_light": "light"}
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
    # A radio button's middle may lie beside what reacts to a click, so no mouse here.
    demo.widget.findChild(QRadioButton, "mode_advanced").click()


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


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images"))
