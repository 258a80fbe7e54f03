"""Choices in napari's Preferences, which has them for plugins from version 0.9 on."""

import gc

import pytest
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox

from napari_sam3_assistant.session.model import SessionModel
from napari_sam3_assistant.session.settings import REMEMBERED

napari_settings = pytest.importorskip("napari.settings")
if not hasattr(napari_settings, "get_plugin_settings"):
    pytest.skip("this napari has no preferences of plugins", allow_module_level=True)


def preferences():
    return napari_settings.get_plugin_settings("napari-sam3-assistant")


def threshold(user):
    return user.widget.findChild(QDoubleSpinBox, "threshold")


def test_they_begin_as_the_window_does(user):
    every = preferences()
    groups = [every.runs, every.model, every.saving, every.stacks]
    named = {name: value for group in groups for name, value in group.model_dump().items()}
    assert named.keys() <= set(REMEMBERED)
    fresh = SessionModel()
    assert {name: getattr(fresh, name) for name in named} == named


def test_what_is_chosen_in_the_window_stands_there(user):
    threshold(user).setValue(0.55)
    user.widget.findChild(QCheckBox, "live").setChecked(False)

    assert preferences().runs.threshold == 0.55
    assert preferences().runs.live is False


def test_what_is_chosen_there_counts_in_the_open_window_and_the_next(user):
    preferences().runs.threshold = 0.6
    preferences().runs.sound = True
    assert threshold(user).value() == 0.6
    assert user.widget.findChild(QCheckBox, "sound").isChecked()

    user.close_dock()
    preferences().runs.threshold = 0.7
    user.open()

    assert threshold(user).value() == 0.7


def test_what_qt_kept_is_taken_over_once(user, settings_file):
    user.close_dock()
    settings_file.write_text("[General]\nthreshold=0.2\n")
    user.open()
    assert threshold(user).value() == 0.2

    threshold(user).setValue(0.35)  # the default, which napari does not write down
    user.close_dock()
    user.open()

    assert threshold(user).value() == 0.35


def test_a_session_that_has_gone_is_forgotten(user):
    emitter = preferences().runs.events.threshold
    while_open = len(emitter.callbacks)

    user.close_dock()
    user.viewer.layers.clear()
    gc.collect()

    assert len(emitter.callbacks) < while_open
