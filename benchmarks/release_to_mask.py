"""From the release of the mouse to the mask on the canvas, with few and with many kept objects.

    python benchmarks/release_to_mask.py [--size 2048] [--kept 2000] [--clicks 9]

The real window, real clicks, on an image of discs: the built-in engine, and a tiny SAM 3 with
random weights, so that what is measured is ours and not the model. Prints the median of wall and
processor time of a click on an image that is encoded already.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

os.environ["NAPARI_CONFIG"] = ""  # napari's settings are neither read nor written
os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp(prefix="napari-sam3-benchmark-")  # nor ours
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
        self.qtbot = SimpleNamespace(wait=QTest.qWait)
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

    def discard(self):
        self.press(Qt.Key.Key_Escape)
        self.wait_for(lambda: self.model.preview is None)

    def click_on(self, place):
        """Return wall and processor seconds from the release to the mask on the canvas."""
        began, cpu = time.perf_counter(), time.process_time()
        self.click_at(self.viewer.layers["discs"], place)
        if not self.model.running and self.model.preview is None:
            QTest.qWait(50)
        if not self.model.running and self.model.preview is None:
            self.press(Qt.Key.Key_R)  # an engine that is too slow for Live
        self.wait_for(lambda: self.model.preview is not None)
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


def keep(user, centres, kept):
    """Accept so many discs at once, as if a phrase had found them."""
    from napari_sam3_assistant.core.regions import Region
    from napari_sam3_assistant.core.results import (
        ObjectRecord,
        Provenance,
        Segmentation,
        paint_labels,
    )
    from napari_sam3_assistant.session.model import Preview

    y, x = np.mgrid[: 2 * RADIUS, : 2 * RADIUS] - RADIUS + 0.5
    mask = y**2 + x**2 < RADIUS**2
    objects = tuple(
        ObjectRecord(number, mask, Region(cy - RADIUS, cx - RADIUS, cy + RADIUS, cx + RADIUS), 0.5)
        for number, (cy, cx) in enumerate(centres[-kept:], 1)
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
    user.press(Qt.Key.Key_K)
    user.wait_for(lambda: user.model.preview is None)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--kept", type=int, default=2000)
    parser.add_argument("--clicks", type=int, default=9)
    chosen = parser.parse_args()
    image, centres = discs(chosen.size)
    from tiny_checkpoint import write_tiny_checkpoint

    with tempfile.TemporaryDirectory() as folder:
        tiny = write_tiny_checkpoint(Path(folder) / "tiny")
        for title, weights in (("built-in", None), ("tiny SAM 3", tiny)):
            user = Clicker(image, weights)
            for kept in (0, chosen.kept):
                if kept:
                    keep(user, centres, kept)
                user.click_on(centres[0])
                user.discard()
                spent = []
                for place in centres[1 : chosen.clicks + 1]:
                    spent.append(user.click_on(place))
                    user.discard()
                wall, cpu = (statistics.median(one) for one in zip(*spent, strict=True))
                print(
                    f"{title:<11} {kept:5} kept: {1000 * wall:6.0f} ms wall, {1000 * cpu:6.0f} ms "
                    "processor",
                    flush=True,
                )
            user.viewer.close()


if __name__ == "__main__":
    main()
