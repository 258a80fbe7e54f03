"""The objects of labels as files list them: a class, a box and a mask or polygon each."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.core.axes import explain_place
from napari_sam3_assistant.core.classes import ClassList
from napari_sam3_assistant.core.masks.components import expand_ranges, find_components
from napari_sam3_assistant.core.masks.labels import whole_box
from napari_sam3_assistant.errors import MaskError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.core.masks.labels import Box


ANY_CLASS = "object"


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """What labels stand for.

    Parameters
    ----------
    names : dict of int to str
        Names of the classes, by value. Empty: every label is an object of one class.
    of_object : dict of int to int
        The class of each object, where labels are objects. Empty: labels are classes.
    every : int or None
        The class of every label, where they all have the same one.
    listed : ClassList
        The classes of the project, whose names ``names`` holds; empty where no list is fixed.
    of_value : dict of int to int
        The class in that list of labels that are classes, where they have other values.
    none : int
        The value of objects that ``of_object`` has not, which have no class; 0 where all have one.
    """

    names: dict[int, str] = field(default_factory=dict)
    of_object: dict[int, int] = field(default_factory=dict)
    every: int | None = None
    listed: ClassList = field(default_factory=ClassList)
    of_value: dict[int, int] = field(default_factory=dict)
    none: int = 0

    @classmethod
    def of_objects(cls, classes: Mapping[int, str]) -> Classes:
        """Return the classes of objects by their names; empty names stand for no class."""
        names = dict(enumerate(sorted({name for name in classes.values() if name}), 1))
        values = {name: value for value, name in names.items()}
        of_object = {label: values[name] for label, name in classes.items() if name}
        return cls(names, of_object, none=len(names) + 1) if names else cls()

    @property
    def is_semantic(self) -> bool:
        """Whether a label is a class and its components are the objects."""
        return bool(self.names) and not self.of_object and self.every is None

    def value(self, label: int) -> int:
        """Return the class of a label; raises MaskError if a fixed list has it not."""
        if self.is_semantic:
            value = self.of_value.get(label, label)
        elif self.every is not None:
            value = self.every
        else:
            value = self.of_object.get(label, self.none or 1)
            if self.listed and self.none and label not in self.of_object:
                raise MaskError(
                    f"The object {label} has no class of the list.",
                    "Give it one: mark it, and press the key of its class.",
                )
        if self.listed:
            self.listed.check_value(value)
        return value

    def name(self, value: int) -> str:
        """Return the name of a class."""
        nameless = f"class {value}" if self.names and value != self.none else ANY_CLASS
        return self.names.get(value, nameless)

    def parent(self, value: int) -> str:
        """Return what a class is a kind of, by the list or by its name; empty for nothing."""
        return self.listed.parent(self.name(value))

    def number_by(self, listed: ClassList, *, by_value: bool = False) -> Classes:
        """Return the same classes with the numbers of a list; with an empty one as they are.

        Parameters
        ----------
        listed : ClassList
            The classes of the project.
        by_value : bool
            Whether labels of which nothing is known are the values of its classes, and not
            objects.

        Raises
        ------
        MaskError
            If the list has not all of them, or has several and nothing is known of the labels.
        """
        if not listed:
            return self
        if self.names:
            numbers = {value: listed.value(name) for value, name in self.names.items()}
            return Classes(
                listed.names,
                {label: numbers.get(value, value) for label, value in self.of_object.items()},
                None if self.every is None else numbers.get(self.every, self.every),
                listed,
                numbers if self.is_semantic else {},
                self.none,
            )
        every = self.every
        if not self.of_object and every is None and not by_value:
            if len(listed) > 1:
                raise MaskError(
                    "Of which class of the list these labels are is not known.",
                    "Save them as an accepted object with a class first.",
                )
            (every,) = listed.names
        return Classes(listed.names, self.of_object, every, listed)


@dataclass(frozen=True, slots=True, eq=False)
class PlaneObject:
    """One object in one plane.

    Parameters
    ----------
    label : int
        Its label.
    class_value : int
        Its class.
    y, x : int
        First row and column of its bounding box.
    mask : ndarray, shape (h, w), dtype bool
        Its pixels in the box.
    """

    label: int
    class_value: int
    y: int
    x: int
    mask: npt.NDArray[np.bool_]

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(np.count_nonzero(self.mask))


def iter_planes(labels: AnyArray) -> Iterator[tuple[tuple[int, ...], Box]]:
    """Yield the box of each plane of rows and columns with its index on the leading axes."""
    for index in np.ndindex(*labels.shape[:-2]):
        yield index, (*(slice(at, at + 1) for at in index), *whole_box(labels.shape[-2:]))


def iter_objects(
    labels: AnyArray, plane: Box, classes: Classes, y: int = 0, x: int = 0
) -> Iterator[PlaneObject]:
    """Yield the objects of a plane: labels, or where labels are classes their components.

    Parameters
    ----------
    labels : array-like of int, shape (..., H, W)
        In memory or lazy; read block by block.
    plane : tuple of slice
        One plane of them.
    classes : Classes
        What they stand for.
    y, x : int
        Row and column of the plane's first pixel.
    """
    found = find_components(labels, box=plane)
    numbers = np.arange(len(found))
    if not classes.is_semantic and len(found):
        fresh = np.append([True], found.values[1:] != found.values[:-1])
        numbers = np.cumsum(fresh) - 1
    count = int(numbers.max(initial=-1)) + 1
    lows = np.full((count, 2), np.iinfo(np.int64).max)
    highs = np.zeros((count, 2), np.int64)
    np.minimum.at(lows, numbers, found.lows[:, -2:])
    np.maximum.at(highs, numbers, found.highs[:, -2:])
    values = np.zeros(count, found.values.dtype)
    values[numbers] = found.values
    of_run = numbers[found.of_run]
    order = np.argsort(of_run, kind="stable")
    runs, width = found.runs.take(order), labels.shape[-1]
    rows, columns, lengths = runs.coordinates()[-1], runs.starts % width, runs.lengths
    ends = np.searchsorted(of_run[order], np.arange(count), side="right")
    for index, own in enumerate(map(slice, np.append([0], ends[:-1]), ends)):
        (y0, x0), (y1, x1) = lows[index].tolist(), highs[index].tolist()
        mask = np.zeros((y1 - y0, x1 - x0), bool)
        starts = (rows[own] - y0) * (x1 - x0) + columns[own] - x0
        mask.reshape(-1)[expand_ranges(starts, lengths[own])] = True
        label = int(values[index])
        yield PlaneObject(label, classes.value(label), y0 + y, x0 + x, mask)


if TYPE_CHECKING:
    Ring = npt.NDArray[np.int64]
    Bits = npt.NDArray[np.bool_]


def trace_polygons(mask: Bits) -> list[list[Ring]]:
    """Return the outlines of a mask.

    Parameters
    ----------
    mask : ndarray, shape (H, W), dtype bool
        The pixels; pixel (0, 0) covers the square from 0 to 1.

    Returns
    -------
    list of list of ndarray, shape (n, 2), dtype int64
        For each part (connected by faces) its outer ring and then its holes: corners as (y, x),
        the first one not repeated. Rings may touch at corners, but never cross.
    """
    numbers, _ = ndi.label(mask)
    found = []
    for index, box in enumerate(ndi.find_objects(numbers), 1):
        first = np.array([side.start for side in box])
        found.append([ring + first for ring in _trace_rings(numbers[box] == index)])
    return found


def _trace_rings(part: Bits) -> list[Ring]:
    """Return the rings of a mask in one part, the outer one first."""
    points, across, along, outer = _find_corners(part)
    beside = _find_partners(np.lexsort((across, points[:, 1], points[:, 0])))
    below = _find_partners(np.lexsort((along, points[:, 0], points[:, 1])))
    unseen = np.ones(len(points), bool)
    rings: list[Ring] = []
    # In this order, the first corner of each ring is its top left one.
    for start in np.lexsort((points[:, 1], points[:, 0])):
        if not unseen[start] or along[start] < 0 or across[start] < 0:
            continue
        ring, at = [], int(start)
        while unseen[at]:
            unseen[at] = False
            ring.append(at)
            at = int(beside[at])
            unseen[at] = False
            ring.append(at)
            at = int(below[at])
        corners = points[ring]
        if outer[start]:
            rings.insert(0, corners)
        else:
            rings.append(corners)
    return rings


def _find_corners(part: Bits) -> tuple[Ring, Ring, Ring, Bits]:
    """Return corners, their edges' directions (1 right or down), and whether mask lies below right.

    Where two pixels meet at a corner only, two corners lie at one place, paired so that the
    mask goes on through it.
    """
    padded = np.pad(part, 1)
    a, b, c, d = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    total = a.astype(int) + b + c + d
    falling = (total == 2) & a & d
    rising = (total == 2) & b & c
    columns = []
    for corners, across, along in (
        (total % 2 == 1, np.where(b != d, 1, -1), np.where(c != d, 1, -1)),
        (falling, -1, 1),
        (falling, 1, -1),
        (rising, -1, -1),
        (rising, 1, 1),
    ):
        points = np.argwhere(corners)
        columns.append(
            (
                points,
                np.broadcast_to(across, total.shape)[corners],
                np.broadcast_to(along, total.shape)[corners],
                d[corners],
            )
        )
    points, across_, along_, outer = (np.concatenate(parts) for parts in zip(*columns, strict=True))
    return points, across_, along_, outer


def _find_partners(order: Ring) -> Ring:
    """Return for each corner the one at the other end of its edge."""
    partner = np.empty_like(order)
    partner[order[::2]] = order[1::2]
    partner[order[1::2]] = order[::2]
    return partner


@dataclass(frozen=True, slots=True)
class _About:
    """What the user reads of a format, its ending, and what its files can hold, and can't."""

    label: str
    suffix: str
    not_held: str = ""
    has_image: bool = False
    has_one_plane: bool = False
    has_tracks: bool = False


class ExportFormat(StrEnum):
    """The formats of masks."""

    TIFF = "tiff"
    PNG = "png"
    NPY = "npy"
    OME_ZARR = "ome_zarr"
    OME_ZARR_05 = "ome_zarr_0.5"
    COCO_RLE = "coco_rle"
    COCO_POLYGONS = "coco_polygons"
    YOLO = "yolo"
    GEOJSON = "geojson"
    GEOJSON_DETECTIONS = "geojson_detections"
    IMAGEJ_ROIS = "imagej_rois"
    CTC = "ctc"
    GEFF = "geff"

    @property
    def label(self) -> str:
        """What the user reads."""
        return _ABOUT[self].label

    @property
    def suffix(self) -> str:
        """The ending of the format's files."""
        return _ABOUT[self].suffix

    @property
    def has_image(self) -> bool:
        """Whether its files have pixels of the image, and not of the labels."""
        return _ABOUT[self].has_image

    @property
    def has_one_plane(self) -> bool:
        """Whether its files hold one plane and no more."""
        return _ABOUT[self].has_one_plane

    @property
    def has_axis_names(self) -> bool:
        """Whether its files say which axis is which, and what the planes of a stack are."""
        return not self.has_one_plane and self is not ExportFormat.NPY

    @property
    def has_tracks(self) -> bool:
        """Whether its files hold objects through frames, and no single planes."""
        return _ABOUT[self].has_tracks


_NO_PLACE = "no size of a pixel, no unit and no position in the world"
_COCO = f"COCO counts the pixels of the image: {_NO_PLACE}."
_GEOJSON = f"GeoJSON counts the pixels of the image: {_NO_PLACE}."
_ABOUT = {
    ExportFormat.TIFF: _About("TIFF", ".tif"),
    ExportFormat.PNG: _About(
        "PNG (one plane)",
        ".png",
        f"PNG holds one plane with values up to 65535: {_NO_PLACE}.",
        has_one_plane=True,
    ),
    ExportFormat.NPY: _About(
        "NumPy (.npy)", ".npy", f"NumPy files hold the values alone: {_NO_PLACE}."
    ),
    ExportFormat.OME_ZARR: _About("OME-Zarr", ".zarr"),
    ExportFormat.OME_ZARR_05: _About("OME-Zarr 0.5 (zarr 3)", ".zarr"),
    ExportFormat.COCO_RLE: _About("COCO JSON, run lengths", ".json", _COCO, has_image=True),
    ExportFormat.COCO_POLYGONS: _About("COCO JSON, polygons", ".json", _COCO, has_image=True),
    ExportFormat.YOLO: _About(
        "YOLO segmentation",
        ".txt",
        "YOLO holds outlines in one plane of the image: no holes, no name and size of the image, "
        f"{_NO_PLACE}.",
        has_image=True,
        has_one_plane=True,
    ),
    ExportFormat.GEOJSON: _About("GeoJSON for QuPath", ".geojson", _GEOJSON, has_image=True),
    ExportFormat.GEOJSON_DETECTIONS: _About(
        "GeoJSON for QuPath, detections", ".geojson", _GEOJSON, has_image=True
    ),
    ExportFormat.CTC: _About("Tracks: Cell Tracking Challenge", ".ctc", has_tracks=True),
    ExportFormat.GEFF: _About("Tracks: GEFF", ".geff", has_tracks=True),
    ExportFormat.IMAGEJ_ROIS: _About(
        "ImageJ regions (.zip)",
        ".zip",
        f"ImageJ regions count the pixels of the image: {_NO_PLACE}.",
        has_image=True,
    ),
}
OME_ZARRS = (ExportFormat.OME_ZARR, ExportFormat.OME_ZARR_05)
# Folders of the Cell Tracking Challenge are called such as TRA or 01_RES.
_ACCEPTED = {ExportFormat.TIFF: (".tif", ".tiff"), ExportFormat.CTC: (".ctc", "")}


def with_suffix(path: Path, format_: ExportFormat) -> Path:
    """Return the path with the ending of a format; dots in the name stay."""
    if path.suffix.lower() in _ACCEPTED.get(format_, (format_.suffix,)):
        return path
    known = {suffix for endings in _ACCEPTED.values() for suffix in endings}
    if path.suffix.lower() in known | {export_format.suffix for export_format in ExportFormat}:
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


def explain_lost_place(format_: ExportFormat, axes: Axes) -> str:
    """Return what a file that has size and place of pixels can't say of these; empty for nothing.

    Parameters
    ----------
    format_ : ExportFormat
        The format; those without size and place have nothing to lose.
    axes : tuple of Axis
        The axes of the labels.
    """
    if format_ in (ExportFormat.TIFF, *OME_ZARRS):
        return explain_place(axes, backwards=format_ in OME_ZARRS)
    return ""


def explain_lost(format_: ExportFormat, axes: Axes) -> str:
    """Return what a file of a format will not hold of labels, for who chooses one; or nothing.

    Parameters
    ----------
    format_ : ExportFormat
        The format.
    axes : tuple of Axis
        The axes of the labels.
    """
    return _ABOUT[format_].not_held or explain_lost_place(format_, axes)
