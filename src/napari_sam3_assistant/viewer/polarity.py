"""Whether a point belongs to the object: the ``polarity`` feature of Points layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.layers import Points

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


def polarity_of(layer: Points) -> list[object]:
    """Return each point's word; points without one are positive."""
    name = feature_name(layer)
    if name is None:
        return ["positive"] * len(layer.data)
    return list(layer.features[name])


def set_next(layer: Points, *, positive: bool) -> None:
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


def flip(layer: Points) -> int:
    """Flip the selected points, or the latest one if none is; returns how many."""
    chosen = layer.selected_data or ({len(layer.data) - 1} if len(layer.data) else set())
    words = polarity_of(layer)
    set_polarity(layer, chosen, {at: not is_positive(words[at]) for at in chosen})
    return len(chosen)


def set_polarity(layer: Points, chosen: Iterable[int], positive: dict[int, bool]) -> None:
    """Set the polarity of single points.

    Parameters
    ----------
    layer : Points
        The layer.
    chosen : iterable of int
        Which points.
    positive : dict of int to bool
        What each becomes.
    """
    features = layer.features.copy()
    words = [str(word) for word in polarity_of(layer)]
    for at in chosen:
        words[at] = "positive" if positive[at] else "negative"
    features[feature_name(layer) or POLARITY] = words
    set_features(layer, features)


def set_features(layer: Points, features: Any) -> None:  # noqa: ANN401 (pandas has no types)
    """Set the features of the points that are there, and leave those of the next one.

    napari takes the last point's for the next one, and none where there is no point.
    """
    defaults = layer.feature_defaults.copy()
    layer.features = features
    for name in features.columns.difference(defaults.columns):
        defaults[name] = layer.feature_defaults[name]
    layer.feature_defaults = defaults[list(features.columns)]
