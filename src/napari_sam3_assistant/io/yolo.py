"""Objects as YOLO segmentation labels, for training.

Format: https://docs.ultralytics.com/datasets/segment/
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.masks.objects import objects, planes
from napari_sam3_assistant.core.masks.outlines import polygons
from napari_sam3_assistant.errors import ExportError
from napari_sam3_assistant.io.atomic import atomic_write

if TYPE_CHECKING:
    from napari_sam3_assistant.core.masks.objects import Classes
    from napari_sam3_assistant.core.masks.place import ImagePlace


def save_yolo(
    labels: Any,  # noqa: ANN401 - arrays of numpy, zarr and others
    path: str | Path,
    classes: Classes,
    place: ImagePlace,
) -> Path:
    """Write one line an object: the number of its class and its outline, from 0 to 1 in the image.

    The format has no holes: they are filled. An object in several parts has a line a part. The
    names of the classes are written next to it, as ``<name>.yaml``; classes are numbered from 0
    in the order of their values. It does not name the image, and has no size of it, no plane, no
    size of a pixel, no unit and no place in the world.

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
        If there are several planes, or a file can't be written.
    """
    if labels.ndim > 2 and np.prod(labels.shape[:-2]) > 1:
        raise ExportError(
            f"A YOLO file holds one plane, these labels have the shape {tuple(labels.shape)}.",
            "Save a stack as COCO JSON or OME-Zarr.",
        )
    found = [
        one for _, plane in planes(labels) for one in objects(plane, classes, place.y, place.x)
    ]
    values = sorted({one.class_value for one in found} | set(classes.names))
    size = np.array(place.shape)
    lines = []
    for one in found:
        for rings in polygons(one.mask):
            corners = ((rings[0] + (one.y, one.x)) / size)[:, ::-1].reshape(-1)
            numbers = " ".join(f"{number:.6f}" for number in corners)
            lines.append(f"{values.index(one.class_value)} {numbers}\n")
    path = Path(path)
    with atomic_write(path) as draft:
        draft.write_text("".join(lines), encoding="utf-8")
    names = {index: classes.name(value) for index, value in enumerate(values)}
    with atomic_write(path.with_suffix(".yaml")) as draft:
        # A JSON string is a YAML string too, whatever is in the name.
        rows = [f"  {index}: {json.dumps(name)}\n" for index, name in names.items()]
        draft.write_text("names:\n" + "".join(rows), encoding="utf-8")
    return path
