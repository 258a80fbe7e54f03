"""Read zarr arrays and OME-Zarr images and plates, versions 0.1 to 0.5, here and on servers.

Specification: https://ngff.openmicroscopy.org
"""

from __future__ import annotations

import json
import math
import zipfile
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.storage import FsspecStore, ZipStore

from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.core.images import map_read_errors
from napari_sam3_assistant.core.paths import hide_secrets
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.loaded import LAZY_BYTES, LoadedImage, Series, choose_series

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.images import Untyped


_AXES_BEFORE_0_3 = ("t", "c", "z", "y", "x")
_DEEPEST = 4
"""So many groups within one another are looked through for images."""


def read_zarr(
    place: str | Path, series: int | None = None, lazy_bytes: int = LAZY_BYTES
) -> LoadedImage:
    """Open a zarr array, or an OME-Zarr image with its levels; reads no pixels.

    Parameters
    ----------
    place : str or Path
        Folder, or address on a server, of an array, of an OME-Zarr image, of a plate or a well,
        or of a group with several images, such as bioformats2raw makes of a file.
    series : int, optional
        Which image, from 0; by default the largest, and of a plate its first field.
    lazy_bytes : int
        Not used: pixels are read where they are indexed.

    Raises
    ------
    ImageError
        If it is none of these, or has no such image.
    """
    return read_node(_open_node(place), place, series)


def read_zarr_zip(
    path: Path, series: int | None = None, lazy_bytes: int = LAZY_BYTES
) -> LoadedImage:
    """Open what a zip holds of zarr: at its top, or in the only folder there.

    Parameters, results and errors are those of :func:`read_zarr`.
    """
    with zipfile.ZipFile(path) as file:
        tops = {name.partition("/")[0] for name in file.namelist()}
    inner = next(iter(tops)) if len(tops) == 1 else ""
    with ExitStack() as opened:
        store = ZipStore(path, mode="r")
        opened.callback(store.close)
        loaded = read_node(zarr.open(store, path=inner, mode="r"), path, series)
        opened.pop_all()
    return loaded


def read_node(node: Untyped, place: str | Path, series: int | None = None) -> LoadedImage:
    """Return the image of an array or a group that is open; see :func:`read_zarr`.

    Parameters
    ----------
    node : zarr.Array or zarr.Group
        The array, or the group.
    place : str or Path
        Where it is, or what the user knows it by.
    series : int, optional
        Which image.

    Raises
    ------
    ImageError
        If there is none, or no such one.
    """
    fields = _fields_of(node)
    if fields:
        # Of each only the name is known: to open them all would take long.
        choices = tuple(Series(name, ()) for name in fields)
        number, notes = choose_series(choices, series)
        _, read = next(_images_of(node[fields[number]]))
        return replace(read(), notes=notes, series=number, choices=choices)
    found = list(_images_of(node))
    if not found:
        raise ImageError(
            f"{hide_secrets(str(place))} is not an OME-Zarr image, and holds no array.",
            "Choose an image file or a .zarr folder with an image.",
        )
    if series is None or len(found) == 1:
        images = [read() for _, read in found]
        choices = tuple(
            Series(name, tuple(image.data.shape))
            for (name, _), image in zip(found, images, strict=True)
        )
        number, notes = choose_series(choices, series)
        loaded = images[number]
    else:
        # Who reads a hundred of them one by one opens each once.
        choices = tuple(Series(name, ()) for name, _ in found)
        number, notes = choose_series(choices, series)
        loaded = found[number][1]()
    if isinstance(node, zarr.Array) and isinstance(place, Path):
        loaded = replace(loaded, axes=_axes_in_group(place, node.shape) or loaded.axes)
    name = found[number][0]
    return replace(loaded, name=name, notes=notes, series=number, choices=choices)


def list_fields(path: Path) -> tuple[str, ...]:
    """Return the fields of a plate, such as ``A/1/0``; empty of anything else, or if damaged."""
    try:
        with map_read_errors(f"{path} can't be read", ""):
            return _fields_of(_open_node(path))
    except ImageError:
        return ()


def _open_node(place: str | Path) -> Untyped:
    options = None
    if isinstance(place, str):
        scheme = place.partition("://")[0].lower()
        if scheme not in ("http", "https", "s3"):
            raise ImageError(
                f"{hide_secrets(place)} is at no address that can be read.",
                "Give one of https:// or s3://.",
            )
        if scheme == "s3":
            from botocore.session import get_session

            # Who has no account reads what is public.
            options = {"anon": get_session().get_credentials() is None}
    try:
        return zarr.open(str(place), mode="r", storage_options=options)
    except (FileNotFoundError, ValueError, KeyError) as exc:
        raise ImageError(
            f"{hide_secrets(str(place))} holds no zarr image.",
            "Choose an image file or a .zarr folder. All images of a folder are a batch: "
            "`napari-sam3 batch`, or Batch Folder in the window. Slices of one stack "
            "have to be saved as one file first, such as TIFF.",
        ) from exc


def find_address(data: Untyped) -> str:
    """Return where on a server an array of zarr is; empty for other arrays, and those on disks."""
    store = data.store if isinstance(data, zarr.Array) else None
    if not isinstance(store, FsspecStore):
        return ""
    address = f"{store.fs.unstrip_protocol(store.path)}/{data.path}".rstrip("/")
    return "" if address.startswith("file:") else address


def _fields_of(node: Untyped) -> tuple[str, ...]:
    """Return the images of a plate or a well, by their paths in it."""
    attributes = {} if isinstance(node, zarr.Array) else _ome_attributes(node)
    if "plate" in attributes:
        wells = [_path_in(well) for well in attributes["plate"].get("wells", ())]
        return tuple(f"{well}/{field}" for well in wells for field in _fields_of(node[well]))
    return tuple(_path_in(image) for image in attributes.get("well", {}).get("images", ()))


def _path_in(entry: Mapping[str, Any]) -> str:
    """Return the path of a well or a field within its plate; strangers may name any other."""
    path = str(entry["path"])
    if any(part in ("", ".", "..") or "\\" in part or ":" in part for part in path.split("/")):
        raise ImageError(f"The plate names a path that leads out of it: {path}.", "Mend the plate.")
    return path


def _images_of(node: Untyped, depth: int = 0) -> Iterator[tuple[str, Callable[[], LoadedImage]]]:
    """Yield each image of an array or a group, and of the groups in it: its name, what opens it."""
    if isinstance(node, zarr.Array):
        yield "", partial(_read_array, node)
        return
    attributes = _ome_attributes(node)
    if "multiscales" in attributes:
        for image in attributes["multiscales"]:
            yield str(image.get("name") or ""), partial(_read_multiscale, node, image)
        return
    if depth == _DEEPEST:
        return
    inner = _converted_names(node) if "bioformats2raw.layout" in attributes else sorted(node.keys())
    for name in inner:
        for own, read in _images_of(node[name], depth + 1):
            yield own or name, read


def _converted_names(group: Untyped) -> list[str]:
    """Return the groups that bioformats2raw puts the images of a file into: "0", "1", ..."""
    series_names = _ome_attributes(group["OME"]).get("series") if "OME" in group else None
    if series_names:
        return [str(name) for name in series_names]
    return sorted((name for name in group.keys() if name.isdecimal()), key=int)  # noqa: SIM118


def _ome_attributes(group: Untyped) -> Mapping[str, Any]:
    """Return the OME metadata; since version 0.5 they have their own key."""
    attributes = dict(group.attrs)
    return {**attributes, **attributes.get("ome", {})}


def _read_multiscale(group: Untyped, image: Mapping[str, Any]) -> LoadedImage:
    pyramid = [
        (level, group[level["path"]])
        for number, level in enumerate(image["datasets"])
        if number == 0 or level["path"] in group
    ]
    # The specification asks for the largest first, and not every writer knows.
    pyramid.sort(key=lambda pair: math.prod(pair[1].shape), reverse=True)
    level, array = pyramid[0]
    smaller = tuple(other for _, other in pyramid[1:])
    for level_array in (array, *smaller):
        _check_codecs(level_array)
    axes = _axes_of_level(image, level, array.shape)
    return LoadedImage(array, axes, smaller=smaller)


def _axes_in_group(folder: Path, shape: tuple[int, ...]) -> Axes:
    """Return the axes of an array that is one of the sizes of the OME-Zarr image it lies in."""
    try:
        group = zarr.open_group(str(folder.parent), mode="r")
        for image in _ome_attributes(group).get("multiscales", ()):
            for level in image["datasets"]:
                if level["path"] == folder.name:
                    return _axes_of_level(image, level, shape)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImageError):
        pass  # it lies by itself, or in what is damaged: the array alone can be read as it is
    return ()


def _axes_of_level(
    image: Mapping[str, Any], level: Mapping[str, Any], shape: tuple[int, ...]
) -> Axes:
    """Return the axes of one of the sizes of an OME-Zarr image."""
    axis_entries = [
        axis if isinstance(axis, dict) else {"name": axis}
        for axis in image.get("axes", _AXES_BEFORE_0_3)
    ]
    ndim = len(shape)
    if len(axis_entries) != ndim:
        raise ImageError(
            f"The OME-Zarr image names {len(axis_entries)} axes, its array has {ndim}.",
            f"Choose the folder of the array: {level['path']}.",
        )
    # First what is told of the level, and then what is told of all levels.
    steps = [*_transformations(level), *_transformations(image)]
    scale, origin = np.ones(ndim), np.zeros(ndim)
    for step in steps:
        if step["type"] == "scale":
            scale, origin = scale * step["scale"], origin * step["scale"]
        elif step["type"] == "translation":
            origin = origin + step["translation"]
    usable = np.isfinite(scale) & (scale != 0) & np.isfinite(origin)
    return make_axes(
        shape,
        names=[str(axis["name"]) for axis in axis_entries],
        scale=np.where(usable, scale, 1.0).tolist(),
        units=[
            str(axis.get("unit") or "") if fits else ""
            for axis, fits in zip(axis_entries, usable, strict=True)
        ],
        origin=np.where(usable, origin, 0.0).tolist(),
    )


def _check_codecs(array: Untyped) -> None:
    """Raise for an array of which reading pixels may run what whoever wrote it wanted to run."""
    metadata = array.metadata.to_dict()
    packed = [metadata.get(name) for name in ("compressor", "filters", "codecs")]
    if "pickle" in json.dumps(packed, default=str):
        raise ImageError(
            "The zarr array is packed with pickle, by which a file can run any program.",
            "Ask whoever made it to save it with another codec, such as zstd.",
        )


def _transformations(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the scales and translations of a level or an image, as arrays."""
    return [
        {"type": kind, kind: np.asarray(step[kind], float)}
        for step in entry.get("coordinateTransformations", ())
        for kind in (step["type"],)
        if kind in ("scale", "translation") and kind in step
    ]


def _read_array(array: Untyped) -> LoadedImage:
    """Return an array with the names of its axes: zarr format 3, or xarray's attribute."""
    _check_codecs(array)
    names = getattr(array.metadata, "dimension_names", None) if _is_format_3(array) else None
    if names is None:
        names = array.attrs.get("_ARRAY_DIMENSIONS")
    labels = (
        ("",) * array.ndim if names is None else ["" if name is None else name for name in names]
    )
    return LoadedImage(array, make_axes(array.shape, names=labels))


def _is_format_3(array: Untyped) -> bool:
    return getattr(getattr(array, "metadata", None), "zarr_format", 2) == 3
