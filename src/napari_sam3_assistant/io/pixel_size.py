"""The axes and pixel sizes of labels in files, and of TIFF files."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from tifffile.tifffile import svs_description_metadata

from napari_sam3_assistant.core.axes import (
    Axis,
    axis_kind,
    convert_unit,
    ends_in_channels,
    explain_place,
    make_axes,
    ome_symbol,
    parse_unit,
)
from napari_sam3_assistant.errors import ExportError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.images import Untyped


MOST_AXES = 5
"""OME files have no more."""


def check_axes(axes: Axes, shape: Sequence[int]) -> None:
    """Raise unless axes are those of labels of a shape.

    Raises
    ------
    ExportError
        If a length differs.
    """
    lengths = tuple(axis.length for axis in axes)
    if lengths != tuple(shape):
        raise ExportError(
            f"Labels of the shape {tuple(shape)} can't have axes of the lengths {lengths}.",
            "Give the axes of these labels.",
        )


def ome_tiff_axes(axes: Axes) -> tuple[Axes, tuple[int, ...]]:
    """Return the axes of labels as OME-TIFF has them: its pages are planes of y and x.

    Parameters
    ----------
    axes : tuple of Axis
        Two to five axes, rows and columns last.

    Returns
    -------
    tuple of Axis
        In the order of the file, named by ``t``, ``c``, ``z``, ``y``, ``x``. Each keeps its own
        name where it is one of these and no other axis has it.
    tuple of int
        Numbers of ``axes`` in that order.

    Raises
    ------
    ExportError
        If there are fewer or more axes.
    """
    return _order_axes(_name_axes(axes, ("y", "x")), "yx".find)


def ome_zarr_axes(axes: Axes) -> tuple[Axes, tuple[int, ...]]:
    """Return the axes of labels as OME-Zarr has them: t, c, z, y, x, of which two are of space.

    Parameters, results and errors are those of :func:`ome_tiff_axes`.
    """
    return _order_axes(ome_zarr_names(axes), "tczyx".index)


def ome_zarr_names(axes: Axes) -> Axes:
    """Return axes by names that OME-Zarr knows, in the order that they are in.

    A plane that is written piece by piece keeps its order: rows may be x, columns y.

    Raises
    ------
    ExportError
        If there are less than two or more than five.
    """
    return _name_axes(axes, ("z", "y", "x"))


def _order_axes(axes: Axes, rank: Callable[[str], int]) -> tuple[Axes, tuple[int, ...]]:
    order = tuple(sorted(range(len(axes)), key=lambda number: rank(axes[number].name)))
    return tuple(axes[number] for number in order), order


def _name_axes(axes: Axes, of_planes: tuple[str, ...]) -> Axes:
    """Return axes that have names which OME knows, two of which are ``of_planes``."""
    if not 2 <= len(axes) <= MOST_AXES:
        raise ExportError(
            f"OME files have two, and up to five axes; these labels have {len(axes)}.",
            "Save a part of them, or save them as NumPy.",
        )
    kinds = [axis_kind(axis.name).replace("s", "") for axis in axes]
    names = [kind if kinds.count(kind) == 1 else "" for kind in kinds]
    if sum(name in of_planes for name in names) < 2:
        names[-2:] = [name if name in of_planes else "" for name in names[-2:]]
    for place in reversed(range(len(axes))):
        if not names[place]:
            from_last = len(axes) - 1 - place
            preferred = {0: "xyztc", 1: "yxztc"}.get(from_last, "ztcyx")
            names[place] = next(name for name in preferred if name not in names)
    return tuple(replace(axis, name=name) for axis, name in zip(axes, names, strict=True))


_SIZES = {"x": "PhysicalSizeX", "y": "PhysicalSizeY", "z": "PhysicalSizeZ", "t": "TimeIncrement"}
_PLACES = {"x": "PositionX", "y": "PositionY", "z": "PositionZ", "t": "DeltaT"}
_LARGEST_PIXEL = 10.0
"""In micrometer: a pixel that is larger is one of a print or a screen."""
_RESOLUTION_UNITS = {2: 25400.0, 3: 10000.0}  # micrometers in an inch, and in a centimeter


def make_ome_metadata(axes: Axes) -> dict[str, Any]:
    """Return what tifffile writes into OME-XML for labels of these axes.

    Where OME does not know the unit, ``pixel`` stands for it, and seconds for time. OME knows no
    axis that is turned or runs backwards: then no position is written, and the description says so.
    """
    note = explain_place(axes)
    metadata: dict[str, Any] = {"axes": "".join(axis.name for axis in axes).upper()}
    planes: dict[str, list[Any]] = {}
    leading = [axis.length for axis in axes[:-2]]
    places = np.indices(leading).reshape(len(leading), math.prod(leading))
    for number, axis in enumerate(axes):
        time = axis.name == "t"
        if axis.name not in _SIZES or (time and not axis.unit and axis.scale == 1):
            continue
        symbol = ome_symbol(axis.unit, time=time) or ("s" if time else "pixel")
        key = _SIZES[axis.name]
        metadata |= {key: abs(axis.scale), f"{key}Unit": symbol}
        if axis.origin and not note:
            steps = places[number] if number < len(leading) else np.zeros(math.prod(leading))
            key = _PLACES[axis.name]
            planes[key] = (axis.origin + axis.scale * steps).tolist()
            planes[f"{key}Unit"] = [symbol] * len(steps)
    metadata |= {"Plane": planes} if planes else {}
    return metadata | ({"Description": note} if note else {})


_CENTIMETER = 10_000  # micrometers
_HIGHEST = 1 << 32


def tiff_resolution(axes: Axes) -> dict[str, Any]:
    """Return what tifffile writes as resolution: of programs that don't read OME-XML, as ImageJ.

    Nothing where rows and columns have no size in a unit of length, or none that the tags hold.
    """
    sizes = {axis.name: convert_unit(abs(axis.scale), axis.unit, "micrometer") for axis in axes}
    pixels = [_CENTIMETER / (sizes.get(name) or math.inf) for name in "xy"]
    if not all(1 / _HIGHEST < number < _HIGHEST for number in pixels):
        return {}
    return {"resolution": tuple(pixels), "resolutionunit": "CENTIMETER"}


def axes_of_series(file: tifffile.TiffFile, number: int) -> Axes:
    """Return the axes of an image series, with what the file says of each.

    The resolution of a plain TIFF counts where a pixel is below 10 micrometers: others are those
    of a print or a screen.

    Parameters
    ----------
    file : TiffFile
        The open file.
    number : int
        Which series.
    """
    series = file.series[number]
    names = str(series.axes).lower()
    if names.endswith("qyx") and ends_in_channels(series.shape):
        # The file tells a shape alone, and the names are what tifffile makes of it.
        names = f"{names[:-3]}yxc"
    plain = make_axes(series.shape, names=names)
    if file.is_ome:
        sizes = _ome_axes(_ome_pixels(file, number))
    elif file.is_imagej:
        sizes = _imagej_axes(file.imagej_metadata or {}, series.keyframe.tags)
    elif file.is_lsm or file.is_stk:
        sizes = _lsm_axes(file.lsm_metadata or {}) | _stk_axes(file.stk_metadata or {})
    elif file.is_svs and series.name == "Baseline":
        size = svs_description_metadata(file.pages.first.description).get("MPP")
        sizes = _in_unit({"x": size, "y": size}, "µm")
    else:
        sizes = _resolution_axes(series.keyframe.tags)
    return tuple(
        Axis(axis.name, axis.length, *sizes[axis.name]) if axis.name in sizes else axis
        for axis in plain
    )


_Sizes = dict[str, tuple[float, str, float]]
"""Size of a pixel, unit and origin by the name of the axis."""


def _ome_pixels(file: tifffile.TiffFile, number: int) -> Mapping[str, Any]:
    """Return what OME-XML says of the pixels of a series."""
    try:
        images = tifffile.xml2dict(file.ome_metadata or "")["OME"]["Image"]
        images = images if isinstance(images, list) else [images]
        if len(images) != len(file.series):
            # tifffile leaves out images without pages.
            named = [image for image in images if image.get("Name") == file.series[number].name]
            images = [named[0]] * len(file.series) if len(named) == 1 else images
        pixels: Mapping[str, Any] = images[number]["Pixels"]
    except (KeyError, TypeError, SyntaxError, IndexError, AttributeError):
        return {}
    return pixels


def _ome_axes(pixels: Mapping[str, Any]) -> _Sizes:
    first = _find_first_plane(pixels)
    found: _Sizes = {}
    for name, key in _SIZES.items():
        size = _parse_number(pixels.get(key))
        # The defaults of OME-XML, where it gives a size without a unit.
        unit_name = str(pixels.get(f"{key}Unit", "s" if name == "t" else "µm"))
        factor, unit = parse_unit(unit_name) if size else (1.0, "")
        scale = abs(size) * factor if size else 1.0
        found[name] = (scale, unit, _ome_origin(first, _PLACES[name], unit))
    return found


def _find_first_plane(pixels: Mapping[str, Any]) -> Mapping[str, Any]:
    planes = pixels.get("Plane", ())
    for plane in planes if isinstance(planes, list | tuple) else (planes,):
        if isinstance(plane, dict) and not any(plane.get(f"The{axis}", 0) for axis in "ZCT"):
            return plane
    return {}


def _ome_origin(plane: Mapping[str, Any], key: str, unit: str) -> float:
    """Return where the first pixel lies; 0 where it is not given in a known unit."""
    place = _parse_number(plane.get(key))
    # Positions have no unit by default: they are those of a frame that nobody else knows.
    unit_name = str(plane.get(f"{key}Unit", "s" if key == "DeltaT" else "reference frame"))
    if place is None or unit_name == "reference frame":
        return 0.0
    return convert_unit(place, unit_name, unit) or 0.0


def _imagej_axes(entry: Mapping[str, Any], tags: Untyped) -> _Sizes:
    space = entry.get("unit") or ""
    units = {"x": space, "y": entry.get("yunit") or space, "z": entry.get("zunit") or space}
    sizes = {
        "x": _read_resolution(tags, "XResolution") if space else None,
        "y": _read_resolution(tags, "YResolution") if space else None,
        "z": _parse_number(entry.get("spacing")) if space else None,
        "t": _parse_number(entry.get("finterval")),
    }
    found: _Sizes = {}
    for name, size in sizes.items():
        if not size:
            continue
        factor, unit = parse_unit(str(units.get(name, entry.get("tunit") or "s")))
        scale = abs(size) * factor
        # The pixel, counted from the first one, that lies at 0.
        zero = _parse_number(entry.get(f"{name}origin")) or 0.0
        found[name] = (scale, unit, -zero * scale if zero else 0.0)
    return found


def _lsm_axes(entry: Mapping[str, Any]) -> _Sizes:
    """Return what Zeiss' LSM says: sizes in meters, times in seconds."""
    meters = {name: _parse_number(entry.get(f"VoxelSize{name.upper()}")) for name in "xyz"}
    micrometers = {name: size and size * 1e6 for name, size in meters.items()}
    return _in_unit(micrometers, "µm") | _in_unit({"t": entry.get("TimeIntervall")}, "s")


def _stk_axes(entry: Mapping[str, Any]) -> _Sizes:
    """Return what MetaMorph's STK says; the distance of planes is told of each."""
    steps = np.atleast_1d(entry.get("ZDistance", 0.0))
    sizes = {
        "x": entry.get("XCalibration"), "y": entry.get("YCalibration"), "z": steps.flat[0]
    }  # fmt: skip
    known = {name: float(size) for name, size in sizes.items() if size is not None}
    return _in_unit(known, str(entry.get("CalibrationUnits") or ""))


def _in_unit(sizes: Mapping[str, object], unit_name: str) -> _Sizes:
    """Return those sizes of pixels that are numbers above 0."""
    factor, unit = parse_unit(unit_name)
    known = {name: _parse_number(size) or 0.0 for name, size in sizes.items()}
    return {name: (size * factor, unit, 0.0) for name, size in known.items() if size > 0}


def _resolution_axes(tags: Untyped) -> _Sizes:
    found: _Sizes = {}
    micrometers = _RESOLUTION_UNITS.get(int(tags.valueof("ResolutionUnit", 1)))
    for name, tag in (("x", "XResolution"), ("y", "YResolution")):
        size = _read_resolution(tags, tag)
        if size and micrometers and size * micrometers < _LARGEST_PIXEL:
            found[name] = (size * micrometers, "micrometer", 0.0)
    return found


def _read_resolution(tags: Untyped, name: str) -> float | None:
    """Return the length of a pixel, of a tag that holds the pixels in a length."""
    pixels, length = tags.valueof(name, (0, 1))
    return _parse_number(length / pixels) if pixels else None


def _parse_number(value: object) -> float | None:
    """Return a finite number, or None."""
    if not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
