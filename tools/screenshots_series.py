"""Drive napari through a folder that is annotated, by mouse and keys, and write its pictures.

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
from qtpy.QtGui import QAction
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QComboBox, QDialog, QTableWidget, QTreeView
from screenshots import shoot
from screenshots_results import save
from skimage.data import coins
from user import User

from napari_sam3_assistant.core.classes import ClassList, ObjectClass

_SIDE = 150


_CLASSES = ClassList(
    (
        ObjectClass(1, "bronze", (205, 127, 50), "metal"),
        ObjectClass(2, "silver", (160, 160, 175), "metal"),
        ObjectClass(3, "worn silver", (86, 180, 233), "silver"),
        ObjectClass(4, "glass", (0, 158, 115)),
    )
)


def _shoot_tree(user: User, path: Path) -> None:
    """Give the proposed objects classes in turn, and take the tree with one class open."""
    session = user.widget.binding.session
    for number, row in enumerate(user.model.results):
        session.classes.set_class([row], ("bronze", "silver", "worn silver", "")[number % 4])
    QTest.qWait(300)
    tree = next(one for one in user.widget.findChildren(QTreeView) if one.isVisible())
    rows = tree.model()
    for at, (name, _), _ in rows.branches():
        tree.setExpanded(at, name != "")
    QTest.qWait(300)
    save(tree.parentWidget(), path)


def main() -> None:
    """Write the pictures."""
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
        demo.widget.binding.session.classes.file.take(_CLASSES)
        _shoot_tree(user, folder / "class-tree.png")
        demo.widget.findChild(QAction, "menu_edit_classes").trigger()
        dialog = demo.widget.findChild(QDialog, "class_list_dialog")
        dialog.findChild(QTableWidget, "class_table").setCurrentCell(2, 1)
        QTest.qWait(500)
        save(dialog, folder / "class-list.png")
        dialog.reject()


if __name__ == "__main__":
    main()
