"""A plane of labels in a file that is written piece by piece and can be seen all the while."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.io.ome_zarr_labels import create_pyramid

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from napari_sam3_assistant.io.label_axes import LabelAxes


class GrowingLabels:
    """An OME-Zarr image of labels, of which every size is true after each write.

    A viewer shows large labels at the size that fits its window. Were the smaller sizes made at
    the end, it would have to read all of the largest one to show how far the work is.

    Parameters
    ----------
    path : Path
        The folder; replaced if it exists.
    shape : tuple of int
        Height and width of the plane.
    axes : LabelAxes
        The size of a pixel.

    Raises
    ------
    ExportError
        If it can't be written.
    """

    def __init__(self, path: Path, shape: tuple[int, int], axes: LabelAxes) -> None:
        self._levels: tuple[Any, ...] = create_pyramid(path, shape, axes)
        self._changed: Region | None = None

    def __getitem__(self, key: tuple[slice, slice]) -> npt.NDArray[np.uint32]:
        """Return the labels of a piece."""
        piece: npt.NDArray[np.uint32] = self._levels[0][key]
        return piece

    def __setitem__(self, key: tuple[slice, slice], value: npt.NDArray[np.uint32]) -> None:
        """Write the labels of a piece, and every second, fourth, ... of its pixels."""
        rows, columns = key
        for number, level in enumerate(self._levels):
            step = 2**number
            fewer = value[-rows.start % step :: step, -columns.start % step :: step]
            y, x = -(-rows.start // step), -(-columns.start // step)
            if fewer.size:
                level[y : y + fewer.shape[0], x : x + fewer.shape[1]] = fewer
        written = Region(rows.start, columns.start, rows.stop, columns.stop)
        self._changed = written if self._changed is None else self._changed.union(written)

    def take_changed(self) -> Region | None:
        """Return a box around all that was written since the last call."""
        changed, self._changed = self._changed, None
        return changed
