"""The object that a box is drawn round."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.engines.builtin.clicks import enlarged
from napari_sam3_assistant.engines.builtin.patches import Patch
from napari_sam3_assistant.engines.builtin.proposals import agreement, in_box

if TYPE_CHECKING:
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.regions import Region
    from napari_sam3_assistant.engines.builtin.embedding import PlaneFeatures

TINY = 4  # boxes with a thinner side are filled
LEAST = 0.12  # least agreement of an object's box with the drawn one: a third of its sides
CENTRED = 3.0  # cost of lying beside the middle of the box, per its side


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
    best = max(
        in_box(features, box, LEAST, reporter),
        key=lambda item: item.rating * _fit(item.covers, box),
        default=None,
    )
    if best is None:
        return ellipse
    patch = enlarged(features, best).clipped(box)
    return patch if patch.area else ellipse


def _fit(found: Region, box: Region) -> float:
    """Return how likely a box is drawn round what has this bounding box: whole and centred."""
    inside = found.intersect(box).area / found.area
    y = (found.y0 + found.y1 - box.y0 - box.y1) / (2 * box.height)
    x = (found.x0 + found.x1 - box.x0 - box.x1) / (2 * box.width)
    return inside * math.sqrt(agreement(found, box)) * math.exp(-CENTRED * math.hypot(y, x))


def _ellipse(box: Region) -> Patch:
    """Return the ellipse that fills a box, as a mask; the whole box if it is thin."""
    if min(box.shape) < TINY:
        return Patch(np.ones(box.shape, bool), box)
    rows = (np.arange(box.height)[:, None] + 0.5) / box.height * 2 - 1
    columns = (np.arange(box.width)[None, :] + 0.5) / box.width * 2 - 1
    return Patch(rows**2 + columns**2 <= 1, box)
