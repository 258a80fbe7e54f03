"""From one slice to the next: where each outline has moved to, and whether it is still there.

An outline is first shifted to where the old slice's picture of it fits best, and then fitted to
the edges. What does not stand out any more as it did is missing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.engines.builtin import contours
from napari_sam3_assistant.engines.builtin.outlines import polarity_of
from napari_sam3_assistant.engines.builtin.propagation_fit import (
    LEAST_AREA,
    fitted_outlines,
    is_blob,
    octave_of,
)

if TYPE_CHECKING:
    from napari_sam3_assistant.core.regions import Region
    from napari_sam3_assistant.engines.builtin.embedding import PlaneFeatures
    from napari_sam3_assistant.engines.builtin.patches import Patch


PATIENCE = 2  # slices on which an object may be missing before it is given up
# An object is gone when its contrast falls to this share of that on its prompted slice: there half
# of the light in an optical section comes from above or below it.
FADED = 0.45
FAINT = 3.0  # ... or below so many grey levels
SHRUNK = 0.1  # ... or its area to this share
BLEACHED = 0.985  # to which share of the contrast expected before it may sink from slice to slice
MOST_BEYOND = 2.0  # pixels by which a prompted outline may differ from the fitted edge


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """One object on one slice.

    Parameters
    ----------
    patch : Patch
        Its pixels, or the last ones that were seen.
    contrast : float
        How much it is expected to stand out, in grey levels, by its own polarity.
    area : int
        Pixels on the prompted slice.
    missed : int
        On how many slices it has not been seen since.
    beyond : float
        How far outside the fitted edge the prompted outline ran, in pixels: where in a blurred
        edge the border lies is what the prompt shows.
    """

    patch: Patch
    contrast: float
    area: int
    missed: int = 0
    beyond: float = 0.0


def outlined(features: PlaneFeatures, patch: Patch) -> Outline:
    """Return the outline of a mask on the slice that it was made on."""
    patch = replace(patch, polarity=polarity_of(features, patch))
    contrast = contrast_of(features, patch, ())
    if not is_blob(patch):
        return Outline(patch, contrast, patch.area)
    centre, radii = contours.from_mask(patch.mask, patch.region.y0, patch.region.x0)
    start = contours.Contours(centre[None], radii[None])
    octave = octave_of(float(np.median(radii)))
    sign = np.array([patch.polarity], np.float32)
    free = contours.fit(features.octave(octave), start, sign, range_=(0.6, 1.3), scale=2**octave)
    # The median: where a neighbour touches there is no edge to compare with.
    beyond = float(np.median(radii - free.radii[0]))
    return Outline(
        patch, contrast, patch.area, beyond=float(np.clip(beyond, -MOST_BEYOND, MOST_BEYOND))
    )


def advance(
    before: PlaneFeatures, now: PlaneFeatures, outlines: dict[int, Outline]
) -> dict[int, Outline]:
    """Return the outlines on the next slice.

    Parameters
    ----------
    before, now : PlaneFeatures
        The slice that the outlines are of, and the one next to it.
    outlines : dict
        The objects by id; those that are missing too long are kept as they are.
    """
    sought = {id_: item for id_, item in outlines.items() if item.missed <= PATIENCE}
    moved = {
        id_: _shifted(item.patch, _motion(before, now, item.patch), now.region)
        for id_, item in sought.items()
    }
    moved = {id_: patch for id_, patch in moved.items() if patch.area >= LEAST_AREA}
    fitted = fitted_outlines(now, moved, {id_: item.beyond for id_, item in sought.items()})
    found = dict(outlines)
    for id_, old in sought.items():
        found[id_] = _judged(now, old, id_, fitted)
    return found


def _judged(now: PlaneFeatures, old: Outline, id_: int, fitted: dict[int, Patch]) -> Outline:
    """Return an object's new outline, or the old one with one more slice missed."""
    patch = fitted.get(id_)
    if patch is None or patch.area < LEAST_AREA:
        return replace(old, missed=old.missed + 1)
    others = [other for name, other in fitted.items() if name != id_]
    contrast = contrast_of(now, patch, others)
    # Spread over a larger area, the same light is what glows past the end of the object.
    alike = contrast / max(1.0, patch.area / old.area)
    if alike < max(FAINT, FADED * old.contrast) or patch.area < SHRUNK * old.area:
        return replace(old, missed=old.missed + 1)
    # The whole stack may bleach or darken with depth, but not from one slice to the next.
    expected = min(old.contrast, max(contrast, BLEACHED * old.contrast))
    return replace(old, patch=patch, contrast=expected, missed=0)


def contrast_of(features: PlaneFeatures, patch: Patch, others: list[Patch] | tuple[()]) -> float:
    """Return how much the strip inside an outline stands out from the strip outside.

    Parameters
    ----------
    features : PlaneFeatures
        The slice.
    patch : Patch
        At least one pixel.
    others : sequence of Patch
        Neighbours, which are no background.

    Returns
    -------
    float
        Grey levels; positive for what the object's polarity says.
    """
    width = max(3.0, 0.3 * np.sqrt(patch.area / np.pi))
    frame = patch.region.grow(int(width) + 4).intersect(features.region)
    inside = patch.within(frame)
    depth = ndi.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
    away = ndi.distance_transform_edt(~inside)
    strip = inside & (depth <= width) & ((depth > 1) | (depth.max() <= 2))
    ring = (away > 1.5) & (away <= 1.5 + width)
    for other in others:
        if not other.region.intersect(frame).is_empty:
            ring &= ~other.within(frame)
    if not ring.any() or not strip.any():
        return np.inf if not ring.any() else 0.0
    values = features.luminance[frame.slices]
    return patch.polarity * float(values[strip].mean() - np.median(values[ring]))


def _motion(before: PlaneFeatures, now: PlaneFeatures, patch: Patch) -> tuple[int, int]:
    """Return by how many pixels the picture of an object has moved, by normalised correlation."""
    from skimage.feature import match_template

    octave = octave_of(np.sqrt(patch.area / np.pi))
    size = 2**octave
    reach = max(2, int(0.4 * min(patch.region.shape) / size))
    old, new = before.octave(octave), now.octave(octave)
    box = [value // size for value in patch.region.grow(2 * size).intersect(now.region).box]
    template = old[box[0] : box[2] + 1, box[1] : box[3] + 1]
    if min(template.shape) < 4 or template.std() < 1:
        return (0, 0)
    # Beyond the image its last pixels go on.
    padded = np.pad(new, reach, mode="edge")
    search = padded[
        box[0] : box[0] + template.shape[0] + 2 * reach,
        box[1] : box[1] + template.shape[1] + 2 * reach,
    ]
    fit = match_template(search, template)
    y, x = np.unravel_index(int(np.argmax(fit)), fit.shape)
    if fit[y, x] < 0.5 or fit[y, x] < fit[reach, reach] + 0.01:
        return (0, 0)
    return ((int(y) - reach) * size, (int(x) - reach) * size)


def _shifted(patch: Patch, by: tuple[int, int], plane: Region) -> Patch:
    """Return a patch moved by whole pixels and cut to the plane."""
    return replace(patch, region=patch.region.shift(*by)).clipped(plane)
