"""What is installed on this machine, and what is missing, in lines for the user."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from napari_sam3_assistant.engines import registry

_PACKAGES = {
    "napari-sam3-assistant": "",
    "napari": "",
    "numpy": "",
    "scipy": "",
    "scikit-image": "",
    "PyQt6": "a window needs PyQt6 or PySide6: pip install 'napari-sam3-assistant[pyqt6]'",
    "PySide6": "not needed beside PyQt6",
    "torch": "for SAM 3: pip install 'napari-sam3-assistant[sam3]'",
    "torchvision": "for SAM 3: pip install 'napari-sam3-assistant[sam3]'",
    "transformers": "for SAM 3: pip install 'napari-sam3-assistant[sam3]'",
    "safetensors": "for SAM 3: pip install 'napari-sam3-assistant[sam3]'",
    "huggingface_hub": "for fetching weights: pip install 'napari-sam3-assistant[sam3]'",
    "sam3": "only for Meta's own engine: pip install 'napari-sam3-assistant[meta]'",
}


def report() -> tuple[str, ...]:
    """Return versions, engines, devices and display, one line each."""
    lines = [f"Python {platform.python_version()} on {platform.platform()}", "", "Packages"]
    lines += [_package(name, remedy) for name, remedy in _PACKAGES.items()]
    lines += ["", "Engines"]
    for entry in registry.entries().values():
        status = entry.status()
        said = "ready" if status.available else f"not available. {status.reason}"
        if status.available and entry.spec.needs_weights:
            said = "installed; needs a model folder"
        lines.append(f"  {entry.spec.name:<20} {entry.spec.title}: {said}")
    lines += ["", "Devices", *_devices(), "", "Display", f"  {_display()}"]
    return tuple(lines)


def _package(name: str, remedy: str) -> str:
    try:
        said = version(name)
    except PackageNotFoundError:
        said = f"not installed ({remedy})" if remedy else "not installed"
    return f"  {name:<22} {said}"


def _devices() -> list[str]:
    if find_spec("torch") is None:
        return ["  cpu (the built-in engine needs nothing else)"]
    from napari_sam3_assistant.engines.device import choose_device

    choice = choose_device("auto")
    return [f"  {choice.device}: {choice.reason}"]


def _display() -> str:
    if sys.platform in {"win32", "darwin"}:
        return "the desktop"
    shown = os.environ.get("WAYLAND_DISPLAY") or os.environ.get("DISPLAY")
    if shown:
        return shown
    if shutil.which("Xvfb"):
        return "none; Xvfb is installed, so 'xvfb-run napari' works"
    return "none: napari needs one. Log in to a desktop, or install the package xvfb."
