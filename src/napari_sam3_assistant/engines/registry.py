"""The engines by name, found through entry points, and one loaded engine for all who ask for it.

Anybody's package may bring engines. One that can't be used costs itself: it is listed, and its
status says why.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.prompts import PromptKind
from napari_sam3_assistant.engines.base import EngineEntry, EngineSpec, EngineStatus
from napari_sam3_assistant.engines.caching_engine import CachingEngine
from napari_sam3_assistant.engines.checkpoints import find_model_folder
from napari_sam3_assistant.engines.device import AUTO, check_device_name, choose_device
from napari_sam3_assistant.errors import DeviceUnavailable, EngineError, EngineNotInstalled

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from importlib.metadata import EntryPoint
    from pathlib import Path

    from napari_sam3_assistant.engines.base import ImageEngine


ENTRY_GROUP = "napari_sam3_assistant.engines"
_OURS = "napari_sam3_assistant."
# What a stranger's module may raise while it is imported or asked; some end the program.
_ANYTHING = (Exception, SystemExit)


@cache
def entries() -> dict[str, EngineEntry]:
    """Return the known engines by name, ours first, and of these the built-in one."""
    points = sorted(entry_points(group=ENTRY_GROUP), key=_order)
    known: dict[str, EngineEntry] = {}
    for point in points:
        found = _load(point)
        # Nobody else's engine takes the place of ours.
        known.setdefault(found.spec.name, found)
    return known


def _order(point: EntryPoint) -> tuple[bool, bool, str]:
    return not point.value.startswith(_OURS), point.name != "builtin", point.name


def _load(point: EntryPoint) -> EngineEntry:
    """Return the entry that an entry point names, or one that says why it can't be used."""
    try:
        found = point.load()
    except _ANYTHING as exc:
        return _unusable_entry(point, f"{type(exc).__name__}: {exc}")
    if not (isinstance(found, EngineEntry) and isinstance(found.spec, EngineSpec)):
        return _unusable_entry(point, f"{point.value} is not an EngineEntry")
    return replace(found, status=partial(_ask_status, point, found.status))


def _ask_status(point: EntryPoint, status: Callable[[], EngineStatus]) -> EngineStatus:
    """Return whether an engine can run here, also where its package fails to tell."""
    try:
        engine_status = status()
    except _ANYTHING as exc:
        return _broken_status(point, f"{type(exc).__name__}: {exc}")
    return (
        engine_status
        if isinstance(engine_status, EngineStatus)
        else _broken_status(point, "its status is not an EngineStatus")
    )


def _unusable_entry(point: EntryPoint, reason: str) -> EngineEntry:
    def refuse(model_folder: Path | None, device: str) -> ImageEngine:
        del model_folder, device
        raise EngineNotInstalled(
            f"{point.name} can't run here.", _broken_status(point, reason).reason
        )

    # It takes every prompt, so that what is said of it is that it is broken.
    spec = EngineSpec(point.name, point.name, frozenset(PromptKind), needs_weights=False)
    return EngineEntry(spec, partial(_broken_status, point, reason), refuse)


def _broken_status(point: EntryPoint, reason: str) -> EngineStatus:
    package = point.dist.name if point.dist is not None else point.value
    return EngineStatus(False, f"It is broken ({reason}). Update or remove the package {package}.")


def find_entry(name: str) -> EngineEntry:
    """Return an engine's entry."""
    known = entries()
    if name not in known:
        raise EngineError(f"There is no engine '{name}'.", f"Known engines: {', '.join(known)}.")
    return known[name]


def spec_for(name: str, model_folder: Path | str | None = None) -> EngineSpec:
    """Return the card of an engine on a model folder; nothing is loaded to tell."""
    return find_entry(name).spec_for(find_model_folder(model_folder) if model_folder else None)


def create(
    name: str, model_folder: Path | None = None, device: str = "auto", precision: str = AUTO
) -> ImageEngine:
    """Make an engine; nothing is loaded yet."""
    check_device_name(device)
    model_folder = None if model_folder is None else find_model_folder(model_folder)
    chosen = find_entry(name)
    status = chosen.status()
    if not status.available:
        raise EngineNotInstalled(f"{chosen.spec.title} can't run here.", status.reason)
    if not chosen.spec_for(model_folder).precisions:
        return chosen.create(model_folder, device)
    return chosen.create(model_folder, device, precision)


@dataclass(slots=True, eq=False)
class _SharedEngine:
    """An engine, the device that was asked for, and how many hold it."""

    engine: CachingEngine
    device: str
    holders: int = 0

    def runs_on(self, device: str) -> bool:
        """Return whether a requested device is the one that this engine runs on."""
        if self.device == device:
            return True
        if not self.engine.is_loaded:
            # Where it will run is not known yet, and to ask would start PyTorch.
            return False
        try:
            return choose_device(device).device == self.engine.device
        except DeviceUnavailable:
            # The engine that is made instead tells this when it is loaded.
            return False


# Garbage collection may close a session, and so a lease, in the middle of this very code.
_lock = threading.RLock()
_FULL_NAMES = {"cuda": "cuda:0"}
_engines: dict[Hashable, list[_SharedEngine]] = {}


class EngineLease:
    """One holder's share of an engine; when the last holder closes his, the engine closes.

    ``key``: which weights.
    """

    def __init__(self, key: Hashable, shared: _SharedEngine) -> None:
        self._key = key
        self._shared = shared
        self._closed = False

    @property
    def engine(self) -> CachingEngine:
        """The engine."""
        return self._shared.engine

    def close(self) -> None:
        """Let go of the engine; a second call does nothing."""
        with _lock:
            if self._closed:
                return
            self._closed = True
            self._shared.holders -= 1
            last = self._shared.holders == 0
            if last:
                _engines[self._key].remove(self._shared)
                if not _engines[self._key]:
                    del _engines[self._key]
        if last:
            # Outside the lock: closing takes a while, and others may ask for other engines.
            self._shared.engine.close()


def lend(engine: CachingEngine) -> EngineLease:
    """Return the one share of an engine that nobody else asks for, such as one on a server."""
    key, shared = object(), _SharedEngine(engine, "", holders=1)
    with _lock:
        _engines[key] = [shared]
    return EngineLease(key, shared)


def acquire(
    name: str, model_folder: Path | None = None, device: str = "auto", precision: str = AUTO
) -> EngineLease:
    """Return a share of the engine, which is made if nobody holds one.

    A loaded one serves all who would get its device: where ``auto`` is ``cuda:0``, both are the
    same. Engines without weights are not shared: there is nothing to save, and each of two
    viewers would wait for the other.
    """
    found = find_entry(name)
    folder = None if model_folder is None else find_model_folder(model_folder).resolve()
    key: Hashable = (found, folder, precision) if found.spec.needs_weights else object()
    device_name = _FULL_NAMES.get(device.strip().lower(), device.strip().lower())
    with _lock:
        known = _engines.get(key, [])
        fitting = [entry for entry in known if entry.runs_on(device_name)]
        shared = max(fitting, key=lambda entry: entry.engine.is_loaded, default=None)
        if shared is None:
            engine = CachingEngine(create(name, model_folder, device, precision))
            shared = _SharedEngine(engine, device_name)
            _engines[key] = [*known, shared]
        shared.holders += 1
        return EngineLease(key, shared)
