"""Reading zarr arrays and OME-Zarr images, versions 0.1 to 0.5, in zarr formats 2 and 3.

Specification: https://ngff.openmicroscopy.org
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from napari_sam3_assistant.core.axes import axes_of
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.loaded import LoadedImage
from napari_sam3_assistant.io.series import Series, choose_series

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

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
        axes_of(
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
    return LoadedImage(array, axes_of(array.shape, names=told))


def _is_format_3(array: Any) -> bool:  # noqa: ANN401 - zarr is untyped here
    return getattr(getattr(array, "metadata", None), "zarr_format", 2) == 3
