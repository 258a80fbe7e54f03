"""Make an engine ready before anybody asks it for a result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant.core.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.embeddings import EncodingEngine


def load(engine: EncodingEngine, reporter: Reporter) -> Iterator[str]:
    """Load an engine and yield the device that it runs on.

    Parameters
    ----------
    engine : EncodingEngine
        The engine.
    reporter : Reporter
        Is told of the progress, and stops the work.

    Yields
    ------
    str
        ``cpu``, ``cuda:0``, ``mps``.

    Raises
    ------
    EngineError
        If it can't be loaded.
    """
    reporter.report(Progress(0, 1, f"Loading {engine.spec.title}"))
    engine.load(reporter)
    yield engine.device
