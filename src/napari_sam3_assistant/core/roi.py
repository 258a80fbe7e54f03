"""The local region that a run on a large image works on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.regions import Region

if TYPE_CHECKING:
    from napari_sam3_assistant.core.prompts import PromptSet

ROI_SIZES = (512, 1024, 2048, 4096, 8192)
"""Sides of the region that can be chosen, in pixels."""


@dataclass(frozen=True, slots=True)
class LocalRoi:
    """The region that is worked on, and the size it was made for.

    Parameters
    ----------
    region : Region
        Its pixels; larger than ``size`` where a box needs it, smaller in a small image.
    size : int
        The side that was asked for, in pixels.
    """

    region: Region
    size: int


def anchor(prompts: PromptSet) -> Region | None:
    """Return what the region must hold, or None if the prompts name no place.

    Parameters
    ----------
    prompts : PromptSet
        Prompts in pixels of the plane.

    Returns
    -------
    Region or None
        The pixel of the last point; without points the last box or example; without these the
        painted mask.
    """
    if prompts.points:
        point = prompts.points[-1]
        y, x = math.floor(point.y + 0.5), math.floor(point.x + 0.5)
        return Region(y, x, y + 1, x + 1)
    for boxes in (prompts.boxes, prompts.exemplars, prompts.masks):
        if boxes:
            return boxes[-1].region
    return None


def local_roi(
    prompts: PromptSet, shape: tuple[int, int], size: int, current: LocalRoi | None = None
) -> LocalRoi | None:
    """Return the region to work on.

    The current region stays while what the prompts name lies in it. Otherwise it is made
    anew: a square round the middle of the last point, box or mask, grown to hold that box or
    mask, and moved into the image.

    Parameters
    ----------
    prompts : PromptSet
        Prompts in pixels of the plane.
    shape : tuple of int
        Height and width of the plane.
    size : int
        Side of the square in pixels.
    current : LocalRoi or None
        The region of the last run on the same plane.

    Returns
    -------
    LocalRoi or None
        None where the prompts name no place: the whole plane is to be used.
    """
    named = anchor(prompts)
    if named is None:
        return None
    named = named.intersect(Region.whole(shape))
    if named.is_empty:
        return None
    if current is not None and current.size == size:
        kept = named.intersect(current.region) == named
        if kept and current.region.intersect(Region.whole(shape)) == current.region:
            return current
    y0, y1 = _span(named.y0, named.y1, size, shape[0])
    x0, x1 = _span(named.x0, named.x1, size, shape[1])
    return LocalRoi(Region(y0, x0, y1, x1), size)


def _span(first: int, last: int, size: int, length: int) -> tuple[int, int]:
    """Return ``size`` pixels round a stretch, or all of it if it is longer, in the image."""
    wanted = min(max(size, last - first), length)
    start = (first + last) // 2 - wanted // 2
    start = min(max(start, 0), length - wanted)
    return (start, start + wanted)


def left_out(prompts: PromptSet, region: Region) -> int:
    """Return how many prompts lie outside a region and so do not take part."""
    inside = prompts.localise(region)
    return sum(
        len(before) - len(after)
        for before, after in (
            (prompts.points, inside.points),
            (prompts.boxes, inside.boxes),
            (prompts.exemplars, inside.exemplars),
            (prompts.masks, inside.masks),
        )
    )


def roi_messages(*, enabled: bool, roi: LocalRoi | None) -> tuple[str, ...]:
    """Return what the user is told of large-image mode, in the seed's words."""
    if not enabled:
        return ("Large-image mode OFF: full-image inference.",)
    if roi is None:
        return (
            "Large-image mode ON, but no point or box ROI anchor was found. "
            "Using full-image inference for this task.",
        )
    region = roi.region
    return (
        f"Large-image mode ON: local ROI inference ({region.width} x {region.height}).",
        f"Active ROI bounds: y={region.y0}:{region.y1}, x={region.x0}:{region.x1}.",
    )
