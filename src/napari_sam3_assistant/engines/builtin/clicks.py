"""The object under clicks."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.builtin.background import bilinear
from napari_sam3_assistant.engines.builtin.patches import Patch, disc
from napari_sam3_assistant.engines.builtin.proposals import at_point, octave_for, rated

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.builtin.embedding import PlaneFeatures
    from napari_sam3_assistant.engines.builtin.proposals import Proposal


if TYPE_CHECKING:
    Pixel = tuple[int, int]

REMEMBERED = 32  # clicks of a plane whose proposals are kept
NOTHING = 2  # radius of the disc where nothing stands out, in pixels


@dataclass(frozen=True, slots=True)
class Click:
    """A pixel of the plane that belongs to an object, or does not.

    Parameters
    ----------
    pixel : (int, int)
        Row and column.
    positive : bool
        Whether it belongs to the object.
    """

    pixel: Pixel
    positive: bool = True


def object_at(features: PlaneFeatures, clicks: Sequence[Click], reporter: Reporter) -> Patch:
    """Return the one object that clicks mark: the best under the first one, then corrected.

    Parameters
    ----------
    features : PlaneFeatures
        The plane.
    clicks : sequence of Click
        In the order in which they were made; at least one is positive.
    reporter : Reporter
        Stops the work.
    """
    first = next(click for click in clicks if click.positive)
    best = max(proposed(features, first.pixel, reporter), key=_rating, default=None)
    if best is None:
        patch = disc(first.pixel, NOTHING, features.region)
    else:
        patch = enlarged(features, best)
    return corrected(features, patch, clicks, reporter, anchored=False)


def corrected(
    features: PlaneFeatures,
    patch: Patch,
    clicks: Sequence[Click],
    reporter: Reporter,
    *,
    anchored: bool = True,
) -> Patch:
    """Return an object corrected by clicks, one after the other.

    A click that the object obeys already changes nothing. Else there are three ways to obey it and
    all clicks before: take in, or cut off, what the image shows under the click; the same for a
    disc round the click that reaches the outline; the best proposal instead of the object. The
    best-rated way is taken, and it must be the better rated, the less of the object it leaves.

    Parameters
    ----------
    features : PlaneFeatures
        The plane.
    patch : Patch
        The object so far.
    clicks : sequence of Click
        In the order in which they were made; none is on the pixel of another.
    reporter : Reporter
        Stops the work.
    anchored : bool
        Whether something other than the clicks marked the object, so that its largest part
        stays without a click on it.
    """
    for number, click in enumerate(clicks, start=1):
        if patch.holds(*click.pixel) == click.positive:
            continue
        reporter.check()
        wanted = [other.pixel for other in clicks[:number] if other.positive]
        unwanted = [other.pixel for other in clicks[:number] if not other.positive]
        if not wanted:
            wanted = [other.pixel for other in clicks if other.positive][:1]
        ways = [
            _pinned(features, way, wanted, unwanted, anchored=anchored)
            for way in _ways(features, patch, click, wanted, unwanted, reporter)
        ]
        ratings = [_rated(features, way) * way.overlap(patch) for way in ways]
        patch = ways[int(np.argmax(ratings))]
    wanted = [click.pixel for click in clicks if click.positive]
    unwanted = [click.pixel for click in clicks if not click.positive]
    return _pinned(features, patch, wanted, unwanted, anchored=anchored)


def _ways(
    features: PlaneFeatures,
    patch: Patch,
    click: Click,
    wanted: Sequence[Pixel],
    unwanted: Sequence[Pixel],
    reporter: Reporter,
) -> Iterator[Patch]:
    """Yield what an object may become so that it obeys a click."""
    y, x = click.pixel
    proposals = [item for point in wanted for item in proposed(features, point, reporter)]
    obeying = (item for item in proposals if _obeys(item, wanted, unwanted))
    best = max(obeying, key=_rating, default=None)
    if best is not None:
        yield enlarged(features, best)
    if click.positive:
        here = (
            item
            for item in proposed(features, click.pixel, reporter)
            if item.holds(click.pixel) and _obeys(item, (), unwanted)
        )
        best = max(here, key=_rating, default=None)
        if best is not None:
            yield patch.union(enlarged(features, best))
        # No larger than the object, which may be far away.
        frame = patch.region.union(Region(y, x, y + 1, x + 1))
        away = ndi.distance_transform_edt(~patch.within(frame))[y - frame.y0, x - frame.x0]
        radius = min(float(away), math.sqrt(patch.area / math.pi))
        yield patch.union(disc(click.pixel, max(1, int(radius)), features.region))
        return
    yield _without(features, patch, wanted, click.pixel)
    depth = ndi.distance_transform_edt(np.pad(patch.mask, 1))[1:-1, 1:-1]
    radius = depth[y - patch.region.y0, x - patch.region.x0]
    cut = disc(click.pixel, max(1, int(radius)), features.region)
    yield replace(patch, mask=patch.mask & ~cut.within(patch.region))


def proposed(features: PlaneFeatures, point: Pixel, reporter: Reporter) -> tuple[Proposal, ...]:
    """Return what may be the object under a point; the plane keeps the last answers."""
    if point not in features.proposals:
        while len(features.proposals) >= REMEMBERED:
            features.proposals.pop(next(iter(features.proposals)))
        features.proposals[point] = tuple(at_point(features, point, reporter))
    return features.proposals[point]


def _rating(proposal: Proposal) -> float:
    return proposal.rating


def _rated(features: PlaneFeatures, patch: Patch) -> float:
    """Return the rating of an object of the plane, in grey levels per pixel of it."""
    octave = octave_for(patch.region)
    return float(rated(features.octave(octave), patch.coarser(octave)) / 2**octave)


def _obeys(proposal: Proposal, wanted: Sequence[Pixel], unwanted: Sequence[Pixel]) -> bool:
    """Return whether a proposal holds all positive clicks and no negative one."""
    return all(proposal.holds(point) for point in wanted) and not any(
        proposal.holds(point) for point in unwanted
    )


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
