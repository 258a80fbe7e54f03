"""Size and brightness of objects, by scikit-image, in the image's units."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from skimage.measure import regionprops_table

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.images import PixelSize
    from napari_sam3_assistant.core.regions import Region
    from napari_sam3_assistant.core.results import ObjectRecord


Floats: TypeAlias = "npt.NDArray[np.float64]"

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


def _is_alike(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured of one object.

    Parameters
    ----------
    area : float
        In squares of the unit; that of a sheared pixel is that of its parallelogram. NaN for what
        lies on several planes.
    diameter : float
        Diameter of the disc of the same area, in the unit; NaN for what lies on several planes.
    centroid : tuple of float
        ``(y, x)``: lengths along the image's columns and rows in the unit, from the centre of
        its first pixel.
    means : tuple of float
        Mean of the raw pixels, one for each channel; NaN where none of them has a number.
    unit : str
        What they count in; empty where that is not known.
    more : mapping of str to float
        What else was asked for, of :data:`MORE`, by title; NaN where there is no such number. Of
        several channels the titles end with their numbers, from 1.
    known : tuple of float
        Share of the pixels that have a number, and neither NaN nor infinity, one for each channel;
        empty where all have.
    """

    area: float
    diameter: float
    centroid: tuple[float, float]
    means: tuple[float, ...]
    unit: str = ""
    more: Mapping[str, float] = field(default_factory=dict)
    known: tuple[float, ...] = ()

    # NaN is not equal to itself, and since Python 3.13 dataclasses say so, too.
    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Measurement):
            return NotImplemented
        mine, theirs = (
            (one.area, one.diameter, *one.centroid, *one.means, *one.more.values())
            for one in (self, other)
        )
        return (
            (self.unit, self.known, len(self.means), *self.more)
            == (other.unit, other.known, len(other.means), *other.more)
            and len(mine) == len(theirs)
            and all(map(_is_alike, mine, theirs))
        )

    def values(self) -> dict[str, float]:
        """Return all numbers by their titles."""
        area, diameter, y, x, mean = BASIC
        values = {
            area: self.area,
            diameter: self.diameter,
            y: self.centroid[0],
            x: self.centroid[1],
        }
        values |= dict(zip(channel_titles(mean, len(self.means)), self.means, strict=True))
        return {
            name: value for name, value in (values | {**self.more}).items() if not math.isnan(value)
        }


BASIC = ("Measured area", "Diameter", "Centroid Y", "Centroid X", "Mean intensity")
"""What is always measured."""


class Kind(Enum):
    """What becomes of a number where pixels have a size, are no squares, or are sheared."""

    NUMBER = "the same for all pixels"
    AREA = "in squares of the unit"
    LENGTH = "in the unit; none for sheared pixels"
    SHAPE = "without a unit; none for sheared pixels"
    OUTLINE = "in the unit, for square pixels only"
    INTENSITY = "of each channel"


MORE = {
    "Perimeter": ("perimeter", Kind.OUTLINE),
    "Major axis": ("axis_major_length", Kind.LENGTH),
    "Minor axis": ("axis_minor_length", Kind.LENGTH),
    "Largest diameter": ("feret_diameter_max", Kind.LENGTH),
    "Eccentricity": ("eccentricity", Kind.SHAPE),
    "Orientation": ("orientation", Kind.SHAPE),
    "Solidity": ("solidity", Kind.NUMBER),
    "Extent": ("extent", Kind.NUMBER),
    "Euler number": ("euler_number", Kind.NUMBER),
    "Convex area": ("area_convex", Kind.AREA),
    "Filled area": ("area_filled", Kind.AREA),
    "Lowest intensity": ("intensity_min", Kind.INTENSITY),
    "Highest intensity": ("intensity_max", Kind.INTENSITY),
    "Deviation of intensity": ("intensity_std", Kind.INTENSITY),
}
"""What can be measured besides: title to name in scikit-image and kind."""

INTENSITIES = (BASIC[-1], *(title for title, (_, kind) in MORE.items() if kind is Kind.INTENSITY))
"""What is measured of the pixels of an image, and not of the shape."""


def channel_titles(title: str, channels: int) -> tuple[str, ...]:
    """Return the titles of a number that each channel has one of."""
    if channels == 1:
        return (title,)
    return tuple(f"{title} {number + 1}" for number in range(channels))


_OF_NUMBERS: dict[str, Callable[[Floats], Any]] = {
    "intensity_mean": np.mean,
    "intensity_min": np.min,
    "intensity_max": np.max,
    "intensity_std": np.std,
}


def _measure_numbers(name: str, channels: Sequence[Floats]) -> list[float]:
    """Return a measure of the numbers of each channel of an object; NaN where it has none."""
    return [float(_OF_NUMBERS[name](numbers)) if len(numbers) else math.nan for numbers in channels]


def _find_numbers(mask: npt.NDArray[np.bool_], pixels: npt.NDArray[np.generic]) -> list[Floats]:
    """Return the numbers of an object's pixels, channel by channel: NaN and infinity are none."""
    # Numbers of 8 and 16 bits would overflow where they are added up.
    inside = pixels[mask].astype(np.float64)
    return [channel[np.isfinite(channel)] for channel in inside.T]


def measure_object(
    record: ObjectRecord,
    pixels: npt.NDArray[np.generic],
    pixel: PixelSize,
    more: Collection[str] = (),
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
    more : collection of str
        What to measure besides, of :data:`MORE`.
    """
    table: dict[str, Any] = regionprops_table(
        record.mask.astype(np.uint8), properties=("area", "equivalent_diameter_area", "centroid")
    )
    channels = _find_numbers(record.mask, pixels)
    known = tuple(len(numbers) / float(table["area"][0]) for numbers in channels)
    return Measurement(
        float(table["area"][0]) * pixel.area,
        float(table["equivalent_diameter_area"][0]) * math.sqrt(pixel.area),
        (
            (float(table["centroid-0"][0]) + record.region.y0) * pixel.height,
            (float(table["centroid-1"][0]) + record.region.x0) * pixel.width,
        ),
        tuple(_measure_numbers("intensity_mean", channels)),
        pixel.unit,
        _measure_more(record, channels, pixel, more),
        () if min(known, default=1.0) == 1 else known,
    )


def _measure_more(
    record: ObjectRecord,
    channels: Sequence[Floats],
    pixel: PixelSize,
    more: Collection[str],
) -> dict[str, float]:
    square, upright = math.isclose(pixel.height, pixel.width), math.isclose(pixel.sine, 1.0)
    factors = {
        Kind.NUMBER: 1.0,
        Kind.AREA: pixel.area,
        Kind.LENGTH: 1.0 if upright else math.nan,
        Kind.SHAPE: 1.0 if upright else math.nan,
        Kind.OUTLINE: 1.0 if upright and square else math.nan,
    }
    mask = record.mask.astype(np.uint8)
    answers: dict[str, float] = {}
    for title in sorted(set(more) & MORE.keys(), key=list(MORE).index):
        name, kind = MORE[title]
        if kind is Kind.INTENSITY:
            titles = channel_titles(title, len(channels))
            answers |= zip(titles, _measure_numbers(name, channels), strict=True)
            continue
        factor = factors[kind]
        spacing = (
            (pixel.height, pixel.width)
            if kind in (Kind.LENGTH, Kind.SHAPE, Kind.OUTLINE)
            else (1.0, 1.0)
        )
        value = math.nan
        if not math.isnan(factor):
            table = regionprops_table(mask, properties=(name,), spacing=spacing)
            value = float(table[name][0]) * factor
        answers[title] = value
    return answers


def combine_measurements(parts: Sequence[Measurement]) -> Measurement:
    """Return the measurement of an object that was measured in parts."""
    if len(parts) == 1:
        return parts[0]
    area = sum(part.area for part in parts)
    share = np.array([part.area for part in parts]) / area
    y, x = share @ np.array([part.centroid for part in parts])
    means = np.array([part.means for part in parts])
    counts = share[:, None] * [part.known or (1.0,) * len(part.means) for part in parts]
    known = counts.sum(0)
    with np.errstate(invalid="ignore"):  # NaN where no part has a number
        means = (counts * np.where(counts > 0, means, 0)).sum(0) / known
    diameter = math.sqrt(sum(part.diameter**2 for part in parts))
    ends = {"Lowest": min, "Highest": max}

    def whole(title: str) -> float:
        # The shape of an object is not the sum of the shapes of its parts.
        end = ends.get(title.partition(" ")[0])
        found = [part.more[title] for part in parts if not math.isnan(part.more[title])]
        return end(found) if end is not None and found else math.nan

    more = {title: whole(title) for title in parts[0].more}
    return Measurement(
        area,
        diameter,
        (float(y), float(x)),
        tuple(means.tolist()),
        parts[0].unit,
        more,
        tuple(known.tolist()) if any(part.known for part in parts) else (),
    )


def combine_planes(planes: Sequence[Measurement]) -> Measurement:
    """Return the measurement of an object on several planes, as far as it is none of one plane.

    That is where its middle is, its brightness, and what was measured of it in 3-D, which is the
    same on all planes.
    """
    shared = [title for title in planes[0].more if all(title in plane.more for plane in planes)]
    whole = combine_measurements(
        [replace(plane, more={title: plane.more[title] for title in shared}) for plane in planes]
    )
    solid = {title: planes[0].more[title] for title in shared if title.startswith(VOLUME)}
    return replace(whole, area=math.nan, diameter=math.nan, more={**whole.more, **solid})


VOLUME = ("Volume", "Sphere diameter", "Volume intensity")
"""What is measured of an object on all of its slices together."""


def measure_volume(slices: Sequence[Measurement], depth: float) -> dict[str, float]:
    """Return what an object measures in 3-D, by title, given its slices.

    Parameters
    ----------
    slices : sequence of Measurement
        One for each slice that it is on.
    depth : float
        How far slices lie apart, in the unit of the measurements.

    Returns
    -------
    dict of str to float
        The volume in cubes of the unit, the diameter of the sphere of the same volume, and the mean
        of the raw pixels, one for each channel.
    """
    whole = combine_measurements([replace(plane, more={}) for plane in slices])
    volume, diameter, intensity = VOLUME
    values = {volume: whole.area * depth, diameter: math.cbrt(6 * whole.area * depth / math.pi)}
    titles = channel_titles(intensity, len(whole.means))
    return values | dict(zip(titles, whole.means, strict=True))


VOLUME_MORE = {
    "Volume major axis": "axis_major_length",
    "Volume minor axis": "axis_minor_length",
    "Volume solidity": "solidity",
    "Volume extent": "extent",
    "Volume Euler number": "euler_number",
}
"""What can be measured besides of an object on all of its slices: title to scikit-image's name."""

_MOST_HULL = 1 << 22
"""scikit-image looks at each voxel of a box for each facet of the convex hull."""


def measure_shape(
    mask: npt.NDArray[np.bool_], spacing: tuple[float, float, float], more: Collection[str]
) -> dict[str, float]:
    """Return numbers of the shape of an object in 3-D, by title.

    Parameters
    ----------
    mask : ndarray of bool, shape (D, H, W)
        The object.
    spacing : tuple of float
        How far slices, rows and columns lie apart, in one unit.
    more : collection of str
        Which, of :data:`VOLUME_MORE`.

    Returns
    -------
    dict of str to float
        Lengths in the unit. The solidity of what is flat, or has a very large box, is NaN.
    """
    values: dict[str, float] = {}
    for title, name in VOLUME_MORE.items():
        if title not in more:
            continue
        if name == "solidity" and (mask.size > _MOST_HULL or _is_flat(mask)):
            values[title] = math.nan
            continue
        try:
            table = regionprops_table(mask.astype(np.uint8), properties=(name,), spacing=spacing)
            values[title] = float(table[name][0])
        except ValueError:  # the root of 0 of a flat object, and below by a rounding error
            values[title] = 0.0
    return values


def _is_flat(mask: npt.NDArray[np.bool_]) -> bool:
    """Return whether all voxels lie in one plane, which has no convex hull in 3-D."""
    places = np.argwhere(mask).astype(np.float64)
    places -= places[0]
    return int(np.linalg.matrix_rank(places.T @ places)) < mask.ndim


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
