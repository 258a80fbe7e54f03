"""Reading TIFF and OME-TIFF, lazily where they are large."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import tifffile
import zarr

from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.loaded import LoadedImage
from napari_sam3_assistant.io.tiff_axes import axes_of_series

if TYPE_CHECKING:
    from pathlib import Path

LAZY_BYTES = 1 << 28
"""Images of more bytes than this are read only where they are indexed."""


def read_tiff(path: Path, lazy_bytes: int = LAZY_BYTES) -> LoadedImage:
    """Read the first image series of a TIFF file, at its largest level.

    Parameters
    ----------
    path : Path
        The file.
    lazy_bytes : int
        Images of more bytes than this are read only where they are indexed.

    Raises
    ------
    ImageError
        If there is no image in it.
    """
    with tifffile.TiffFile(path) as file:
        if len(file.series) == 0:
            raise ImageError(f"There is no image in {path}.", "Choose a file that holds an image.")
        series = file.series[0]
        axes = axes_of_series(file, 0)
        is_rgb = series.keyframe.photometric == tifffile.PHOTOMETRIC.RGB
        large = series.nbytes > lazy_bytes
        in_one_piece = series.dataoffset is not None
        data: Any = None if large else series.asarray()
    if large:
        data = tifffile.memmap(path, series=0, mode="r") if in_one_piece else _open_lazily(path)
    samples = next((number for number, axis in enumerate(axes) if axis.name == "s"), len(axes) - 1)
    if is_rgb and samples < len(axes) - 1:
        # Colours stored plane by plane (SYX) become the last axis, as elsewhere.
        lazy = not isinstance(data, np.ndarray)
        data = (
            da.moveaxis(da.from_array(data), samples, -1)
            if lazy
            else np.moveaxis(data, samples, -1)
        )
        axes = (*axes[:samples], *axes[samples + 1 :], axes[samples])
    rgb = is_rgb and axes[-1].name == "s" and data.shape[-1] in (3, 4)
    return LoadedImage(data, axes, rgb)


def _open_lazily(path: Path) -> Any:  # noqa: ANN401 - tifffile and zarr are untyped here
    """Return a zarr array on the file; the file is closed when the array is let go."""
    file = tifffile.TiffFile(path)
    try:
        array = zarr.open(file.series[0].aszarr(level=0), mode="r")
    except (ImportError, ValueError):
        # tifffile and zarr of versions that don't go together: all of it has to be read.
        with file:
            return file.series[0].asarray()
    weakref.finalize(array, file.close)
    return array
