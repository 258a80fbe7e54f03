"""The chime in the window: the box, the players, and silence where there is none."""

import logging
import sys
import wave

import pytest
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QWidget

from napari_sam3_assistant.widgets import live_points
from napari_sam3_assistant.widgets.live_points import ChimePlayer
from napari_sam3_assistant.widgets.main_widget import MainWidget

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has one player, its own")

PLAYER = """#!/bin/sh
echo "$0 $@" >> {log}
for last in "$@"; do :; done
cp "$last" {copy}
exit {status}
"""


class Machine:
    """A computer on which a test says which players there are, and whether they work."""

    def __init__(self, folder):
        self.bin = folder / "bin"
        self.bin.mkdir()
        self.log, self.copy = folder / "log.txt", folder / "heard.wav"

    def install(self, name, *, works=True):
        file = self.bin / name
        file.write_text(PLAYER.format(log=self.log, copy=self.copy, status=int(not works)))
        file.chmod(0o755)

    @property
    def calls(self):
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def machine(tmp_path, monkeypatch):
    machine = Machine(tmp_path)
    monkeypatch.setattr(
        live_points.shutil,
        "which",
        lambda name: str(machine.bin / name) if (machine.bin / name).exists() else None,
    )
    # Qt's multimedia can't be imported here, as on a computer without libpulse.
    monkeypatch.setitem(sys.modules, "qtpy.QtMultimedia", None)
    return machine


@pytest.fixture
def owner(qtbot):
    widget = QWidget()
    qtbot.addWidget(widget)
    return widget


@pytest.fixture
def player(owner):
    return ChimePlayer(owner)


def test_the_first_player_that_works_plays_the_file(machine, player, qtbot):
    machine.install("paplay", works=False)
    machine.install("aplay")

    player.play()
    qtbot.waitUntil(lambda: len(machine.calls) == 2 and machine.copy.exists(), timeout=240_000)

    first, second = machine.calls
    assert first.startswith(f"{machine.bin}/paplay ")
    assert second.startswith(f"{machine.bin}/aplay -q ")
    with wave.open(str(machine.copy)) as heard:
        assert heard.getnframes() == 48_510


def test_it_plays_again(machine, player, qtbot):
    machine.install("pw-play")
    for times in (1, 2):
        player.play()
        qtbot.waitUntil(lambda times=times: len(machine.calls) == times, timeout=240_000)


@pytest.mark.parametrize("players", [(), ("paplay",), ("paplay", "aplay")])
def test_where_nothing_can_play_nothing_is_said(machine, player, qtbot, caplog, capfd, players):
    for name in players:
        machine.install(name, works=False)
    caplog.set_level(logging.DEBUG)

    player.play()
    qtbot.waitUntil(lambda: "Qt can't play sounds" in caplog.text, timeout=240_000)

    assert len(machine.calls) == len(players)
    ours = [record for record in caplog.records if record.name == live_points.__name__]
    assert {record.levelno for record in ours} == {logging.DEBUG}
    assert capfd.readouterr() == ("", "")


def test_a_player_that_can_not_be_started(machine, player, qtbot, caplog):
    (machine.bin / "aplay").write_bytes(b"no program")
    (machine.bin / "aplay").chmod(0o755)
    caplog.set_level(logging.DEBUG)

    player.play()

    qtbot.waitUntil(lambda: "Qt can't play sounds" in caplog.text, timeout=240_000)


def test_without_a_place_for_its_file(machine, player, monkeypatch):
    def full(**_):
        raise OSError(28, "No space left on device")

    machine.install("aplay")
    monkeypatch.setattr(live_points.tempfile, "mkdtemp", full)

    player.play()

    assert machine.calls == []


def test_the_box_stands_in_both_modes_and_is_remembered(user, machine, qtbot):
    machine.install("aplay")
    due = user.widget.binding.session.chime.due
    box = user.button("sound")
    assert (box.text(), box.isChecked()) == ("Sound", False)
    assert "more than a minute" in box.toolTip()

    box.click()
    user.click("mode_advanced")
    assert box.isVisibleTo(user.widget)
    assert user.widget.binding.model.sound
    due.emit()
    qtbot.waitUntil(lambda: len(machine.calls) == 1, timeout=240_000)
    user.close_dock()
    due.emit()
    user.open()

    assert user.button("sound").isChecked()
    QTest.qWait(50)
    assert len(machine.calls) == 1


def test_two_widgets_on_one_viewer_chime_once(user, machine, qtbot):
    machine.install("aplay")
    second = MainWidget(user.viewer)
    qtbot.addWidget(second)
    due = second.binding.session.chime.due

    due.emit()
    qtbot.waitUntil(lambda: machine.calls != [], timeout=240_000)
    QTest.qWait(100)
    assert len(machine.calls) == 1

    user.close_dock()
    due.emit()
    qtbot.waitUntil(lambda: len(machine.calls) == 2, timeout=240_000)
