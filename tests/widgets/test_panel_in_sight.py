"""What the panel shows at the start, and what stays in sight on a small screen."""

import os

import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton, QLabel, QScrollArea, QTreeView

from napari_sam3_assistant.core.classes import ClassList, ObjectClass
from napari_sam3_assistant.core.prompts import Task
from napari_sam3_assistant.io.class_list import write_classes
from napari_sam3_assistant.session.values import Level, Message

LONG = (
    "Propagated: 2 objects on 4 frames, in 0.3 s. Object 2 was not found on frames 2 to 3: click "
    "on it there, then press Propagate Existing Session. 1 other object was left out."
)
LONGEST = 3 * LONG
LATER = ("accept", "refine", "undo", "redo", "clear_preview", "save_now", "save", "save_file")


def test_status_progress_and_cancel_stay_in_sight(open_window, discs, gate):
    user = open_window(discs)
    user.window.resize(1366, 768)
    for mode in ("simple", "advanced"):
        user.click(f"mode_{mode}")
        user.window.resizeDocks([user.dock], [320], Qt.Orientation.Horizontal)
        user.settle()
        user.click_at(user.viewer.layers["image"], (30, 40))
        user.wait(lambda: gate.reached.acquire(blocking=False))
        user.settle()
        status = user.widget.findChild(QLabel, "status")
        for widget in (user.button("cancel"), user.progress_bar, status):
            assert widget.isVisible(), mode
            assert widget.visibleRegion().boundingRect() == widget.rect(), mode
        user.click("cancel")
        assert user.status == "Cancelled."
        assert not user.button("cancel").isVisible()
        gate.passes.release()
    gate.opened.set()


def look_for_main_actions(user, moment):
    """Look, at three widths, whether the four main actions of 3D/video are whole in sight."""
    for width in (320, 360, 500):
        user.window.resizeDocks([user.dock], [width], Qt.Orientation.Horizontal)
        user.settle()
        if folder := os.environ.get("SAM3_PICTURES"):
            user.window.grab().save(f"{folder}/simple_3d_{moment}_{width}.png")
        for name in ("new_object", "run_preview", "propagate_existing", "save_now"):
            button = user.button(name)
            assert button.isVisible(), (name, moment, width)
            assert button.visibleRegion().boundingRect() == button.rect(), (name, moment, width)


def test_3d_in_simple_fits_a_small_screen(open_window, discs, tmp_path):
    """To name an object, start, correct and save takes no scrolling on 1366 x 768 pixels.

    Neither with many classes, nor with much to say about a result.
    """
    user = open_window(np.stack([discs] * 4))
    user.window.resize(1366, 768)
    user.choose("3d_video_propagation")
    look_for_main_actions(user, "at the start")
    user.look_at_all()
    image = user.viewer.layers["image"]
    user.viewer.dims.set_current_step(0, 1)
    user.settle()
    user.click_at(image, (1, 30, 40))
    user.click("new_object")
    user.click_at(image, (1, 85, 110))
    user.run()
    assert user.status.startswith("✓ Propagated: 2 objects on 4 frames")
    look_for_main_actions(user, "propagated")
    file = tmp_path / "classes.csv"
    write_classes(ClassList(tuple(ObjectClass(n, f"kind {n}") for n in range(1, 13))), file)
    user.widget.binding.session.classes.file.choose(file)
    user.widget.binding.model.message = Message(LONG, Level.SUCCESS)
    look_for_main_actions(user, "with classes")
    user.widget.binding.model.message = Message(LONGEST, Level.SUCCESS)
    look_for_main_actions(user, "with the longest text")
    tree = next(one for one in user.widget.findChildren(QTreeView) if one.isVisible())
    user.widget.findChild(QScrollArea).ensureWidgetVisible(tree)
    user.settle()
    assert tree.visibleRegion().boundingRect() == tree.rect()


def test_nothing_is_cut_at_the_right_whatever_the_task(open_window, discs):
    user = open_window(np.stack([discs] * 4))
    tasks = [one.value for one in Task]
    for mode in ("simple", "advanced"):
        for task in tasks:
            user.click("mode_simple")
            user.choose(task)
            user.click(f"mode_{mode}")
            user.window.resizeDocks([user.dock], [320], Qt.Orientation.Horizontal)
            user.settle()
            assert user.widget.width() == 320, (mode, task)
            scrolled = [one for one in user.widget.findChildren(QScrollArea) if one.isVisible()]
            for scroll in scrolled:
                if scroll.widget() is not None and scroll.isAncestorOf(scroll.widget()):
                    assert scroll.widget().width() <= scroll.viewport().width(), (task, scroll)
        # As a larger font or a longer word would: the dock gives way, and cuts nothing.
        panel = scrolled[0]
        run = panel.widget().findChild(QAbstractButton, "run_preview")
        run.setMinimumWidth(420)
        user.settle()
        user.window.resizeDocks([user.dock], [320], Qt.Orientation.Horizontal)
        user.settle()
        assert panel.widget().width() <= panel.viewport().width(), mode
        run.setMinimumWidth(0)
        user.settle()


def test_only_what_can_be_used_is_on_show_at_the_start_and_five_lines_of_status(open_window, discs):
    user = open_window(discs)
    assert [name for name in LATER if user.button(name).isVisible()] == []
    user.click_at(user.viewer.layers["image"], (30, 40))
    user.wait(lambda: user.has("SAM3 preview labels") and not user.is_running)
    assert [name for name in LATER if not user.button(name).isVisible()] == []
    user.window.resizeDocks([user.dock], [320], Qt.Orientation.Horizontal)
    user.settle()
    scroll = user.widget.findChild(QScrollArea)
    assert scroll.widget().minimumSizeHint().width() <= scroll.viewport().width()
    user.undo()
    # They stay where they are.
    assert [name for name in LATER if not user.button(name).isVisible()] == []

    # However much is said, the status shows five lines of it.
    user.window.resize(1366, 768)
    user.redo()
    status = user.widget.findChild(QLabel, "status")
    lengths = []
    for width in (320, 640):
        user.window.resizeDocks([user.dock], [width], Qt.Orientation.Horizontal)
        user.widget.binding.model.message = Message(LONGEST, Level.ERROR)
        user.settle()
        run = user.button("run_preview")
        assert run.visibleRegion().boundingRect() == run.rect()
        assert status.visibleRegion().boundingRect() == status.rect()
        assert status.height() <= 5 * status.fontMetrics().lineSpacing() + 2
        shown = QLabel.text(status)
        assert shown.endswith("1 other object was left out."), "the end says what to do"
        assert LONGEST[:200] in status.toolTip()
        lengths.append(len(shown))
    assert lengths[0] < lengths[1], "a wider panel has room for more"
