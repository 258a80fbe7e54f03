"""The dock widgets open from napari's plugin menu, quickly, and fit in a narrow dock."""

import os
import subprocess
import sys

import numpy as np
import pytest
from napari.layers._layer_actions import _convert_to_image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton, QComboBox, QDoubleSpinBox, QLabel, QScrollArea

NARROW = 320
OPEN_AND_LIST_MODULES = """
import sys
from napari_sam3_assistant.widgets.main_widget import MainWidget
from napari.components import ViewerModel
from qtpy.QtWidgets import QApplication
application = QApplication([])
MainWidget(ViewerModel())
print(sorted({name.split(".")[0] for name in sys.modules} & {"torch", "transformers", "sam3"}))
"""


@pytest.mark.parametrize(
    ("title", "class_name"),
    [("SAM3 Assistant", "MainWidget"), ("SAM3 Mask Operations", "MaskOperationsWidget")],
)
def test_a_widget_opens_through_the_manifest(viewer, title, class_name):
    dock, widget = viewer.window.add_plugin_dock_widget("napari-sam3-assistant", title)

    assert type(widget).__name__ == class_name
    assert title in dock.name
    assert widget.layout().count() > 0


def test_a_script_may_call_the_viewer_by_either_name(viewer, settings_file, qtbot):
    from napari_sam3_assistant.widgets.main_widget import MainWidget
    from napari_sam3_assistant.widgets.mask_operations_widget import MaskOperationsWidget

    for argument in ("napari_viewer", "viewer"):
        for widget_class in (MainWidget, MaskOperationsWidget):
            widget = widget_class(**{argument: viewer})
            qtbot.addWidget(widget)
            assert widget.layout().count() > 0


def test_opening_imports_no_torch(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", OPEN_AND_LIST_MODULES],
        capture_output=True,
        text=True,
        check=False,
        # Qt keeps what the widget remembers under this folder.
        env={**os.environ, "XDG_CONFIG_HOME": str(tmp_path)},
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_what_a_newcomer_sees_without_an_image_and_with_one_that_napari_takes_for_labels(user):
    assert user.text_of("image_summary") == "Open an image first."
    assert user.text_of("engine_badge") == "Engine: Built-in (no SAM 3 weights)"
    assert user.chosen("task") == ["2D"]
    assert user.chosen("tool") == ["Points"]
    assert user.results == "No preview result yet."
    for name in ("run_preview", "cancel", "clear_preview", "save", "save_file", "undo", "redo"):
        assert not user.button(name).isEnabled(), name
    assert user.button("run_preview").toolTip() == "Open an image first."
    assert user.text_of("run_reason") == "Open an image first."

    user.viewer.add_labels(np.full((30, 40), 60_000, np.uint32), name="raw")
    said = (
        "“raw” is open as labels: so napari opens files of whole numbers of 32 or 64 bits. If it "
        "is an image, right-click it in the layer list: Convert to Image."
    )
    assert user.text_of("image_summary") == user.text_of("run_reason") == said

    user.viewer.layers.selection.active = user.viewer.layers["raw"]
    _convert_to_image(user.viewer.layers)
    user.settle()
    assert user.text_of("image_summary") == "30 x 40"


def test_nothing_is_cut_at_320_pixels(open_window, discs):
    user = open_window(discs)
    threshold = user.widget.findChild(QDoubleSpinBox, "threshold")
    assert not threshold.isVisible()
    folds = user.widget.findChildren(QAbstractButton, "fold")
    next(one for one in folds if "More options" in one.text()).click()
    assert threshold.isVisible()
    user.window.resizeDocks([user.dock], [NARROW], Qt.Orientation.Horizontal)
    tasks = ("2d_segmentation", "text_segmentation", "refinement", "exemplar_segmentation")
    for task, theme in zip(tasks, ("dark", "light") * 2, strict=True):
        user.viewer.theme = theme
        user.choose(task)
        user.settle()
        look_for_what_is_cut(user)


def look_for_what_is_cut(user):
    assert user.dock.width() <= NARROW
    scroll = user.widget.findChild(QScrollArea)
    assert scroll.widget().minimumSizeHint().width() <= scroll.viewport().width()
    shown = [one for one in user.widget.findChildren(QAbstractButton) if one.isVisible()]
    shown += [one for one in user.widget.findChildren(QLabel) if one.isVisible()]
    assert len(shown) > 15
    find = user.widget.findChildren  # PySide6 takes one type at a time
    for one in [*find(QComboBox), *find(QDoubleSpinBox)]:
        assert one.height() >= one.minimumSizeHint().height() or not one.isVisible()
    for one in shown:
        if isinstance(one, QLabel) and one.wordWrap():
            needed = one.heightForWidth(one.width())
            assert one.height() >= needed, one.text()
        else:
            assert one.width() >= one.fontMetrics().horizontalAdvance(one.text()), one.text()
