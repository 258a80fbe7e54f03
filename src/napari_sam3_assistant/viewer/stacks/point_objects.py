"""Which object of a stack a click is on: the ``object_id`` feature of Points layers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.viewer.polarity import set_features

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari.layers import Points

OBJECT_ID = "object_id"


def ensure(layer: Points, next_id: int) -> None:
    """Give a layer the feature, if it has none; the points that it has are on object 1.

    Parameters
    ----------
    layer : Points
        The layer.
    next_id : int
        The object that the next point is on.
    """
    if OBJECT_ID not in layer.features:
        features = layer.features.copy()
        features[OBJECT_ID] = np.ones(len(layer.data), int)
        set_features(layer, features)
    set_next(layer, next_id)


def set_next(layer: Points, object_id: int) -> None:
    """Choose the object of the points that are added next."""
    if OBJECT_ID in layer.features and next_id(layer) != object_id:
        defaults = layer.feature_defaults.copy()
        defaults[OBJECT_ID] = object_id
        layer.feature_defaults = defaults


def next_id(layer: Points) -> int | None:
    """Return the object of the points that are added next, or None."""
    known = OBJECT_ID in layer.features
    return _number(layer.feature_defaults[OBJECT_ID].iloc[0]) if known else None


def ids_of(layer: Points) -> list[int | None]:
    """Return the object of each point; None where none is given."""
    if OBJECT_ID not in layer.features:
        return [None] * len(layer.data)
    return [_number(value) for value in layer.features[OBJECT_ID]]


def set_ids(layer: Points, objects: Mapping[int, int]) -> None:
    """Put points on other objects.

    Parameters
    ----------
    layer : Points
        The layer.
    objects : mapping of int to int
        By point, the object.
    """
    features = layer.features.copy()
    ids = [object_id or 1 for object_id in ids_of(layer)]
    for point, object_id in objects.items():
        ids[point] = object_id
    features[OBJECT_ID] = ids
    set_features(layer, features)


def show_numbers(layer: Points, *, shown: bool) -> None:
    """Write beside each point which object it is on, or write nothing."""
    if shown and OBJECT_ID in layer.features:
        layer.text = {
            "string": f"{{{OBJECT_ID}}}",
            "color": "white",
            "size": 12,
            "anchor": "upper_left",
        }
    layer.text.visible = shown


def _number(value: object) -> int | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return int(number) if math.isfinite(number) and number >= 1 else None
