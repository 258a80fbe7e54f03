"""The chime in the window: the box, the sound, and the system's beep where Qt can't play it."""

import sys
import wave
from importlib.resources import files

import numpy as np
import pytest
from qtpy.QtWidgets import QApplication

from napari_sam3_assistant.widgets.main_widget import MainWidget, live_points_of


@pytest.fixture
def beeps(monkeypatch):
    """Count the beeps of a computer without Qt's multimedia: no test machine has a loudspeaker."""
    heard = []
    monkeypatch.setitem(sys.modules, "qtpy.QtMultimedia", None)
    monkeypatch.setattr(QApplication, "beep", lambda: heard.append(1))
    return heard


def test_the_box_stands_in_both_modes_and_is_remembered(user, beeps):
    chime = user.widget.binding.session.chime
    box = user.button("sound")
    assert (box.text(), box.isChecked()) == ("Sound", False)
    assert "more than a minute" in box.toolTip()

    box.click()
    user.click("mode_advanced")
    assert box.isVisibleTo(user.widget)
    assert user.widget.binding.model.sound
    chime.emit()
    assert len(beeps) == 1
    user.close_dock()
    chime.emit()
    user.open()

    assert user.button("sound").isChecked()
    assert len(beeps) == 1


def test_two_widgets_on_one_viewer_chime_once(user, beeps, qtbot):
    second = MainWidget(user.viewer)
    qtbot.addWidget(second)

    second.binding.session.chime.emit()
    assert len(beeps) == 1

    user.close_dock()
    second.binding.session.chime.emit()
    assert len(beeps) == 2


def test_qt_takes_the_file(user, qtbot):
    multimedia = pytest.importorskip("qtpy.QtMultimedia", exc_type=ImportError)
    if multimedia.QMediaDevices.defaultAudioOutput().isNull():
        pytest.skip("there is no sound device")
    user.widget.binding.session.chime.emit()
    effect = live_points_of(user.widget.binding)._sound  # noqa: SLF001 - it has no other sign
    qtbot.waitUntil(lambda: effect.status() == effect.Status.Ready, timeout=240_000)


@pytest.fixture(scope="module")
def samples():
    sound = files("napari_sam3_assistant") / "widgets" / "chime.wav"
    with sound.open("rb") as stream, wave.open(stream) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 22_050)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(float)


def test_it_is_short_soft_and_begins_and_ends_in_silence(samples):
    assert len(samples) == 24_255
    assert np.abs(samples).max() == round(0.24 * 32767)
    assert samples[0] == samples[-1] == 0
    assert np.abs(np.diff(samples)).max() < 2000


def test_it_fades_from_its_first_moment(samples):
    loudness = [np.abs(part).max() for part in np.array_split(samples[220:], 10)]

    assert loudness == sorted(loudness, reverse=True)
    assert loudness[-1] < loudness[0] / 20


def test_its_tone_is_low(samples):
    spectrum = np.abs(np.fft.rfft(samples))

    assert abs(np.fft.rfftfreq(len(samples), 1 / 22_050)[spectrum.argmax()] - 345) < 2
