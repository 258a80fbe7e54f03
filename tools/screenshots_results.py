"""Drive napari and write the pictures of results in the documentation, each with a real result.

    python tools/screenshots_results.py [FOLDER]      (default: docs/images)

The results step of Advanced mode as a table and as a gallery, with the histogram, in napari's dark
and light theme, 320 and 600 pixels wide; the gallery of Simple mode; and a figure that was saved.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from demo_gui import Demo, open_demo, wait_until
from PIL import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton, QApplication, QComboBox, QListView, QScrollArea, QWidget
from skimage.data import coins
from superqt import QDoubleRangeSlider

from napari_sam3_assistant.widgets.fields.results import draw_figure

_SETTLED = 30


def settle() -> None:
    """Let Qt lay out and draw what is due."""
    for _ in range(_SETTLED):
        QApplication.processEvents()


def fold(panel: QWidget, title: str, *, is_open: bool) -> None:
    """Open or close a fold."""
    for button in panel.findChildren(QAbstractButton, "fold"):
        if title in button.text() and button.text().startswith("▾") != is_open:
            button.click()


def wait_for_pictures(panel: QWidget) -> None:
    """Wait until the pictures in sight are drawn and the objects are measured."""
    titles = panel.findChild(QListView, "gallery").model()
    wait_until(lambda: titles.columnCount() > len("LPFOSA"))
    for _ in range(20):
        settle()


def save(widget: QWidget, path: Path) -> None:
    """Write a picture of a widget."""
    image = widget.grab().toImage()
    image = image.convertToFormat(image.Format.Format_RGB888)
    bits = image.constBits()
    bits.setsize(image.sizeInBytes())
    rows = np.frombuffer(bits, np.uint8).reshape(image.height(), image.bytesPerLine())
    pixels = rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3)
    Image.fromarray(pixels).save(path, optimize=True)


def resize(demo: Demo, width: int) -> None:
    """Give the dock a width."""
    window = demo.dock.window()
    window.resize(1500, 1100)
    window.resizeDocks([demo.dock], [width], Qt.Orientation.Horizontal)
    settle()


def main() -> None:
    """Write all pictures."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/images")
    demo = open_demo(coins(), "coins", scale=(0.3, 0.3), units=("mm", "mm"))
    demo.click("task_text_segmentation")
    demo.type_phrase("bright objects")
    demo.wait_for_result()
    widget = demo.widget
    simple = widget.findChild(QScrollArea)
    fold(widget, "Results", is_open=True)
    demo.viewer.theme = "dark"
    resize(demo, 340)
    wait_for_pictures(widget)
    simple.verticalScrollBar().setValue(simple.verticalScrollBar().maximum())
    settle()
    save(widget, folder / "results-simple.png")
    widget.findChild(QAbstractButton, "mode_advanced").click()
    panel = widget.findChild(QWidget, "advanced_panel")
    for title in ("Step 1", "Step 2", "Step 3", "Step 4", "Step 6", "Log"):
        fold(panel, title, is_open=False)
    fold(panel, "Histogram", is_open=True)
    column = panel.findChild(QComboBox, "histogram_column")
    column.setCurrentText("Area")
    column.activated.emit(column.currentIndex())
    slider = panel.findChild(QDoubleRangeSlider, "filter_area")
    low, high = slider.value()
    slider.setValue((low + (high - low) / 6, high))
    model = panel.findChild(QListView, "gallery").model()
    wait_until(lambda: model.rowCount() < 24)
    for theme in ("dark", "light"):
        demo.viewer.theme = theme
        for width, suffix in ((320, ""), (600, "-wide")):
            resize(demo, width)
            for view in ("table", "gallery"):
                panel.findChild(QAbstractButton, f"results_{view}_button").click()
                wait_for_pictures(panel)
                save(widget, folder / f"results-{view}-{theme}{suffix}.png")
    widget.binding.session.save_figure(folder / "results-figure.png", draw_figure)
    wait_until(lambda: demo.status.startswith(("✓ Saved", "✕")))
    demo.viewer.close()


if __name__ == "__main__":
    main()
