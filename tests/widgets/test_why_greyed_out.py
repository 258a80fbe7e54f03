"""A control that can't act now is greyed out, and its tooltip says why."""

import random

import numpy as np
import pytest
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QTextEdit,
    QWidget,
)

from napari_sam3_assistant.core.prompts import Task, Tool, tools_of
from napari_sam3_assistant.session.availability import resolve
from napari_sam3_assistant.session.values import DeviceInUse, PromptCounts

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
        ("simple", {"clear_preview", "image", "redo", "accept", "save"}),
        ("advanced", {"image", "text", "next_positive_True", "encode_ahead", "redo"}),
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
    binding.prompts.arm()
    user.viewer.layers["SAM3 points"].add((30, 40))
    binding.session.run()
    user.wait(lambda: gate.reached.acquire(blocking=False))
    look()
    choose(Task.SEGMENT, Tool.POINTS)
    gate.opened.set()
    user.wait(lambda: not model.running)
    look()
    while model.can_undo:
        binding.session.undo()
    look()

    assert tips.unexplained == {}
    assert tips.greyed_out >= some


VERBS = {
    "run_preview": "run",
    "cancel": "cancel",
    "undo": "undo",
    "redo": "redo",
    "save_clean": "save_and_clean",
    "propagate_existing": "go_on",
    "accept_all": "accept_all",
    "follow": "follow",
    "remove_object": "remove_object",
    "scan": "scan",
    "batch_folder": "batch_folder",
    "encode_folder": "encode_folder",
    "batch_images": "batch_images",
    "batch_text": "batch_text",
    "large_image": "large_image",
    "text": "text",
    "apply_polarity": "polarity",
    "create_prompt_layer": "prompt_layer",
    "load_model": "load",
    "load_video_model": "load_video",
    "unload_model": "unload",
    "validate": "validate",
    "encode_ahead": "encode_ahead",
    "soft_masks": "soft_masks",
}
"""Controls, and what they do."""
VALUES = {
    "task": list(Task),
    "prompts": [PromptCounts(), PromptCounts(negative=1), PromptCounts(positive=1, boxes=1)],
    "refining": [0, 1],
    "text": ["", "cells"],
    "batch_text": ["", "cells\nnuclei"],
    "batch_images": [False, True],
    "engine": ["builtin", "sam3-transformers"],
    "load_when_running": [False, True],
    "device_in_use": [None, DeviceInUse("cpu", "")],
    "output_folder": ["", "out"],
    "can_continue": [False, True],
    "tracked": [(), (1,)],
    "can_undo": [False, True],
    "can_redo": [False, True],
    "running": [False, True],
    "folder_source": ["", "in"],
    "folder_output": ["", "out"],
}


def test_whatever_changes_each_control_says_what_follows_from_it(user, discs):
    user.click("mode_advanced")
    user.viewer.add_image(discs, name="image")
    session, model = user.widget.binding.session, user.widget.binding.model
    controls = {name: user.widget.findChildren(QWidget, name) for name in VERBS}
    chosen = random.Random(13)
    for _ in range(100):
        name = chosen.choice(sorted(VALUES))
        state = session.scan_model if name.startswith("folder") else model
        setattr(state, name, chosen.choice(VALUES[name]))

        why_not = resolve(model, session.scan_model, session.engine.spec)
        for control, verb in VERBS.items():
            shown = {one.isEnabled() for one in controls[control]}
            assert shown == {not getattr(why_not, verb)}, (control, name)
    model.running = False
