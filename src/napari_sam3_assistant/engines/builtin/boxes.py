"""The object that a box is drawn round."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.builtin.clicks import enlarged
from napari_sam3_assistant.engines.builtin.outlines import polarity_of
from napari_sam3_assistant.engines.builtin.patches import Patch
from napari_sam3_assistant.engines.builtin.proposals import (
    Proposal,
    agreement,
    in_box,
    octave_for,
    rated,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.builtin.embedding import PlaneFeatures


if TYPE_CHECKING:
    Floats = npt.NDArray[np.float64]
    Bools = npt.NDArray[np.bool_]

TINY = 4  # boxes with a thinner side are filled
LEAST = 0.12  # least agreement of an object's box with the drawn one: a third of its sides
CENTRED = 3.0  # cost of lying beside the middle of the box, per its side
LOOSE = 0.6  # share of the rating of what fills a box that a smaller thing needs, if well placed
# What a pixel of the box belongs to, in log-odds: its place says SHAPE at most, what the proposals
# agree on VOTES at most, its grey level GREYS at most.
SHAPE, VOTES, GREYS = 4.0, 2.0, 3.0
SOFT = 0.4  # share of the half axes over which the place says less
FITTING = 6.0  # power of the fit by which proposals vote
AROUND = 0.35  # of the longer side: what is looked at round a box to tell it from its surroundings
BINS = 24
ROUNDS = 4


def object_in(features: PlaneFeatures, box: Region, reporter: Reporter) -> Patch:
    """Return the object in a box, clipped to it.

    A box is drawn tight round the object, or loosely: either what fills it is the answer, or a
    proposal that is whole in it and near its middle, whichever is better rated.

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
    if min(box.shape) < TINY:
        return Patch(np.ones(box.shape, bool), box)
    proposals = list(in_box(features, box, LEAST, reporter))
    chosen = _filling(features, box, proposals)
    best = max(proposals, key=lambda item: item.rating * _fit(item.covers, box), default=None)
    if best is not None:
        image, own = features.octave(chosen.octave), chosen.region
        found = rated(image, Patch(best.mask, best.region).clipped(own))
        if found * _fit(best.covers, box) > LOOSE * rated(image, Patch(chosen.mask, own)):
            chosen = best
    patch = enlarged(features, chosen).clipped(box)
    if not patch.area:
        return Patch(_radii(box, box) <= 1, box)
    return replace(patch, polarity=polarity_of(features, patch))


def _fit(found: Region, box: Region) -> float:
    """Return how likely a box is drawn round what has this bounding box: whole and centred."""
    inside = found.intersect(box).area / found.area
    y = (found.y0 + found.y1 - box.y0 - box.y1) / (2 * box.height)
    x = (found.x0 + found.x1 - box.x0 - box.x1) / (2 * box.width)
    return inside * math.sqrt(agreement(found, box)) * math.exp(-CENTRED * math.hypot(y, x))


def _filling(features: PlaneFeatures, box: Region, proposals: Sequence[Proposal]) -> Proposal:
    """Return what most likely fills a box.

    Each pixel belongs to the object or not by its place in the ellipse that fills the box, by
    what the proposals say, the more the better they fit, and by its grey level: those inside and
    outside are told apart by their histograms, in turns with the pixels (expectation
    maximisation).
    """
    octave = octave_for(box)
    image = features.octave(octave)
    size = 2**octave
    own = Region(box.y0 // size, box.x0 // size, -(-box.y1 // size), -(-box.x1 // size))
    window = own.grow(max(3, round(AROUND * max(own.shape))))
    window = window.intersect(Region.whole((image.shape[0], image.shape[1])))
    inside = own.localise(window).slices
    odds = SHAPE * np.tanh((1 - _radii(own, window)) / SOFT)
    if proposals:
        votes, total = np.zeros(own.shape), 0.0
        for item in proposals:
            weight = item.rating * _fit(item.covers, box) ** FITTING
            votes += weight * Patch(item.mask, item.region).within(own)
            total += weight
        odds -= VOTES
        odds[inside] += 2 * VOTES * votes / max(total, 1e-9)
    mask = (_by_greys(image[window.slices], odds) > 0)[inside]
    labels, count = ndi.label(mask)
    if count > 1:
        mask = labels == 1 + int(np.bincount(labels.ravel())[1:].argmax())
    if not count:
        mask = _radii(own, own) <= 1
    return Proposal(ndi.binary_fill_holes(mask), own, octave, 1, 0.0)


def _radii(box: Region, window: Region) -> Floats:
    """Return how far the pixels of a window lie from the middle of a box; 1 on its ellipse."""
    rows = (np.arange(window.y0, window.y1) - box.y0 + 0.5) / box.height * 2 - 1
    columns = (np.arange(window.x0, window.x1) - box.x0 + 0.5) / box.width * 2 - 1
    radii: Floats = np.hypot(rows[:, None], columns[None, :])
    return radii


def _by_greys(image: npt.NDArray[np.float32], odds: Floats) -> Floats:
    """Return the log-odds of pixels, given those that don't know the grey levels."""
    smooth = ndi.gaussian_filter(image, 1.0, mode="nearest")
    low, high = (float(value) for value in np.percentile(smooth, (1, 99)))
    bins = ((smooth - low) / max(high - low, 1.0) * (BINS - 1)).round().clip(0, BINS - 1)
    bins = bins.astype(np.intp)
    known = odds
    for _ in range(ROUNDS):
        shares = 1 / (1 + np.exp(-odds))
        sides = []
        for weights in (shares, 1 - shares):
            counts = np.bincount(bins.ravel(), weights.ravel(), BINS)
            counts = ndi.gaussian_filter1d(counts, 1.0) + 0.5
            sides.append(counts / counts.sum())
        greys = np.log(sides[0] / sides[1]).clip(-GREYS, GREYS)[bins]
        odds = ndi.gaussian_filter(known + greys, 1.0, mode="nearest")
    return odds
