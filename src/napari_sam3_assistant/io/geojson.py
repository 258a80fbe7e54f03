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


def save_geojson(labels: Any, path: str | Path, classes: Classes) -> Path:  # noqa: ANN401
    """Write each object as a polygon with holes, in pixels, (0, 0) the corner of the image.

    Parameters
    ----------
    labels : array-like of int, shape (H, W), (Z, H, W) or (T, Z, H, W)
        Labels; in a stack each plane has its objects.
    path : str or Path
        The file; replaced if it exists.
    classes : Classes
        What the labels stand for.

    Raises
    ------
    ExportError
        If the file can't be written.
    """
    features = [
        _feature(one, index, classes)
        for index, plane in planes(labels)
        for one in objects(plane, classes)
    ]
    path = Path(path)
    with atomic_write(path) as draft:
        content = {"type": "FeatureCollection", "features": features}
        draft.write_text(json.dumps(content), encoding="utf-8")
    return path


def _feature(one: PlaneObject, index: tuple[int, ...], classes: Classes) -> dict[str, Any]:
    t, z = (0, 0, *index)[-2:]
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
            "plane": {"c": -1, "z": z, "t": t},
        },
        "properties": {
            "objectType": "annotation",
            "name": str(one.label),
            "classification": {"name": classes.name(one.class_value)},
        },
    }
