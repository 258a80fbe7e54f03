"""Start a server on this machine, use it from the window, and write the picture of its controls.

python tools/screenshots_server.py [FOLDER]      (default: docs/images)
"""

from __future__ import annotations

import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path

from demo_gui import open_demo, wait_until
from PIL import Image
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QPushButton, QWidget
from skimage import data
from user import User

from napari_sam3_assistant.widgets.fields.server import ServerDialog

_DOCK, _WIDTH, _HEIGHT = 320, 1100, 768
_GAP = 16


def main() -> None:
    """Write ``compute_on.png``: the menu of the engine, the dialog, and step 1 of Advanced."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images").absolute()
    server = import_module("server_process").Server
    with tempfile.TemporaryDirectory() as made:
        keys = Path(made) / "lab-gpu.json"
        os.chdir(made)  # where this machine keeps the file is nobody's business
        running = server("--connection", str(keys), "--port", "0")
        try:
            _shoot(folder, keys)
        finally:
            running.stop()


def _shoot(folder: Path, keys: Path) -> None:
    demo = open_demo(data.coins(), "coins")
    user = User(demo, dock_width=_DOCK, width=_WIDTH, height=_HEIGHT)
    session = user.widget.binding.session
    dialog = ServerDialog(session, user.widget)
    dialog.open()
    dialog.findChild(object, "server_address").setEditText(keys.name)
    dialog.findChild(QPushButton, "test_address").click()
    wait_until(lambda: not session.model.testing)
    parts = [_grab(dialog)]
    dialog.findChild(QPushButton, "use_server").click()
    user.wait_for(lambda: session.model.device_in_use is not None)
    user.click("engine_menu")
    parts.append(_grab(user.button("engine_menu").menu()))
    user.button("engine_menu").menu().close()
    user.click("mode_advanced")
    parts.append(_grab(user.widget))
    _join(parts).save(folder / "compute_on.png", optimize=True)


def _grab(widget: QWidget) -> Image.Image:
    QTest.qWait(500)
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        widget.grab().save(file.name)
        return Image.open(file.name).convert("RGB")


def _join(parts: list[Image.Image]) -> Image.Image:
    """Return the dialog over the menu, and the panel beside them."""
    dialog, menu, panel = parts
    width = dialog.width + _GAP + panel.width
    whole = Image.new("RGB", (width, panel.height), "white")
    whole.paste(dialog, (0, 0))
    whole.paste(menu, (0, dialog.height + _GAP))
    whole.paste(panel, (dialog.width + _GAP, 0))
    return whole


if __name__ == "__main__":
    main()
