"""Features of Points layers: the polarity of a click, and the object that it is on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari.layers import Points

    from napari_sam3_assistant.core.images import Untyped


POLARITY = "polarity"
COLOURS = {"positive": "#2fb344", "negative": "#e03131"}

_NAMES = (POLARITY, "prompt", "label", "class", "kind")
_NEGATIVE = {"negative", "neg", "background", "bg", "0", "false", "exclude"}


def is_positive(word: object) -> bool:
    """Return whether a word says positive; what is not known to say negative does."""
    text = str(word).strip().lower()
    return text.removesuffix(".0") not in _NEGATIVE


def feature_name(layer: Points) -> str | None:
    """Return the name of the feature that holds the polarity, or None."""
    return next((name for name in _NAMES if name in layer.features), None)


def read_polarity(layer: Points) -> list[object]:
    """Return each point's word; points without one are positive."""
    name = feature_name(layer)
    if name is None:
        return ["positive"] * len(layer.data)
    return list(layer.features[name])


def set_next_polarity(layer: Points, *, positive: bool) -> None:
    """Choose the polarity of the points that are added next."""
    word = "positive" if positive else "negative"
    if POLARITY in layer.features and layer.feature_defaults[POLARITY].iloc[0] != word:
        defaults = layer.feature_defaults.copy()
        defaults[POLARITY] = word
        layer.feature_defaults = defaults


def next_positive(layer: Points) -> bool:
    """Return the polarity of the points that are added next."""
    name = feature_name(layer)
    return name is None or is_positive(layer.feature_defaults[name].iloc[0])


def selected(layer: Points) -> set[int]:
    """Return the selected points; napari leaves some selected that a script has taken away."""
    return {at for at in layer.selected_data if at < len(layer.data)}


def flip(layer: Points) -> int:
    """Flip the selected points, or the latest one if none is; returns how many."""
    chosen = selected(layer) or set(range(len(layer.data))[-1:])
    words = read_polarity(layer)
    set_polarity(layer, {at: not is_positive(words[at]) for at in chosen})
    return len(chosen)


def set_polarity(layer: Points, positive: Mapping[int, bool]) -> None:
    """Set the polarity of single points.

    Parameters
    ----------
    layer : Points
        The layer.
    positive : mapping of int to bool
        By point, what it becomes.
    """
    if not positive:
        return  # an empty column would be one of numbers, and its colours none that napari finds
    features = layer.features.copy()
    words = [str(word) for word in read_polarity(layer)]
    for at, says in positive.items():
        words[at] = "positive" if says else "negative"
    features[feature_name(layer) or POLARITY] = words
    set_features(layer, features)


def set_features(layer: Points, features: Untyped) -> None:
    """Set the features of the points that are there, and leave those of the next one.

    napari takes the last point's for the next one, and none where there is no point.
    """
    defaults = layer.feature_defaults.copy()
    layer.features = features
    for name in features.columns.difference(defaults.columns):
        defaults[name] = layer.feature_defaults[name]
    layer.feature_defaults = defaults[list(features.columns)]


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
    set_next_object(layer, next_id)


def set_next_object(layer: Points, object_id: int) -> None:
    """Choose the object of the points that are added next."""
    if OBJECT_ID in layer.features and next_id(layer) != object_id:
        defaults = layer.feature_defaults.copy()
        defaults[OBJECT_ID] = object_id
        layer.feature_defaults = defaults


def next_id(layer: Points) -> int | None:
    """Return the object of the points that are added next, or None."""
    known = OBJECT_ID in layer.features
    return _parse_id(layer.feature_defaults[OBJECT_ID].iloc[0]) if known else None


def read_ids(layer: Points) -> list[int | None]:
    """Return the object of each point; None where none is given."""
    if OBJECT_ID not in layer.features:
        return [None] * len(layer.data)
    return [_parse_id(value) for value in layer.features[OBJECT_ID]]


def set_ids(layer: Points, objects: Mapping[int, int]) -> None:
    """Put points on other objects.

    Parameters
    ----------
    layer : Points
        The layer.
    objects : mapping of int to int
        By point, the object.
    """
    if not objects:
        return  # as in set_polarity
    features = layer.features.copy()
    ids = [object_id or 1 for object_id in read_ids(layer)]
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


def _parse_id(value: object) -> int | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return int(number) if math.isfinite(number) and number >= 1 else None
