"""The engines by name, found through entry points and imported when they are asked for."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam3_assistant.errors import EngineError, EngineNotInstalled

if TYPE_CHECKING:
    from napari_sam3_assistant.engines.base import EngineEntry, EngineSpec, ImageEngine

ENTRY_GROUP = "napari_sam3_assistant.engines"


@cache
def entries() -> dict[str, EngineEntry]:
    """Return the known engines by name, the built-in one first."""
    found: list[EngineEntry] = [point.load() for point in entry_points(group=ENTRY_GROUP)]
    found.sort(key=lambda entry: (entry.spec.needs_weights, entry.spec.name))
    return {entry.spec.name: entry for entry in found}


def entry(name: str) -> EngineEntry:
    """Return an engine's entry.

    Raises
    ------
    EngineError
        If there is no engine of that name.
    """
    known = entries()
    if name not in known:
        raise EngineError(f"There is no engine '{name}'.", f"Known engines: {', '.join(known)}.")
    return known[name]


def spec_for(name: str, model_folder: Path | str | None = None) -> EngineSpec:
    """Return the card of an engine on a model folder; nothing is loaded to tell.

    Parameters
    ----------
    name : str
        Its name.
    model_folder : Path, str or None
        The folder of the weights; None or empty for none.

    Raises
    ------
    EngineError
        If there is no engine of that name.
    """
    return entry(name).spec_for(Path(model_folder) if model_folder else None)


def create(name: str, model_folder: Path | None = None, device: str = "auto") -> ImageEngine:
    """Make an engine; nothing is loaded yet.

    Parameters
    ----------
    name : str
        Its name.
    model_folder : Path or None
        The folder of the weights, for engines that need them.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises
    ------
    EngineError
        If there is no engine of that name.
    EngineNotInstalled
        If it can't run on this machine.
    """
    chosen = entry(name)
    status = chosen.status()
    if not status.available:
        raise EngineNotInstalled(f"{chosen.spec.title} can't run here.", status.reason)
    return chosen.create(model_folder, device)
