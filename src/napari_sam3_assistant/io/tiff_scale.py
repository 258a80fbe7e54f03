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
_OME_KEYS = {"x": "PhysicalSizeX", "y": "PhysicalSizeY", "z": "PhysicalSizeZ", "t": "TimeIncrement"}


def ome_metadata(axes: LabelAxes) -> dict[str, Any]:
    """Return what tifffile writes into OME-XML for labels of these axes.

    A unit that OME does not know is left out.
    """
    told: dict[str, Any] = {"axes": "".join(axes.names).upper()}
    for name, size, unit in zip(axes.names, axes.scale, axes.units, strict=True):
        if name not in _OME_KEYS:
            continue
        told[_OME_KEYS[name]] = size
        if name != "t":
            told[f"{_OME_KEYS[name]}Unit"] = _OME_UNITS.get(unit.lower(), "pixel")
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


def _ome_sizes(file: tifffile.TiffFile) -> dict[str, float]:
    try:
        image = tifffile.xml2dict(file.ome_metadata or "")["OME"]["Image"]
        pixels: Mapping[str, Any] = (image[0] if isinstance(image, list) else image)["Pixels"]
    except (KeyError, TypeError, SyntaxError, IndexError):
        return {}
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
