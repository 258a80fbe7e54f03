"""Read TIFF files of every kind: OME, ImageJ, slides, LSM, STK, and their pyramids."""

from __future__ import annotations

import math
import weakref
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import tifffile
import zarr
from PIL import Image

from napari_sam3_assistant.core.images import as_lazy, map_read_errors
from napari_sam3_assistant.core.plurals import part_of
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.loaded import (
    LAZY_BYTES,
    NUMBERS_OF_PALETTE,
    ZERO_IS_WHITE,
    LoadedImage,
    Series,
    choose_series,
    explain_orientation,
)
from napari_sam3_assistant.io.pixel_size import axes_of_series
from napari_sam3_assistant.io.untrusted import open_regular

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.images import AnyArray, Untyped


_JPEG = (6, 7, 34892, 33007)
"""Compressions of which tifffile returns YCbCr as RGB."""
_MOST_NAMED = 3
_MOST_METADATA = 1 << 28  # bytes of OME-XML


def read_tiff(path: Path, series: int | None = None, lazy_bytes: int = LAZY_BYTES) -> LoadedImage:
    """Read an image of a TIFF file, at its largest level.

    Images of several planes of which some are damaged are read where they are indexed: the others
    can be used.

    Parameters
    ----------
    path : Path
        The file.
    series : int, optional
        Which image of the file, from 0; by default the largest.
    lazy_bytes : int
        Images of more bytes than this are read only where they are indexed.

    Raises
    ------
    ImageError
        If there is no image in it, no such one, or other files of it are missing.
    """
    with _open(path) as file:
        choices = _tiff_series_of(file)
        if not choices:
            raise ImageError(f"There is no image in {path}.", "Choose a file that holds an image.")
        number, notes = choose_series(choices, series)
        chosen = file.series[number]
        home = Path(chosen.keyframe.parent.filehandle.path)
        if choices[number].elsewhere and home.name != path.name:
            # tifffile would read at the places that they have there, but in this file.
            return read_tiff(home, number, lazy_bytes)
        notes = (*notes, *_explain_missing(path, file, chosen), *_explain_grey(chosen.keyframe))
        notes = (*notes, *explain_orientation(chosen.keyframe.tags.valueof("Orientation", 1)))
        axes = axes_of_series(file, number)
        keyframe = chosen.keyframe
        data = None if chosen.nbytes > lazy_bytes else _read_at_once(path, chosen)
        # By metadata of another file a series has another number than by the file alone.
        in_one_piece = chosen.dataoffset is not None and not _metadata_file(file)
        several = len(chosen.levels) > 1
    if data is None and in_one_piece:
        data = tifffile.memmap(path, series=number, mode="r")
    levels: Sequence[AnyArray] = [data]
    if data is None or several:
        # The large level may be in memory, or mapped; the smaller ones are read where indexed.
        levels = _open_lazily(path, number)
        levels = levels if data is None else [data, *levels[1:]]
    names = [axis.name for axis in axes]
    mode = _colour_mode(keyframe)
    rgb = False
    if mode and "s" in names and levels[0].shape[names.index("s")] >= 3:
        samples = names.index("s")
        levels = [_colours_last(level, samples, mode) for level in levels]
        length = levels[0].shape[-1]
        axes = (*axes[:samples], *axes[samples + 1 :], replace(axes[samples], length=length))
        rgb = length in (3, 4)
    elif "s" in names and _has_alpha(keyframe):
        samples = names.index("s")
        levels = [as_lazy(level)[(slice(None),) * samples + (0,)] for level in levels]
        axes = (*axes[:samples], *axes[samples + 1 :])
    return LoadedImage(
        levels[0], axes, rgb, notes=notes, series=number, choices=choices, smaller=tuple(levels[1:])
    )


def list_tiff(path: Path) -> tuple[Series, ...]:
    """Return the images of a TIFF file; reads no pixels."""
    with _open(path) as file:
        return _tiff_series_of(file)


def _open(path: Path) -> tifffile.TiffFile:
    """Open a file; a part of an OME set with the metadata that are in another file beside it."""
    file = tifffile.TiffFile(path)
    beside = path.with_name(_metadata_file(file) or path.name)
    if beside == path or not beside.is_file():
        return file
    file.close()
    if beside.suffix.lower() in (".tif", ".tiff"):
        with tifffile.TiffFile(beside) as first:
            metadata = first.ome_metadata or ""
    else:
        with open_regular(beside) as text:
            metadata = text.read(_MOST_METADATA).decode("utf-8-sig")
    root = ElementTree.fromstring(metadata)
    # Whose metadata they are is told by that, and tifffile takes its planes for those of the file.
    own = (one.text for one in root.iterfind(".//{*}UUID") if one.get("FileName") == path.name)
    root.set("UUID", next(own, None) or "")
    return tifffile.TiffFile(path, omexml=ElementTree.tostring(root, "unicode"))


def _metadata_file(file: tifffile.TiffFile) -> str:
    """Return the name of the file that holds the metadata of one that says so; else nothing."""
    own = file.pages.first.description if file.is_ome else ""
    if "BinaryOnly" not in own[:10_000]:
        return ""
    names = [one.get("MetadataFile", "") for one in ElementTree.fromstring(own)]
    # Folders are those of another computer, and may lead anywhere.
    return next(filter(None, names), "").replace("\\", "/").rpartition("/")[2]


def _tiff_series_of(file: tifffile.TiffFile) -> tuple[Series, ...]:
    return tuple(
        Series(
            str(series.name),
            tuple(series.shape),
            bool(series.keyframe.is_reduced),
            all(page.parent is not file for page in series.pages if page),
            dict(zip(series.axes, series.shape, strict=True)).get("S", 1),
        )
        for series in file.series
    )


def _read_at_once(path: Path, series: tifffile.TiffPageSeries) -> npt.NDArray[np.generic] | None:
    """Return all pixels; None if some of several planes can't be read."""
    try:
        with map_read_errors(f"{path} can't be read", "Check that it opens elsewhere."):
            pixels: npt.NDArray[np.generic] = series.asarray()
    except ImageError:
        if len(series) == 1:
            raise
        return None
    return pixels


def _open_lazily(path: Path, number: int) -> list[AnyArray]:
    """Return all levels as zarr arrays on the file, which is closed when the last is let go."""
    with ExitStack() as opened:
        series = opened.enter_context(_open(path)).series[number]
        try:
            store = series.aszarr()
            node = zarr.open(store, mode="r")
        except (ImportError, ValueError):
            # tifffile and zarr of versions that don't go together: all of it has to be read.
            return [series.asarray()]
        weakref.finalize(store, opened.pop_all().close)
    if isinstance(node, zarr.Array):
        return [node]
    return [node[str(level)] for level in range(len(series.levels))]


def _colours_last(data: AnyArray, samples: int, mode: str) -> AnyArray:
    """Return colours as RGB on the last axis, also those stored plane by plane (SYX)."""
    if samples < len(data.shape) - 1:
        data = np.moveaxis(as_lazy(data), samples, -1)
    return data if mode == "RGB" else _to_rgb(data, mode)


def _colour_mode(keyframe: tifffile.TiffPage) -> str:
    """Return Pillow's name of the colours that tifffile gives; empty for channels and grey."""
    photometric, samples = keyframe.photometric, keyframe.samplesperpixel
    if photometric == tifffile.PHOTOMETRIC.RGB:
        return "RGB"
    if photometric == tifffile.PHOTOMETRIC.YCBCR:
        converted = keyframe.compression in _JPEG and keyframe.planarconfig == 1
        return "RGB" if converted or keyframe.dtype != np.uint8 or samples != 3 else "YCbCr"
    if photometric == tifffile.PHOTOMETRIC.SEPARATED and samples == 4:
        return "CMYK" if keyframe.dtype in (np.uint8, np.uint16) else ""
    return ""


def _has_alpha(keyframe: tifffile.TiffPage) -> bool:
    """Return whether an image is grey with transparency, and has no second channel."""
    grey = keyframe.photometric in (
        tifffile.PHOTOMETRIC.MINISBLACK,
        tifffile.PHOTOMETRIC.MINISWHITE,
        tifffile.PHOTOMETRIC.PALETTE,
    )
    alpha = {tifffile.EXTRASAMPLE.ASSOCALPHA, tifffile.EXTRASAMPLE.UNASSALPHA}
    return grey and keyframe.samplesperpixel == 2 and not alpha.isdisjoint(keyframe.extrasamples)


def _explain_grey(keyframe: tifffile.TiffPage) -> tuple[str, ...]:
    """Return a note for the user on grey that is shown otherwise: inverted, or by a palette."""
    if keyframe.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        return (ZERO_IS_WHITE,)
    if keyframe.photometric != tifffile.PHOTOMETRIC.PALETTE or keyframe.colormap is None:
        return ()
    brightness = np.diff(np.asarray(keyframe.colormap, float).sum(0))
    if (brightness >= 0).all():
        return ()  # as those of cameras
    return (ZERO_IS_WHITE if (brightness <= 0).all() else NUMBERS_OF_PALETTE,)


def _to_rgb(data: Untyped, mode: str) -> Untyped:
    """Return colours of another kind, shape (..., C), as RGB, shape (..., 3)."""
    if isinstance(data, np.ndarray):
        return _convert_colours(data, mode)
    lazy = as_lazy(data).rechunk({data.ndim - 1: -1})
    chunks = (*lazy.chunks[:-1], (3,))
    return lazy.map_blocks(
        _convert_colours, mode, dtype=lazy.dtype, chunks=chunks, meta=np.empty(0, lazy.dtype)
    )


def _convert_colours(block: npt.NDArray[Any], mode: str) -> npt.NDArray[np.generic]:
    if mode == "CMYK":  # which Pillow converts in the same way, of 8 bits alone
        most = 255 if block.dtype == np.uint8 else 65535
        paper = most - block.astype(np.uint32)
        mixed = (paper[..., :3] * paper[..., 3:] + most // 2) // most
        return mixed.astype(block.dtype)
    *leading, width, _ = block.shape
    size = (width, math.prod(leading))
    picture = Image.frombytes(mode, size, np.ascontiguousarray(block).tobytes())
    return np.asarray(picture.convert("RGB")).reshape(*leading, width, 3)


def list_set_files(path: Path) -> frozenset[str]:
    """Return the names of all files that the image in a file is spread over.

    So are OME-TIFF, by its metadata, and NDTiff of Micro-Manager, by the index beside it. Empty for
    other files, and for those that can't be read.
    """
    if not path.is_file():
        return frozenset()
    try:
        with map_read_errors(f"{path} can't be read", ""), _open(path) as file:
            if file.is_ndtiff:
                index = tifffile.read_ndtiff_index(path.with_name("NDTiff.index"))
                return frozenset(name for _, name, *_ in index)
            return _list_image_files(file, path.name)
    except ImageError:
        return frozenset()


def _list_image_files(file: tifffile.TiffFile, own: str) -> frozenset[str]:
    """Return the files of those images that lie in one file, by OME-XML; it may name others."""
    if not file.is_ome or not file.ome_metadata:
        return frozenset()
    found: set[str] = set()
    for image in ElementTree.fromstring(file.ome_metadata).iterfind("{*}Image"):
        named = {element.get("FileName", "") for element in image.iterfind(".//{*}UUID")} - {""}
        if own.lower() in (name.lower() for name in named):
            found |= named
    return frozenset(found)


def _explain_missing(
    path: Path, file: tifffile.TiffFile, series: tifffile.TiffPageSeries
) -> tuple[str, ...]:
    """Return a note for the user about planes that the metadata names and the file lacks."""
    if not file.is_ome:
        return ()
    if "BinaryOnly" in (file.ome_metadata or "")[:10_000]:
        return (
            f"The file is a part of a set that {_metadata_file(file) or 'another file'} describes, "
            "which is not beside it; only this part was read.",
        )
    absent = sum(page is None for page in series.pages)
    if not absent:
        return ()
    names = _list_image_files(file, path.name)
    gone = sorted(name for name in names if not (path.parent / name).exists())
    if gone:
        named = ", ".join(gone[:_MOST_NAMED]) + (" ..." if len(gone) > _MOST_NAMED else "")
        raise ImageError(
            f"{path} is one file of a set of which {len(gone)} "
            f"{'is' if len(gone) == 1 else 'are'} missing: {named}.",
            "Put all files of the set into one folder, under the names that they had.",
        )
    return (f"{part_of(absent, len(series.pages))} planes are not in the file; they are black.",)
