"""What lies beside the followed objects: it is followed too, unseen, so that it keeps its place.

A neighbour that touches an object gives it no edge there. Where the neighbour is known, its
pixels count as not the object's.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.builtin.detect import detect
from napari_sam3_assistant.engines.builtin.embedding import PlaneFeatures
from napari_sam3_assistant.engines.builtin.patches import Patch
from napari_sam3_assistant.engines.builtin.propagation_fit import LEAST_AREA
from napari_sam3_assistant.engines.builtin.propagation_step import PATIENCE, outlined

if TYPE_CHECKING:
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.builtin.propagation_step import Outline


STRIDE = 3  # slices after which neighbours are looked for again
SURE = 0.5  # least score of a neighbour
SHARED = 0.25  # a find that shares more of its pixels with a known object is that object
NEAR = 4  # pixels beside an object in which a neighbour matters
CROWDED = 0.12  # share of the pixels beside an object that look like inside it


def with_neighbours(
    features: PlaneFeatures, outlines: dict[int, Outline], reporter: Reporter
) -> dict[int, Outline]:
    """Return outlines and those of what is beside them, under ids below 0.

    Parameters
    ----------
    features : PlaneFeatures
        The slice that the outlines are of.
    outlines : dict
        The objects by id.
    reporter : Reporter
        Stops the work.
    """
    followed = {id_: item for id_, item in outlines.items() if id_ > 0}
    seen = [item.patch for item in followed.values() if not item.missed]
    unseen = {
        id_: item
        for id_, item in outlines.items()
        if id_ < 0 and item.missed <= PATIENCE and not _is_one_of(item.patch, seen)
    }
    known = seen + [item.patch for item in unseen.values()]
    crowded = [patch for patch in seen if _is_crowded(features, patch, known)]
    for polarity in sorted({patch.polarity for patch in crowded}):
        beside = [patch for patch in crowded if patch.polarity == polarity]
        for patch in _finds(features, beside, polarity, reporter):
            if _is_one_of(patch, known) or not any(_near(patch, own) for own in beside):
                continue
            free = _without(patch, known)
            if free.area >= LEAST_AREA:
                known.append(free)
                unseen[min([0, *unseen]) - 1] = outlined(features, free)
    return followed | unseen


def _is_crowded(features: PlaneFeatures, patch: Patch, known: list[Patch]) -> bool:
    """Return whether something unknown beside a patch looks like it."""
    frame = patch.region.grow(NEAR + 2).intersect(features.region)
    inside = patch.within(frame)
    away = ndi.distance_transform_edt(~inside)
    ring = (away > 1.5) & (away <= NEAR + 1)
    for other in known:
        if other is not patch and not other.region.intersect(frame).is_empty:
            ring &= ~other.within(frame)
    if not ring.any():
        return False
    values = patch.polarity * ndi.gaussian_filter(features.luminance[frame.slices], 1.0)
    middle = (np.percentile(values[ring], 25) + np.percentile(values[inside], 75)) / 2
    return bool(np.count_nonzero(values[ring] > middle) > CROWDED * np.count_nonzero(ring))


def _finds(
    features: PlaneFeatures, beside: list[Patch], polarity: int, reporter: Reporter
) -> list[Patch]:
    """Return the sure detections of the parts of the slice round some objects."""
    found = []
    for window in _windows(features, beside):
        part = PlaneFeatures(features.luminance[window.slices])
        found += [
            Patch(item.patch.mask, item.patch.region.globalise(window), polarity)
            for item in detect(part, polarity, reporter)
            if item.score >= SURE
        ]
    return found


def _windows(features: PlaneFeatures, beside: list[Patch]) -> list[Region]:
    """Return the surroundings of some objects, those that overlap as one."""
    windows: list[Region] = []
    for patch in beside:
        window = patch.region.grow(max(8, max(patch.region.shape)))
        window = window.intersect(features.region)
        while touching := [other for other in windows if not other.intersect(window).is_empty]:
            windows = [other for other in windows if other not in touching]
            window = reduce(Region.union, touching, window)
        windows.append(window)
    return windows


def _is_one_of(patch: Patch, known: list[Patch]) -> bool:
    """Return whether too much of a patch belongs to known ones for it to be another object."""
    shared = sum(_common(patch, other) for other in known)
    return shared > SHARED * patch.area


def _near(patch: Patch, own: Patch) -> bool:
    return not patch.region.intersect(own.region.grow(NEAR)).is_empty


def _common(one: Patch, other: Patch) -> int:
    shared = one.region.intersect(other.region)
    if shared.is_empty:
        return 0
    return int(np.count_nonzero(one.within(shared) & other.within(shared)))


def _without(patch: Patch, known: list[Patch]) -> Patch:
    mask = patch.mask.copy()
    for other in known:
        if not patch.region.intersect(other.region).is_empty:
            mask &= ~other.within(patch.region)
    return Patch(mask, patch.region, patch.polarity)
