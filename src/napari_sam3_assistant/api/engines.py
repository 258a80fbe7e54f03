"""Which engines there are, and what is installed."""

from __future__ import annotations

from dataclasses import dataclass

from napari_sam3_assistant.engines import diagnose, registry


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """One engine, as :func:`engines` lists it.

    Parameters
    ----------
    name : str
        The name to give to :func:`segment`.
    title : str
        The name for people.
    available : bool
        Whether it can run on this machine.
    reason : str
        Why it can't, and what to do; empty if it can.
    """

    name: str
    title: str
    available: bool
    reason: str


def engines() -> tuple[EngineInfo, ...]:
    """Return the engines, whether each can run here, and if not, why and what to do."""
    listed = []
    for entry in registry.entries().values():
        status = entry.status()
        listed.append(
            EngineInfo(entry.spec.name, entry.spec.title, status.available, status.reason)
        )
    return tuple(listed)


def doctor() -> tuple[str, ...]:
    """Return what is installed on this machine and what is missing, line by line."""
    return diagnose.report()
