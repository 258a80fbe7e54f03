"""Whether 300 runs in one session grow the memory, and whether closing the widget frees it.

    python benchmarks/widget_runs.py

Every run has another click, goes through the panel's Run button and writes the preview layers.
Fails if the memory grows by more than 20 MB from run 50 to run 300, or if anything of the widget
is alive after its dock has been closed.
"""

import gc
import os
import sys
import tempfile
import threading
import weakref

os.environ["NAPARI_CONFIG"] = ""  # napari's settings are neither read nor written
os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp(prefix="napari-sam3-benchmark-")  # nor ours
os.environ["XDG_STATE_HOME"] = os.environ["XDG_CONFIG_HOME"]

import napari
import numpy as np
import psutil
from qtpy.QtCore import QEvent, QEventLoop
from qtpy.QtWidgets import QApplication, QPushButton
from skimage.data import coins

WARM_UP, RUNS, LIMIT_MB = 50, 300, 20.0


def memory_mb():
    gc.collect()
    return psutil.Process().memory_info().rss / 2**20


def run_once(widget, points, number):
    points.data = np.array([[80 + number % 7, 70 + number % 11]], float)
    widget.findChild(QPushButton, "run_preview").click()
    cancel = widget.findChild(QPushButton, "cancel")
    while cancel.isEnabled():
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 50)


def settle():
    for _ in range(3):  # what is deleted later may have more to delete later
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
        QApplication.processEvents()
        gc.collect()
    for thread in threading.enumerate():
        if thread.name == "sam3-jobs":
            thread.join(10)
    gc.collect()


def main():
    viewer = napari.Viewer()
    viewer.add_image(coins(), name="coins")
    dock, widget = viewer.window.add_plugin_dock_widget("napari-sam3-assistant", "SAM3 Assistant")
    widget.findChild(QPushButton, "tool_points").click()
    points = viewer.layers["SAM3 points"]
    readings = {}
    for number in range(1, RUNS + 1):
        run_once(widget, points, number)
        if number % WARM_UP == 0:
            readings[number] = memory_mb()
            print(f"after {number:3} runs: {readings[number]:.1f} MB")
    growth = readings[RUNS] - readings[WARM_UP]
    print(f"growth from run {WARM_UP} to run {RUNS}: {growth:+.1f} MB (limit {LIMIT_MB:.0f} MB)")

    parts = {
        "widget": weakref.ref(widget),
        "session": weakref.ref(widget.binding.session),
        "model": weakref.ref(widget.binding.model),
        "result": weakref.ref(widget.binding.model.preview.segmentation.labels),
    }
    dock.destroyOnClose()  # as the cross in its title bar does
    del dock, widget
    settle()
    alive = [name for name, part in parts.items() if part() is not None]
    print(f"alive after closing the dock: {', '.join(alive) or 'nothing'}")
    viewer.close()
    return int(growth > LIMIT_MB or bool(alive))


if __name__ == "__main__":
    sys.exit(main())
