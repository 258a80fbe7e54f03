"""What the groups of verbs of a session share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_sam3_assistant.session.engine import EngineInUse
    from napari_sam3_assistant.session.jobs import Running
    from napari_sam3_assistant.session.model import DiskModel, SessionModel
    from napari_sam3_assistant.session.undo import Undo
    from napari_sam3_assistant.viewer.adapter import ViewerAdapter


@dataclass(frozen=True, slots=True)
class Services:
    """The state, the viewer, the engine, the job that is going, and the steps of undo."""

    model: SessionModel
    disk: DiskModel
    adapter: ViewerAdapter
    engine: EngineInUse
    jobs: Running
    undo: Undo
