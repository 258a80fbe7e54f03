"""Deleting layers of which OpenGL has drawn something, in a napari of its own: it must not end."""

import os
import subprocess
import sys

SCRIPT = """
import os

import napari
import numpy as np
from qtpy.QtGui import QOffscreenSurface, QOpenGLContext
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QApplication

from napari_sam3_assistant.widgets.mask_operations_widget import MaskOperationsWidget

viewer = napari.Viewer()
# Both docks are one in this; of a window that floats the canvas is harder to find.
viewer.window.add_dock_widget(MaskOperationsWidget(viewer)).setFloating(True)
canvas = viewer.window._qt_window.findChild(QOpenGLWidget)
viewer.add_labels(np.ones((100, 100), int))
canvas.grabFramebuffer()
QApplication.processEvents()
viewer.add_points(np.arange(20).reshape(10, 2))
viewer.add_tracks([(track, time, time * 9, track * 9) for track in (1, 2) for time in range(5)])
QApplication.processEvents()
canvas.grabFramebuffer()
# As Qt does when it puts the window together: another context is current in between.
other, surface = QOpenGLContext(), QOffscreenSurface()
surface.create()
other.setShareContext(canvas.context())
other.setFormat(canvas.context().format())
assert other.create() and other.makeCurrent(surface)
viewer.layers.pop()
viewer.layers.pop()
canvas.grabFramebuffer()
QApplication.processEvents()
canvas.grabFramebuffer()
print("drawn", flush=True)
os._exit(0)
"""


def test_what_is_left_is_drawn_after_layers_were_deleted(tmp_path):
    told = {"NAPARI_CONFIG": "", "LIBGL_ALWAYS_SOFTWARE": "1"}
    folders = dict.fromkeys(("XDG_STATE_HOME", "XDG_CONFIG_HOME"), str(tmp_path))
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", SCRIPT],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | told | folders,
    )
    assert (done.returncode, done.stdout.split()) == (0, ["drawn"]), done.stderr
