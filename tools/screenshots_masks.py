"""Drive the mask operations and write the pictures of their documentation.

    python tools/screenshots_masks.py [FOLDER]      (default: docs/images)

Run it on a display with room for the window, such as ``xvfb-run -s "-screen 0 1600x1200x24"``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import napari
import numpy as np
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QLineEdit, QListWidget, QTabWidget
from skimage import data, measure

from napari_sam3_assistant.widgets.fields.save import open_mask_operations

_TABS = ("accepted", "merge", "cleanup", "final")
_NARROW = 420


class Demo:
    """The coins with a rough threshold as the preview to curate."""

    def __init__(self) -> None:
        self.viewer = napari.Viewer()
        coins = data.coins()
        self.viewer.add_image(coins, name="coins")
        rough = measure.label(coins > 110).astype(np.uint16)
        self.viewer.add_labels(rough, name="SAM3 preview labels")
        self.widget: Any = open_mask_operations(self.viewer)
        QTest.qWait(500)

    def tab(self, index: int) -> None:
        """Bring a tab to the front."""
        self.widget.findChild(QTabWidget, "mask_tabs").setCurrentIndex(index)
        QTest.qWait(50)

    def click(self, name: str) -> None:
        """Press a button and wait for the work."""
        found = self.widget.findChild(QAbstractButton, name)
        QTest.mouseClick(found, Qt.MouseButton.LeftButton)
        while not self.widget.findChild(QAbstractButton, "mask_cancel").isHidden():
            QTest.qWait(20)
        QTest.qWait(50)

    def type_in(self, name: str, text: str) -> None:
        """Type a text, or a number."""
        found = self.widget.findChild(object, name)
        line = found if isinstance(found, QLineEdit) else found.findChild(QLineEdit)
        line.selectAll()
        QTest.keyClicks(line, text)
        QTest.keyClick(line, Qt.Key.Key_Return)

    def tick_all(self, name: str) -> None:
        """Tick the first two layers of a list."""
        layers = self.widget.findChild(QListWidget, name)
        for row in range(2):
            layers.item(row).setCheckState(Qt.CheckState.Checked)
        QTest.qWait(300)

    def shoot(self, path: Path, *, whole: bool = False) -> None:
        """Write a picture of the window of the mask operations, or of all of napari's."""
        if whole:
            self.widget.window().hide()
            pixels = self.viewer.window.screenshot(canvas_only=False, flash=False)
            picture = Image.fromarray(pixels[..., :3])
            self.widget.window().show()
        else:
            self.widget.window().grab().save(str(path))
            picture = Image.open(path).convert("RGB")
        picture.quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


def play(demo: Demo) -> None:
    """Save two objects, tick them, analyse, and look at what would go."""
    demo.tab(0)
    for name, class_name, value in (("coins", "coin", "1"), ("shine", "reflection", "2")):
        demo.type_in("object_name", name)
        demo.type_in("class_name", class_name)
        demo.type_in("class_value", value)
        demo.click("save_accepted")
    demo.tab(1)
    demo.tick_all("merge_layers")
    demo.tab(3)
    demo.tick_all("final_layers")
    demo.tab(2)
    demo.click("analyze")
    demo.type_in("minimum", "300")
    demo.click("preview_remove_small")


def main(folder: Path) -> None:
    """Shoot every tab in both themes, Mask Cleanup also narrow, and the preview in the viewer."""
    folder.mkdir(parents=True, exist_ok=True)
    demo = Demo()
    play(demo)
    for theme in ("dark", "light"):
        demo.viewer.theme = theme
        for index, name in enumerate(_TABS):
            demo.tab(index)
            demo.shoot(folder / f"masks-{name}-{theme}.png")
    demo.tab(2)
    demo.shoot(folder / "masks-preview.png", whole=True)
    demo.widget.window().resize(_NARROW, demo.widget.window().height())
    QTest.qWait(100)
    demo.shoot(folder / "masks-cleanup-narrow.png")
    demo.viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images"))
