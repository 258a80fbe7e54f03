"""Rough outlines, drawn or found, moved to the edges they are near."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.builtin.clicks import enlarged
from napari_sam3_assistant.engines.builtin.proposals import along_outline, in_box, octave_for

if TYPE_CHECKING:
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.builtin.embedding import PlaneFeatures
    from napari_sam3_assistant.engines.builtin.patches import Patch


# Below this solidity an outline is not taken for a blob and keeps its own shape.
BLOB = 0.86
COARSE = 160  # largest side, in pixels, at which an object and its surroundings are compared
LEAST = 0.5  # overlap from which something may be what was painted
NEAR = 0.85  # overlap below which an outline's edge must be the clearer, the further it is away
DISTANCE = 4.0  # how much clearer: power of the overlap


def polarity_of(features: PlaneFeatures, patch: Patch) -> int:
    """Return +1 if a patch is brighter than the ring round it, -1 if it is darker."""
    octave = 0
    while max(patch.region.shape) >> octave > COARSE:
        octave += 1
    seen = patch.coarser(octave)
    image = features.octave(octave)
    margin = max(3, int(np.sqrt(seen.area) * 0.3))
    frame = seen.region.grow(margin).intersect(Region.whole((image.shape[0], image.shape[1])))
    inside = seen.within(frame)
    near = ndi.binary_dilation(inside, iterations=max(1, margin // 3))
    outer = ~near & ndi.binary_dilation(near, iterations=margin)
    if not (outer.any() and inside.any()):
        return 1
    values = image[frame.slices]
    return 1 if np.median(values[inside]) >= np.median(values[outer]) else -1


def snapped(features: PlaneFeatures, painted: Patch, reporter: Reporter) -> Patch:
    """Return a painted object, its outline moved where the image clearly contradicts it.

    Among what the image proposes the clearest outline is taken if it is clearer than the painted
    one, and so much the clearer the less the two overlap. Otherwise what was painted stays.

    Parameters
    ----------
    features : PlaneFeatures
        The plane.
    painted : Patch
        At least one pixel.
    reporter : Reporter
        Stops the work.
    """
    painted = replace(painted, polarity=polarity_of(features, painted)).cropped()
    octave = octave_for(painted.region)
    window = painted.region.grow(max(painted.region.shape) + 2**octave).intersect(features.region)
    gradient = ndi.gaussian_gradient_magnitude(features.luminance[window.slices], 2.0**octave)

    def strength(patch: Patch) -> float:
        return along_outline(gradient, patch.mask, patch.region.localise(window))

    own = max(strength(painted), 1e-3)
    best, best_rating = painted, 0.0
    for proposal in in_box(features, painted.region, LEAST - 0.1, reporter):
        patch = enlarged(features, proposal).clipped(window)
        overlap = patch.overlap(painted)
        if overlap < LEAST:
            continue
        found = strength(patch)
        if found < own * max(1.0, (NEAR / overlap) ** DISTANCE):
            continue
        if found * overlap**0.5 > best_rating:
            best, best_rating = patch, found * overlap**0.5
    return best
