"""Which engine a model folder is for, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_sam3_assistant.engines.checkpoints.report import NO_PLANES, Layout
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

    @property
    def video_only(self) -> bool:
        """Whether it is for 3D and video only."""
        return not self.weights.layout.segments_planes

    def require_planes(self) -> None:
        """Raise if it has no model for 2D tasks.

        Raises
        ------
        CheckpointInvalid
            If it is for 3D and video only.
        """
        if self.video_only:
            raise CheckpointInvalid(NO_PLANES.text, NO_PLANES.remedy)


def choose_engine(report: FolderReport, statuses: Mapping[str, EngineStatus]) -> EngineChoice:
    """Choose the engine that can load a folder: an installed one first.

    Weights for 2D tasks, which do for 3D/video, too, come before those for 3D/video only.

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
    if report.video_only:
        usable = list(report.weights)
    if not usable:
        wrong = next(finding for finding in report.findings if not finding.ok)
        kind = CheckpointNotFound if wrong.missing else CheckpointInvalid
        raise kind(wrong.text, wrong.remedy)
    for weights in usable:
        status = statuses.get(weights.layout.engine)
        if status is not None and status.available:
            return EngineChoice(weights.layout.engine, weights, True, _reason(weights, report))
    first = usable[0]
    status = statuses.get(first.layout.engine)
    remedy = status.reason if status is not None else "The engine is not part of this build."
    return EngineChoice(
        first.layout.engine,
        first,
        False,
        f"{_reason(first, report)} It can't run here yet: {remedy}",
    )


def _reason(weights: WeightsFile, report: FolderReport) -> str:
    read = f"{weights.path.name} holds {weights.layout.value}, read by {weights.layout.engine}."
    if not weights.layout.segments_planes:
        return f"{read} {NO_PLANES.text} {NO_PLANES.remedy}"
    beside = {other.layout: other.path.name for other in report.weights}
    if Layout.META_MULTIPLEX not in beside:
        return read
    # Meta's engine takes SAM 3.0 where both are there.
    how = (
        "move it into a folder of its own and choose that"
        if Layout.META in beside
        else "choose the engine sam3-meta with this folder"
    )
    return f"{read} {beside[Layout.META_MULTIPLEX]} is SAM 3.1: to use it for 3D/video, {how}."
