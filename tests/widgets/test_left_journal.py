"""After a crash the dock offers to go on."""

import numpy as np
from qtpy.QtWidgets import QFrame

from napari_sam3_assistant.core.prompts import Task
from napari_sam3_assistant.session import journaling


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
    user.click("journal_go_on")
    user.wait(lambda: "goes on where it stopped" in user.status)
    np.testing.assert_array_equal(user.preview, found)
    assert user.widget.findChild(QFrame, "left_journal").isHidden()
    user.close_dock()
    user.open()
    user.click("journal_discard")
    assert user.widget.findChild(QFrame, "left_journal").isHidden()
    assert journaling.find_left(journals) == []
