"""A server does the work of the window: chosen, clicked with, lost and found again."""

import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QComboBox, QDialog, QLabel

from napari_sam3_assistant import api

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests are not a package
Server = import_module("server_process").Server
pytest.importorskip("cryptography")
connection_module = pytest.importorskip("napari_sam3_assistant.compute.connection")

FRAMES = 16
HERE = "Engine: Built-in (no SAM 3 weights)"
THERE = f"{HERE}\ndevice: cpu on 127.0.0.1"
HELD = "len(__import__('distributed').get_worker().plugins['napari-sam3-assistant'].host._sessions)"


class Lab:
    """A lab's server: one process at a time, always with the same connection file."""

    def __init__(self, keys):
        self.keys, self.server = keys, None

    def open(self):
        """Start the server where none runs."""
        if self.server is None:
            self.server = Server("--connection", str(self.keys), "--port", "0")
        return self.keys

    def close(self, *, kill=False):
        server, self.server = self.server, None
        if server is not None:
            server.kill() if kill else server.stop()


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    made = Lab(tmp_path_factory.mktemp("lab") / "lab-gpu.json")
    yield made
    made.close()


def propagated(user):
    """The layer of the propagated labels, or None."""
    return next((one for one in user.viewer.layers if "propagated" in one.name), None)


def ask_in(dialog, kind, name):
    return dialog.findChild(kind, name)


def choose_server(user, typed):
    """Type a server into the dialog of the engine's menu, and return the dialog."""
    user.pick("other_server")
    dialog = user.window.findChild(QDialog, "server_dialog")
    line = ask_in(dialog, QComboBox, "server_address").lineEdit()
    line.selectAll()
    QTest.keyClicks(line, str(typed))
    return dialog


def press(dialog, name):
    QTest.mouseClick(ask_in(dialog, QAbstractButton, name), Qt.MouseButton.LeftButton)


def test_what_is_no_server_is_said_in_the_dialog_and_changes_nothing(open_window, discs, tmp_path):
    user = open_window(discs)
    dialog = choose_server(user, tmp_path / "gone.json")
    found = ask_in(dialog, QLabel, "address_found")
    press(dialog, "use_server")
    assert found.text().startswith("✕ There is no connection file ")
    assert "napari-sam3 serve" in found.text()
    assert dialog.isVisible()
    line = ask_in(dialog, QComboBox, "server_address").lineEdit()
    line.selectAll()
    QTest.keyClicks(line, "tcp://10.1.2.3:8786")
    press(dialog, "test_address")
    assert "has no keys. Give the connection file" in found.text()
    line.selectAll()
    QTest.keyClicks(line, "localhost:1")
    press(dialog, "test_address")
    user.wait(lambda: "Connection refused" in found.text())
    assert "Start it with 'napari-sam3 serve'" in found.text()
    dialog.reject()
    assert user.text_of("engine_badge") == HERE
    user.choose("2d_segmentation", "points")
    user.click_at(user.viewer.layers["image"], (30, 40))
    user.run()
    assert "on 127" not in user.status
    user.viewer.close()


def find_and_refine(user):
    """Find the discs by a phrase and take a piece from the first one; returns both labels."""
    image = user.viewer.layers["image"]
    user.choose("text_segmentation")
    user.type_phrase("bright discs")
    user.wait(lambda: user.preview is not None and user.preview.any() and not user.is_running)
    found = user.preview.copy()
    user.click("refine")
    user.click_at(image, (30, 40))
    user.press(Qt.Key.Key_T)
    user.click_at(image, (24, 34))
    user.wait(lambda: not np.array_equal(user.preview, found) and not user.is_running)
    return found, user.preview.copy()


def test_an_object_is_refined_on_a_server_as_on_this_computer(open_window, discs, lab):
    user = open_window(discs)
    press(choose_server(user, lab.open()), "use_server")
    user.wait(lambda: user.text_of("engine_badge") == THERE)

    found, refined = find_and_refine(user)
    assert len(np.unique(found)) == 5
    assert np.count_nonzero(found == found[30, 40]) > np.count_nonzero(refined == found[30, 40]) > 0
    others = ~np.isin(found, (0, found[30, 40]))
    np.testing.assert_array_equal(refined[others], found[others])
    made = user.viewer.layers["SAM3 preview labels"].metadata["sam3_engine"]
    assert made["device"] == "cpu on 127.0.0.1"
    user.click("accept")
    user.wait(lambda: user.has("SAM3 live accepted labels") and not user.is_running)
    accepted = np.asarray(user.viewer.layers["SAM3 live accepted labels"].data)
    np.testing.assert_array_equal(accepted > 0, refined > 0)
    user.viewer.close()

    user = open_window(discs)
    user.pick("compute_0")
    user.wait(lambda: user.text_of("engine_badge") == HERE)
    for here, there in zip(find_and_refine(user), (found, refined), strict=True):
        np.testing.assert_array_equal(here, there)
    user.viewer.close()


def test_a_server_does_the_work_is_lost_and_goes_on(open_window, discs, lab):
    stack = np.stack([np.roll(discs, number // 4, 1) for number in range(FRAMES)])
    keys = lab.open()
    user = open_window(stack, axis_labels=("z", "y", "x"))
    image = user.viewer.layers["image"]
    user.viewer.dims.set_current_step(0, 0)
    user.look_at_all()

    dialog = choose_server(user, keys)
    press(dialog, "test_address")
    found = ask_in(dialog, QLabel, "address_found")
    user.wait(lambda: found.text().startswith("✓ "))
    assert "Built-in (no SAM 3 weights), CPU with" in found.text()
    assert "MB/s" in found.text()
    press(dialog, "use_server")
    user.wait(lambda: user.text_of("engine_badge") == THERE)
    assert user.status.startswith(
        f"✓ {HERE.removeprefix('Engine: ')} answers, on cpu on 127.0.0.1."
    )

    # A click: the mask of this computer, and it is said who made it and where.
    user.choose("2d_segmentation", "points")
    user.click_at(image, (0, 30, 40))
    user.run()
    (click,) = user.viewer.layers["SAM3 points"].data
    expected = api.segment(stack[0], points=[tuple(click[1:])])
    np.testing.assert_array_equal(np.squeeze(user.preview), expected.labels)
    assert "by Built-in (no SAM 3 weights) on 127.0.0.1, from 1 point" in user.status
    made = user.viewer.layers["SAM3 preview labels"].metadata["sam3_engine"]
    assert (made["engine"], made["device"]) == ("builtin", "cpu on 127.0.0.1")
    assert "Sent 0.0 MB of pictures, received" in user.find(QLabel, "engine_badge").toolTip()
    user.click("accept")
    user.wait(lambda: user.has("SAM3 live accepted labels"))

    # Through the stack, until the server dies in the middle.
    user.choose("3d_video_propagation", "points")
    user.click_at(image, (0, 30, 40))
    model, lengths = user.widget.binding.model, []

    def kill(progress):
        """Frame by frame, with their number, and no frame is far ahead of what is told."""
        if progress is not None and progress.step.done == 2:
            lengths.append(user.progress_bar.text().partition(",")[0])
            lab.close(kill=True)

    model.events.progress.connect(kill)
    user.click("run_preview")
    user.wait_for_end()
    model.events.progress.disconnect(kill)
    assert lengths == [f"2 of {FRAMES}"]
    assert user.status.startswith("✕ The connection to the server was lost")
    assert "the next run connects by itself" in user.status
    assert len(user.viewer.layers["SAM3 points"].data) == 1
    assert np.asarray(propagated(user).data[0]).any()

    # Started again with the same file, it goes on where it was.
    lab.open()
    user.click("propagate_existing")
    user.wait_for_end()
    assert f"on {FRAMES} frames" in user.status
    assert "on 127.0.0.1" in user.status
    (click,) = user.viewer.layers["SAM3 points"].data
    labels = propagated(user).data
    for result in api.track(stack, frame=0, points=[tuple(click[1:])]):
        np.testing.assert_array_equal(np.asarray(labels[result.frame]), result.labels)

    # This computer again: the server holds nothing of us any more.
    user.pick("compute_0")
    user.wait(lambda: "This computer does the work now" in user.status)
    assert user.text_of("engine_badge") == HERE
    with connection_module.connect(keys) as client:
        user.wait(lambda: client.submit(eval, HELD, pure=False).result() == 1)  # its own
    user.click("run_preview")
    user.wait_for_end()
    assert "on 127.0.0.1" not in user.status
    user.viewer.close()
