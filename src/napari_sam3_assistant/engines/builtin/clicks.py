"""The object under clicks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.engines.builtin import contours
from napari_sam3_assistant.engines.builtin.background import bilinear
from napari_sam3_assistant.engines.builtin.outlines import BLOB, fitted
from napari_sam3_assistant.engines.builtin.patches import Patch, disc
from napari_sam3_assistant.engines.builtin.shapes import solidity, split
from napari_sam3_assistant.engines.builtin.sharpen import best_at

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.builtin.candidates import Candidate
    from napari_sam3_assistant.engines.builtin.embedding import PlaneFeatures

    Pixel = tuple[int, int]

# Clicks may turn down the best candidate for another that is rated this share of it at least.
SECOND = 0.25
SAME = 0.65  # a fitted contour must still be the object that it started from
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
    patch = single(features, wanted[0], reporter)
    clicked = all(patch.holds(*point) for point in wanted)
    if not clicked or any(patch.holds(*point) for point in unwanted):
        first = patch
        whole = best_at(features, wanted[0], lambda item: _obeys(item, wanted, unwanted), reporter)
        alone = best_at(features, wanted[0], lambda item: 1.0, reporter)
        if whole is not None and alone is not None and whole.rating >= SECOND * alone.rating:
            patch = _refined(features, whole, wanted)
        else:
            patch = first
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


def _obeys(candidate: Candidate, wanted: Sequence[Pixel], unwanted: Sequence[Pixel]) -> float:
    """Return 1 if a candidate holds all positive clicks and no negative one, else 0."""
    return float(
        all(candidate.holds(point) for point in wanted)
        and not any(candidate.holds(point) for point in unwanted)
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
    best = best_at(features, point, lambda item: _obeys(item, (), unwanted), reporter)
    if best is None:
        return disc(point, NOTHING, features.region)
    return _refined(features, best, [point])


def _refined(features: PlaneFeatures, candidate: Candidate, points: Sequence[Pixel]) -> Patch:
    """Return a candidate at full resolution, cut from the neighbours that nobody clicked."""
    size = 2**candidate.octave
    origin = candidate.region
    parts = split(candidate.mask)
    names = {_part_near(parts, (y // size - origin.y0, x // size - origin.x0)) for y, x in points}
    part = np.isin(parts, list(names))
    if solidity(part) < BLOB:
        return enlarged(features, part, candidate)
    centre, radii = contours.from_mask(part, origin.y0, origin.x0)
    start = contours.Contours((centre * size + (size - 1) / 2)[None], (radii * size)[None])
    foreign = None
    if (parts[~part] > 0).any():
        others = np.repeat(np.repeat((parts > 0) & ~part, size, 0), size, 1)
        foreign = Patch(others, candidate.covers)
    patch = fitted(features, start, candidate.polarity, octave=candidate.octave, foreign=foreign)
    rough = enlarged(features, part, candidate)
    return patch if patch.overlap(rough) >= SAME else rough


def _part_near(parts: npt.NDArray[np.int32], pixel: Pixel) -> int:
    """Return the name of the part at a pixel, or of the part nearest to it."""
    y, x = (min(max(value, 0), size - 1) for value, size in zip(pixel, parts.shape, strict=True))
    if parts[y, x]:
        return int(parts[y, x])
    rows, columns = np.nonzero(parts)
    nearest = int(np.hypot(rows - y, columns - x).argmin())
    return int(parts[rows[nearest], columns[nearest]])


def enlarged(features: PlaneFeatures, part: npt.NDArray[np.bool_], candidate: Candidate) -> Patch:
    """Return a part of a candidate, of any shape, at full resolution."""
    size = 2**candidate.octave
    region = candidate.covers
    if size == 1:
        return Patch(part, region, candidate.polarity)
    # Between the centres of coarse pixels the outline runs straight, not along their sides.
    padded = np.pad(part, 1).astype(np.float32)
    rows, columns = (
        ((np.arange(count * size) + 0.5) / size - 0.5).clip(0, count - 1).astype(np.float32)
        for count in padded.shape
    )
    mask = bilinear(padded, rows, columns) >= 0.5
    region = region.grow(size)
    return Patch(mask, region, candidate.polarity).clipped(features.region)


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
