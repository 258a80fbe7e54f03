"""Reading zarr arrays and OME-Zarr images, versions 0.1 to 0.5, in zarr formats 2 and 3.

Specification: https://ngff.openmicroscopy.org
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import zarr

from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.io.loaded import LoadedImage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_AXES_BEFORE_0_3 = ("t", "c", "z", "y", "x")


def read_zarr(path: Path) -> LoadedImage:
    """Open a zarr array, or the largest level of an OME-Zarr image; reads no pixels.

    Parameters
    ----------
    path : Path
        Folder of an array or of an OME-Zarr image.

    Raises
    ------
    ImageError
        If it is neither, or holds several images.
    """
    try:
        node = zarr.open(str(path), mode="r")
    except (FileNotFoundError, ValueError, KeyError) as exc:
        raise ImageError(
            f"The folder {path} holds no zarr image.", "Choose an image file or a .zarr folder."
        ) from exc
    if isinstance(node, zarr.Array):
        return LoadedImage(node, _dimension_names(node))
    return _read_group(node, path)


def _read_group(group: Any, path: Path) -> LoadedImage:  # noqa: ANN401 - zarr is untyped here
    attributes = _ome_attributes(group)
    if "bioformats2raw.layout" in attributes and "multiscales" not in attributes:
        # bioformats2raw puts the images of a file into "0", "1", ...
        group = group["0"]
        attributes = _ome_attributes(group)
    if "multiscales" in attributes:
        return _read_multiscale(group, attributes["multiscales"][0])
    if "plate" in attributes or "well" in attributes:
        raise ImageError(
            f"{path} is a plate or a well with many images.",
            "Choose the folder of one image in it, such as plate.zarr/A/1/0.",
        )
    arrays = sorted(name for name, _ in group.arrays())
    if len(arrays) == 1:
        return LoadedImage(group[arrays[0]], _dimension_names(group[arrays[0]]))
    raise ImageError(
        f"{path} is no OME-Zarr image and holds {len(arrays)} arrays.",
        f"Choose the folder of one array: {', '.join(arrays)}." if arrays else "Choose an image.",
    )


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
    names = tuple(str(axis["name"]) for axis in told)
    units = tuple(str(axis.get("unit") or "") for axis in told)
    if len(names) != array.ndim:
        raise ImageError(
            f"The OME-Zarr image names {len(names)} axes, its array has {array.ndim}.",
            f"Choose the folder of the array: {level['path']}.",
        )
    scales = [
        tuple(float(size) for size in transformation["scale"])
        for transformation in level.get("coordinateTransformations", ())
        if transformation["type"] == "scale" and "scale" in transformation
    ]
    return LoadedImage(
        array,
        names,
        scale=scales[0] if scales else None,
        units=units if any(units) else None,
    )


def _dimension_names(array: Any) -> tuple[str, ...] | None:  # noqa: ANN401 - zarr is untyped here
    """Return the names of an array's axes: zarr format 3, or xarray's attribute."""
    names = getattr(array.metadata, "dimension_names", None) if _is_format_3(array) else None
    if names is None:
        names = array.attrs.get("_ARRAY_DIMENSIONS")
    return None if names is None else tuple("" if name is None else str(name) for name in names)


def _is_format_3(array: Any) -> bool:  # noqa: ANN401 - zarr is untyped here
    return getattr(getattr(array, "metadata", None), "zarr_format", 2) == 3
