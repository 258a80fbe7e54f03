"""Look into a model folder: which engine it is for, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.engines import registry
from napari_sam3_assistant.engines.checkpoints import (
    EngineChoice,
    Finding,
    choose_engine,
    inspect_folder,
)
from napari_sam3_assistant.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.checkpoints import FolderReport


@dataclass(frozen=True, slots=True)
class FolderCheck:
    """What is to say about a model folder.

    Parameters
    ----------
    findings : tuple of Finding
        All that was looked at, in order.
    usable : bool
        Whether an engine can load it here.
    verdict : str
        Which engine and why, or what to do.
    """

    findings: tuple[Finding, ...]
    usable: bool
    verdict: str


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
    yield _choose(inspect_folder(folder))


def validate_folder(folder: str, reporter: Reporter) -> Iterator[FolderCheck]:
    """Yield all findings on a folder; no weights are loaded.

    Parameters
    ----------
    folder : str
        The model folder; empty for none.
    reporter : Reporter
        Is told of the progress, and stops the work.
    """
    reporter.report(Progress(0, 1, "Checking the model folder"))
    report = inspect_folder(folder)
    try:
        choice = _choose(report)
    except EngineError as error:
        yield FolderCheck(report.findings, False, str(error))
    else:
        yield FolderCheck(report.findings, choice.installed, f"{report.summary} {choice.reason}")


def _choose(report: FolderReport) -> EngineChoice:
    statuses = {name: entry.status() for name, entry in registry.entries().items()}
    return choose_engine(report, statuses)
