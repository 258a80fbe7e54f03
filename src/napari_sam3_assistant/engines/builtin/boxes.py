"""The object that a box is drawn round."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.engines.builtin import contours
from napari_sam3_assistant.engines.builtin.clicks import enlarged, single
from napari_sam3_assistant.engines.builtin.outlines import BLOB, fitted, polarity_of
from napari_sam3_assistant.engines.builtin.patches import Patch
from napari_sam3_assistant.engines.builtin.shapes import solidity
from napari_sam3_assistant.engines.builtin.sharpen import best_at

if TYPE_CHECKING:
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.regions import Region
    from napari_sam3_assistant.engines.builtin.embedding import PlaneFeatures

TINY = 4  # boxes with a thinner side are filled
CLEAR = 12  # from here on the thinner side says which object is meant, however roughly drawn
SURE = 0.6  # a part of the image that agrees less with the box says nothing about it


def object_in(features: PlaneFeatures, box: Region, reporter: Reporter) -> Patch:
    """Return the object in a box, clipped to it.

    Parameters
    ----------
    features : PlaneFeatures
        The plane.
    box : Region
        At least one pixel of it lies in the plane.
    reporter : Reporter
        Stops the work.

    Returns
    -------
    Patch
        At least one pixel; the ellipse that fills the box where nothing stands out.
    """
    box = box.intersect(features.region)
    ellipse = _ellipse(box)
    if min(box.shape) < TINY:
        return ellipse
    middle = ((box.y0 + box.y1) // 2, (box.x0 + box.x1) // 2)
    if min(box.shape) >= CLEAR:
        clicked = single(features, middle, reporter).cropped()
        if _agreement(clicked.region, box) > SURE:
            return clicked.clipped(box)
    best = best_at(features, middle, lambda item: _agreement(item.covers, box) ** 4, reporter)
    polarity = polarity_of(features, ellipse)
    if best is not None and _agreement(best.covers, box) > SURE:
        polarity = best.polarity
        shape = enlarged(features, best.mask, best).clipped(box)
        if shape.area and solidity(shape.mask) < BLOB:
            return shape
    radius = min(box.shape) / 2
    octave = max(0, int(np.log2(max(1.0, radius / 24))))
    patch = fitted(features, _contour(box), polarity, octave=octave, range_=(0.7, 1.15))
    patch = patch.clipped(box)
    return patch if patch.area else ellipse


def _contour(box: Region) -> contours.Contours:
    """Return the ellipse that fills a box."""
    half_height, half_width = box.height / 2, box.width / 2
    centre = np.array([[box.y0 + half_height - 0.5, box.x0 + half_width - 0.5]], np.float32)
    slant = np.hypot(half_width * contours.SINES, half_height * contours.COSINES)
    radii = half_height * half_width / slant
    return contours.Contours(centre, radii[None].astype(np.float32))


def _ellipse(box: Region) -> Patch:
    """Return the ellipse that fills a box, as a mask; the whole box if it is thin."""
    if min(box.shape) < TINY:
        return Patch(np.ones(box.shape, bool), box)
    rows = (np.arange(box.height)[:, None] + 0.5) / box.height * 2 - 1
    columns = (np.arange(box.width)[None, :] + 0.5) / box.width * 2 - 1
    return Patch(rows**2 + columns**2 <= 1, box)


def _agreement(one: Region, other: Region) -> float:
    """Return the intersection over the union of two boxes."""
    shared = one.intersect(other).area
    return shared / (one.area + other.area - shared)
