"""Reading images of every supported format."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import imageio.v3 as iio
import numpy as np
from imagecodecs import png_decode

from napari_sam3_assistant.core.axes import axes_of
from napari_sam3_assistant.core.images import reading
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.loaded import LoadedImage
from napari_sam3_assistant.io.ome_zarr import read_zarr
from napari_sam3_assistant.io.series import Series, choose_series
from napari_sam3_assistant.io.tiff import list_tiff, read_tiff

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

__all__ = ["LoadedImage", "list_series", "read_image"]

_PLAIN_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I", "F")


def read_image(path: str | Path, series: int | None = None) -> LoadedImage:
    """Read an image.

    Parameters
    ----------
    path : str or Path
        A TIFF, OME-TIFF, PNG, JPEG, BMP or NumPy file, or the folder of a zarr array or an
        OME-Zarr image, of which the largest level is taken.
    series : int, optional
        Which image of a file that holds several, from 0. By default the one with most pixels, so
        never a thumbnail in place of its image; the notes say which.

    Returns
    -------
    LoadedImage
        Large TIFF, NumPy and all zarr images are read only where they are indexed.

    Raises
    ------
    ImageError
        If it is missing, empty, damaged or of another format, has no such series, or other files
        of its set are missing.
    """
    path = Path(path)
    with _opened(path) as form:
        loaded = form.read(path, series)
    if 0 in loaded.data.shape:
        raise ImageError(
            f"{path} is empty: its image has the shape {tuple(loaded.data.shape)}.",
            "Choose an image that has pixels.",
        )
    return replace(loaded, name=_name(path))


def list_series(path: str | Path) -> tuple[Series, ...]:
    """Return the images of a file, or of a zarr folder, by the numbers that `read_image` takes.

    No pixels are read.

    Raises
    ------
    ImageError
        If it is missing, empty, of another format, or what stands before its pixels is damaged.
    """
    path = Path(path)
    with _opened(path) as form:
        return form.list_series(path)


@contextmanager
def _opened(path: Path) -> Iterator[_Format]:
    """Give the format of an image; what its readers raise becomes one sentence."""
    if not os.path.exists(path):  # unlike the path's own, also where a name is too long
        raise ImageError(f"There is no file {path}.", "Check the path.")
    with reading(
        f"{path} can't be read", "Check that it opens elsewhere, or save it again as TIFF."
    ):
        yield _format(path)


def _format(path: Path) -> _Format:
    if path.is_dir():
        return _ZARR
    if not path.is_file():
        raise ImageError(f"{path} is no file.", "Choose a file that holds an image.")
    form = _FORMATS.get(path.suffix.lower())
    if form is None:
        raise ImageError(
            f"Files of the type '{path.suffix}' can't be read: {path}.",
            f"Use {', '.join(_FORMATS)}, or a .zarr folder.",
        )
    if path.stat().st_size == 0:
        raise ImageError(f"{path} is empty.", "Choose a file that holds an image.")
    return form


def _name(path: Path) -> str:
    """Return the file name without its ending; other dots are part of the name."""
    name = path.name.removesuffix(path.suffix)
    return name[:-4] if name.lower().endswith(".ome") else name


def _read_picture(path: Path, series: int | None) -> LoadedImage:
    """Read the first picture of a PNG, JPEG or BMP file."""
    content = path.read_bytes()
    # Pillow does not open pictures of an absurd size.
    found = iio.immeta(content, index=0, plugin="pillow", exclude_applied=False)
    if content.startswith(b"\x89PNG") and content[24] == 16 and content[25] != 0:
        # Pillow cuts colours, and grey with alpha, of 16 bits to 8.
        pixels = np.asarray(png_decode(content))
    else:
        mode = str(found["mode"])
        # CMYK and YCbCr have three or four channels that are no RGB.
        plain = mode in _PLAIN_MODES or mode.startswith("I;16")
        pixels = iio.imread(content, index=0, plugin="pillow", mode=None if plain else "RGB")
    if pixels.ndim == 3 and pixels.shape[-1] == 2:
        pixels = pixels[..., 0]  # grey with alpha
    names = ("y", "x", "s")[: pixels.ndim]
    return _only_image(pixels, names, series, rgb=pixels.ndim == 3)


def _list_picture(path: Path) -> tuple[Series, ...]:
    height, width, *_ = iio.improps(path, index=0, plugin="pillow").shape
    return (Series("", (height, width)),)


def _read_npy(path: Path, series: int | None) -> LoadedImage:
    pixels = np.load(path, mmap_mode="r", allow_pickle=False)
    return _only_image(pixels, ("",) * pixels.ndim, series, rgb=None)


def _only_image(
    pixels: npt.NDArray[np.generic],
    names: tuple[str, ...],
    series: int | None,
    *,
    rgb: bool | None,
) -> LoadedImage:
    choices = (Series("", pixels.shape),)
    choose_series(choices, series)
    return LoadedImage(pixels, axes_of(pixels.shape, names=names), rgb, choices=choices)


class _Format(NamedTuple):
    """How the files of a format are read."""

    read: Callable[[Path, int | None], LoadedImage]
    list_series: Callable[[Path], tuple[Series, ...]]


# Neither reads pixels.
_ZARR = _Format(read_zarr, lambda path: read_zarr(path).choices)
_NPY = _Format(_read_npy, lambda path: _read_npy(path, None).choices)
_FORMATS = {
    **dict.fromkeys((".tif", ".tiff"), _Format(read_tiff, list_tiff)),
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".bmp"), _Format(_read_picture, _list_picture)),
    ".npy": _NPY,
}
