"""The formats of exported masks."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


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
