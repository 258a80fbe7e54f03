"""A list that is narrower than its entries."""

import pytest
from qtpy.QtCore import QEvent, QPoint
from qtpy.QtGui import QHelpEvent
from qtpy.QtWidgets import QApplication, QToolTip

from napari_sam3_assistant.core.prompts import Task
from napari_sam3_assistant.qt.controls import ElidedCombo

LONG = "Points (positive/negative) of a rather long name"


@pytest.fixture
def combo(qtbot):
    combo = ElidedCombo()
    qtbot.addWidget(combo)
    combo.offer([("long", LONG)])
    combo.choose("long")
    combo.setToolTip("What you prompt with.")
    combo.show()
    yield combo
    QToolTip.hideText()


def rest_on(combo):
    """Rest the pointer on the list and return the tooltip."""
    at = QPoint(5, 5)
    QApplication.sendEvent(combo, QHelpEvent(QEvent.Type.ToolTip, at, combo.mapToGlobal(at)))
    return QToolTip.text()


def test_a_text_with_room_is_whole(combo):
    combo.resize(900, 30)

    assert combo.elided_text == LONG
    assert rest_on(combo) == "What you prompt with."


def test_a_cut_text_says_so_and_the_tooltip_has_it_whole(combo):
    combo.resize(120, 30)

    assert combo.elided_text.endswith("…")
    assert LONG.startswith(combo.elided_text[:-1])
    assert combo.currentText() == LONG
    assert rest_on(combo) == f"{LONG}\nWhat you prompt with."


def test_it_is_drawn_as_a_plain_list_of_the_cut_text(combo):
    combo.resize(120, 30)
    cut = combo.grab().toImage()
    combo.setItemText(0, combo.elided_text)

    assert combo.grab().toImage() == cut


def test_a_chosen_value_is_the_one_that_was_offered(combo):
    combo.offer([(task, task.value) for task in Task])
    combo.choose(Task.VIDEO)

    # PySide6 would give back a bare string from Qt's item data, and no `is` would hold.
    assert combo.value is Task.VIDEO


def test_offering_others_keeps_what_is_chosen_or_else_chooses_the_first(combo):
    combo.offer([(1, "one"), (2, "two")])
    assert combo.value == 1
    combo.choose(2)
    combo.offer([(0, "zero"), (1, "one"), (2, "two")])
    assert combo.value == 2

    combo.offer([(0, "zero")])
    assert combo.value == 0
    combo.offer([])
    assert combo.value is None
