"""Objects and measurements as columns: of the results table, of files, of a layer's features."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from napari_sam3_assistant.core.measurements import Measurement
    from napari_sam3_assistant.core.results import ObjectRecord
    from napari_sam3_assistant.core.stitching import StitchedObject
    from napari_sam3_assistant.session.model import ResultRow

_TITLES = ("Measured area", "Diameter", "Centroid Y", "Centroid X", "Mean intensity")
_UNIT = "Unit"


def channels_of(rows: Iterable[ResultRow]) -> int:
    """Return how many channels were measured at most; 0 where nothing was."""
    return max((len(row.measured.means) for row in rows if row.measured is not None), default=0)


def titles(channels: int) -> tuple[str, ...]:
    """Return the titles of the columns for so many channels; none for 0."""
    if channels == 0:
        return ()
    *shape, mean = _TITLES
    means = (mean,) if channels == 1 else (f"{mean} {number + 1}" for number in range(channels))
    return (*shape, *means, _UNIT)


def is_measured(name: str) -> bool:
    """Return whether a column of :func:`features` has this name."""
    known = {title.lower().replace(" ", "_") for title in (*_TITLES, _UNIT)}
    return name.rstrip("0123456789").rstrip("_") in known


def values(measured: Measurement | None, channels: int) -> tuple[float | str | None, ...]:
    """Return the cells of a row in the order of :func:`titles`; None where there is no value."""
    if channels == 0:
        return ()
    if measured is None:
        return (None,) * len(titles(channels))
    missing = (None,) * (channels - len(measured.means))
    shape = (measured.area, measured.diameter, *measured.centroid)
    return (*shape, *measured.means, *missing, measured.unit or None)


def texts(measured: Measurement | None, channels: int) -> tuple[str, ...]:
    """Return the cells of a row as text, with up to eight digits."""
    return tuple(
        "-" if value is None else value if isinstance(value, str) else f"{value:.8g}"
        for value in values(measured, channels)
    )


def object_features(
    objects: Sequence[ObjectRecord | StitchedObject], engine: str
) -> dict[str, list[Any]]:
    """Return one row an object, for its layer: what found it, its score and its area.

    Parameters
    ----------
    objects : sequence of ObjectRecord or StitchedObject
        The objects.
    engine : str
        Title of the engine that found them.
    """
    return {
        "index": [one.id for one in objects],
        "score": [math.nan if one.score is None else one.score for one in objects],
        "area": [one.area for one in objects],
        "prompt": [one.text or "-" for one in objects],
        "engine": [engine] * len(objects),
    }


def features(found: Iterable[Measurement]) -> dict[str, list[float | str | None]]:
    """Return measurements as columns with names such as ``measured_area``."""
    measured = tuple(found)
    channels = max((len(one.means) for one in measured), default=0)
    names = [title.lower().replace(" ", "_") for title in titles(channels)]
    rows = [values(one, channels) for one in measured]
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}
