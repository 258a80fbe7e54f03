"""Drive napari and write the pictures of the documentation, each with a real result.

    python tools/screenshots.py [FOLDER]      (default: docs/images)

Every task is shown in napari's dark and light theme, with a dock 320 and 600 pixels wide. Run it
on a display with room for the window, such as ``xvfb-run -s "-screen 0 1600x1200x24"``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from demo_gui import open_demo
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication
from skimage import data, draw

if TYPE_CHECKING:
    from collections.abc import Callable

    from demo_gui import Demo

_WINDOW = (1200, 880)
_WIDTHS = (320, 600)
_THEMES = ("dark", "light")
_COIN, _ANOTHER = (76, 71), (124, 319)


def points(demo: Demo) -> None:
    """Click on a coin, and off it."""
    demo.click("task_2d_segmentation")
    demo.click("tool_points")
    demo.viewer.layers["SAM3 points"].add(_COIN)
    demo.click("next_positive_False")
    demo.viewer.layers["SAM3 points"].add((76, 110))
    demo.click("run_preview")
    demo.wait_for_result()


def boxes(demo: Demo) -> None:
    """Draw boxes around two coins."""
    demo.click("task_2d_segmentation")
    demo.click("tool_box")
    for box in (((35, 30), (115, 112)), ((95, 290), (155, 350))):
        demo.viewer.layers["SAM3 boxes"].add_rectangles(np.array(box))
    demo.click("run_preview")
    demo.wait_for_result()


def labels(demo: Demo) -> None:
    """Paint roughly over a coin."""
    demo.click("task_2d_segmentation")
    demo.click("tool_mask")
    painted = demo.viewer.layers["SAM3 mask prompt"]
    painted.brush_size = 30
    for y, x in zip(*draw.line(70, 60, 84, 82), strict=True):
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
    demo.viewer.layers["SAM3 boxes"].add_rectangles(np.array([(35, 30), (115, 112)]))
    demo.click("run_preview")
    demo.wait_for_result()


SCENES: dict[str, Callable[[Demo], None]] = {
    "2d-points": points,
    "2d-box": boxes,
    "2d-labels": labels,
    "text": text,
    "live-points": live_points,
    "exemplar": exemplar,
}


def shoot(demo: Demo, path: Path) -> None:
    """Write a picture of the whole window, with as many colours as it needs, 256 at most."""
    QApplication.processEvents()
    pixels = demo.viewer.window.screenshot(canvas_only=False, flash=False)
    picture = Image.fromarray(pixels[..., :3])
    picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def main(folder: Path) -> None:
    """Shoot every scene in every theme and width."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, play in SCENES.items():
        demo = open_demo(data.coins(), "coins")
        window = demo.dock.window()
        window.resize(*_WINDOW)
        window.resizeDocks([demo.dock], [_WIDTHS[0]], Qt.Orientation.Horizontal)
        QApplication.processEvents()
        demo.viewer.reset_view()
        play(demo)
        for theme in _THEMES:
            demo.viewer.theme = theme
            for width in _WIDTHS:
                window.resizeDocks([demo.dock], [width], Qt.Orientation.Horizontal)
                QApplication.processEvents()
                demo.viewer.reset_view()
                shoot(demo, folder / f"{name}-{theme}-{width}.png")
        demo.viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images"))
