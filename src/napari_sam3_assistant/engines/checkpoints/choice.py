"""Which engine a model folder is for, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_sam3_assistant.errors import CheckpointInvalid, CheckpointNotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_sam3_assistant.engines.base import EngineStatus
    from napari_sam3_assistant.engines.checkpoints.report import FolderReport, WeightsFile


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """The engine for a model folder.

    Parameters
    ----------
    engine : str
        Its name.
    weights : WeightsFile
        What it will load.
    installed : bool
        Whether it can run on this machine.
    reason : str
        Why it, and what to do where it is not installed, for the user.
    """

    engine: str
    weights: WeightsFile
    installed: bool
    reason: str


def choose_engine(report: FolderReport, statuses: Mapping[str, EngineStatus]) -> EngineChoice:
    """Choose the engine that can load a folder for 2D tasks: an installed one first.

    Parameters
    ----------
    report : FolderReport
        What is in the folder.
    statuses : mapping of str to EngineStatus
        The known engines by name, and whether each can run here.

    Raises
    ------
    CheckpointNotFound
        If the folder or its weights are not there.
    CheckpointInvalid
        If no engine can load it.
    """
    usable = [
        weights
        for weights in report.weights
        if weights.layout.segments_planes and weights.layout.engine in report.engines
    ]
    if not usable:
        wrong = next(finding for finding in report.findings if not finding.ok)
        kind = CheckpointNotFound if wrong.missing else CheckpointInvalid
        raise kind(wrong.text, wrong.remedy)
    for weights in usable:
        status = statuses.get(weights.layout.engine)
        if status is not None and status.available:
            return EngineChoice(weights.layout.engine, weights, True, _reason(weights))
    first = usable[0]
    status = statuses.get(first.layout.engine)
    remedy = status.reason if status is not None else "The engine is not part of this build."
    return EngineChoice(
        first.layout.engine, first, False, f"{_reason(first)} It can't run here yet: {remedy}"
    )


def _reason(weights: WeightsFile) -> str:
    return f"{weights.path.name} holds {weights.layout.value}, read by {weights.layout.engine}."
