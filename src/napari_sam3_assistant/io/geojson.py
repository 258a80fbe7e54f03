"""Objects as GeoJSON, as QuPath reads and writes it.

Format: RFC 7946; QuPath's fields: https://qupath.readthedocs.io/en/stable/docs/advanced/exporting_annotations.html
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.masks.objects import objects, planes
from napari_sam3_assistant.core.masks.outlines import polygons
from napari_sam3_assistant.io.atomic import atomic_write

if TYPE_CHECKING:
    from napari_sam3_assistant.core.masks.objects import Classes, PlaneObject
    from napari_sam3_assistant.core.masks.place import ImagePlace


def save_geojson(
    labels: Any,  # noqa: ANN401 - arrays of numpy, zarr and others
    path: str | Path,
    classes: Classes,
    place: ImagePlace,
) -> Path:
    """Write each object as a polygon with holes, in pixels, (0, 0) the corner of the image.

    The collection names the image and its size, and each polygon has its plane. The format has
    no size of a pixel, no unit and no place in the world.

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
    features = [
        _feature(one, place.plane(index), classes)
        for index, plane in planes(labels)
        for one in objects(plane, classes, place.y, place.x)
    ]
    height, width = place.shape
    image = {"name": place.image, "height": height, "width": width}
    path = Path(path)
    with atomic_write(path) as draft:
        content = {"type": "FeatureCollection", "features": features, "image": image}
        content |= {"description": place.note} if place.note else {}
        draft.write_text(json.dumps(content), encoding="utf-8")
    return path


def _feature(one: PlaneObject, plane: dict[str, int], classes: Classes) -> dict[str, Any]:
    parts = [
        [[[int(x) + one.x, int(y) + one.y] for y, x in (*ring, ring[0])] for ring in rings]
        for rings in polygons(one.mask)
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
            "objectType": "annotation",
            "name": str(one.label),
            "classification": {"name": classes.name(one.class_value)},
        },
    }
