"""Labels that are in a file and not in memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.io.outputs import typed_folder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_sam3_assistant.core.images import LazyArray
    from napari_sam3_assistant.session.disk.model import DiskModel
    from napari_sam3_assistant.session.model import SessionModel, Target

DEFAULT_FOLDER = "napari-sam3-labels"


class StoredKind(StrEnum):
    """What wrote labels to a file."""

    SCAN = "scan"
    MERGED = "merged"


@dataclass(frozen=True, slots=True, eq=False)
class StoredLabels:
    """Labels of one plane in a file.

    Parameters
    ----------
    kind : StoredKind
        What wrote them.
    target : Target
        The image and the plane.
    path : Path
        The zarr folder; while a scan goes on, the name that it will have.
    levels : tuple of array-like, shapes (h, w), (h/2, w/2), ...
        The labels in all their sizes, the largest first; read when they are indexed.
    features : mapping
        One row an object, for the layer's table.
    complete : bool
        Whether nothing writes to the file any more, so that the user may.
    """

    kind: StoredKind
    target: Target
    path: Path
    levels: tuple[LazyArray, ...]
    features: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    complete: bool = True

    @property
    def label(self) -> str:
        """What tells them from other labels of the image."""
        return self.path.name.removesuffix(".zarr")

    @property
    def slot(self) -> tuple[str, str]:
        """The place of their layer, see :attr:`.model.Preview.slot`."""
        return (self.target.image, self.label)


def folder_for(model: SessionModel, disk: DiskModel) -> Path:
    """Return the folder that labels go to: the chosen one, or the one that is proposed."""
    chosen = disk.scan_folder.strip() or model.output_folder.strip()
    return typed_folder(chosen) if chosen else Path.home() / DEFAULT_FOLDER
