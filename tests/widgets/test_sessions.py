"""The session menu saves and opens; napari's own File > Open opens sessions, too."""

import json

import numpy as np
import pytest
from qtpy.QtCore import QPoint, QTimer
from qtpy.QtGui import QAction
from qtpy.QtWidgets import QApplication, QFileDialog, QLineEdit, QMenu, QMessageBox

from napari_sam3_assistant.core.prompts import Task
from napari_sam3_assistant.widgets.fields.session import SessionDialog, SessionMenu


@pytest.fixture
def chosen(monkeypatch, tmp_path):
    """What the user chooses in dialogs, which no test can click on: they are the system's."""
    folder = tmp_path / "work & play.sam3session"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(folder), ""))
    monkeypatch.setattr(QMessageBox, "question", lambda *_: QMessageBox.StandardButton.Yes)
    return folder


def answer(path):
    """Type a path into the dialog that opens next, and press Open."""

    def act():
        dialog = QApplication.activeModalWidget()
        if not isinstance(dialog, SessionDialog):
            QTimer.singleShot(50, act)
            return
        dialog.findChild(QLineEdit).setText(str(path))
        dialog.accept()

    QTimer.singleShot(0, act)


def trigger(user, name):
    user.widget.findChild(QAction, name).trigger()
    user.wait(lambda: not user.is_running)


def click(user, *places):
    user.choose(Task.LIVE_POINTS)
    user.viewer.layers["SAM3 points"].add(np.array(places, float))
    user.wait(lambda: user.has("SAM3 preview labels") and not user.is_running)


def test_a_session_is_saved_and_opened_by_its_menu(user, discs, chosen):
    user.viewer.add_image(discs, name="image")
    click(user, (30, 40))
    found = user.preview.copy()
    trigger(user, "save_session")  # which asks where, the first time
    assert "Session saved in" in user.status
    assert json.loads((chosen / "session.json").read_text("utf8"))["version"] == 1
    user.viewer.layers["SAM3 points"].add([85.0, 110.0])
    user.wait(lambda: not user.is_running and not np.array_equal(user.preview, found))
    answer(chosen)
    trigger(user, "open_session")
    user.wait(lambda: "Session opened" in user.status)
    np.testing.assert_array_equal(user.preview, found)
    assert len(user.viewer.layers["SAM3 points"].data) == 1
    # One goes on: the next click is a prompt of the object on show.
    user.viewer.layers["SAM3 points"].add([85.0, 110.0])
    user.wait(lambda: not user.is_running and not np.array_equal(user.preview, found))
    menu = user.widget.findChild(SessionMenu).menu()
    menu.popup(QPoint(0, 0))
    recent = menu.findChild(QMenu, "recent_sessions")
    assert recent.menuAction().isEnabled()
    assert [action.text() for action in recent.actions()] == ["work && play.sam3session"], (
        "what Qt shows as one"
    )
    menu.close()


def test_file_open_and_a_drop_open_a_session(user, discs, chosen, make_napari_viewer):
    user.viewer.add_image(discs, name="image")
    click(user, (30, 40))
    trigger(user, "save_session_as")
    found = user.preview.copy()
    user.close_dock()
    user.viewer.layers.clear()
    user.viewer.open(str(chosen), plugin=None)  # what both do
    user.open()
    user.wait(lambda: user.has("SAM3 preview labels"))
    np.testing.assert_array_equal(user.preview, found)
    assert user.viewer.layers["image"].data.shape == discs.shape


def test_the_dialog_opens_a_workspace_of_version_4_5(user, tmp_path, monkeypatch):
    told = {
        "format": "napari-sam3-workspace",
        "layers": [{"name": "clicks", "type": "points", "data": [[3, 4], [5, 6]]}],
    }
    (tmp_path / "old.sam3.json").write_text(json.dumps(told))
    answer(tmp_path / "old.sam3.json")
    trigger(user, "open_session")
    user.wait(lambda: user.has("clicks"))
    assert "Session opened" in user.status
