"""Where choices are kept: in napari's Preferences where it has them for plugins, else by Qt."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from napari.utils.events import EventedModel
from qtpy.QtCore import QSettings

if TYPE_CHECKING:
    from collections.abc import Callable

# What versions before 5 called the same, kept in the same place. It counts until something is kept
# under the name of today.
_NAMES_BEFORE_5 = {
    "model_folder": ("simple_model_dir", "model_dir"),
    "output_folder": ("quick_mask_output_dir",),
    "sound": ("task_complete_sound_enabled_v2",),
    "threshold": ("confidence_threshold",),
}


class QtSettingsStore:
    """Settings of the widget; see :class:`napari_sam3_assistant.session.settings.SettingsStore`.

    From napari 0.9 on a choice that the manifest lists under ``configurations`` has its place
    there. What Qt kept of it before is taken over once: napari writes no value that equals its
    default, so a value of Qt's would come back each time.
    """

    def __init__(self) -> None:
        self._settings = QSettings("napari-sam3-assistant", "sam3-assistant")

    def get(self, name: str) -> str | None:
        """Return what was kept, or None."""
        preferences = _preferences().get(name)
        if preferences is None:
            return self._kept_by_qt(name)
        if not self._settings.contains(taken := f"in_preferences/{name}"):
            kept = self._kept_by_qt(name)
            self._settings.setValue(taken, "true")
            if kept is not None:
                try:
                    setattr(preferences, name, kept)
                except ValueError:  # another version's: whoever reads it decides
                    return kept
        return str(getattr(preferences, name))

    def _kept_by_qt(self, name: str) -> str | None:
        kept = self._settings.value(name)
        if kept is not None:
            return str(kept)
        before = map(self._settings.value, _NAMES_BEFORE_5.get(name, ()))
        return next((str(value) for value in before if value), None)

    def set(self, name: str, value: str) -> None:
        """Keep a value."""
        preferences = _preferences().get(name)
        if preferences is None:
            self._settings.setValue(name, value)
        else:
            setattr(preferences, name, value)

    def watch(self, name: str, owner: object, changed: Callable[[str], None]) -> None:
        """Call ``changed`` with each value that napari sets, while ``owner`` lives."""
        preferences = _preferences().get(name)
        if preferences is None:
            return

        def tell(event: object) -> None:
            changed(str(getattr(preferences, name)))

        emitter = getattr(preferences.events, name)
        emitter.connect(tell)
        weakref.finalize(owner, emitter.disconnect, tell).atexit = False


def _preferences() -> dict[str, EventedModel]:
    """Return for each choice of ours in napari's Preferences the group that it stands in."""
    try:
        from napari.settings import get_plugin_settings
    except ImportError:  # before napari 0.9
        return {}
    # Asked each time: napari makes them anew when a plugin is switched on or off.
    ours = get_plugin_settings().get("napari-sam3-assistant")
    if ours is None:
        return {}
    parts = (getattr(ours, name) for name in type(ours).model_fields)
    groups = (part for part in parts if isinstance(part, EventedModel))
    return {name: group for group in groups for name in type(group).model_fields}
