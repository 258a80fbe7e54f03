"""One loaded engine for all who ask for the same: two viewers need one copy of the weights."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_sam3_assistant.engines import registry
from napari_sam3_assistant.engines.device import choose_device
from napari_sam3_assistant.engines.embeddings import EncodingEngine
from napari_sam3_assistant.errors import DeviceUnavailable

if TYPE_CHECKING:
    from collections.abc import Hashable
    from pathlib import Path


@dataclass(slots=True, eq=False)
class _Shared:
    """An engine, the device that was asked for, and how many hold it."""

    engine: EncodingEngine
    device: str
    holders: int = 0

    def runs_on(self, device: str) -> bool:
        """Return whether who asks for a device would get the same as this one's holders."""
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


# Garbage collection may close a session, and so a loan, in the middle of this very code.
_lock = threading.RLock()
_FULL_NAMES = {"cuda": "cuda:0"}
_engines: dict[Hashable, list[_Shared]] = {}


class Loan:
    """One holder's share of an engine; when the last holder closes his, the engine closes.

    Parameters
    ----------
    key : hashable
        Which weights.
    shared : _Shared
        The engine.
    """

    def __init__(self, key: Hashable, shared: _Shared) -> None:
        self._key = key
        self._shared = shared
        self._closed = False

    @property
    def engine(self) -> EncodingEngine:
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


def borrow(name: str, model_folder: Path | None = None, device: str = "auto") -> Loan:
    """Return a share of the engine, which is made if nobody holds one.

    A loaded one serves all who would get its device: where ``auto`` is ``cuda:0``, both are the
    same. Engines without weights are not shared: there is nothing to save, and each of two
    viewers would wait for the other.

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
        If there is no such engine.
    EngineNotInstalled
        If it can't run on this machine.
    """
    entry = registry.entry(name)
    folder = None if model_folder is None else model_folder.expanduser().resolve()
    key: Hashable = (entry, folder) if entry.spec.needs_weights else object()
    wanted = _FULL_NAMES.get(device.strip().lower(), device.strip().lower())
    with _lock:
        known = _engines.get(key, [])
        fitting = [one for one in known if one.runs_on(wanted)]
        shared = max(fitting, key=lambda one: one.engine.is_loaded, default=None)
        if shared is None:
            made = EncodingEngine(registry.create(name, model_folder, device))
            shared = _Shared(made, wanted)
            _engines[key] = [*known, shared]
        shared.holders += 1
        return Loan(key, shared)
