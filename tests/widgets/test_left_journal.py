"""After a crash the dock offers to go on."""

import numpy as np
from qtpy.QtWidgets import QFrame, QLabel, QMessageBox

from napari_sam3_assistant.core.prompts import Task
from napari_sam3_assistant.errors import SessionError
from napari_sam3_assistant.session import journaling, opening


def _fail(folder):
    raise SessionError("The disk is gone.", f"Look for {folder}.")


def test_what_was_done_before_a_crash_is_offered_and_comes_back(journals, user, discs, monkeypatch):
    user.close_dock()
    user.open()
    user.viewer.add_image(discs, name="image")
    user.choose(Task.LIVE_POINTS)
    user.viewer.layers["SAM3 points"].add([30.0, 40.0])
    user.wait(lambda: user.has("SAM3 preview labels") and not user.is_running)
    found = user.preview.copy()
    assert user.widget.findChild(QFrame, "left_journal").isHidden()
    user.wait(lambda: journals.exists() and any(journals.glob("*/journal.log")))
    user.wait(lambda: user.widget.binding.session.journaling.written > 0)
    user.widget.binding.session.journaling.finish()
    user.close_dock()  # as a crash leaves it: unsaved
    user.viewer.layers.clear()
    user.open()
    assert not user.widget.findChild(QFrame, "left_journal").isHidden()
    user.viewer.add_image(discs, name="begun meanwhile")
    answers = [QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No]
    monkeypatch.setattr(QMessageBox, "question", lambda *_: answers.pop())
    user.click("journal_go_on")  # No
    user.settle()
    assert user.has("begun meanwhile")
    with monkeypatch.context() as broken:
        broken.setattr(opening, "read_session", _fail)
        answers = [QMessageBox.StandardButton.Yes]
        user.click("journal_go_on")
        user.wait(lambda: "The disk is gone" in user.status)
    offer = user.widget.findChild(QFrame, "left_journal")
    user.wait(lambda: not offer.isHidden())
    answers = [QMessageBox.StandardButton.Yes]
    user.click("journal_go_on")
    user.wait(lambda: "goes on where it stopped" in user.status)
    np.testing.assert_array_equal(user.preview, found)
    assert user.widget.findChild(QFrame, "left_journal").isHidden()
    user.close_dock()
    user.open()
    answers = [QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No]
    user.click("journal_discard")  # No
    assert not user.widget.findChild(QFrame, "left_journal").isHidden()
    assert len(journaling.find_left(journals)) == 1
    user.click("journal_discard")
    assert user.widget.findChild(QFrame, "left_journal").isHidden()
    assert journaling.find_left(journals) == []


def test_that_nothing_is_written_down_stays_in_sight(journals, user, discs):
    user.close_dock()
    journals.write_text("a file in the place of the folder")
    user.open()
    label = user.widget.findChild(QLabel, "not_written")
    assert label.isHidden()
    user.viewer.add_image(discs, name="image")
    user.choose(Task.LIVE_POINTS)
    user.viewer.layers["SAM3 points"].add([30.0, 40.0])
    user.wait(lambda: not label.isHidden())
    user.wait(lambda: user.has("SAM3 preview labels") and not user.is_running)

    assert user.status.startswith("✓ Preview ready")
    assert not label.isHidden()
    assert label.text().startswith("What you do is not written down now: ")
    assert "save the session elsewhere" in label.text()
    assert "hoose a" not in label.text(), "nobody chooses where the journal is"
