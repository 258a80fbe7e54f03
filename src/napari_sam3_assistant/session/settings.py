"""Choices that are remembered from one start to the next."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Protocol

from napari_sam3_assistant.engines.device import is_override_enabled

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam3_assistant.session.model import AnnotationModel, ScanModel, SessionModel

    _Model = SessionModel | ScanModel | AnnotationModel


REMEMBERED = (
    "task",
    "tool",
    "engine",
    "model_folder",
    "sam_version",
    "device",
    "precision",
    "encodings_folder",
    "compute",
    "servers",
    "encode_ahead",
    "live",
    "each_click",
    "as_painted",
    "load_when_running",
    "sound",
    "soft_masks",
    "columns",
    "output_folder",
    "output_format",
    "save_folder",
    "save_at_accept",
    "threshold",
    "diameter",
    "direction",
    "stop_after_lost",
    "tracks_layer",
)


class SettingsStore(Protocol):
    """Where settings are kept: text by name."""

    def get(self, name: str) -> str | None:
        """Return what was kept, or None."""

    def set(self, name: str, value: str) -> None:
        """Keep a value."""

    def watch(self, name: str, owner: object, changed: Callable[[str], None]) -> None:
        """Call ``changed`` with a value that was set elsewhere, for as long as ``owner`` lives."""


class MemorySettings:
    """Settings that last as long as the process and are set nowhere else: for headless use."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    def get(self, name: str) -> str | None:
        """Return what was kept, or None."""
        return self._values.get(name)

    def set(self, name: str, value: str) -> None:
        """Keep a value."""
        self._values[name] = value

    def watch(self, name: str, owner: object, changed: Callable[[str], None]) -> None:
        """Nothing else sets them."""


def restore(
    model: _Model,
    store: SettingsStore,
    names: tuple[str, ...] = REMEMBERED,
) -> None:
    """Set the remembered fields of a model, and remember them whenever they change.

    A value that this version does not know is left at its default, and so is a device where the
    environment does not free the choice.
    """
    for name in names:
        if name == "device" and not is_override_enabled():
            continue  # it is kept for when it may be chosen again
        kept = store.get(name)
        if kept is not None and not _take(model, name, kept):
            store.set(name, str(getattr(model, name)))
        _remember(model, name, store)


def _take(model: _Model, name: str, kept: str) -> bool:
    """Set a field to what was kept as text; False where this version does not know the value."""
    kind: Callable[[str], object] = type(getattr(model, name))
    try:
        # Qt writes "true" for a bool, as version 4 did.
        setattr(model, name, kept.casefold() == "true" if kind is bool else kind(kept))
    except ValueError:
        return False
    return True


def _remember(model: _Model, name: str, store: SettingsStore) -> None:
    known = weakref.ref(model)

    def take(value: str) -> None:
        if (model := known()) is not None:
            _take(model, name, value)

    getattr(model.events, name).connect(lambda value: store.set(name, str(value)))
    store.watch(name, model, take)
