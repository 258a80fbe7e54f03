"""Choices that are remembered from one start to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam3_assistant.session.model import ScanModel, SessionModel


REMEMBERED = (
    "task",
    "tool",
    "engine",
    "model_folder",
    "sam_version",
    "device",
    "precision",
    "encode_ahead",
    "live",
    "each_click",
    "load_when_running",
    "sound",
    "soft_masks",
    "columns",
    "output_folder",
    "output_format",
    "save_folder",
    "save_at_accept",
    "threshold",
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


class MemorySettings:
    """Settings that last as long as the process: for headless use."""

    def __init__(self) -> None:
        self._values: dict[str, str] = {}

    def get(self, name: str) -> str | None:
        """Return what was kept, or None."""
        return self._values.get(name)

    def set(self, name: str, value: str) -> None:
        """Keep a value."""
        self._values[name] = value


def restore(
    model: SessionModel | ScanModel, store: SettingsStore, names: tuple[str, ...] = REMEMBERED
) -> None:
    """Set the remembered fields of a model, and remember them whenever they change.

    A value that this version does not know is left at its default.
    """
    for name in names:
        kept = store.get(name)
        if kept is not None:
            try:
                setattr(model, name, _read(kept, type(getattr(model, name))))
            except ValueError:
                store.set(name, str(getattr(model, name)))
        _remember(model, name, store)


def _remember(model: SessionModel | ScanModel, name: str, store: SettingsStore) -> None:
    def keep(value: object) -> None:
        store.set(name, str(value))

    getattr(model.events, name).connect(keep)


def _read(kept: str, kind: Callable[[str], object]) -> object:
    """Return the value that was kept as text."""
    # Qt writes "true" for a bool, as version 4 did.
    return kept.casefold() == "true" if kind is bool else kind(kept)
