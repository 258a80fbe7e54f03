"""How many actions it takes from an open image to a mask, to several objects, and to a file.

    python benchmarks/action_counts.py

Drives the real window by mouse and keyboard and counts: a key, a click, a drag, and a phrase with
its Enter are one action each. Fails if a way takes more than the user guide says.
"""

import math
import os
import sys
import tempfile
from pathlib import Path

os.environ["NAPARI_CONFIG"] = ""  # napari's settings are neither read nor written
os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp(prefix="napari-sam3-benchmark-")  # nor ours
os.environ["XDG_STATE_HOME"] = os.environ["XDG_CONFIG_HOME"]
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import napari
import tifffile
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication
from skimage.data import coins

from napari_sam3_assistant.session import runs
from person import Person

runs.QUICK_S = math.inf  # actions are counted, however busy the machine is

COINS = ((54, 45), (47, 116), (45, 160))
BOX = ((30, 18), (50, 40), (78, 74))
AT_MOST = {"text": 2, "click": 1, "box": 2, "example": 2, "three_objects": 6, "file": 1}


class Hands(Person):
    """Somebody who counts what the hands do."""

    def __init__(self, folder):
        tifffile.imwrite(folder / "coins.tif", coins())
        self.viewer = napari.Viewer()
        self.viewer.open(folder / "coins.tif", plugin="napari")
        dock, self.widget = self.viewer.window.add_plugin_dock_widget(
            "napari-sam3-assistant", "SAM3 Assistant"
        )
        self.window = dock.window()
        self.window.resize(1300, 900)
        self.window.show()
        QTest.qWait(1000)
        self.look_at_all()
        self.image = self.viewer.layers["coins"]
        self.model = self.widget.binding.model
        self.actions = 0

    def act(self, do, *arguments):
        self.actions += 1
        do(*arguments)

    def type_phrase(self, phrase):
        QTest.keyClicks(self.window.focusWidget(), phrase)
        QTest.keyClick(self.window.focusWidget(), Qt.Key.Key_Return)

    def wait_for(self, done):
        while not done() or self.model.running:
            QTest.qWait(20)

    def wait_for_mask(self):
        self.wait_for(lambda: self.model.preview is not None)


def text(user):
    user.act(user.press, Qt.Key.Key_X)
    user.act(user.type_phrase, "bright objects")
    user.wait_for_mask()


def click(user):
    user.act(user.click_at, user.image, COINS[0])
    user.wait_for_mask()


def box(user):
    user.act(user.press, Qt.Key.Key_B)
    user.act(user.drag, user.image, *BOX)
    user.wait_for_mask()


def example(user):
    user.act(user.press, Qt.Key.Key_E)
    user.act(user.drag, user.image, *BOX)
    user.wait_for_mask()


def three_objects(user):
    for coin in COINS:
        user.act(user.click_at, user.image, coin)
        user.wait_for_mask()
        user.act(user.press, Qt.Key.Key_K)


def file(user):
    user.act(user.click, "save_now")
    user.wait_for(lambda: user.model.message.text.startswith("Saved 3 objects"))


def main():
    counts = {}
    with tempfile.TemporaryDirectory() as folder:
        user = Hands(Path(folder))
        for way in (text, click, box, example, three_objects, file):
            user.actions = 0
            way(user)
            counts[way.__name__] = user.actions
            # Back to the start: nothing on show, and points as the tool.
            user.widget.binding.actions.call("discard")
            user.widget.binding.actions.call("choose_points")
            QApplication.processEvents()
        saved = tifffile.imread(Path(folder) / "coins_labels.tif")
        user.viewer.close()
    for way, count in counts.items():
        print(f"{way:<14}{count} actions, {AT_MOST[way]} at most", flush=True)
    return int(counts != AT_MOST or saved.max() != len(COINS))


if __name__ == "__main__":
    sys.exit(main())
