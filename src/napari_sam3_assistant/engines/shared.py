"""One loaded engine for all who ask for the same: two viewers need one copy of the weights."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_sam3_assistant.engines import registry
from napari_sam3_assistant.engines.embeddings import EncodingEngine

if TYPE_CHECKING:
    from collections.abc import Hashable
    from pathlib import Path


@dataclass(slots=True, eq=False)
class _Shared:
    """An engine and how many hold it."""

    engine: EncodingEngine
    holders: int = 0


# Garbage collection may close a session, and so a loan, in the middle of this very code.
_lock = threading.RLock()
_engines: dict[Hashable, _Shared] = {}


class Loan:
    """One holder's share of an engine; when the last holder closes his, the engine closes.

    Parameters
    ----------
    key : hashable
        What was asked for.
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
                del _engines[self._key]
        if last:
            # Outside the lock: closing takes a while, and others may ask for other engines.
            self._shared.engine.close()


def borrow(name: str, model_folder: Path | None = None, device: str = "auto") -> Loan:
    """Return a share of the engine, which is made if nobody holds one.

    Engines without weights are not shared: there is nothing to save, and each of two viewers
    would wait for the other.

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
    key: Hashable = (entry, folder, device) if entry.spec.needs_weights else object()
    with _lock:
        shared = _engines.get(key)
        if shared is None:
            shared = _Shared(EncodingEngine(registry.create(name, model_folder, device)))
            _engines[key] = shared
        shared.holders += 1
        return Loan(key, shared)
