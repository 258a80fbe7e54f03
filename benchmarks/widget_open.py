"""How long SAM3 Assistant takes to open once napari is up, and that it imports no torch.

    python benchmarks/widget_open.py

Fails if it takes a second or more. The first opening is measured: it imports the plugin.
"""

import os
import sys
import tempfile
import time

os.environ["NAPARI_CONFIG"] = ""  # napari's settings are neither read nor written
os.environ["XDG_CONFIG_HOME"] = tempfile.mkdtemp(prefix="napari-sam3-benchmark-")  # nor ours
os.environ["XDG_STATE_HOME"] = os.environ["XDG_CONFIG_HOME"]

import napari
from qtpy.QtWidgets import QApplication
from skimage.data import coins

LIMIT_S = 1.0


def main():
    viewer = napari.Viewer()
    viewer.add_image(coins(), name="coins")
    QApplication.processEvents()
    before = set(sys.modules)

    began = time.perf_counter()
    viewer.window.add_plugin_dock_widget("napari-sam3-assistant", "SAM3 Assistant")
    QApplication.processEvents()
    seconds = time.perf_counter() - began

    loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
    heavy = sorted(loaded & {"torch", "torchvision", "transformers", "sam3"})
    print(f"opened in {seconds:.2f} s (limit {LIMIT_S:.0f} s); heavy imports: {heavy or 'none'}")
    viewer.close()
    return int(seconds >= LIMIT_S or bool(heavy))


if __name__ == "__main__":
    sys.exit(main())
