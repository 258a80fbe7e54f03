"""The formats of files of masks, and what each of them can hold."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.axes import place_note

if TYPE_CHECKING:
    from pathlib import Path

    from napari_sam3_assistant.core.axes import Axes


class ExportFormat(StrEnum):
    """The formats of masks."""

    TIFF = "tiff"
    PNG = "png"
    NPY = "npy"
    OME_ZARR = "ome_zarr"
    COCO_RLE = "coco_rle"
    COCO_POLYGONS = "coco_polygons"
    YOLO = "yolo"
    GEOJSON = "geojson"

    @property
    def suffix(self) -> str:
        """The ending of the format's files."""
        return _SUFFIXES[self]

    @property
    def has_image(self) -> bool:
        """Whether its files have pixels of the image, and not of the labels."""
        return self in _IN_IMAGE

    @property
    def has_one_plane(self) -> bool:
        """Whether its files hold one plane and no more."""
        return self in (ExportFormat.PNG, ExportFormat.YOLO)


_SUFFIXES = {
    ExportFormat.TIFF: ".tif",
    ExportFormat.PNG: ".png",
    ExportFormat.NPY: ".npy",
    ExportFormat.OME_ZARR: ".zarr",
    ExportFormat.COCO_RLE: ".json",
    ExportFormat.COCO_POLYGONS: ".json",
    ExportFormat.YOLO: ".txt",
    ExportFormat.GEOJSON: ".geojson",
}
_IN_IMAGE = {
    ExportFormat.COCO_RLE,
    ExportFormat.COCO_POLYGONS,
    ExportFormat.YOLO,
    ExportFormat.GEOJSON,
}
_ACCEPTED = {ExportFormat.TIFF: (".tif", ".tiff")}


def with_suffix(path: Path, format_: ExportFormat) -> Path:
    """Return the path with the ending of a format; dots in the name stay."""
    if path.suffix.lower() in _ACCEPTED.get(format_, (format_.suffix,)):
        return path
    known = {suffix for endings in _ACCEPTED.values() for suffix in endings}
    if path.suffix.lower() in known | set(_SUFFIXES.values()):
        return path.with_suffix(format_.suffix)
    return path.with_name(path.name + format_.suffix)


def format_of(ending: str) -> ExportFormat:
    """Return the format of labels by the ending of their file: that of TIFF if it is unknown."""
    known = {
        ".npy": ExportFormat.NPY,
        ".png": ExportFormat.PNG,
        ".zarr": ExportFormat.OME_ZARR,
    }
    return known.get(f".{ending.lower().rpartition('.')[2]}", ExportFormat.TIFF)


def lost_place(format_: ExportFormat, axes: Axes) -> str:
    """Return what a file that has size and place of pixels can't say of these; empty for nothing.

    Parameters
    ----------
    format_ : ExportFormat
        The format; those without size and place have nothing to lose.
    axes : tuple of Axis
        The axes of the labels.
    """
    if format_ in (ExportFormat.TIFF, ExportFormat.OME_ZARR):
        return place_note(axes, backwards=format_ is ExportFormat.OME_ZARR)
    return ""


def not_held(format_: ExportFormat, axes: Axes) -> str:
    """Return what a file of a format will not hold of labels, for who chooses one; or nothing.

    Parameters
    ----------
    format_ : ExportFormat
        The format.
    axes : tuple of Axis
        The axes of the labels.
    """
    return _NOT_HELD.get(format_, "") or lost_place(format_, axes)


_NO_PLACE = "no size of a pixel, no unit and no position in the world"
_NOT_HELD = {
    ExportFormat.NPY: f"NumPy files hold the values alone: {_NO_PLACE}.",
    ExportFormat.PNG: f"PNG holds one plane with values up to 65535: {_NO_PLACE}.",
    ExportFormat.COCO_RLE: f"COCO counts the pixels of the image: {_NO_PLACE}.",
    ExportFormat.COCO_POLYGONS: f"COCO counts the pixels of the image: {_NO_PLACE}.",
    ExportFormat.YOLO: (
        "YOLO holds outlines in one plane of the image: no holes, no name and size of the image, "
        f"{_NO_PLACE}."
    ),
    ExportFormat.GEOJSON: f"GeoJSON counts the pixels of the image: {_NO_PLACE}.",
}
