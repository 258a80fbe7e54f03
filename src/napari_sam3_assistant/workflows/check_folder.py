"""Find out which engine a model folder is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.engines import registry
from napari_sam3_assistant.engines.checkpoints import EngineChoice, choose_engine, inspect_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_sam3_assistant.core.progress import Reporter


def check_folder(folder: Path, reporter: Reporter) -> Iterator[EngineChoice]:
    """Yield the engine that can load a folder, and why; no weights are loaded.

    Parameters
    ----------
    folder : Path
        The model folder.
    reporter : Reporter
        Is told of the progress, and stops the work.

    Raises
    ------
    EngineError
        If the folder has nothing that an engine can load.
    """
    reporter.report(Progress(0, 1, f"Checking {folder.name}"))
    statuses = {name: entry.status() for name, entry in registry.entries().items()}
    yield choose_engine(inspect_folder(folder), statuses)
