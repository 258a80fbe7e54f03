"""Write objects and tables for other programs: COCO, GeoJSON, YOLO, ImageJ, CSV, overlays.

Format: https://cocodataset.org/#format-data

Objects as GeoJSON, as QuPath reads and writes it.

Format: RFC 7946; QuPath's fields: https://qupath.readthedocs.io/en/stable/docs/advanced/exporting_annotations.html

Objects as YOLO segmentation labels, for training.

Format: https://docs.ultralytics.com/datasets/segment/
"""

from __future__ import annotations

import csv
import json
import math
import zipfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import imageio.v3 as iio
import numpy as np
from roifile import ROI_TYPE, ImagejRoi
from skimage.color import label2rgb
from skimage.segmentation import find_boundaries

from napari_sam3_assistant.core.classes import PALETTE
from napari_sam3_assistant.core.masks.objects import iter_objects, iter_planes, trace_polygons
from napari_sam3_assistant.errors import ExportError
from napari_sam3_assistant.io.atomic import atomic_write
from napari_sam3_assistant.io.class_list import read_yolo_names, yolo_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.core.masks.labels import ImagePlace
    from napari_sam3_assistant.core.masks.objects import Classes, PlaneObject


def save_coco(
    labels: AnyArray,
    path: str | Path,
    classes: Classes,
    place: ImagePlace,
    *,
    as_polygons: bool = False,
) -> Path:
    """Write objects as COCO annotations, in pixels of the image that they lie on.

    The format has the name and the size of the image, and of each object its pixels, area and
    box. It has no size of a pixel, no unit and no place in the world.

    Parameters
    ----------
    labels : array-like of int, shape (..., H, W)
        Labels; each plane becomes an image.
    path : str or Path
        The file; replaced if it exists.
    classes : Classes
        What the labels stand for; class values become category ids, in a list that counts from 0
        less 1.
    place : ImagePlace
        Where in which image they lie; in stacks the index of the plane is added to its name. An
        image is named as its file, where it has one.
    as_polygons : bool
        Polygons instead of run lengths. An object with a hole, which a COCO polygon can't have,
        is written by its run lengths all the same.

    Raises
    ------
    ExportError
        If the file can't be written.
    """
    return save_coco_of_all([CocoPart(labels, classes, place)], path, as_polygons=as_polygons)


@dataclass(frozen=True, slots=True, eq=False)
class CocoPart:
    """Labels that become images of a COCO file.

    Parameters
    ----------
    labels : array-like of int, shape (..., H, W)
        Labels; each plane becomes an image.
    classes : Classes
        What the labels stand for.
    place : ImagePlace
        Where in which image they lie.
    """

    labels: AnyArray
    classes: Classes
    place: ImagePlace


def save_coco_of_all(
    parts: Iterable[CocoPart], path: str | Path, *, as_polygons: bool = False
) -> Path:
    """Write the objects of many images into one COCO file, see :func:`save_coco`.

    Objects are written as they come, so that only one image is there at a time.

    Parameters
    ----------
    parts : iterable of CocoPart
        The images, with numbers of classes that mean the same in all of them.
    path : str or Path
        The file; replaced if it exists.
    as_polygons : bool
        Polygons instead of run lengths.

    Raises
    ------
    ExportError
        If the file can't be written.
    """
    images: list[dict[str, Any]] = []
    listed: dict[int, dict[str, str]] = {}
    notes: dict[str, None] = {}
    last = 0
    path = Path(path)
    with atomic_write(path) as draft, draft.open("w", encoding="utf-8") as file:
        file.write('{"annotations": [')
        for part in parts:
            classes, place, first = part.classes, part.place, part.classes.listed.first
            listed |= {value - first: _category(classes, value) for value in classes.names}
            notes[place.note] = None
            height, width = place.shape
            for index, plane in iter_planes(part.labels):
                number, name = len(images) + 1, place.file_name(index)
                images.append({"id": number, "file_name": name, "height": height, "width": width})
                for found in iter_objects(part.labels, plane, classes, place.y, place.x):
                    category = found.class_value - first
                    listed.setdefault(category, _category(classes, found.class_value))
                    outline = _segmentation(found, place.shape, as_polygons=as_polygons)
                    separator, last = ", " if last else "", last + 1
                    annotation = {
                        "id": last,
                        "image_id": number,
                        "category_id": category,
                        "segmentation": outline,
                        "area": found.area,
                        "bbox": [found.x, found.y, found.mask.shape[1], found.mask.shape[0]],
                        "iscrowd": 0,
                    }
                    file.write(f"{separator}{json.dumps(annotation)}")
        rest = {
            "info": {"description": " ".join(filter(None, notes))},
            "images": images,
            "categories": [{"id": id_, **listed[id_]} for id_ in sorted(listed)],
        }
        file.write(f"], {json.dumps(rest)[1:]}")
    return path


def _category(classes: Classes, value: int) -> dict[str, str]:
    return {"name": classes.name(value), "supercategory": classes.parent(value)}


def _segmentation(
    plane_object: PlaneObject, shape: tuple[int, int], *, as_polygons: bool
) -> dict[str, Any] | list[list[int]]:
    if as_polygons:
        parts = trace_polygons(plane_object.mask)
        if all(len(rings) == 1 for rings in parts):
            first = np.array([plane_object.y, plane_object.x])
            return [(rings[0] + first)[:, ::-1].reshape(-1).tolist() for rings in parts]
    return {"size": list(shape), "counts": _counts(plane_object, shape)}


def _counts(plane_object: PlaneObject, shape: tuple[int, int]) -> list[int]:
    """Return COCO's run lengths: of 0 and of 1 in turns, column by column."""
    columns, rows = np.nonzero(plane_object.mask.T)
    pixels = (columns + plane_object.x) * shape[0] + rows + plane_object.y
    begins = np.flatnonzero(np.diff(pixels, prepend=-2) != 1)
    starts = pixels[begins]
    stops = pixels[np.append(begins[1:], pixels.size) - 1] + 1
    edges = np.stack([starts, stops], axis=1).reshape(-1)
    counts = np.diff(np.concatenate([[0], edges, [shape[0] * shape[1]]]))
    found_counts: list[int] = counts.tolist()
    return found_counts


def save_geojson(
    labels: AnyArray,
    path: str | Path,
    classes: Classes,
    place: ImagePlace,
    measured: Mapping[int, Mapping[str, float]] | None = None,
    *,
    kind: Literal["annotation", "detection"] = "annotation",
) -> Path:
    """Write each object as a polygon with holes, in pixels, (0, 0) the corner of the image.

    The collection names the image and its size, and each polygon has its plane, its area and what
    else was measured. The format has no size of a pixel, no unit and no place in the world.

    Parameters
    ----------
    labels : array-like of int, shape (..., H, W)
        Labels; in a stack each plane has its objects.
    path : str or Path
        The file; replaced if it exists.
    classes : Classes
        What the labels stand for.
    place : ImagePlace
        Where in which image they lie.
    measured : mapping of int to mapping of str to float, optional
        For each label what is known of it, by the names of the measurements.
    kind : "annotation" or "detection"
        What QuPath takes them for: few objects to edit, or many to count.

    Raises
    ------
    ExportError
        If the file can't be written.
    """
    known = {} if measured is None or classes.is_semantic else measured
    features = (
        _feature(record, place.plane(index), classes, kind, known.get(record.label, {}))
        for index, plane in iter_planes(labels)
        for record in iter_objects(labels, plane, classes, place.y, place.x)
    )
    height, width = place.shape
    rest: dict[str, Any] = {"image": {"name": place.image, "height": height, "width": width}}
    rest |= {"description": place.note} if place.note else {}
    path = Path(path)
    with atomic_write(path) as draft, draft.open("w", encoding="utf-8") as file:
        file.write('{"type": "FeatureCollection", "features": [')
        for number, feature in enumerate(features):
            file.write(f"{', ' if number else ''}{json.dumps(feature)}")
        file.write(f"], {json.dumps(rest)[1:]}")
    return path


def _feature(
    plane_object: PlaneObject,
    plane: dict[str, int],
    classes: Classes,
    kind: str,
    measured: Mapping[str, float],
) -> dict[str, Any]:
    # JSON has no numbers that are not finite.
    known = {name: value for name, value in measured.items() if math.isfinite(value)}
    parts = [
        [
            [[int(x) + plane_object.x, int(y) + plane_object.y] for y, x in (*ring, ring[0])]
            for ring in rings
        ]
        for rings in trace_polygons(plane_object.mask)
    ]
    single = len(parts) == 1
    return {
        "type": "Feature",
        "geometry": {
            "type": "Polygon" if single else "MultiPolygon",
            "coordinates": parts[0] if single else parts,
            "plane": {"c": -1, "z": 0, "t": 0, **plane},
        },
        "properties": {
            "objectType": kind,
            "name": str(plane_object.label),
            "classification": _classification(classes, plane_object.class_value),
            "measurements": {"Area px^2": plane_object.area, **known},
        },
    }


def _classification(classes: Classes, value: int) -> dict[str, Any]:
    """Return a class as QuPath has it: one that is a kind of another by the names of its path."""
    names = classes.listed.path_names(classes.name(value))
    entry: dict[str, Any] = {"names": names} if len(names) > 1 else {"name": names[0]}
    return {**entry, "color": list(classes.listed.colour(value))}


def save_yolo(
    labels: AnyArray,
    path: str | Path,
    classes: Classes,
    place: ImagePlace,
) -> Path:
    """Write one line an object: the number of its class and its outline, from 0 to 1 in the image.

    The format has no holes: they are filled. An object in several parts has a line a part. The
    names of the classes are written next to it, as ``<name>.yaml``, numbered from 0 in the order
    of their values, or as their list has them; where that file exists, it stays and its numbers
    hold. It does not name the
    image, and has no size of it, no plane, no size of a pixel, no unit and no place in the world.

    Parameters
    ----------
    labels : array-like of int, shape (H, W)
        One plane of labels.
    path : str or Path
        The file; replaced if it exists.
    classes : Classes
        What the labels stand for.
    place : ImagePlace
        Where in which image they lie.

    Raises
    ------
    ExportError
        If there are several planes, a class is not listed in the file of names that exists, or has
        another number there than in the list, or a file can't be written.
    """
    if labels.ndim > 2 and np.prod(labels.shape[:-2]) > 1:
        raise ExportError(
            f"A YOLO file holds one plane, these labels have the shape {tuple(labels.shape)}.",
            "Save a stack as COCO JSON or OME-Zarr.",
        )
    found = [
        record
        for _, plane in iter_planes(labels)
        for record in iter_objects(labels, plane, classes, place.y, place.x)
    ]
    path = Path(path)
    used = {record.class_value for record in found}
    numbers = _number_classes(path.with_suffix(".yaml"), classes, used)
    size = np.array(place.shape)
    lines = []
    for record in found:
        for rings in trace_polygons(record.mask):
            corners = ((rings[0] + (record.y, record.x)) / size)[:, ::-1].reshape(-1)
            outline = " ".join(f"{part:.6f}" for part in corners)
            lines.append(f"{numbers[record.class_value]} {outline}\n")
    with atomic_write(path) as draft:
        draft.write_text("".join(lines), encoding="utf-8")
    return path


def _number_classes(path: Path, classes: Classes, used: Iterable[int]) -> dict[int, int]:
    """Return YOLO's number of each class, as a list or a file has them; write the file if none."""
    names = classes.names | {value: classes.name(value) for value in used}
    fixed, known = classes.listed.yolo_numbers, read_yolo_names(path)
    numbers = fixed or {value: number for number, value in enumerate(sorted(names))}
    if known is None and not names:
        return {}  # a list without a class would say that there is none
    if known is None:
        listed = {numbers[value]: name for value, name in names.items()}
        with atomic_write(path, replace=False) as draft:
            draft.write_text(yolo_names(listed), encoding="utf-8")
        return numbers
    for value, name in names.items():
        if name not in known:
            raise ExportError(
                f"{path} exists and lists no class “{name}”.",
                "Add it to the names there, or export under another name.",
            )
        if fixed and known[name] != fixed[value]:
            raise ExportError(
                f"{path} exists, and there “{name}” is number {known[name]}, which is "
                f"{fixed[value]} by the class list.",
                "Export under another name, or remove that file.",
            )
    return {value: known[name] for value, name in names.items()}


def save_rois(
    labels: AnyArray,
    path: str | Path,
    classes: Classes,
    place: ImagePlace,
) -> Path:
    """Write the outline of each object as a region of ImageJ's ROI Manager, in a zip file.

    Objects with holes or several parts become composite regions. A region has its label as name,
    its plane, and the colour and the group of its class. The format has no name and size of the
    image, no size of a pixel, no unit and no place in the world.

    Format: https://github.com/imagej/ImageJ/blob/master/ij/io/RoiDecoder.java

    Parameters
    ----------
    labels : array-like of int, shape (..., H, W)
        Labels; in a stack each plane has its objects.
    path : str or Path
        The file; replaced if it exists.
    classes : Classes
        What the labels stand for.
    place : ImagePlace
        Where in which image they lie.

    Raises
    ------
    ExportError
        If the file can't be written.
    """
    path = Path(path)
    taken = Counter[str]()
    with atomic_write(path) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
        for index, plane in iter_planes(labels):
            at = place.plane(index)
            for record in iter_objects(labels, plane, classes, place.y, place.x):
                name = "_".join([str(record.label), *(f"{axis}{n + 1}" for axis, n in at.items())])
                taken[name] += 1  # components of a class have one value
                roi = _roi(record, at, classes)
                roi.name = name if taken[name] == 1 else f"{name}-{taken[name]}"
                archive.writestr(f"{roi.name}.roi", roi.tobytes())
    return path


def _roi(plane_object: PlaneObject, at: Mapping[str, int], classes: Classes) -> ImagejRoi:
    rings = [
        ring[:, ::-1] + (plane_object.x, plane_object.y)
        for part in trace_polygons(plane_object.mask)
        for ring in part
    ]
    if len(rings) == 1:
        roi = ImagejRoi.frompoints(rings[0])
        roi.roitype = ROI_TYPE.TRACED
    else:
        roi = ImagejRoi(
            roitype=ROI_TYPE.RECT,
            top=plane_object.y,
            left=plane_object.x,
            bottom=plane_object.y + plane_object.mask.shape[0],
            right=plane_object.x + plane_object.mask.shape[1],
        )
        roi.multi_coordinates = np.concatenate([_roi_path(ring) for ring in rings])
        roi.shape_roi_size = len(roi.multi_coordinates)
    # ImageJ numbers planes from 1; a stack of one axis is no hyperstack.
    if len(at) == 1:
        (roi.position,) = (plane + 1 for plane in at.values())
    elif at:
        roi.z_position, roi.t_position, roi.c_position = (at.get(axis, -1) + 1 for axis in "ztc")
    roi.stroke_color = bytes([255, *classes.listed.colour(plane_object.class_value)])
    roi.group = min(plane_object.class_value, 255) if classes.names else 0
    return roi


def _roi_path(ring: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Return a ring as a path of ImageJ: 0 to move, 1 to draw, each with x and y; 4 closes."""
    steps = np.insert(ring.astype(np.float32), 0, 1, axis=1)
    steps[0, 0] = 0
    return np.append(steps.reshape(-1), np.float32(4))


_COLOURS = np.array(PALETTE) / 255.0
_FILL = 0.35


def save_overlay(
    rgb: npt.NDArray[np.uint8], labels: npt.NDArray[np.integer], path: str | Path
) -> Path:
    """Write a PNG of the image with each object filled in a light colour and outlined.

    Parameters
    ----------
    rgb : ndarray, shape (H, W, 3), dtype uint8
        The image.
    labels : ndarray of integers, shape (H, W)
        Object ids; 0 is background.
    path : str or Path
        File that ends in .png; replaced if it exists.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ExportError
        If the shapes differ, the ending is another, or the file can't be written.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ExportError(f"An overlay can't be saved as '{path.suffix}': {path}.", "Use .png.")
    if rgb.shape[:2] != labels.shape:
        raise ExportError(
            f"The labels of shape {labels.shape} don't fit the image of shape {rgb.shape}.",
            "Give the labels of the whole image.",
        )
    picture = _draw(rgb, labels)
    with atomic_write(path) as draft:
        iio.imwrite(draft, picture, plugin="pillow", extension=".png")
    return path


def _draw(rgb: npt.NDArray[np.uint8], labels: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
    """Return the picture, shape (H, W, 3), dtype uint8."""
    if not labels.any():
        return rgb
    # Ids that follow each other have different colours; 0 stays background.
    numbers = np.where(labels > 0, (labels - 1) % len(_COLOURS) + 1, 0).astype(np.intp)
    used = _COLOURS[np.unique(numbers[numbers > 0]) - 1]
    filled: npt.NDArray[np.float64] = label2rgb(
        numbers, rgb, colors=used, alpha=_FILL, bg_label=0, bg_color=None, saturation=1
    )
    outline = find_boundaries(labels, mode="inner", background=0)
    filled[outline] = _COLOURS[numbers[outline] - 1]
    return (filled * 255 + 0.5).astype(np.uint8)


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file, completely or not at all.

    Parameters
    ----------
    path : Path
        The file; replaced if it exists.
    header : sequence of str
        Names of the columns.
    rows : iterable of sequence
        Values; None becomes an empty field.

    Raises
    ------
    ExportError
        If it can't be written.
    """
    with (
        atomic_write(path) as draft,
        # Names that are no text to the system are written with \.
        draft.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
