"""A control that can't act now is greyed out, and its tooltip says why."""

import numpy as np
import pytest
from qtpy.QtWidgets import QAbstractButton, QAbstractSpinBox, QComboBox, QLineEdit, QTextEdit

from napari_sam3_assistant.core.prompts import Task, Tool, tools_of

KINDS = (QAbstractButton, QAbstractSpinBox, QComboBox, QLineEdit, QTextEdit)


class Tips:
    """The tooltips of the controls of a panel, while they can act and while they can't."""

    def __init__(self, panel):
        self._panel = panel
        self._on, self._off = {}, {}

    def look(self):
        for control in (one for kind in KINDS for one in self._panel.findChildren(kind)):
            if control.objectName() and control.isVisibleTo(self._panel):
                seen = self._on if control.isEnabled() else self._off
                seen.setdefault(control.objectName(), set()).add(control.toolTip())

    @property
    def unexplained(self):
        """The controls that say nothing while they can't act, or what they say when they can."""
        return {
            name: said & (self._on.get(name, set()) | {""})
            for name, said in self._off.items()
            if said & (self._on.get(name, set()) | {""})
        }

    @property
    def greyed_out(self):
        return set(self._off)


@pytest.mark.parametrize(
    ("mode", "some"),
    [
        ("simple", {"cancel", "clear_preview", "image", "undo", "redo", "accept", "save"}),
        ("advanced", {"cancel", "image", "text", "next_positive_True", "encode_ahead", "undo"}),
    ],
)
def test_in_every_state_of_the_main_widget(user, discs, gate, mode, some):
    user.click(f"mode_{mode}")
    binding = user.widget.binding
    model, tips = binding.model, Tips(user.widget)

    def choose(task, tool):
        model.task = task
        model.tool = tool
        tips.look()

    def look():
        for task in Task:
            model.task = task
            for tool in tools_of(task):
                choose(task, tool)

    look()
    user.viewer.add_image(np.stack([discs] * 3), name="stack")
    look()
    user.viewer.layers["stack"].visible = False
    user.viewer.add_image(discs, name="image")
    choose(Task.SEGMENT, Tool.POINTS)
    binding.arm()
    user.viewer.layers["SAM3 points"].add((30, 40))
    binding.session.run()
    user.wait(lambda: gate.reached.acquire(blocking=False))
    look()
    choose(Task.SEGMENT, Tool.POINTS)
    gate.opened.set()
    user.wait(lambda: not model.running)
    look()
    binding.session.undo()
    look()

    assert tips.unexplained == {}
    assert tips.greyed_out >= some
