"""The object under clicks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.engines.builtin.background import bilinear
from napari_sam3_assistant.engines.builtin.patches import Patch, disc
from napari_sam3_assistant.engines.builtin.proposals import at_point

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.builtin.embedding import PlaneFeatures
    from napari_sam3_assistant.engines.builtin.proposals import Proposal


if TYPE_CHECKING:
    Pixel = tuple[int, int]

# Clicks may turn down the best proposal for another that is rated this share of it at least.
SECOND = 0.25
NOTHING = 2  # radius of the disc where nothing stands out, in pixels


def object_at(
    features: PlaneFeatures,
    wanted: Sequence[Pixel],
    unwanted: Sequence[Pixel],
    reporter: Reporter,
) -> Patch:
    """Return the one object that clicks mark; see :func:`corrected` for what else they do.

    Parameters
    ----------
    features : PlaneFeatures
        The plane.
    wanted : sequence of (int, int)
        Rows and columns of positive clicks, at least one.
    unwanted : sequence of (int, int)
        Rows and columns of negative clicks.
    reporter : Reporter
        Stops the work.
    """
    proposals = list(at_point(features, wanted[0], reporter))
    alone = max(proposals, key=_rating, default=None)
    obeying = [item for item in proposals if _obeys(item, wanted, unwanted)]
    whole = max(obeying, key=_rating, default=alone)
    if alone is None or whole is None:
        patch = disc(wanted[0], NOTHING, features.region)
    else:
        patch = enlarged(features, whole if whole.rating >= SECOND * alone.rating else alone)
    return corrected(features, patch, wanted, unwanted, reporter, anchored=False)


def corrected(
    features: PlaneFeatures,
    patch: Patch,
    wanted: Sequence[Pixel],
    unwanted: Sequence[Pixel],
    reporter: Reporter,
    *,
    anchored: bool = True,
) -> Patch:
    """Return an object with what is under the positive clicks, without what is under others.

    Parameters
    ----------
    features : PlaneFeatures
        The plane.
    patch : Patch
        The object so far.
    wanted, unwanted : sequence of (int, int)
        Rows and columns of the clicks; none is in both.
    reporter : Reporter
        Stops the work.
    anchored : bool
        Whether something other than the clicks marked the object, so that its largest part
        stays without a click on it.
    """
    for point in wanted:
        if not patch.holds(*point):
            patch = patch.union(single(features, point, reporter, unwanted))
    for point in unwanted:
        reporter.check()
        if patch.holds(*point):
            patch = _without(features, patch, wanted, point)
    return _pinned(features, patch, wanted, unwanted, anchored=anchored)


def _rating(proposal: Proposal) -> float:
    return proposal.rating


def _obeys(proposal: Proposal, wanted: Sequence[Pixel], unwanted: Sequence[Pixel]) -> bool:
    """Return whether a proposal holds all positive clicks and no negative one."""
    return all(proposal.holds(point) for point in wanted) and not any(
        proposal.holds(point) for point in unwanted
    )


def single(
    features: PlaneFeatures, point: Pixel, reporter: Reporter, unwanted: Sequence[Pixel] = ()
) -> Patch:
    """Return the object under one click; a small disc where nothing stands out.

    Parameters
    ----------
    features : PlaneFeatures
        The plane.
    point : (int, int)
        Row and column.
    reporter : Reporter
        Stops the work.
    unwanted : sequence of (int, int)
        Rows and columns that the object's rough outline must not hold.
    """
    proposals = at_point(features, point, reporter)
    obeying = (item for item in proposals if _obeys(item, (), unwanted))
    best = max(obeying, key=_rating, default=None)
    return disc(point, NOTHING, features.region) if best is None else enlarged(features, best)


def enlarged(features: PlaneFeatures, proposal: Proposal) -> Patch:
    """Return a proposal at full resolution."""
    size = 2**proposal.octave
    region = proposal.covers
    if size == 1:
        return Patch(proposal.mask, region, proposal.polarity)
    # Between the centres of coarse pixels the outline runs straight, not along their sides.
    padded = np.pad(proposal.mask, 1).astype(np.float32)
    rows, columns = (
        ((np.arange(count * size) + 0.5) / size - 0.5).clip(0, count - 1).astype(np.float32)
        for count in padded.shape
    )
    mask = bilinear(padded, rows, columns) >= 0.5
    region = region.grow(size)
    return Patch(mask, region, proposal.polarity).clipped(features.region)


def _without(features: PlaneFeatures, patch: Patch, wanted: Sequence[Pixel], point: Pixel) -> Patch:
    """Return an object without the part under a negative click.

    The object is flooded from the clicks over its gradient; where the image shows no edge
    between them, the line lies half way.
    """
    from skimage.segmentation import watershed

    region = patch.region
    seed = (point[0] - region.y0, point[1] - region.x0)
    islands, _ = ndi.label(patch.mask)
    island = islands == islands[seed]
    depth = ndi.distance_transform_edt(np.pad(island, 1))[1:-1, 1:-1]
    gradient = ndi.gaussian_gradient_magnitude(features.luminance[region.slices], 1.0)
    cost = gradient / (gradient[island].max() + 1e-6) - 0.5 * depth / depth.max()
    markers = np.zeros(region.shape, np.int8)
    kept = [(y - region.y0, x - region.x0) for y, x in wanted if patch.holds(y, x)]
    kept = [pixel for pixel in kept if island[pixel]]
    if not kept:  # the middle of what lies far from the click stays
        rows, columns = np.indices(region.shape)
        away = np.hypot(rows - seed[0], columns - seed[1])
        best = int((np.minimum(depth, away / 2) * island).argmax())
        kept = [(best // region.width, best % region.width)]
    for pixel in kept:
        markers[pixel] = 1
    markers[seed] = 2
    flooded = watershed(cost, markers, mask=island)
    return Patch((patch.mask & ~island) | (flooded == 1), region, patch.polarity)


def _pinned(
    features: PlaneFeatures,
    patch: Patch,
    wanted: Sequence[Pixel],
    unwanted: Sequence[Pixel],
    *,
    anchored: bool,
) -> Patch:
    """Return an object that holds every positive click's pixel and no negative one's.

    Islands without a positive click are dropped, except the largest of an anchored object.
    """
    missed = [point for point in wanted if not patch.holds(*point)]
    for point in missed:  # with its neighbours, so that it is not a lone pixel
        patch = patch.union(disc(point, 1, features.region))
    mask = patch.mask.copy()
    for y, x in unwanted:
        if patch.region.holds(y, x):
            mask[y - patch.region.y0, x - patch.region.x0] = False
    if wanted:
        labels, _ = ndi.label(mask, np.ones((3, 3)))
        names = {int(labels[y - patch.region.y0, x - patch.region.x0]) for y, x in wanted}
        if (missed or anchored) and mask.any():
            names.add(int(np.bincount(labels[labels > 0]).argmax()))
        mask = np.isin(labels, sorted(names - {0}))
    return Patch(mask, patch.region, patch.polarity)
