"""Read images of every supported format, lazily where they are large.

Reading zarr arrays and OME-Zarr images, versions 0.1 to 0.5, in zarr formats 2 and 3.

Specification: https://ngff.openmicroscopy.org
"""

from __future__ import annotations

import math
import os
import weakref
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree import ElementTree

import dask.array as da
import imageio.v3 as iio
import numpy as np
import tifffile
import zarr
from imagecodecs import png_decode
from PIL import Image

from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.core.images import map_read_errors
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.pixel_size import axes_of_series
from napari_sam3_assistant.io.series import Series, choose_series

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.images import LazyArray


@dataclass(frozen=True, slots=True, eq=False)
class LoadedImage:
    """An image from a file, and what the file says of its axes.

    Parameters
    ----------
    data : array-like
        The pixels; large images are read when they are indexed.
    axes : tuple of Axis
        Name, length, size of a pixel, unit and origin of each axis, as far as the file says.
    rgb : bool or None
        Whether the last axis holds RGB or RGBA; None where the file does not say.
    name : str
        File name without its ending.
    notes : tuple of str
        What the user should know, such as that the file holds other images, too.
    series : int
        Which image of the file it is, from 0.
    choices : tuple of Series
        All images of the file; empty for an array.
    """

    data: LazyArray
    axes: Axes
    rgb: bool | None = None
    name: str = ""
    notes: tuple[str, ...] = ()
    series: int = 0
    choices: tuple[Series, ...] = ()

    @property
    def axis_labels(self) -> tuple[str, ...] | None:
        """Name of each axis, empty where it has none; None where no axis has one."""
        names = tuple(axis.name for axis in self.axes)
        return names if any(names) else None

    def along(self, numbers: Sequence[int]) -> Axes:
        """Return some axes, in this order: those of labels along them."""
        return tuple(self.axes[number] for number in numbers)

    def pixels(self) -> npt.NDArray[np.generic]:
        """Read all of it.

        Raises
        ------
        ImageError
            If it can't be read.
        """
        with map_read_errors(
            f"{self.name} could not be read", "Check that its file opens elsewhere."
        ):
            return np.asarray(self.data[(...,)])  # type: ignore[index]


LAZY_BYTES = 1 << 28
"""Images of more bytes than this are read only where they are indexed."""
_JPEG = (6, 7, 34892, 33007)
"""Compressions of which tifffile returns YCbCr as RGB."""
_MOST_NAMED = 3


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
    with tifffile.TiffFile(path) as file:
        choices = _tiff_series_of(file)
        if not choices:
            raise ImageError(f"There is no image in {path}.", "Choose a file that holds an image.")
        number, notes = choose_series(choices, series)
        chosen = file.series[number]
        if choices[number].elsewhere:
            # tifffile would read at the places that they have there, but in this file.
            home = Path(chosen.keyframe.parent.filehandle.path)
            return read_tiff(home, number, lazy_bytes)
        notes = (*notes, *_explain_missing(path, file, chosen))
        axes = axes_of_series(file, number)
        keyframe = chosen.keyframe
        data = None if chosen.nbytes > lazy_bytes else _read_at_once(path, chosen)
        in_one_piece = chosen.dataoffset is not None
    if data is None and in_one_piece:
        data = tifffile.memmap(path, series=number, mode="r")
    elif data is None:
        data = _open_lazily(path, number)
    names = [axis.name for axis in axes]
    mode = _colour_mode(keyframe)
    if mode and "s" in names and data.shape[names.index("s")] >= 3:
        # Colours stored plane by plane (SYX) become the last axis, as elsewhere.
        samples = names.index("s")
        if samples < len(axes) - 1:
            lazy = not isinstance(data, np.ndarray)
            data = (
                da.moveaxis(da.from_array(data), samples, -1)
                if lazy
                else np.moveaxis(data, samples, -1)
            )
            axes = (*axes[:samples], *axes[samples + 1 :], axes[samples])
        if mode != "RGB":
            data = _to_rgb(data, mode)
            axes = (*axes[:-1], replace(axes[-1], length=3))
        rgb = data.shape[-1] in (3, 4)
    else:
        rgb = False
    return LoadedImage(data, axes, rgb, notes=notes, series=number, choices=choices)


def list_tiff(path: Path) -> tuple[Series, ...]:
    """Return the images of a TIFF file; reads no pixels."""
    with tifffile.TiffFile(path) as file:
        return _tiff_series_of(file)


def _tiff_series_of(file: tifffile.TiffFile) -> tuple[Series, ...]:
    return tuple(
        Series(
            str(one.name),
            tuple(one.shape),
            bool(one.keyframe.is_reduced),
            all(page.parent is not file for page in one.pages if page),
            dict(zip(one.axes, one.shape, strict=True)).get("S", 1),
        )
        for one in file.series
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


def _open_lazily(path: Path, number: int) -> Any:  # noqa: ANN401 - tifffile and zarr are untyped
    """Return a zarr array on the file; the file is closed when the array is let go."""
    file = tifffile.TiffFile(path)
    try:
        array = zarr.open(file.series[number].aszarr(level=0), mode="r")
    except (ImportError, ValueError):
        # tifffile and zarr of versions that don't go together: all of it has to be read.
        with file:
            return file.series[number].asarray()
    weakref.finalize(array, file.close)
    return array


def _colour_mode(keyframe: tifffile.TiffPage) -> str:
    """Return Pillow's name of the colours that tifffile gives; empty for channels and grey."""
    photometric, samples = keyframe.photometric, keyframe.samplesperpixel
    if photometric == tifffile.PHOTOMETRIC.RGB:
        return "RGB"
    if photometric == tifffile.PHOTOMETRIC.YCBCR:
        converted = keyframe.compression in _JPEG and keyframe.planarconfig == 1
        return "RGB" if converted or keyframe.dtype != np.uint8 or samples != 3 else "YCbCr"
    if photometric == tifffile.PHOTOMETRIC.SEPARATED and samples == 4:
        return "CMYK" if keyframe.dtype == np.uint8 else ""
    return ""


def _to_rgb(data: Any, mode: str) -> Any:  # noqa: ANN401 - NumPy, zarr or dask
    """Return colours of another kind, shape (..., C), as RGB, shape (..., 3)."""
    if isinstance(data, np.ndarray):
        return _convert_colours(data, mode)
    lazy = da.from_array(data).rechunk({data.ndim - 1: -1})
    chunks = (*lazy.chunks[:-1], (3,))
    return lazy.map_blocks(
        _convert_colours, mode, dtype=np.uint8, chunks=chunks, meta=np.empty(0, "u1")
    )


def _convert_colours(block: npt.NDArray[np.uint8], mode: str) -> npt.NDArray[np.uint8]:
    *leading, width, _ = block.shape
    size = (width, math.prod(leading))
    picture = Image.frombytes(mode, size, np.ascontiguousarray(block).tobytes())
    return np.asarray(picture.convert("RGB")).reshape(*leading, width, 3)


def list_set_files(path: Path) -> frozenset[str]:
    """Return the names of all files that the image in an OME-TIFF is spread over.

    Empty for other files, and for those that can't be read.
    """
    if not path.is_file():
        return frozenset()
    try:
        with map_read_errors(f"{path} can't be read", ""), tifffile.TiffFile(path) as file:
            return _list_image_files(file, path.name)
    except ImageError:
        return frozenset()


def _list_image_files(file: tifffile.TiffFile, own: str) -> frozenset[str]:
    """Return the files of those images that lie in one file, by OME-XML; it may tell of others."""
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
    """Return what the user should know of planes that are told of and not there.

    Raises
    ------
    ImageError
        If they are in files that are missing: tifffile takes them for black.
    """
    if not file.is_ome:
        return ()
    if "BinaryOnly" in (file.ome_metadata or "")[:10_000]:
        return ("The file is a part of a set that another file tells of; only this part was read.",)
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
    return (f"{absent} of {len(series.pages)} planes are not in the file; they are black.",)


_AXES_BEFORE_0_3 = ("t", "c", "z", "y", "x")


def read_zarr(path: Path, series: int | None = None) -> LoadedImage:
    """Open a zarr array, or the largest level of an OME-Zarr image; reads no pixels.

    Parameters
    ----------
    path : Path
        Folder of an array, of an OME-Zarr image, or of the images that bioformats2raw makes of a
        file.
    series : int, optional
        Which image, from 0; by default the largest.

    Raises
    ------
    ImageError
        If it is none of these, or has no such image.
    """
    try:
        node = zarr.open(str(path), mode="r")
    except (FileNotFoundError, ValueError, KeyError) as exc:
        raise ImageError(
            f"The folder {path} holds no zarr image.", "Choose an image file or a .zarr folder."
        ) from exc
    images = [_read_array(node)] if isinstance(node, zarr.Array) else _read_group(node, path)
    choices = tuple(Series(image.name, tuple(image.data.shape)) for image in images)
    number, notes = choose_series(choices, series)
    return replace(images[number], notes=notes, series=number, choices=choices)


def _read_group(group: Any, path: Path) -> list[LoadedImage]:  # noqa: ANN401 - zarr is untyped here
    """Return the images of a group."""
    attributes = _ome_attributes(group)
    if "multiscales" in attributes:
        return [_read_multiscale(group, image) for image in attributes["multiscales"]]
    if "bioformats2raw.layout" in attributes:
        found = [_read_group(group[name], path / name) for name in _series_of(group)]
        return [image for of_group in found for image in of_group]
    if "plate" in attributes or "well" in attributes:
        raise ImageError(
            f"{path} is a plate or a well with many images.",
            "Choose the folder of one image in it, such as plate.zarr/A/1/0.",
        )
    arrays = sorted(name for name, _ in group.arrays())
    if len(arrays) == 1:
        return [_read_array(group[arrays[0]])]
    raise ImageError(
        f"{path} is no OME-Zarr image and holds {len(arrays)} arrays.",
        f"Choose the folder of one array: {', '.join(arrays)}." if arrays else "Choose an image.",
    )


def _series_of(group: Any) -> list[str]:  # noqa: ANN401 - zarr is untyped here
    """Return the groups that bioformats2raw puts the images of a file into: "0", "1", ..."""
    names = [str(name) for name in group.group_keys()]
    told = _ome_attributes(group["OME"]).get("series") if "OME" in names else None
    if told:
        return [str(name) for name in told]
    return sorted((name for name in names if name.isdecimal()), key=int)


def _ome_attributes(group: Any) -> Mapping[str, Any]:  # noqa: ANN401 - zarr is untyped here
    """Return the OME metadata; since version 0.5 they have their own key."""
    attributes = dict(group.attrs)
    return {**attributes, **attributes.get("ome", {})}


def _read_multiscale(group: Any, image: Mapping[str, Any]) -> LoadedImage:  # noqa: ANN401
    level = image["datasets"][0]
    array = group[level["path"]]
    told = [
        axis if isinstance(axis, dict) else {"name": axis}
        for axis in image.get("axes", _AXES_BEFORE_0_3)
    ]
    if len(told) != array.ndim:
        raise ImageError(
            f"The OME-Zarr image names {len(told)} axes, its array has {array.ndim}.",
            f"Choose the folder of the array: {level['path']}.",
        )
    # First what is told of the level, and then what is told of all levels.
    steps = [*_transformations(level), *_transformations(image)]
    scale, origin = np.ones(array.ndim), np.zeros(array.ndim)
    for step in steps:
        if step["type"] == "scale":
            scale, origin = scale * step["scale"], origin * step["scale"]
        elif step["type"] == "translation":
            origin = origin + step["translation"]
    usable = np.isfinite(scale) & (scale != 0) & np.isfinite(origin)
    return LoadedImage(
        array,
        make_axes(
            array.shape,
            names=[str(axis["name"]) for axis in told],
            scale=np.where(usable, scale, 1.0).tolist(),
            units=[
                str(axis.get("unit") or "") if fits else ""
                for axis, fits in zip(told, usable, strict=True)
            ],
            origin=np.where(usable, origin, 0.0).tolist(),
        ),
        name=str(image.get("name") or ""),
    )


def _transformations(told: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the scales and translations of a level or an image, as arrays."""
    return [
        {"type": kind, kind: np.asarray(step[kind], float)}
        for step in told.get("coordinateTransformations", ())
        for kind in (step["type"],)
        if kind in ("scale", "translation") and kind in step
    ]


def _read_array(array: Any) -> LoadedImage:  # noqa: ANN401 - zarr is untyped here
    """Return an array with the names of its axes: zarr format 3, or xarray's attribute."""
    names = getattr(array.metadata, "dimension_names", None) if _is_format_3(array) else None
    if names is None:
        names = array.attrs.get("_ARRAY_DIMENSIONS")
    told = ("",) * array.ndim if names is None else ["" if name is None else name for name in names]
    return LoadedImage(array, make_axes(array.shape, names=told))


def _is_format_3(array: Any) -> bool:  # noqa: ANN401 - zarr is untyped here
    return getattr(getattr(array, "metadata", None), "zarr_format", 2) == 3


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
    with map_read_errors(
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
    return LoadedImage(pixels, make_axes(pixels.shape, names=names), rgb, choices=choices)


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
