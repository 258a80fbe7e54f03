"""Size and brightness of objects, by scikit-image, in the image's units."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from skimage.measure import regionprops_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.images import PixelSize
    from napari_sam3_assistant.core.regions import Region
    from napari_sam3_assistant.core.results import ObjectRecord


_CELL = 256
"""Objects that begin in the same square of so many pixels are read together."""


class Measurable(Protocol):
    """An object with a place in a plane, with or without a mask of its own."""

    @property
    def id(self) -> int:
        """Its value in the labels."""

    @property
    def region(self) -> Region:
        """A box that holds it."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured of one object.

    Parameters
    ----------
    area : float
        In squares of the unit; that of a sheared pixel is that of its parallelogram.
    diameter : float
        Diameter of the disc of the same area, in the unit.
    centroid : tuple of float
        ``(y, x)``: lengths along the image's columns and rows in the unit, from the centre of
        its first pixel.
    means : tuple of float
        Mean of the raw pixels, one for each channel.
    unit : str
        What they count in; empty where that is not known.
    """

    area: float
    diameter: float
    centroid: tuple[float, float]
    means: tuple[float, ...]
    unit: str = ""


def measure_object(
    record: ObjectRecord,
    pixels: npt.NDArray[np.generic],
    pixel: PixelSize,
) -> Measurement:
    """Measure one object.

    Parameters
    ----------
    record : ObjectRecord
        The object.
    pixels : ndarray, shape (h, w, C)
        The raw pixels of its bounding box.
    pixel : PixelSize
        How large a pixel is.
    """
    told: dict[str, Any] = regionprops_table(
        record.mask.astype(np.uint8),
        # Numbers of 8 and 16 bits would overflow where they are added up.
        pixels.astype(np.float64),
        ("area", "equivalent_diameter_area", "centroid", "intensity_mean"),
    )
    channels = pixels.shape[-1]
    return Measurement(
        float(told["area"][0]) * pixel.area,
        float(told["equivalent_diameter_area"][0]) * math.sqrt(pixel.area),
        (
            (float(told["centroid-0"][0]) + record.region.y0) * pixel.height,
            (float(told["centroid-1"][0]) + record.region.x0) * pixel.width,
        ),
        tuple(float(told[f"intensity_mean-{channel}"][0]) for channel in range(channels)),
        pixel.unit,
    )


def combine_measurements(parts: Sequence[Measurement]) -> Measurement:
    """Return the measurement of an object that was measured in parts."""
    if len(parts) == 1:
        return parts[0]
    area = sum(part.area for part in parts)
    share = np.array([part.area for part in parts]) / area
    y, x = share @ np.array([part.centroid for part in parts])
    means = share @ np.array([part.means for part in parts])
    diameter = math.sqrt(sum(part.diameter**2 for part in parts))
    return Measurement(
        area, diameter, (float(y), float(x)), tuple(map(float, means)), parts[0].unit
    )


def group_neighbours(objects: Sequence[Measurable]) -> Iterator[tuple[Region, list[int]]]:
    """Yield groups of objects that lie close together, so that each piece of an image is read once.

    Yields
    ------
    Region
        The smallest region that holds the group.
    list of int
        The places of its objects in the sequence.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for place, record in enumerate(objects):
        cell = (record.region.y0 // _CELL, record.region.x0 // _CELL)
        groups.setdefault(cell, []).append(place)
    for _, places in sorted(groups.items()):
        region = objects[places[0]].region
        for place in places[1:]:
            region = region.union(objects[place].region)
        yield region, places
