"""The wheel scrolls a panel, whatever passes under the pointer on the way."""

import pytest
from qtpy.QtCore import QPoint, QPointF, Qt
from qtpy.QtGui import QWheelEvent
from qtpy.QtWidgets import (
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QScrollArea,
    QScrollBar,
    QWidget,
)

from napari_sam3_assistant.widgets.fields.save import open_mask_operations


def turn_wheel(control, clicks):
    """Turn the wheel with the pointer over a control: away from oneself where it is positive."""
    spot = control.mapToGlobal(control.rect().center())
    while control is not None:
        event = QWheelEvent(
            QPointF(control.mapFromGlobal(spot)),
            QPointF(spot),
            QPoint(),
            QPoint(0, 120 * clicks),
            Qt.MouseButton.NoButton,
            Qt.KeyboardModifier.NoModifier,
            Qt.ScrollPhase.NoScrollPhase,
            False,
        )
        event.ignore()
        # What nobody takes goes to what is around: of a real wheel by Qt itself.
        taken = QApplication.sendEvent(control, event) and event.isAccepted()
        control = None if taken or control.isWindow() else control.parentWidget()


def read(control):
    return control.currentIndex() if isinstance(control, QComboBox) else control.value()


def scrolled_controls(window):
    """The lists, numbers and sliders in what is scrolled."""
    for area in window.findChildren(QScrollArea):
        for control in area.widget().findChildren(QWidget):
            takes = isinstance(control, QComboBox | QAbstractSpinBox | QAbstractSlider)
            if takes and not isinstance(control, QScrollBar):
                yield control


@pytest.mark.parametrize("panel", ["simple", "advanced", "masks"])
def test_no_choice_is_changed_by_scrolling_over_it(user, discs, panel):
    user.viewer.add_image(discs)
    user.viewer.add_labels(discs // 100)
    if panel == "masks":
        window = open_mask_operations(user.viewer)
    else:
        user.click(f"mode_{panel}")
        window = user.widget
    controls = list(scrolled_controls(window))
    assert len(controls) > 3
    for control in controls:
        before = read(control)
        for clicks in (1, -1, -1, 1, 1):
            turn_wheel(control, clicks)
            assert read(control) == before, f"{control.objectName()} was turned"


def test_the_panel_scrolls_and_a_number_with_the_keyboard_is_turned(open_window, discs):
    user = open_window(discs)
    user.click("mode_advanced")
    user.settle()
    panel = user.widget.findChild(QScrollArea, "advanced_panel")
    bar = panel.verticalScrollBar()
    turn_wheel(panel.findChild(QComboBox, "engine"), -1)
    assert bar.value() > 0
    threshold = panel.findChild(QAbstractSpinBox, "threshold")
    user.window.activateWindow()
    threshold.setFocus()
    user.wait(threshold.hasFocus)
    before, at = threshold.value(), bar.value()
    turn_wheel(threshold, 1)
    assert threshold.value() > before
    assert bar.value() == at
