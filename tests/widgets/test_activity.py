"""Long work and errors, where napari tells its own."""

import pytest
from napari._qt.dialogs.qt_notification import NapariQtNotification
from napari._qt.widgets.qt_progress_bar import QtLabeledProgressBar
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QLabel, QPushButton

from napari_sam3_assistant.widgets import activity


@pytest.fixture
def soon(monkeypatch):
    """What takes a moment is long."""
    monkeypatch.setattr(activity, "LONG_MS", 200)


@pytest.fixture
def working(open_window, discs, gate, soon):
    """A user whose run takes so long that napari is told."""
    user = open_window(discs)
    user.choose("2d_segmentation", "points")
    user.click_at(user.viewer.layers["image"], (30, 110))
    user.click("run_preview")
    user.wait(lambda: len(bars(user)) == 1)
    yield user
    vars(user).clear()  # napari's fixture fails where its window is still held


def bars(user):
    return user.window.findChildren(QtLabeledProgressBar)


def asked_at_closing(user):
    """What napari tells whoever closes its window; it closes without asking for an empty list.

    The question itself comes when the window manager closes it, and there is none here.
    """
    return user.viewer.window._task_status_manager.get_status()  # noqa: SLF001


def test_long_work_is_in_the_activity_dock_and_is_cancelled_there(working, gate):
    (bar,) = bars(working)
    assert bar.description_label.text() == "SAM3 Assistant: Segmenting: "
    told = bar.qt_progress_bar
    working.wait(lambda: (told.value(), told.maximum()) == (2, 3))  # until the gate opens
    working.wait(lambda: gate.reached.acquire(blocking=False))  # the engine is done but for it
    if activity.Status is not None:  # older napari never asks for a plugin
        said = "SAM3 Assistant: work is going on. Closing the window ends it."
        assert asked_at_closing(working) == [said]

    QTest.mouseClick(bar.findChild(QPushButton), Qt.MouseButton.LeftButton)

    working.wait(lambda: len(bars(working)) == 0)
    assert working.status == "Cancelled."
    assert activity.Status is None or asked_at_closing(working) == []

    gate.passes.release()  # the run that was cancelled ends
    working.click("run_preview")
    working.wait(lambda: len(bars(working)) == 1)
    gate.opened.set()
    working.close_dock()  # which takes its bar along
    working.wait(lambda: len(bars(working)) == 0)
    working.open()


def test_an_error_is_a_notification_and_a_download_a_bar_too(open_window, discs, soon):
    user = open_window(discs)

    user.press(Qt.Key.Key_N)

    assert user.status == "✕ There are no results yet. Click on the object in the image first."
    (shown,) = user.window.findChildren(NapariQtNotification)
    assert user.status[2:] in [one.text() for one in shown.findChildren(QLabel)]
    assert shown.isVisible()

    model = user.widget.binding.model

    model.download = "12 of 156 MB"  # what the session says while one is going

    user.wait(lambda: len(bars(user)) == 1)
    (bar,) = bars(user)
    assert bar.description_label.text() == "SAM3 Assistant: 12 of 156 MB: "
    assert bar.qt_progress_bar.maximum() == 0
    model.download = ""
    user.wait(lambda: len(bars(user)) == 0)
