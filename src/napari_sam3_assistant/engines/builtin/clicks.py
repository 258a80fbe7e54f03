"""Clicks: the object that they mark, what else they may mean, and how they correct an object.

The image proposes (:mod:`proposals`), clicks pick, and further clicks add or take away.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.builtin import contours
from napari_sam3_assistant.engines.builtin.object_mask import (
    Meaning,
    Patch,
    Proposal,
    disc,
    largest_part,
    rated,
    signed_depth,
)
from napari_sam3_assistant.engines.builtin.outline_net import Window, draw_outlines
from napari_sam3_assistant.engines.builtin.prompted import SHAPE, SOFT, polarity_of
from napari_sam3_assistant.engines.builtin.proposals import (
    at_point,
    covered_by,
    octave_for,
    upsample_proposal,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.builtin.features import PlaneFeatures

    Pixel = tuple[int, int]

REMEMBERED = 16  # clicks of a plane whose proposals are kept
NOTHING = 2  # radius of the disc where nothing stands out, in pixels
# Clicks are made in the middle of what they mean. Shares of the greatest depth: below the first a
# click is as good as on the outline, from the second on it is in the middle.
RIM, MIDDLE = 0.25, 0.75
SURELY = 0.5  # share of a click's distance from the outline up to which all obeys it
UNSEEN = 0.67  # ... of a disc round the click, in whose middle it is whatever the image shows
LARGER = 0.1  # power of the area: an outline as steep round a larger object says more
ANOTHER = 1.5  # times the area from which on something is another candidate
CANDIDATES = 5
# Share of an object's greatest depth: a click deeper inside does not mean its outline.
SHALLOW = 0.34
CLICKED = 8.0  # log-odds under a click, which fall off with its distance from the outline
REACH = 1.3  # radii of an object's disc round which its outline is drawn anew
FAINTEST = 0.1  # of the best one's worth that a candidate needs
# The windows that are drawn in: the smallest, in pixels, and how many times as large the next is.
FIRST_WINDOW, NEXT_WINDOW = 16.0, 1.6
WINDOWS = 8
VOTERS = 16  # proposals that have a vote
LIKELY = 2.0  # power of a proposal's worth by which it has a vote
DRAWN = 0.72  # share of the votes that what is drawn has together
INSIDE = 0.35  # power of the share of its windows that lies in the image, by which that is less
BORDER = 8.0  # cost of the share of a window's border that is held by what is drawn in it
RAYS, RINGS = 64, 1.06  # of the pixels that votes are compared at: directions, and steps in radius


@dataclass(frozen=True, slots=True)
class Click:
    """A pixel of the plane that belongs to an object, or does not.

    ``positive``: whether it belongs to the object.
    """

    pixel: Pixel
    positive: bool = True


def object_at(features: PlaneFeatures, clicks: Sequence[Click], reporter: Reporter) -> Patch:
    """Return the one object that clicks mark: the best under the first one, then corrected.

    ``clicks``: in the order in which they were made; at least one is positive.
    """
    first = next(click for click in clicks if click.positive)
    meant = find_meanings(features, first.pixel, reporter)
    if meant:
        patch = upsample_proposal(features, meant[0].item)
        patch = replace(patch, polarity=polarity_of(features, patch))
    else:
        patch = disc(first.pixel, NOTHING, features.region)
    return correct_by_clicks(features, patch, clicks, reporter, anchored=False)


def candidates_at(features: PlaneFeatures, pixel: Pixel, reporter: Reporter) -> list[Patch]:
    """Return what a click may mean, a part, the object or a group, from the smallest on.

    ``pixel``: row and column of the click.

    Returns
    -------
    list of Patch
        ``CANDIDATES`` at most; the first choice of :func:`object_at` is among them.
    """
    meant = find_meanings(features, pixel, reporter)
    kept: list[Proposal] = []
    for worth, item in meant:
        if len(kept) == CANDIDATES or worth < FAINTEST * meant[0].worth:
            break
        if all(abs(math.log(item.area / other.area)) > math.log(ANOTHER) for other in kept):
            kept.append(item)
    return [upsample_proposal(features, item) for item in sorted(kept, key=lambda item: item.area)]


def correct_by_clicks(
    features: PlaneFeatures,
    patch: Patch,
    clicks: Sequence[Click],
    reporter: Reporter,
    *,
    anchored: bool = True,
) -> Patch:
    """Return an object corrected by clicks, one after the other.

    A click that the object obeys already changes nothing. Else a positive one only adds and a
    negative one only takes away, so what the clicks before agreed on stays. There are four ways to
    obey it and all clicks before: what the image shows under the click; a disc round it that
    reaches the outline; the best proposal for all clicks; the likeliest outline near the object's,
    if that is where the click is. A click in the middle of an error tells how large that is at
    least: what lies half as far from it as the outline obeys it, too. The best-rated candidate is
    taken, and it must be the better rated, the more it changes and the further the click lies from
    the middle of what it changes.

    ``patch``: the object so far.
    ``clicks``: in the order in which they were made; none is on the pixel of another.
    ``anchored``: whether something other than the clicks marked the object, so that its largest
    part stays without a click on it.
    """
    for number, click in enumerate(clicks, start=1):
        if patch.holds(*click.pixel) == click.positive:
            continue
        reporter.check()
        positive = [other.pixel for other in clicks[:number] if other.positive]
        negative = [other.pixel for other in clicks[:number] if not other.positive]
        if not positive:
            positive = [other.pixel for other in clicks if other.positive][:1]
        best, most = patch, -1.0
        reach = _reach(patch, click)
        shown = _candidates(features, patch, click, positive, negative, reporter)
        for candidate, seen in itertools.chain(
            zip(shown, itertools.repeat(True)), [(patch, False)]
        ):
            radius = int(reach * SURELY) if seen else max(1, int(reach))
            candidate = _merged(patch, candidate, click)
            if radius:
                candidate = _with_disc(features, candidate, click, radius)
            candidate = _obey_clicks(features, candidate, positive, negative, anchored=anchored)
            centred = _centred(_changed(patch, candidate, click)) if seen else UNSEEN
            worth = _rated(features, candidate) * candidate.overlap(patch) * centred
            if worth > most:
                best, most = candidate, worth
        patch = best
    positive = [click.pixel for click in clicks if click.positive]
    negative = [click.pixel for click in clicks if not click.positive]
    return _obey_clicks(features, patch, positive, negative, anchored=anchored)


def _reach(patch: Patch, click: Click) -> float:
    """Return how far from the outline a click lies, in pixels, the object's radius at most."""
    y, x = click.pixel[0] - patch.region.y0, click.pixel[1] - patch.region.x0
    if click.positive:
        rows, columns = np.nonzero(patch.mask)
        away = float(np.hypot(rows - y, columns - x).min(initial=np.inf))
        return min(away, math.sqrt(patch.area / math.pi))
    return float(ndi.distance_transform_edt(np.pad(patch.mask, 1))[1 + y, 1 + x])


def _merged(patch: Patch, candidate: Patch, click: Click) -> Patch:
    """Return an object with what a candidate adds, or without what it takes away."""
    if click.positive:
        return patch.union(candidate)
    return replace(patch, mask=patch.mask & candidate.within(patch.region))


def _with_disc(features: PlaneFeatures, patch: Patch, click: Click, radius: int) -> Patch:
    """Return an object that a disc round a click belongs to, or does not, as the click asks."""
    around = disc(click.pixel, radius, features.region)
    if click.positive:
        return patch.union(around)
    return replace(patch, mask=patch.mask & ~around.within(patch.region))


def _changed(patch: Patch, candidate: Patch, click: Click) -> float:
    """Return how deep in what a candidate changes a click lies: 1 in the middle, 0 outside."""
    # Large ones are looked at coarsely, but finer than outlines, since a change may be thin.
    octave = max(0, octave_for(patch.region.union(candidate.region)) - 2)
    before, after = patch.coarser(octave), candidate.coarser(octave)
    region = before.region.union(after.region)
    change = Proposal(before.within(region) ^ after.within(region), region, octave, 1, 0.0)
    return change.depth(click.pixel)


def _candidates(
    features: PlaneFeatures,
    patch: Patch,
    click: Click,
    positive: Sequence[Pixel],
    negative: Sequence[Pixel],
    reporter: Reporter,
) -> Iterator[Patch]:
    """Yield what the image shows that an object may become so that it obeys a click."""
    y, x = click.pixel
    proposals = [item for point in positive for item in find_proposals(features, point, reporter)]
    obeying = (item for item in proposals if _obeys(item, positive, negative))
    best = max(obeying, key=_rating, default=None)
    if best is not None:
        yield upsample_proposal(features, best)
    inside = ndi.distance_transform_edt(np.pad(patch.mask, 1))[1:-1, 1:-1]
    depth = inside[y - patch.region.y0, x - patch.region.x0] if patch.holds(y, x) else 0.0
    near = patch.region.grow(max(4, max(patch.region.shape) // 3)).intersect(features.region)
    if near.holds(y, x) and depth < SHALLOW * inside.max(initial=0.0):
        yield from _redrawn(features, patch, near, positive, negative)
    if click.positive:
        here = find_proposals(features, click.pixel, reporter)
        obeying = (item for item in here if _obeys(item, [click.pixel], negative))
        best = max(obeying, key=_rating, default=None)
        if best is not None:
            yield patch.union(upsample_proposal(features, best))
    else:
        yield _without(features, patch, positive, click.pixel)


def _redrawn(
    features: PlaneFeatures,
    patch: Patch,
    near: Region,
    positive: Sequence[Pixel],
    negative: Sequence[Pixel],
) -> Iterator[Patch]:
    """Yield the likeliest closed outline near an object's, in which the clicks near it count.

    A click tells something of the pixels round it, so far as it lies from the outline.
    """
    octave = octave_for(near)
    image, size = features.octave(octave), 2**octave
    window = covered_by(near, octave)
    seen = patch.coarser(octave)
    if not seen.mask.any():
        return
    before = seen.within(window)
    depth = signed_depth(before)
    odds = SHAPE * np.tanh(depth / (SOFT * max(1.0, depth.max() + 0.5)))
    rows, columns = np.indices(window.shape)
    for points, sign in ((positive, 1), (negative, -1)):
        for y, x in points:
            y, x = y // size - window.y0, x // size - window.x0
            if 0 <= y < window.height and 0 <= x < window.width:
                width = max(1.5, abs(float(depth[y, x])))
                away = np.hypot(rows - y, columns - x) / width
                odds += sign * CLICKED * np.exp(-(away**2) / 2)
    held = odds > 0
    if not held.any():
        return
    held = largest_part(held)
    rows, columns = np.nonzero(held)
    centre = (float(rows.mean()), float(columns.mean()))
    radius = math.sqrt(rows.size / math.pi)
    smooth = ndi.gaussian_filter(image[window.slices], 1.0, mode="nearest")
    axes = np.full((1, 2), REACH * radius)
    (mask,) = contours.likeliest(smooth, odds[None], centre, axes)
    yield upsample_proposal(features, Proposal(mask, window, octave, patch.polarity, 0.0))


def find_proposals(
    features: PlaneFeatures, point: Pixel, reporter: Reporter
) -> tuple[Proposal, ...]:
    """Return what may be the object under a point; the plane keeps the last answers."""
    if point not in features.proposals:
        while len(features.proposals) >= REMEMBERED:
            features.proposals.pop(next(iter(features.proposals)))
        features.proposals[point] = tuple(at_point(features, point, reporter))
    return features.proposals[point]


def find_meanings(features: PlaneFeatures, point: Pixel, reporter: Reporter) -> list[Meaning]:
    """Return what a click may mean, likeliest first; the plane keeps the last answers.

    Proposals and what the networks draw in windows of several sizes vote: what overlaps most with
    what others say is taken.
    """
    if point not in features.meanings:
        while len(features.meanings) >= REMEMBERED:
            features.meanings.pop(next(iter(features.meanings)))
        features.meanings[point] = _meanings(features, point, reporter)
    return features.meanings[point]


def _meanings(features: PlaneFeatures, point: Pixel, reporter: Reporter) -> list[Meaning]:
    proposals = find_proposals(features, point, reporter)
    aims = np.array([_aim(point, item) for item in proposals])
    chosen = np.argsort(-aims, kind="stable")[:VOTERS]
    voters = [proposals[index] for index in chosen]
    votes = (aims[chosen] / aims.max(initial=1e-9)) ** LIKELY
    drawn, sure, inside = _drawn_at(features, point)
    reporter.check()
    heard = DRAWN * float(sure @ inside / max(sure.sum(), 1e-9)) ** INSIDE
    parts = [(votes, 1 - heard), (sure, heard)]
    shares = np.concatenate([share * some / max(some.sum(), 1e-9) for some, share in parts])
    voters += drawn
    if not voters:
        return []
    worths = _overlaps(voters, point, features.shape) @ shares
    order = np.argsort(-worths, kind="stable")
    return [Meaning(float(worths[index]), voters[index]) for index in order]


def _drawn_at(
    features: PlaneFeatures, point: Pixel
) -> tuple[list[Proposal], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return what the networks draw round a click, what each counts, how much they saw of it.

    Beyond the border of the image there is nothing to see, and what is drawn is less sure.
    """
    y, x = point[0] + 0.5, point[1] + 0.5
    sides = [FIRST_WINDOW * NEXT_WINDOW**step for step in range(WINDOWS)]
    sides = [side for side in sides if side < 2.5 * max(features.shape)] or sides[:1]
    windows = [Window(y, x, side) for side in sides]
    items, counts, inside = [], [], []
    for drawing in draw_outlines(features, windows):
        octave = drawing.octave
        region = drawing.region(features)
        labels, _ = ndi.label(drawing.within(region, octave) > 0)
        name = labels[(point[0] >> octave) - region.y0, (point[1] >> octave) - region.x0]
        if not name:
            continue
        mask = ndi.binary_fill_holes(labels == name)
        border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]).mean()
        kept = Region.around(mask)
        items.append(Proposal(mask[kept.slices], kept.globalise(region), octave, 1, 0.0))
        counts.append(drawing.overlap * math.exp(-BORDER * border))
        inside.append(min(1.0, region.area * 4**octave / drawing.window.side**2))
    return items, np.array(counts), np.array(inside)


def _overlaps(
    items: Sequence[Proposal], point: Pixel, shape: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Return the intersections over the unions of what holds a pixel, with each other.

    They are compared at places round the pixel that lie the denser, the nearer to it.
    """
    angles = (np.arange(RAYS) + 0.5) * (2 * math.pi / RAYS)
    rings = max(1, math.ceil(math.log(2 * max(shape)) / math.log(RINGS)))
    radii = 0.5 * RINGS ** np.arange(rings)
    y = np.floor(point[0] + 0.5 + np.outer(radii, np.sin(angles))).astype(np.intp).ravel()
    x = np.floor(point[1] + 0.5 + np.outer(radii, np.cos(angles))).astype(np.intp).ravel()
    areas = np.repeat(radii**2, RAYS)
    held = np.zeros((len(items), y.size))
    for row, item in enumerate(items):
        down, across = (y >> item.octave) - item.region.y0, (x >> item.octave) - item.region.x0
        height, width = item.mask.shape
        inside = (down >= 0) & (down < height) & (across >= 0) & (across < width)
        held[row, inside] = item.mask[down[inside], across[inside]]
    both = (held * areas) @ held.T
    sizes = both.diagonal()
    overlaps: npt.NDArray[np.float64] = both / np.maximum(sizes[:, None] + sizes - both, 1e-9)
    return overlaps


def _aim(click: Pixel, proposal: Proposal) -> float:
    return _worth(proposal) * _centred(proposal.depth(click))


def _centred(depth: float) -> float:
    """Return how likely a click so deep inside something means it."""
    return min(1.0, max(RIM, depth) / MIDDLE)


def _rating(proposal: Proposal) -> float:
    return proposal.rating


def _worth(proposal: Proposal) -> float:
    return float(proposal.rating * proposal.area**LARGER)


def _rated(features: PlaneFeatures, patch: Patch) -> float:
    """Return the rating of an object of the plane, in grey levels per pixel of it."""
    octave = octave_for(patch.region)
    return float(rated(features.octave(octave), patch.coarser(octave)) / 2**octave)


def _obeys(proposal: Proposal, positive: Sequence[Pixel], negative: Sequence[Pixel]) -> bool:
    """Return whether a proposal holds all positive clicks and no negative one."""
    return all(proposal.holds(point) for point in positive) and not any(
        proposal.holds(point) for point in negative
    )


def _without(
    features: PlaneFeatures, patch: Patch, positive: Sequence[Pixel], point: Pixel
) -> Patch:
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
    kept = [(y - region.y0, x - region.x0) for y, x in positive if patch.holds(y, x)]
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


def _obey_clicks(
    features: PlaneFeatures,
    patch: Patch,
    positive: Sequence[Pixel],
    negative: Sequence[Pixel],
    *,
    anchored: bool,
) -> Patch:
    """Return an object that holds every positive click's pixel and no negative one's.

    Islands without a positive click are dropped, except the largest of an anchored object.
    """
    missed = [point for point in positive if not patch.holds(*point)]
    for point in missed:  # with its neighbours, so that it is not a lone pixel
        patch = patch.union(disc(point, 1, features.region))
    mask = patch.mask.copy()
    for y, x in negative:
        if patch.region.holds(y, x):
            mask[y - patch.region.y0, x - patch.region.x0] = False
    if positive:
        labels, _ = ndi.label(mask, np.ones((3, 3)))
        names = {int(labels[y - patch.region.y0, x - patch.region.x0]) for y, x in positive}
        if (missed or anchored) and mask.any():
            names.add(int(np.bincount(labels[labels > 0]).argmax()))
        mask = np.isin(labels, sorted(names - {0}))
    return Patch(mask, patch.region, patch.polarity)
