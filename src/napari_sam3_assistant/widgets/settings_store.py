"""Settings kept by Qt, where the system keeps such things."""

from __future__ import annotations

from qtpy.QtCore import QSettings


class QtSettingsStore:
    """Settings of the widget; see :class:`napari_sam3_assistant.session.settings.SettingsStore`."""

    def __init__(self) -> None:
        self._settings = QSettings("napari-sam3-assistant", "sam3-assistant")

    def get(self, name: str) -> str | None:
        """Return what was kept, or None."""
        kept = self._settings.value(name)
        return None if kept is None else str(kept)

    def set(self, name: str, value: str) -> None:
        """Keep a value."""
        self._settings.setValue(name, value)
