"""Read annotations of other programs as labels: COCO, GeoJSON of QuPath, and what ImageJ has.

Formats: https://cocodataset.org/#format-data; RFC 7946 with the fields of
https://qupath.readthedocs.io/en/stable/docs/advanced/exporting_annotations.html
"""

from __future__ import annotations

import itertools
import json
import os
import unicodedata
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.draw import polygon

from napari_sam3_assistant.core.classes import SEPARATOR, ClassList, ObjectClass
from napari_sam3_assistant.core.masks.objects import ANY_CLASS
from napari_sam3_assistant.core.plurals import pluralize
from napari_sam3_assistant.errors import ImageError, MaskError
from napari_sam3_assistant.io.areas import (
    Area,
    ImportedLabels,
    explain_left_out,
    lift_hidden,
    list_names,
    paint_areas,
)
from napari_sam3_assistant.io.class_list import classes_in, read_colour
from napari_sam3_assistant.io.imagej_rois import ROI_ENDINGS, RoiFile, is_rois
from napari_sam3_assistant.io.loaded import check_memory
from napari_sam3_assistant.io.untrusted import (
    as_dict,
    as_list,
    as_number,
    as_text,
    as_whole,
    open_regular,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from napari_sam3_assistant.core.classes import Colour

_LARGEST = 1 << 30  # bytes of a file
_REMEDY = (
    "Export it again, as COCO: so do most programs for annotations, such as CVAT, Labelme, VIA and "
    "Label Studio. GeoJSON of QuPath and regions of ImageJ are read, too."
)
_WRONG = (TypeError, ValueError, KeyError, RecursionError)


@dataclass(frozen=True, slots=True)
class CocoImage:
    """An image of a COCO file.

    Parameters
    ----------
    id : int
        Its number there.
    file_name : str
        Its file, without folders.
    shape : tuple of int
        Height and width.
    """

    id: int
    file_name: str
    shape: tuple[int, int]


def is_annotations(path: Path) -> bool:
    """Return whether a file is one of annotations by its ending."""
    return path.suffix.lower() in (".json", ".geojson", *ROI_ENDINGS)


def paint_annotations(
    path: Path,
    shape: tuple[int, int],
    names: Sequence[str] = (),
    plane: Mapping[str, int] | None = None,
) -> ImportedLabels:
    """Return the annotations that a file of COCO, GeoJSON or ImageJ has of a plane of an image.

    Parameters
    ----------
    path : Path
        The file.
    shape : tuple of int
        Height and width of the plane.
    names : sequence of str
        What a COCO file may call the plane, the likeliest first.
    plane : mapping of str to int, optional
        Which plane it is, by ``z`` and ``t``, for GeoJSON and ImageJ.

    Raises
    ------
    MaskError
        If it can't be read, is none of these, or has no such image.
    ImageError
        If the annotations are for an image of another size.
    """
    file = read_annotations(path)
    if not isinstance(file, CocoFile):
        return file.paint(shape, plane)
    image = file.find_any(names or ("",))
    check_fits(image, shape)
    return file.paint(image)


def read_annotations(path: Path) -> CocoFile | GeoJsonFile | RoiFile:
    """Return a file of annotations as what it is, by its content where its ending says JSON alone.

    Raises
    ------
    MaskError
        If it can't be read, or is none of these.
    """
    if is_rois(path):
        return RoiFile(path)
    content = _read_json(path)
    if path.suffix.lower() == ".geojson" or _is_geojson(content):
        return GeoJsonFile(path, content)
    return CocoFile(path, content)


def _is_geojson(content: object) -> bool:
    """Return whether JSON is GeoJSON: one feature, a collection, or a list as of QuPath 0.2."""
    first = content[0] if isinstance(content, list) and content else content
    return isinstance(first, dict) and first.get("type") in ("Feature", "FeatureCollection")


def _read_json(path: Path) -> object:
    """Return what a file holds, in whichever Unicode; raises MaskError if it can't be read."""
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > _LARGEST:
                raise MaskError(f"{path} is too large.", "Split it into several files.")
            return json.loads(file.read())
    except OSError as exc:
        raise MaskError(
            f"{path} can't be read: {exc.strerror or exc}.", "Choose another file."
        ) from exc
    except (ValueError, RecursionError) as exc:
        raise MaskError(
            f"{path} is not a file of JSON: {exc}.",
            _REMEDY,
        ) from exc


class CocoFile:
    """A COCO file of whatever origin: what it says is checked, and its pixels are made when asked.

    Parameters
    ----------
    path : Path
        The file.
    content : object
        What it holds, where that was read before.

    Attributes
    ----------
    images : tuple of CocoImage
        The images.
    classes : ClassList
        The categories.

    Raises
    ------
    MaskError
        If it can't be read, or is no COCO file.
    """

    def __init__(self, path: Path, content: object = None) -> None:
        self.path = path
        content = _read_json(path) if content is None else content
        try:
            parsed = as_dict(content)
            self.classes = classes_in({"categories": as_list(parsed["categories"])})
            self.images = tuple(map(_read_image, as_list(parsed["images"])))
            self._annotations: dict[int, list[dict[str, Any]]] = {
                image.id: [] for image in self.images
            }
            self._of_others = 0
            entries = parsed["annotations"]
            # Some have them by number, as those of LIVECell's single cell types.
            for entry in entries.values() if isinstance(entries, dict) else as_list(entries):
                of_image = self._annotations.get(as_whole(as_dict(entry)["image_id"]))
                if of_image is None:
                    self._of_others += 1
                else:
                    of_image.append(entry)
            if self._of_others and not self.images:
                raise ValueError("it lists no image")
        except _WRONG as exc:
            raise MaskError(
                f"{path} is not a COCO file: {_explain(exc)}.",
                _REMEDY,
            ) from exc

    def __repr__(self) -> str:
        """Return one line: a notebook shows what a cell ends with."""
        objects = pluralize(sum(map(len, self._annotations.values())), "object")
        images = pluralize(len(self.images), "image")
        return f"<CocoFile {self.path.name}: {objects} on {images}, {list_names(self.classes)}>"

    def find(self, name: str) -> CocoImage:
        """Return an image by the name of its file, with or without its ending, or the only one.

        Parameters
        ----------
        name : str
            The name; empty for the only image of the file.

        Raises
        ------
        MaskError
            If there is none, or several.
        """
        wanted = _composed(name)
        same = [image for image in self.images if _composed(image.file_name) == wanted]
        if len(same) > 1:
            raise MaskError(
                f"{self.path.name} has several images “{name}”.",
                "Import all of its images by napari-sam3 import: each gets labels of its own.",
            )
        same = same or [
            image for image in self.images if _stem(image.file_name) == _stem(name) and name
        ]
        same = same or (list(self.images) if not name else [])
        if len(same) == 1:
            return same[0]
        listed = ", ".join(image.file_name for image in self.images[:4])
        listed += ", ..." if len(self.images) > 4 else ""
        many = "no image" if not same else "several images"
        raise MaskError(
            f"{self.path.name} has {many}{f' “{name}”' if name else ''}.",
            f"It has {listed}: give the name of one." if self.images else "Choose another file.",
        )

    def find_any(self, names: Sequence[str]) -> CocoImage:
        """Return the image of the first name that it has, or the only one; raises MaskError."""
        if len(self.images) == 1:
            return self.images[0]
        stems = {_stem(image.file_name) for image in self.images}
        return self.find(next((name for name in names if _stem(name) in stems), names[0]))

    def paint(self, image: CocoImage) -> ImportedLabels:
        """Return the annotations of an image as labels; those of crowds lie below the others.

        Where others overlap, the later one is on top, but for one within a larger one. COCO means
        several objects by a crowd. CVAT marks each mask so that was painted by a brush.

        Raises
        ------
        MaskError
            If an annotation can't be used.
        ImageError
            If there is no memory for so many pixels.
        """
        check_memory(image.shape, np.uint32)
        labels = np.zeros(image.shape, np.uint32)
        values = {entry.id: entry.id + self.classes.first for entry in self.classes}
        classes: dict[int, int] = {}
        painted: dict[int, dict[str, Any]] = {}
        empty = crowds = 0
        for place, entry in enumerate(self._annotations[image.id], 1):
            try:
                category = as_whole(entry["category_id"])
                if category not in values:
                    raise ValueError(f"its category {category} is not in the list")
                rows, columns = _pixels(entry.get("segmentation"), image.shape)
            except _WRONG as exc:
                raise MaskError(
                    f"Annotation {place} of {image.file_name} in {self.path.name} can't be used: "
                    f"{_explain(exc)}.",
                    "Export it again from the program that wrote it.",
                ) from exc
            if not len(rows):
                empty += 1
                continue
            if entry.get("iscrowd"):
                crowds += 1
                free = labels[rows, columns] == 0
                rows, columns = rows[free], columns[free]
            label = len(classes) + 1
            painted[label] = entry
            labels[rows, columns] = label
            classes[label] = values[category]

        def pixels(label: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
            entry = painted[label]
            segmentation = None if entry.get("iscrowd") else entry.get("segmentation")
            return _pixels(segmentation, image.shape)

        notes = explain_left_out(
            {
                "without pixels left out": empty,
                "marked as a crowd taken as one object each": crowds,
                "of images that the file does not list left out": self._of_others,
                "wholly below others": lift_hidden(labels, len(classes), pixels),
            }
        )
        return ImportedLabels(image.file_name, labels, self.classes, classes, notes)


def _explain(error: Exception) -> str:
    """Return what is wrong with a file; of what it should have, and has not, Python names it."""
    return f"it has no “{error.args[0]}”" if isinstance(error, KeyError) else str(error)


def _read_image(value: object) -> CocoImage:
    found = as_dict(value)
    shape = as_whole(found["height"]), as_whole(found["width"])
    if min(shape) < 1:
        raise ValueError(f"an image of {shape[0]} x {shape[1]} pixels")
    # Folders are those of another computer, and may lead anywhere.
    name = as_text(found["file_name"]).replace("\\", "/").rpartition("/")[2]
    return CocoImage(as_whole(found["id"]), name, shape)


def _composed(name: str) -> str:
    """Return a name that is the same whether macOS has taken its letters apart or not."""
    return unicodedata.normalize("NFC", name)


def _stem(name: str) -> str:
    return _composed(name.rpartition(".")[0] or name)


def _pixels(
    value: object, shape: tuple[int, int]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return rows and columns of the pixels of a segmentation: polygons, or run lengths."""
    if isinstance(value, dict):
        if tuple(map(as_whole, as_list(value["size"], 2))) != shape:
            raise ValueError("its mask has another size than the image")
        counts = value["counts"]
        if isinstance(counts, str):
            runs = list(_unpack_counts(counts))
        else:
            runs = [as_whole(count) for count in as_list(counts)]
        return _pixels_of_runs(runs, shape)
    found = [np.zeros((2, 0), np.intp)]
    for ring in [] if value is None else as_list(value):
        # Those far outside are as far as any.
        corners = np.array([as_number(number) for number in as_list(ring)]).clip(-1e9, 1e9)
        if corners.size % 2:
            raise ValueError("a polygon has an odd number of coordinates")
        x, y = corners.reshape(-1, 2).T
        # Corners are those of pixels, and a pixel is inside by its centre.
        found.append(np.stack(polygon(y - 0.5, x - 0.5, shape)))
    rows, columns = np.concatenate(found, axis=1)
    return rows, columns


def _pixels_of_runs(
    runs: list[int], shape: tuple[int, int]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the pixels of run lengths: of 0 and of 1 in turns, column by column."""
    if min(runs, default=0) < 0 or sum(runs) != shape[0] * shape[1]:
        raise ValueError("its run lengths are not those of the image")
    edges = np.cumsum(runs)
    starts, lengths = edges[:-1:2], np.array(runs[1::2], np.intp)
    first = np.repeat(starts - np.cumsum(lengths) + lengths, lengths)
    columns, rows = np.divmod(first + np.arange(lengths.sum()), shape[0])
    return rows, columns


def _unpack_counts(text: str) -> Iterator[int]:
    """Yield the run lengths of COCO's compressed text.

    Each number is in groups of five bits, the lowest first, of which the sixth bit says whether
    another follows; from the fourth number on it is the difference to the one two before.
    """
    known: list[int] = []
    letters = iter(text.encode("ascii"))
    for letter in letters:
        groups = [letter - 48]
        while groups[-1] & 0x20:
            if len(groups) > 10:
                raise ValueError("its run lengths are damaged")
            groups.append(next(letters, 48) - 48)
        if not all(0 <= group < 64 for group in groups):
            raise ValueError("its run lengths are damaged")
        bits = itertools.count(0, 5)
        value = sum((group & 0x1F) << bit for group, bit in zip(groups, bits, strict=False))
        if groups[-1] & 0x10:
            value -= 1 << 5 * len(groups)
        if len(known) > 2:
            value += known[-2]
        known.append(value)
        yield value


_AREAS = ("Polygon", "MultiPolygon")
_FOR_PROGRAM = ("root", "tma_core")
"""Kinds of QuPath's objects that are no annotations: the whole image, a core of a tissue array."""
_MOST_MEASUREMENTS = 200


class GeoJsonFile:
    """A GeoJSON file as QuPath writes it: checked when it is read, its pixels are made when asked.

    It is a collection of features, a list of them, or one. Areas are objects; points and lines
    have no pixels and are counted. Those without a class are of the class ``object``.
    Objects within others (``childObjects``) lie on top of these.

    Parameters
    ----------
    path : Path
        The file.
    content : object
        What it holds, where that was read before.

    Attributes
    ----------
    image : str
        The name of the image, where the file has it, as ours do.
    shape : tuple of int or None
        Height and width of the image, where the file has them.
    classes : ClassList
        The classes, in the order of the file, with their colours.

    Raises
    ------
    MaskError
        If it can't be read, or is no GeoJSON file.
    """

    def __init__(self, path: Path, content: object = None) -> None:
        self.path = path
        content = _read_json(path) if content is None else content
        self._areas: list[Area] = []
        self._left_out: Counter[str] = Counter()
        self._colours: dict[str, Colour | None] = {}
        place = 0
        try:
            self.image, self.shape = _image_of(content)
            for feature in _features_of(content):
                place += 1
                self._read(feature)
        except _WRONG as exc:
            place_text = f"in its object {place}, " if place else ""
            raise MaskError(
                f"{path} is not a GeoJSON file of objects: {place_text}{_explain(exc)}.",
                "Export it again from QuPath, as a FeatureCollection.",
            ) from exc
        named = enumerate(self._colours.items(), 1)
        self.classes = ClassList(tuple(ObjectClass(id_, *entry) for id_, entry in named))

    def __repr__(self) -> str:
        """Return one line: a notebook shows what a cell ends with."""
        objects = pluralize(len(self._areas), "object")
        return f"<GeoJsonFile {self.path.name}: {objects}, {list_names(self.classes)}>"

    def _read(self, feature: dict[str, Any]) -> None:
        """Take in a feature; raises TypeError, ValueError or KeyError."""
        if as_text(feature.get("type")) != "Feature":
            raise ValueError(f"“{feature['type']}” is not a feature")
        properties = as_dict(feature.get("properties") or {})
        geometry = as_dict(feature.get("geometry") or {})
        kind = properties.get("objectType", properties.get("object_type"))
        if kind in _FOR_PROGRAM:
            self._left_out["of the whole image or of tissue cores left out"] += 1
        elif geometry.get("type") in _AREAS:
            self._areas.append(self._read_area(geometry, properties))
        else:
            self._left_out["without an area (points, lines) left out"] += 1

    def _read_area(self, geometry: dict[str, Any], properties: dict[str, Any]) -> Area:
        polygons = as_list(geometry["coordinates"])
        if geometry["type"] == "Polygon":
            polygons = [polygons]
        plane = as_dict(geometry.get("plane") or {})
        name, colour = _classification(properties.get("classification"))
        self._colours[name] = self._colours.get(name) or colour
        return Area(
            tuple(tuple(_ring(ring) for ring in as_list(rings)) for rings in polygons),
            (as_whole(plane.get("z", 0)), as_whole(plane.get("t", 0))),
            name,
            _measurements(properties.get("measurements")),
        )

    def paint(
        self, shape: tuple[int, int] | None = None, plane: Mapping[str, int] | None = None
    ) -> ImportedLabels:
        """Return the objects of a plane as labels.

        Parameters
        ----------
        shape : tuple of int, optional
            Height and width of the image; by default what the file says.
        plane : mapping of str to int, optional
            Which plane of a stack, by ``z`` and ``t``. Objects of a file that knows one plane
            alone, the first one, are for any.

        Raises
        ------
        MaskError
            If nobody says how large the image is.
        ImageError
            If the image has another size, or there is no memory for so many pixels.
        """
        shape = shape or self.shape
        if shape is None:
            raise MaskError(
                f"{self.path.name} does not say how large its image is.", "Give the image, too."
            )
        if self.shape is not None:
            check_fits(CocoImage(0, self.image or self.path.name, self.shape), shape)
        return paint_areas(
            self._areas, shape, plane or {}, self.classes, self._left_out, image=self.image
        )


def _image_of(value: object) -> tuple[str, tuple[int, int] | None]:
    """Return name and shape of the image, where a collection has them as ours do."""
    image = value.get("image") if isinstance(value, dict) else None
    if not isinstance(image, dict) or "height" not in image:
        return "", None
    shape = as_whole(image["height"]), as_whole(image["width"])
    if min(shape) < 1:
        raise ValueError(f"an image of {shape[0]} x {shape[1]} pixels")
    return as_text(image.get("name", "")), shape


def _features_of(value: object) -> Iterator[dict[str, Any]]:
    """Yield the features of a file, each before those within it: they lie on top of it."""
    features = value.get("features", [value]) if isinstance(value, dict) else value
    waiting = as_list(features)[::-1]
    while waiting:
        feature = as_dict(waiting.pop())
        yield feature
        inside = feature, as_dict(feature.get("properties") or {})
        for child in inside:
            waiting += as_list(child.get("childObjects") or [])[::-1]


def _ring(value: object) -> npt.NDArray[np.float64]:
    """Return the corners of a line, shape (N, 2), as ``(y, x)``."""
    corners = [as_list(corner) for corner in as_list(value)]
    if any(len(corner) < 2 for corner in corners):
        raise ValueError("a corner has not two coordinates")
    # Those far outside are as far as any.
    found = [(as_number(corner[1]), as_number(corner[0])) for corner in corners]
    return np.array(found, float).reshape(-1, 2).clip(-1e9, 1e9)


def _classification(value: object) -> tuple[str, Colour | None]:
    """Return name and colour of a class; of QuPath's several names the whole path."""
    if value is None:
        return ANY_CLASS, None
    if isinstance(value, str):
        return value.strip() or ANY_CLASS, None
    found = as_dict(value)
    names = as_list(found["names"]) if found.get("names") else [found.get("name")]
    above = found.get("parentClass")  # until QuPath 0.3
    while isinstance(above, dict):
        names, above = [above.get("name"), *names], above.get("parentClass")
    name = SEPARATOR.join(as_text(part).strip() for part in names if part)
    colour = None
    with suppress(*_WRONG):  # a strange one is none
        colour = read_colour(found.get("color", found.get("colorRGB")))
    return name or ANY_CLASS, colour


def _measurements(stored: object) -> dict[str, float]:
    """Return what was measured: by name, or as older versions write it, as a list."""
    if stored is None:
        return {}
    pairs: list[tuple[Any, Any]]
    if isinstance(stored, list):
        pairs = [(as_dict(measurement)["name"], measurement.get("value")) for measurement in stored]
    else:
        pairs = list(as_dict(stored).items())
    known = {}
    for name, value in pairs[:_MOST_MEASUREMENTS]:
        with suppress(*_WRONG):  # not a number, or none that is known
            known[as_text(name)] = as_number(value)
    return known


def check_fits(image: CocoImage, shape: tuple[int, int]) -> None:
    """Raise ImageError unless an image has the size that its annotations are for."""
    if image.shape != shape:
        raise ImageError(
            f"The annotations are for {image.file_name} of {image.shape[0]} x {image.shape[1]} "
            f"pixels; the image has {shape[0]} x {shape[1]}.",
            "Choose the image that they were made for.",
        )
