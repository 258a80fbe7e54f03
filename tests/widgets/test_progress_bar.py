"""A bar of work whose end nobody knows says so and stands still: moving, it would cost a core."""

import pytest
from qtpy.QtCore import QEvent, QObject
from qtpy.QtWidgets import QProgressBar

from napari_sam3_assistant.qt.controls import show_progress


class Paints(QObject):
    """Counts how often a widget is drawn."""

    count = 0

    def eventFilter(self, watched, event):
        self.count += event.type() == QEvent.Type.Paint
        return False


@pytest.mark.parametrize(("share", "text", "value"), [(None, "working", 0), (0.25, "1 of 4", 0.25)])
def test_a_bar_is_drawn_when_it_changes_and_not_by_itself(qtbot, share, text, value):
    bar, paints = QProgressBar(), Paints()
    qtbot.addWidget(bar)
    bar.installEventFilter(paints)
    with qtbot.waitExposed(bar):
        bar.show()
    show_progress(bar, share, text)
    qtbot.wait(300)
    before = paints.count

    show_progress(bar, share, text)
    qtbot.wait(700)

    assert bar.text() == text
    assert bar.value() / bar.maximum() == value
    assert paints.count == before
