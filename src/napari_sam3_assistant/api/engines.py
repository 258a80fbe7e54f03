"""Which engines there are, what is installed, and an engine that stays open."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_sam3_assistant.engines import diagnose, registry
from napari_sam3_assistant.engines.embedding_folder import EmbeddingFolder
from napari_sam3_assistant.engines.embeddings import EncodingEngine
from napari_sam3_assistant.errors import EngineError


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


def open_engine(
    name: str,
    *,
    model_folder: str | Path | None = None,
    device: str = "auto",
    encodings_folder: str | Path | None = None,
) -> EncodingEngine:
    """Return an engine that keeps its weights and encodings between calls of :func:`segment`.

    Use it as a context manager; leaving it frees the memory.

    Parameters
    ----------
    name : str
        Its name, see :func:`engines`.
    model_folder : str or Path, optional
        The folder of the weights, for engines that need them.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    encodings_folder : str or Path, optional
        Where encodings of SAM 3 are kept on disk too, so that another process need not encode
        the same pixels again: up to 10 GB, the least recently used go first.

    Raises
    ------
    EngineError
        If there is no such engine, it can't run here, or it reads no weights and is given some.

    Examples
    --------
    >>> from napari_sam3_assistant import api
    >>> from skimage.data import coins
    >>> with api.open_engine("builtin") as engine:
    ...     result = api.segment(coins(), points=[(125, 165)], engine=engine)
    >>> len(result.objects)
    1
    """
    folder = None if model_folder is None else Path(model_folder).expanduser()
    spec = registry.spec_for(name, folder)
    if folder is not None and not spec.needs_weights:
        # Its masks would be taken for those of the weights.
        raise EngineError(
            f"{spec.title} reads no weights, and was given the model folder {folder}.",
            "Leave out the folder, or the engine's name: the engine then follows from the folder.",
        )
    kept = None if encodings_folder is None else EmbeddingFolder(Path(encodings_folder))
    return EncodingEngine(registry.create(name, folder, device), folder=kept)
