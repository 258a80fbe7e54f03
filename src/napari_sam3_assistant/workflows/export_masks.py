"""Write curated masks to files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np

from napari_sam3_assistant.core.masks.blocks import read
from napari_sam3_assistant.core.masks.formats import ExportFormat
from napari_sam3_assistant.core.masks.labels import whole
from napari_sam3_assistant.core.masks.objects import Classes
from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.errors import ExportError
from napari_sam3_assistant.io.coco import save_coco
from napari_sam3_assistant.io.geojson import save_geojson
from napari_sam3_assistant.io.labels import save_labels
from napari_sam3_assistant.io.ome_zarr_labels import save_ome_zarr
from napari_sam3_assistant.io.outputs import make_folder
from napari_sam3_assistant.io.yolo import save_yolo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.masks.place import ImagePlace
    from napari_sam3_assistant.core.progress import Reporter


@dataclass(frozen=True, slots=True, eq=False)
class MaskExport:
    """What to write.

    Parameters
    ----------
    labels : array-like of int, shape (..., H, W)
        In memory or lazy.
    path : Path
        The file.
    format : ExportFormat
        Its format.
    place : ImagePlace
        Where in which image they lie.
    axes : tuple of Axis
        What a file can say of their place in the world; it has no axis without a name.
    classes : Classes
        What the labels stand for.
    """

    labels: Any
    path: Path
    format: ExportFormat
    place: ImagePlace
    axes: Axes
    classes: Classes = field(default_factory=Classes)


def export_masks(request: MaskExport, reporter: Reporter) -> Iterator[Path]:
    """Write masks and yield the path.

    Parameters
    ----------
    request : MaskExport
        What to write.
    reporter : Reporter
        Is told of the progress, and stops the work.

    Yields
    ------
    Path
        The file that was written.

    Raises
    ------
    ExportError
        If it can't be written, or the format can't hold it.
    """
    reporter.report(Progress(0, 0, f"Saving {request.path.name}"))
    labels, path, classes = request.labels, request.path, request.classes
    make_folder(path)
    match request.format:
        case ExportFormat.OME_ZARR:
            _check_not_in(path, labels)
            found, axes = _named(labels, request.axes)
            save_ome_zarr(found, path, axes, reporter, replace=True)
        case ExportFormat.COCO_RLE:
            save_coco(labels, path, classes, request.place)
        case ExportFormat.COCO_POLYGONS:
            save_coco(labels, path, classes, request.place, as_polygons=True)
        case ExportFormat.YOLO:
            save_yolo(labels, path, classes, request.place)
        case ExportFormat.GEOJSON:
            save_geojson(labels, path, classes, request.place)
        case _:
            found, axes = _named(read(labels, whole(labels.shape)), request.axes)
            save_labels(found, path, axes, reporter=reporter)
    yield path


def _named(labels: Any, axes: Axes) -> tuple[Any, Axes]:  # noqa: ANN401
    """Return labels without the axes that have no name, of which they have one plane."""
    kept = tuple(axis for axis in axes if axis.name)
    if len(kept) == len(axes):
        return labels, axes
    lazy = labels if isinstance(labels, np.ndarray) else da.from_array(labels)
    return lazy[tuple(slice(None) if axis.name else 0 for axis in axes)], kept


def _check_not_in(path: Path, labels: Any) -> None:  # noqa: ANN401
    """Raise ExportError if a folder that would be replaced holds the labels themselves."""
    root = getattr(getattr(labels, "store", None), "root", None)
    if root is None:
        return
    folder = root.resolve()
    if path.resolve() in (folder, *folder.parents):
        raise ExportError(f"{path} is where these labels are stored.", "Choose another name.")
