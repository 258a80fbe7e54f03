"""Objects as COCO JSON, for training.

Format: https://cocodataset.org/#format-data
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.masks.objects import objects, planes
from napari_sam3_assistant.core.masks.outlines import polygons
from napari_sam3_assistant.io.atomic import atomic_write

if TYPE_CHECKING:
    from napari_sam3_assistant.core.masks.objects import Classes, PlaneObject
    from napari_sam3_assistant.core.masks.place import ImagePlace


def save_coco(
    labels: Any,  # noqa: ANN401 - arrays of numpy, zarr and others
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
        What the labels stand for; class values become category ids.
    place : ImagePlace
        Where in which image they lie; in stacks the index of the plane is added to its name.
    as_polygons : bool
        Polygons instead of run lengths. An object with a hole, which a COCO polygon can't have,
        is written by its run lengths all the same.

    Raises
    ------
    ExportError
        If the file can't be written.
    """
    height, width = place.shape
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    used: set[int] = set()
    for number, (index, plane) in enumerate(planes(labels), 1):
        name = "_".join([place.image, *map(str, place.plane(index).values())])
        images.append({"id": number, "file_name": name, "height": height, "width": width})
        for found in objects(plane, classes, place.y, place.x):
            used.add(found.class_value)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": found.class_value,
                    "segmentation": _segmentation(found, (height, width), as_polygons=as_polygons),
                    "area": found.area,
                    "bbox": [found.x, found.y, found.mask.shape[1], found.mask.shape[0]],
                    "iscrowd": 0,
                }
            )
    categories = [
        {"id": value, "name": classes.name(value), "supercategory": ""}
        for value in sorted(used | set(classes.names))
    ]
    content = {
        "info": {"description": place.note},
        "images": images,
        "annotations": annotations,
        "categories": categories,
    }
    path = Path(path)
    with atomic_write(path) as draft:
        draft.write_text(json.dumps(content), encoding="utf-8")
    return path


def _segmentation(
    found: PlaneObject, shape: tuple[int, int], *, as_polygons: bool
) -> dict[str, Any] | list[list[int]]:
    if as_polygons:
        parts = polygons(found.mask)
        if all(len(rings) == 1 for rings in parts):
            first = np.array([found.y, found.x])
            return [(rings[0] + first)[:, ::-1].reshape(-1).tolist() for rings in parts]
    return {"size": list(shape), "counts": _counts(found, shape)}


def _counts(found: PlaneObject, shape: tuple[int, int]) -> list[int]:
    """Return COCO's run lengths: of 0 and of 1 in turns, column by column."""
    columns, rows = np.nonzero(found.mask.T)
    pixels = (columns + found.x) * shape[0] + rows + found.y
    begins = np.flatnonzero(np.diff(pixels, prepend=-2) != 1)
    starts = pixels[begins]
    stops = pixels[np.append(begins[1:], pixels.size) - 1] + 1
    edges = np.stack([starts, stops], axis=1).reshape(-1)
    counts = np.diff(np.concatenate([[0], edges, [shape[0] * shape[1]]]))
    found_counts: list[int] = counts.tolist()
    return found_counts
