"""Writing masks as OME-Zarr."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.axes import axes_of
from napari_sam3_assistant.io import ome_zarr_labels

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_sam3_assistant.core.progress import Reporter


def save_ome_zarr(
    labels: Any,  # noqa: ANN401 - arrays of numpy, zarr and others
    path: str | Path,
    spacing: Sequence[float] | None = None,
    reporter: Reporter | None = None,
) -> Path:
    """Write labels as a multiscale OME-Zarr image, completely or not at all.

    Parameters
    ----------
    labels : array-like of int, shape (..., H, W), at most 5 axes
        Labels; lazy ones are copied block by block.
    path : str or Path
        The folder; a zarr folder is replaced.
    spacing : sequence of float, optional
        Size of a pixel along each axis; by default 1.
    reporter : Reporter, optional
        Is told of the progress.

    Raises
    ------
    ExportError
        If it can't be written, or there are too many axes.
    """
    axes = axes_of(labels.shape, scale=spacing)
    return ome_zarr_labels.save_ome_zarr(labels, Path(path), axes, reporter, replace=True)
