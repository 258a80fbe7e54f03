"""Drive napari through a folder that is annotated, by mouse and keys, and write its picture.

    python tools/screenshots_series.py [FOLDER]      (default: docs/images)

The folder holds pieces of scikit-image's coins.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import tifffile
from demo_gui import open_demo
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QComboBox
from screenshots import shoot
from skimage.data import coins
from user import User

_SIDE = 150


def main() -> None:
    """Write the picture."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/images")
    picture = coins()
    with tempfile.TemporaryDirectory() as source:
        for number in range(6):
            x = 46 * number
            piece = picture[15 : 15 + _SIDE, x : x + _SIDE]
            tifffile.imwrite(Path(source, f"coins_{number + 1}.tif"), piece)
        demo = open_demo(picture, "coins")
        demo.viewer.layers.clear()
        user = User(demo, dock_width=320, width=1100, height=780)
        annotation = demo.widget.binding.session.annotation
        annotation.start(source)
        user.wait_for(lambda: annotation.model.name != "")
        user.press(Qt.Key.Key_E)
        layer = demo.viewer.layers["coins_1"]
        user.drag(layer, (22, 20), (60, 62))
        user.wait_for(lambda: user.model.preview is not None)
        user.click("add_example")
        examples = Path(source, "sam3_labels", "sam3_examples")
        user.wait_for(lambda: any(examples.glob("*.json")))
        combo = demo.widget.findChild(QComboBox, "propose")
        combo.setCurrentIndex(combo.count() - 1)
        combo.activated.emit(combo.currentIndex())
        user.press(Qt.Key.Key_PageDown)
        user.wait_for(lambda: annotation.model.place == 1 and user.model.preview is not None)
        QTest.qWait(500)
        shoot(demo, folder / "series.png")


if __name__ == "__main__":
    main()
