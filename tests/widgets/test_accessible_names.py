"""What users without eyes, or without a mouse, have of the controls: their names, and the focus."""

import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractScrollArea,
    QAbstractSpinBox,
    QCheckBox,
    QComboBox,
    QGroupBox,
    QLabel,
    QLineEdit,
    QPushButton,
    QRadioButton,
    QScrollArea,
    QScrollBar,
    QTabBar,
    QTabWidget,
    QWidget,
)

_PARTS_OF = (QComboBox, QAbstractSpinBox)


def controls(widget):
    """What takes the keyboard: not the parts that Qt makes of them, nor what only scrolls."""
    for one in widget.findChildren(QWidget):
        parent = one.parent()
        part = isinstance(parent, _PARTS_OF) or isinstance(parent.parent(), _PARTS_OF)
        scrolls = isinstance(one, QScrollArea | QScrollBar)
        view = isinstance(parent, QAbstractScrollArea) and parent.viewport() is one
        texts = isinstance(one, QLabel | QTabBar | QTabWidget)  # their own texts are their names
        if one.focusPolicy() != Qt.FocusPolicy.NoFocus and not (part or scrolls or view or texts):
            yield one


def spoken(control, labels):
    """The name that Qt's accessibility gives a control: PyQt6 has nothing to ask Qt for it."""
    text = control.text() if isinstance(control, QAbstractButton) else ""
    buddy = next((one.text() for one in labels if one.buddy() is control), "")
    group = control.parent().title() if isinstance(control.parent(), QGroupBox) else ""
    return control.accessibleName() or text or buddy or group


def nameless(widget):
    labels = widget.findChildren(QLabel)
    found = list(controls(widget))
    assert len(found) > 30
    return [
        (type(one).__name__, one.objectName(), one.toolTip())
        for one in found
        if not spoken(one, labels).strip()
    ]


def test_every_control_has_a_name(user):
    user.click("mode_advanced")
    _, masks = user.viewer.window.add_plugin_dock_widget(
        "napari-sam3-assistant", "SAM3 Mask Operations"
    )

    assert nameless(user.widget) + nameless(masks) == []


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_control_that_has_the_keyboard_looks_different(open_window, discs, theme):
    user = open_window(discs)
    user.viewer.theme = theme
    user.window.activateWindow()
    text = user.widget.findChild(QLineEdit, "text")
    user.choose("text_segmentation")
    user.settle()

    for kind, name in (
        (QPushButton, "task_2d_segmentation"),
        (QRadioButton, "mode_simple"),
        (QCheckBox, "sound"),
        (QComboBox, "image"),
        (QLineEdit, "text"),
    ):
        control = user.widget.findChild(kind, name)
        other = text if control is not text else user.button("mode_simple")
        other.setFocus(Qt.FocusReason.TabFocusReason)
        before = control.grab().toImage()
        control.setFocus(Qt.FocusReason.TabFocusReason)
        user.settle()
        assert control.grab().toImage() != before, f"{name} looks the same"
