"""Reading images of every supported format."""

from __future__ import annotations

import lzma
import os
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
import tifffile
from PIL import Image

from napari_sam3_assistant.core.axes import axes_of
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.loaded import LoadedImage
from napari_sam3_assistant.io.ome_zarr import read_zarr
from napari_sam3_assistant.io.tiff import read_tiff

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LoadedImage", "read_image"]

# What the format libraries raise on files that are damaged, cut off or of another format.
_BROKEN = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    SyntaxError,  # Pillow, on a damaged PNG
    MemoryError,
    RuntimeError,  # imagecodecs, on damaged compressed data
    struct.error,
    zlib.error,
    lzma.LZMAError,
    tifffile.TiffFileError,
    Image.DecompressionBombError,
)
_PLAIN_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I", "F")


def read_image(path: str | Path) -> LoadedImage:
    """Read an image.

    Parameters
    ----------
    path : str or Path
        A TIFF, OME-TIFF, PNG, JPEG, BMP or NumPy file, or the folder of a zarr array or an
        OME-Zarr image, of which the largest level is taken.

    Returns
    -------
    LoadedImage
        Large TIFF, NumPy and all zarr images are read only where they are indexed.

    Raises
    ------
    ImageError
        If it is missing, empty, damaged or of another format.
    """
    path = Path(path)
    if not os.path.exists(path):  # unlike the path's own, also where a name is too long
        raise ImageError(f"There is no file {path}.", "Check the path.")
    reader = _reader(path)
    try:
        loaded = reader(path)
    except _BROKEN as exc:
        said = str(exc) or type(exc).__name__
        if "imagecodecs" in said:
            raise ImageError(
                f"{path} is compressed in a way that needs another package: {said}.",
                "Install it with: pip install imagecodecs",
            ) from exc
        raise ImageError(
            f"{path} can't be read: {said.rstrip('.')}.",
            "Check that it opens elsewhere, or save it again as TIFF.",
        ) from exc
    if 0 in loaded.data.shape:
        raise ImageError(
            f"{path} is empty: its image has the shape {tuple(loaded.data.shape)}.",
            "Choose an image that has pixels.",
        )
    return replace(loaded, name=_name(path))


def _reader(path: Path) -> Callable[[Path], LoadedImage]:
    if path.is_dir():
        return read_zarr
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ImageError(
            f"Files of the type '{path.suffix}' can't be read: {path}.",
            f"Use {', '.join(_READERS)}, or a .zarr folder.",
        )
    if path.stat().st_size == 0:
        raise ImageError(f"{path} is empty.", "Choose a file that holds an image.")
    return reader


def _name(path: Path) -> str:
    """Return the file name without its ending; other dots are part of the name."""
    name = path.name.removesuffix(path.suffix)
    return name[:-4] if name.lower().endswith(".ome") else name


def _read_picture(path: Path) -> LoadedImage:
    """Read the first picture of a PNG, JPEG or BMP file."""
    found = iio.immeta(path, index=0, plugin="pillow", exclude_applied=False)
    mode = str(found["mode"])
    # CMYK and YCbCr have three or four channels that are no RGB.
    plain = mode in _PLAIN_MODES or mode.startswith("I;16")
    pixels = iio.imread(path, index=0, plugin="pillow", mode=None if plain else "RGB")
    if pixels.ndim == 3 and pixels.shape[-1] == 2:
        pixels = pixels[..., 0]  # grey with alpha
    names = ("y", "x", "s")[: pixels.ndim]
    return LoadedImage(pixels, axes_of(pixels.shape, names=names), pixels.ndim == 3)


def _read_npy(path: Path) -> LoadedImage:
    pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    return LoadedImage(pixels, axes_of(pixels.shape, names=("",) * pixels.ndim))


_READERS: dict[str, Callable[[Path], LoadedImage]] = {
    **dict.fromkeys((".tif", ".tiff"), read_tiff),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".bmp"), _read_picture),
    ".npy": _read_npy,
}
