"""The size of a pixel in TIFF files: OME-XML, and what ImageJ writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tifffile

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_sam3_assistant.io.label_axes import LabelAxes

# Names of units as OME-Zarr writes them, and as OME-XML does.
_OME_UNITS = {
    "": "pixel",
    "pixel": "pixel",
    "micrometer": "µm",
    "micron": "µm",
    "um": "µm",
    "µm": "µm",
    "nanometer": "nm",
    "nm": "nm",
    "millimeter": "mm",
    "mm": "mm",
    "meter": "m",
    "angstrom": "Å",
}
# OME-XML knows no time without a unit: where none is known it says its own default, seconds.
_OME_TIMES = {
    "second": "s",
    "s": "s",
    "sec": "s",
    "millisecond": "ms",
    "ms": "ms",
    "minute": "min",
    "min": "min",
    "hour": "h",
    "h": "h",
    "day": "d",
}
# What files say, as OME-Zarr names it.
_UNITS = {
    **dict.fromkeys(("µm", "μm", "um", "micron", "microns", "\\u00B5m"), "micrometer"),
    "nm": "nanometer",
    "mm": "millimeter",
    "cm": "centimeter",
    "m": "meter",
    "Å": "angstrom",
    "s": "second",
    "sec": "second",
    "ms": "millisecond",
    "msec": "millisecond",
    "min": "minute",
    "h": "hour",
    "d": "day",
    **dict.fromkeys(("pixel", "px", "reference frame"), ""),
}
_OME_KEYS = {"x": "PhysicalSizeX", "y": "PhysicalSizeY", "z": "PhysicalSizeZ", "t": "TimeIncrement"}


def ome_metadata(axes: LabelAxes) -> dict[str, Any]:
    """Return what tifffile writes into OME-XML for labels of these axes.

    Where OME does not know the unit, ``pixel`` stands for it.
    """
    told: dict[str, Any] = {"axes": "".join(axes.names).upper()}
    for name, size, unit in zip(axes.names, axes.scale, axes.units, strict=True):
        if name not in _OME_KEYS:
            continue
        told[_OME_KEYS[name]] = size
        known, default = (_OME_TIMES, "s") if name == "t" else (_OME_UNITS, "pixel")
        told[f"{_OME_KEYS[name]}Unit"] = known.get(unit.lower(), default)
    return told


def read_scale(file: tifffile.TiffFile, axes: str) -> tuple[float, ...] | None:
    """Return the length of a pixel along each axis, where the file says; 1 for other axes.

    The resolution of a plain TIFF is not taken: it is that of a print.

    Parameters
    ----------
    file : TiffFile
        The open file.
    axes : str
        Names of the axes of its first series, in capitals.
    """
    sizes = _ome_sizes(file) if file.is_ome else _imagej_sizes(file) if file.is_imagej else {}
    if not sizes:
        return None
    return tuple(sizes.get(name.lower(), 1.0) for name in axes)


def read_units(file: tifffile.TiffFile, axes: str) -> tuple[str, ...] | None:
    """Return what the scale of each axis counts in, where the file says; empty for other axes.

    Parameters
    ----------
    file : TiffFile
        The open file.
    axes : str
        Names of the axes of its first series, in capitals.
    """
    units = _ome_units(file) if file.is_ome else _imagej_units(file) if file.is_imagej else {}
    if not any(units.values()):
        return None
    return tuple(units.get(name.lower(), "") for name in axes)


def _ome_pixels(file: tifffile.TiffFile) -> Mapping[str, Any]:
    try:
        image = tifffile.xml2dict(file.ome_metadata or "")["OME"]["Image"]
        pixels: Mapping[str, Any] = (image[0] if isinstance(image, list) else image)["Pixels"]
    except (KeyError, TypeError, SyntaxError, IndexError):
        return {}
    return pixels


def _ome_units(file: tifffile.TiffFile) -> dict[str, str]:
    pixels = _ome_pixels(file)
    # The defaults of OME-XML, where it gives a size without a unit.
    return {
        name: _named(pixels.get(f"{key}Unit", "s" if name == "t" else "µm"))
        for name, key in _OME_KEYS.items()
        if key in pixels
    }


def _imagej_units(file: tifffile.TiffFile) -> dict[str, str]:
    told = file.imagej_metadata or {}
    space = _named(told.get("unit", ""))
    named = {**dict.fromkeys("xyz", space), "t": _named(told.get("tunit", "s"))}
    return {name: named[name] for name in _imagej_sizes(file)}


def _named(unit: object) -> str:
    said = str(unit).strip()
    return _UNITS.get(said, said)


def _ome_sizes(file: tifffile.TiffFile) -> dict[str, float]:
    pixels = _ome_pixels(file)
    return {
        name: size
        for name, key in _OME_KEYS.items()
        if key in pixels
        for size in (_positive(pixels[key]),)
        if size is not None
    }


def _imagej_sizes(file: tifffile.TiffFile) -> dict[str, float]:
    told = file.imagej_metadata or {}
    tags = file.pages.first.tags
    sizes = {}
    for name, tag in (("x", "XResolution"), ("y", "YResolution")):
        if tag in tags and told.get("unit"):
            pixels, length = tags[tag].value
            size = _positive(length / pixels) if pixels else None
            if size is not None:
                sizes[name] = size
    for name, key in (("z", "spacing"), ("t", "finterval")):
        size = _positive(told.get(key))
        if sizes and size is not None:
            sizes[name] = size
    return sizes


def _positive(value: object) -> float | None:
    if not isinstance(value, int | float | str):
        return None
    try:
        size = float(value)
    except ValueError:
        return None
    return size if 0 < size < float("inf") else None
