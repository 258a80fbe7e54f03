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
from napari_sam3_assistant.io.tiff_scale import read_scale, read_units

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
        axes = str(series.axes).upper()
        is_rgb = series.keyframe.photometric == tifffile.PHOTOMETRIC.RGB
        large = series.nbytes > lazy_bytes
        in_one_piece = series.dataoffset is not None
        scale = read_scale(file, axes)
        units = read_units(file, axes)
        data: Any = None if large else series.asarray()
    if large:
        data = tifffile.memmap(path, series=0, mode="r") if in_one_piece else _open_lazily(path)
    samples = axes.find("S")
    if is_rgb and 0 <= samples < len(axes) - 1:
        # Colours stored plane by plane (SYX) become the last axis, as elsewhere.
        lazy = not isinstance(data, np.ndarray)
        data = (
            da.moveaxis(da.from_array(data), samples, -1)
            if lazy
            else np.moveaxis(data, samples, -1)
        )
        axes = axes.replace("S", "") + "S"
        if scale is not None:
            scale = (*scale[:samples], *scale[samples + 1 :], scale[samples])
        if units is not None:
            units = (*units[:samples], *units[samples + 1 :], units[samples])
    rgb = is_rgb and axes.endswith("S") and data.shape[-1] in (3, 4)
    return LoadedImage(data, tuple(axes.lower()), rgb, scale, units=units)


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
