"""A person at the keyboard and the mouse, images to work on, and an engine with a gate."""

import sys
import threading
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import QEvent, Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QApplication, QComboBox, QLabel, QLineEdit, QProgressBar
from skimage.draw import disk

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests are not a package
Person = import_module("person").Person

PREVIEW = "SAM3 preview labels"
CENTRES = ((30, 40), (30, 110), (85, 40), (85, 110))


class User(Person):
    """Somebody who works in the widget; knows no private name."""

    def __init__(self, viewer, qtbot):
        self.viewer = viewer
        self.qtbot = qtbot
        self.open()

    def open(self):
        """Open the widget from the plugin menu."""
        self.dock, self.widget = self.viewer.window.add_plugin_dock_widget(
            "napari-sam3-assistant", "SAM3 Assistant"
        )
        self.window = self.dock.window()

    def close_dock(self):
        """Close the widget with its dock, as the cross in the title bar does."""
        self.dock.destroyOnClose()
        self.dock = self.widget = None
        # A running event loop does this by itself.
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
        self.settle()

    # -- what there is to see -------------------------------------------------------------

    def combo(self, name):
        return self.widget.findChild(QComboBox, name)

    @property
    def progress_bar(self):
        return self.find(QProgressBar, "progress")

    def text_of(self, name):
        return self.find(QLabel, name).text()

    @property
    def status(self):
        return self.text_of("status")

    @property
    def results(self):
        return self.text_of("results")

    @property
    def is_running(self):
        return self.button("cancel").isEnabled()

    @property
    def preview(self):
        """The pixels of the preview layer, or None."""
        return np.asarray(self.viewer.layers[PREVIEW].data) if self.has(PREVIEW) else None

    def has(self, name):
        return name in self.viewer.layers

    def chosen(self, field_name):
        """The texts of the buttons that are down, of all whose name begins so."""
        texts = [
            button.text()
            for button in self.widget.findChildren(QAbstractButton)
            if button.objectName().startswith(f"{field_name}_") and button.isChecked()
        ]
        # Each text once: the button of the other mode says the same.
        return list(dict.fromkeys(texts))

    # -- the panel ------------------------------------------------------------------------

    def choose(self, task, tool=None):
        self.click(f"task_{task}")
        if tool is not None:
            self.click(f"tool_{tool}")

    def type_phrase(self, phrase, *, enter=True):
        line = self.widget.findChild(QLineEdit, "text")
        line.clear()
        QTest.keyClicks(line, phrase)
        if enter:
            QTest.keyClick(line, Qt.Key.Key_Return)

    def choose_in(self, combo_name, text):
        combo = self.combo(combo_name)
        index = combo.findText(text)
        assert index >= 0, f"{text} is not in the list"
        combo.setCurrentIndex(index)
        combo.activated.emit(index)

    def run(self):
        self.click("run_preview")
        self.wait_for_end()

    def wait_for_end(self):
        cancel = self.button("cancel")  # looked up once: PyQt takes milliseconds
        self.wait(lambda: not cancel.isEnabled())

    def wait(self, condition):
        self.qtbot.waitUntil(condition, timeout=240_000)

    def undo(self):
        self.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)

    def redo(self):
        shift = Qt.KeyboardModifier.ShiftModifier
        self.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier | shift)


@pytest.fixture
def discs():
    """Four bright discs of radius 14 on a dark, slightly noisy ground: (120, 150) uint8."""
    image = np.random.default_rng(0).normal(50, 4, (120, 150))
    for centre in CENTRES:
        image[disk(centre, 14, shape=image.shape)] += 140
    return image.clip(0, 255).astype(np.uint8)


@pytest.fixture
def user(viewer, qtbot):
    """A user with the widget docked in a viewer that is not shown: for buttons and layers."""
    user = User(viewer, qtbot)
    yield user
    vars(user).clear()  # napari's fixture fails where its window is still held


@pytest.fixture
def open_window(plugin_manager, settings_file, make_napari_viewer, qtbot):
    """Open a real window: for the mouse and the keyboard."""

    def open_it(image=None, **layer):
        viewer = make_napari_viewer(show=True)
        if image is not None:
            viewer.add_image(image, name="image", **layer)
        user = User(viewer, qtbot)
        user.window.resize(1300, 900)
        user.look_at_all()
        return user

    return open_it


@dataclass
class Gate:
    """Stops an engine in the middle of its work until a test lets it go on."""

    reached: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    opened: threading.Event = field(default_factory=threading.Event)
    passes: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    runs: int = 0

    def pass_through(self):
        """Wait until the gate is open, or for a pass that lets one through."""
        self.runs += 1
        self.reached.release()
        patience = 12_000
        while not self.opened.is_set() and not self.passes.acquire(timeout=0.02):
            patience -= 1
            assert patience, "the test never opened the gate"


class GatedEngine:
    """An engine that waits at a gate before it answers. It can't be interrupted."""

    def __init__(self, engine, gate):
        self._engine = engine
        self._gate = gate

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def predict(self, *arguments):
        answer = self._engine.predict(*arguments)
        self._gate.pass_through()
        return answer


@pytest.fixture
def gate(monkeypatch, request):
    """Put a gate into an engine, the built-in one or that named: a test says when a run goes on."""
    from napari_sam3_assistant.engines import registry
    from napari_sam3_assistant.engines.base import EngineEntry

    name = getattr(request, "param", "builtin")
    real = registry.find_entry(name)
    gate = Gate()
    gated = EngineEntry(
        real.spec, real.status, lambda *choice: GatedEngine(real.create(*choice), gate)
    )
    monkeypatch.setitem(registry.entries(), name, gated)
    yield gate
    gate.opened.set()
