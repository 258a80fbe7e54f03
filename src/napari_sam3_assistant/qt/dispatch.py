"""From the worker thread to the GUI thread, and settings kept by Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QSettings, Qt, Signal

if TYPE_CHECKING:
    from collections.abc import Callable


class QtDispatcher(QObject):
    """Runs what it is given on the thread that it was made on, in order, by Qt's event loop."""

    _asked = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._asked.connect(self._run, Qt.ConnectionType.QueuedConnection)

    def __call__(self, call: Callable[[], None]) -> None:
        """Have ``call`` run on the GUI thread; returns at once."""
        self._asked.emit(call)

    def _run(self, call: Callable[[], None]) -> None:
        call()


# What versions before 5 called the same, kept in the same place. It counts until something is kept
# under the name of today.
_NAMES_BEFORE_5 = {
    "model_folder": ("simple_model_dir", "model_dir"),
    "output_folder": ("quick_mask_output_dir",),
    "sound": ("task_complete_sound_enabled_v2",),
    "threshold": ("confidence_threshold",),
}


class QtSettingsStore:
    """Settings of the widget; see :class:`napari_sam3_assistant.session.settings.SettingsStore`."""

    def __init__(self) -> None:
        self._settings = QSettings("napari-sam3-assistant", "sam3-assistant")

    def get(self, name: str) -> str | None:
        """Return what was kept, or None."""
        kept = self._settings.value(name)
        if kept is not None:
            return str(kept)
        before = map(self._settings.value, _NAMES_BEFORE_5.get(name, ()))
        return next((str(value) for value in before if value), None)

    def set(self, name: str, value: str) -> None:
        """Keep a value."""
        self._settings.setValue(name, value)
