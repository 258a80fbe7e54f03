"""From the release of the mouse to the mask on the canvas: alone, and beside many other objects.

    python benchmarks/release_to_mask.py [--size 2048] [--others 2000] [--clicks 9]

The real window, real clicks, on an image of discs: the built-in engine, and a tiny SAM 3 with
random weights, so that what is measured is ours and not the model. Prints the median of wall and
processor time of a click on an image that is encoded already: without other objects, beside
accepted ones, and beside found ones that nobody accepted, which it joins. Live waits 200 ms first.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

os.environ["NAPARI_CONFIG"] = ""  # napari's settings are neither read nor written
os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp(prefix="napari-sam3-benchmark-")  # nor ours
os.environ["XDG_STATE_HOME"] = os.environ["XDG_CONFIG_HOME"]
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "engines"))

import napari
import numpy as np
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

from person import Person

STEP, RADIUS = 40, 14


class Clicker(Person):
    """Somebody who clicks on discs."""

    def __init__(self, image, folder):
        self.viewer = napari.Viewer()
        self.viewer.add_image(image, name="discs")
        dock, self.widget = self.viewer.window.add_plugin_dock_widget(
            "napari-sam3-assistant", "SAM3 Assistant"
        )
        self.window = dock.window()
        self.window.resize(1500, 1000)
        self.window.show()
        QTest.qWait(1000)
        self.look_at_all()
        self.model = self.widget.binding.model
        if folder is not None:
            self.widget.binding.session.setup.use_folder(str(folder))
            self.wait_for(lambda: self.model.model_folder == str(folder))

    def wait_for(self, done):
        while not done() or self.model.running:
            QTest.qWait(1)

    @property
    def count(self):
        return sum(len(one.segmentation.objects) for one in self.model.previews)

    def undo(self):
        before = self.count
        self.press(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
        self.wait_for(lambda: self.count < before)

    def click_on(self, place):
        """Return wall and processor seconds from the release to the mask on the canvas."""
        before = self.count
        began, cpu = time.perf_counter(), time.process_time()
        self.click_at(self.viewer.layers["discs"], place)

        def done():
            if self.model.why_not_live and not self.model.running:
                self.press(Qt.Key.Key_R)  # an engine that is too slow for Live
            return self.count > before

        self.wait_for(done)
        self.settle()
        return time.perf_counter() - began, time.process_time() - cpu


def discs(size):
    """Return an image of discs, and their centres."""
    y, x = np.mgrid[:STEP, :STEP] - STEP // 2
    tile = np.where(y**2 + x**2 < RADIUS**2, 190, 40).astype(np.uint8)
    count = size // STEP
    image = np.tile(tile, (count, count))
    image = np.pad(image, [(0, size - len(image))] * 2, constant_values=40)
    centres = [
        (STEP * i + STEP // 2, STEP * j + STEP // 2) for i in range(count) for j in range(count)
    ]
    return image, centres


def find(user, centres, count):
    """Show so many discs, as if a phrase had found them."""
    from napari_sam3_assistant.core.regions import Region
    from napari_sam3_assistant.core.results import (
        ObjectRecord,
        Provenance,
        Segmentation,
        paint_labels,
    )
    from napari_sam3_assistant.session.values import Preview

    y, x = np.mgrid[: 2 * RADIUS, : 2 * RADIUS] - RADIUS + 0.5
    mask = y**2 + x**2 < RADIUS**2
    objects = tuple(
        ObjectRecord(number, mask, Region(cy - RADIUS, cx - RADIUS, cy + RADIUS, cx + RADIUS), 0.5)
        for number, (cy, cx) in enumerate(centres[-count:], 1)
    )
    whole = Region(0, 0, *user.viewer.layers["discs"].data.shape)
    found = Segmentation(
        paint_labels(objects, whole),
        objects,
        whole,
        Provenance("builtin", "Built-in", "1", "cpu", 0.35),
    )
    target = user.widget.binding.adapter.displayed(user.model.image).target
    user.model.previews = (Preview(target, found, 0.1),)
    user.widget.binding.session.resume()  # a step of undo, as what a run has found is one
    user.settle()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--others", type=int, default=2000)
    parser.add_argument("--clicks", type=int, default=9)
    chosen = parser.parse_args()
    image, centres = discs(chosen.size)
    from tiny_checkpoint import write_tiny_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        tiny = Path(folder) / "tiny"
        tiny.mkdir()
        write_tiny_checkpoint(tiny)
        for title, weights in (("built-in", None), ("tiny SAM 3", tiny)):
            user = Clicker(image, weights)
            for others in ("none", f"{chosen.others} accepted", f"{chosen.others} found"):
                if others != "none":
                    find(user, centres, chosen.others)
                if others.endswith("accepted"):
                    user.press(Qt.Key.Key_K)
                    user.wait_for(lambda user=user: user.model.preview is None)
                if others.endswith("found"):  # beside these alone
                    user.viewer.layers.remove("SAM3 live accepted labels")
                user.click_on(centres[0])
                user.undo()
                spent = []
                for place in centres[1 : chosen.clicks + 1]:
                    spent.append(user.click_on(place))
                    user.undo()
                wall, cpu = (statistics.median(one) for one in zip(*spent, strict=True))
                print(
                    f"{title:<11} others: {others:<14} {1000 * wall:6.0f} ms wall, "
                    f"{1000 * cpu:6.0f} ms processor",
                    flush=True,
                )
            user.viewer.close()


if __name__ == "__main__":
    main()
