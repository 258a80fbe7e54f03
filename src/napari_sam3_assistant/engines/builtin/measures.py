"""Measures of many objects at once: crops of equal size are stacked and worked on together."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.builtin.patches import Patch
from napari_sam3_assistant.engines.builtin.tree import polygon_areas

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Reporter


if TYPE_CHECKING:
    Floats = npt.NDArray[np.float64]
    Bools = npt.NDArray[np.bool_]

GAP = 1  # pixels between an object and its surroundings
RING = 3  # width of the surroundings in pixels
SIDES = 64  # of the polygon that stands for the hull; the error is below 0.1 %
SIZES = 8  # sides of crops are multiples of this
STACK = 1 << 18  # pixels worked on together
LARGEST = 500  # longest side, in pixels; of what is larger every few pixels do


@dataclass(frozen=True, slots=True, eq=False)
class Measures:
    """What N objects look like, each field of shape (N,) and dtype float64.

    Parameters
    ----------
    area : ndarray
        Pixels.
    mean, deviation : ndarray
        Of the grey values inside; the latter is their standard deviation.
    ground, roughness : ndarray
        Mean and standard deviation of the grey values in a ring round it; nan where the object
        fills the plane.
    solidity : ndarray
        Share of the hull that is filled.
    elongation : ndarray
        Longer over shorter axis of the ellipse of the same moments.
    """

    area: Floats
    mean: Floats
    deviation: Floats
    ground: Floats
    roughness: Floats
    solidity: Floats
    elongation: Floats


def measured(
    plane: npt.NDArray[np.float32], patches: Sequence[Patch], reporter: Reporter
) -> Measures:
    """Return the measures of objects.

    Parameters
    ----------
    plane : ndarray, shape (H, W), dtype float32
        Grey values.
    patches : sequence of Patch
        The objects, each of at least one pixel.
    reporter : Reporter
        Stops the work.
    """
    result = np.zeros((7, len(patches)))
    huge = [index for index, patch in enumerate(patches) if max(patch.mask.shape) > LARGEST]
    for index in huge:
        reporter.check()
        result[:, index] = _sampled(plane, patches[index], reporter)
    for chosen, side in _stacks(patches):
        reporter.check()
        masks = np.zeros((len(chosen), side, side), bool)
        corners = np.empty((len(chosen), 2), np.intp)
        margin = GAP + RING
        for row, index in enumerate(chosen):
            patch = patches[index]
            height, width = patch.mask.shape
            masks[row, margin : margin + height, margin : margin + width] = patch.mask
            corners[row] = patch.region.y0 - margin, patch.region.x0 - margin
        result[:, chosen] = _measured(plane, masks, corners)
    return Measures(*result)


def _stacks(patches: Sequence[Patch]) -> Iterator[tuple[list[int], int]]:
    """Yield the numbers of objects to work on together, and the side of their crops."""
    by_side: dict[int, list[int]] = defaultdict(list)
    for index, patch in enumerate(patches):
        if max(patch.mask.shape) <= LARGEST:
            least = max(patch.mask.shape) + 2 * (GAP + RING)
            by_side[-(-least // SIZES) * SIZES].append(index)
    for side, members in sorted(by_side.items()):
        count = max(1, STACK // side**2)
        for first in range(0, len(members), count):
            yield members[first : first + count], side


def _sampled(
    plane: npt.NDArray[np.float32], patch: Patch, reporter: Reporter
) -> npt.NDArray[np.float64]:
    """Return the measures of an object of many pixels by some of them, shape (7,)."""
    step = -(-max(patch.mask.shape) // LARGEST)
    y0, x0 = -(-patch.region.y0 // step), -(-patch.region.x0 // step)
    mask = patch.mask[y0 * step - patch.region.y0 :: step, x0 * step - patch.region.x0 :: step]
    region = Region(y0, x0, y0 + mask.shape[0], x0 + mask.shape[1])
    seen = measured(plane[::step, ::step], [Patch(mask, region, patch.polarity)], reporter)
    values = np.array([getattr(seen, field.name)[0] for field in fields(Measures)])
    values[0] = patch.area
    return values


def _measured(
    plane: npt.NDArray[np.float32], masks: Bools, corners: npt.NDArray[np.intp]
) -> Floats:
    """Return the fields of :class:`Measures` of a stack of crops, shape (7, N)."""
    side = masks.shape[1]
    rows = corners[:, :1] + np.arange(side)
    columns = corners[:, 1:] + np.arange(side)
    known = ((rows >= 0) & (rows < plane.shape[0]))[:, :, None]
    known = known & ((columns >= 0) & (columns < plane.shape[1]))[:, None, :]
    values = plane[
        np.clip(rows, 0, plane.shape[0] - 1)[:, :, None],
        np.clip(columns, 0, plane.shape[1] - 1)[:, None, :],
    ]
    near = masks
    for _ in range(GAP):
        near = _dilated(near)
    ring = near
    for _ in range(RING):
        ring = _dilated(ring)
    ring &= ~near & known
    area, mean, deviation = _moments(values, masks)
    _, ground, roughness = _moments(values, ring)
    return np.stack(
        [area, mean, deviation, ground, roughness, _solidity(masks, area), _elongation(masks, area)]
    )


def _dilated(masks: Bools) -> Bools:
    """Return masks grown by their four neighbours."""
    grown = masks.copy()
    grown[:, 1:] |= masks[:, :-1]
    grown[:, :-1] |= masks[:, 1:]
    grown[:, :, 1:] |= masks[:, :, :-1]
    grown[:, :, :-1] |= masks[:, :, 1:]
    return grown


def _moments(values: npt.NDArray[np.float32], chosen: Bools) -> tuple[Floats, Floats, Floats]:
    """Return count, mean and standard deviation of the chosen values; nan where there is none."""
    count = np.count_nonzero(chosen, (1, 2)).astype(np.float64)
    some = np.where(count > 0, count, np.nan)
    mean = np.where(chosen, values, 0).sum((1, 2), dtype=np.float64) / some
    rest = np.where(chosen, values - mean[:, None, None], 0)
    return count, mean, np.sqrt((rest * rest).sum((1, 2)) / some)


def _solidity(masks: Bools, area: Floats) -> Floats:
    """Return the share of its hull that each mask fills."""
    side = masks.shape[1]
    filled = masks.any(2)
    left = masks.argmax(2).astype(np.float64)
    right = side - masks[:, :, ::-1].argmax(2).astype(np.float64)
    rows = np.arange(side, dtype=np.float64)
    reach = np.empty((SIDES, len(masks)))
    for turn in range(SIDES):
        angle = turn * (2 * math.pi / SIDES)
        down, across = math.sin(angle), math.cos(angle)
        # The corners of the pixels: a hull of one pixel has area 1.
        along = np.maximum(rows * down, (rows + 1) * down) + np.maximum(
            left * across, right * across
        )
        reach[turn] = np.where(filled, along, -np.inf).max(1)
    return np.minimum(1.0, area / polygon_areas(reach))


def _elongation(masks: Bools, area: Floats) -> Floats:
    """Return the longer over the shorter axis of each mask's ellipse."""
    place = np.arange(masks.shape[1], dtype=np.float64)
    by_row, by_column = masks.sum(2), masks.sum(1)
    y, x = by_row @ place / area, by_column @ place / area
    # A pixel is a square: along an axis it adds 1 / 12 to the variance.
    yy = by_row @ place**2 / area - y**2 + 1 / 12
    xx = by_column @ place**2 / area - x**2 + 1 / 12
    xy = (masks @ place * place).sum(1) / area - y * x
    half, apart = (yy + xx) / 2, np.hypot((yy - xx) / 2, xy)
    axes: Floats = np.sqrt((half + apart) / np.maximum(half - apart, 1 / 24))
    return axes
