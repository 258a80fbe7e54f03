"""What a click may mean: parts of the image under it, outlines drawn round it, and the likeliest.

Parts (:mod:`component_tree`) end at grey levels; outlines (:mod:`contours`) also run along lines,
and close where an edge has gaps. How well each fits the object is read from traits that depend
neither on the brightness of the image nor on what it shows, by small regression trees (gradient
boosting: Friedman, Ann. Stat. 29:1189, 2001), as SAM rates its masks. They are kept in
``click_trees.json``, which ``benchmarks/fit_click_trees.py`` makes.
"""

from __future__ import annotations

import functools
import itertools
import json
import math
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.builtin import contours
from napari_sam3_assistant.engines.builtin.component_tree import (
    at_point,
    free_share,
    rating,
    upsample_proposal,
)
from napari_sam3_assistant.engines.builtin.object_mask import Patch, Proposal, solidity
from napari_sam3_assistant.engines.builtin.prompted import (
    SHAPE,
    SOFT,
    clearness,
    log_odds,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.builtin.features import PlaneFeatures

    Pixel = tuple[int, int]
    Floats = npt.NDArray[np.float64]

REMEMBERED = 16  # clicks of a plane whose proposals are kept
# Clicks are made in the middle of what they mean. Shares of the greatest depth: below the first a
# click is as good as on the outline, from the second on it is in the middle.
RIM, MIDDLE = 0.25, 0.75
LARGER = 0.1  # power of the area: an outline as steep round a larger object says more
RATED = 12  # parts that are looked at closely, the best by what they are worth
# Outlines drawn round a click: their radii, the most pixels of an octave that one spans, what is
# seen round one, in radii, and what its edge counts, which was looked for.
RADII, WIDEST, LOOKED_AT, DRAWN = 4 * 1.3 ** np.arange(10), 23.0, 1.7, 0.65
AGREE = (
    0.7  # overlap of boxes, times the ratio of the areas, from which on parts are about the same
)
BESIDE = 3  # pixels of an octave: the ring round a candidate that it is compared with
ALL_ROUND = 0.8  # clearness from which on a part is taken as it is
KNOWN = 0.12  # what the logarithm of the worth adds to what the trees say

TRAITS = (
    "aim",  # logarithm of the worth, less that of the worthiest candidate
    "drawn",  # 1 if it is an outline drawn round the click
    "depth",  # of the click, as a logarithm
    "weak",  # edge that three quarters of the outline reach, as a share of its mean
    "rising",  # share of the outline where the edge goes the way of its mean
    "flux",  # edge across the outline over that in any direction, as a logarithm
    "solidity",  # as a logarithm
    "crest",  # edge over the steepest within two pixels of it, as a logarithm
    "outside",  # edges beside it over its own, as a logarithm
    "inside",  # edges in it over its own, as a logarithm
    "levels",  # parts that are about the same, as a logarithm
    "agreement",  # how much the parts agree with it, by their worth, as a logarithm
    # Against the worthiest candidate, as logarithms:
    "diameter",
    "contrast",
    "texture",
    "ground",  # texture of what is beside it
)


# -- parts and outlines ---------------------------------------------------------------------------


def find_proposals(
    features: PlaneFeatures, point: Pixel, reporter: Reporter
) -> tuple[Proposal, ...]:
    """Return the parts that may be the object under a point; the plane keeps the last answers."""
    if point not in features.proposals:
        _forget_oldest(features.proposals)
        features.proposals[point] = tuple(at_point(features, point, reporter))
    return features.proposals[point]


def likeliest(features: PlaneFeatures, click: Pixel, reporter: Reporter) -> Proposal | None:
    """Return what a click most likely means; None where nothing stands out.

    That is the best part, if an edge runs all round it, else what the trees say. The plane keeps
    the last answers.

    Parameters
    ----------
    features : PlaneFeatures
        The plane.
    click : (int, int)
        Row and column.
    reporter : Reporter
        Stops the work.
    """
    if click not in features.likeliest:
        part = best_part(features, click, reporter)
        if part is not None and not is_clear(features, part):
            items, traits, worths = candidates_with_traits(features, click, reporter)
            if items:
                part = items[int((_predict(traits) + KNOWN * worths).argmax())]
        _forget_oldest(features.likeliest)
        features.likeliest[click] = part
    return features.likeliest[click]


def best_part(features: PlaneFeatures, click: Pixel, reporter: Reporter) -> Proposal | None:
    """Return the part that is worth most, the click in its middle; None if there is none."""
    return next(iter(_best(find_proposals(features, click, reporter), click, 1)), None)


def is_clear(features: PlaneFeatures, part: Proposal) -> bool:
    """Return whether an edge runs all round a part, so that nothing else is looked for."""
    return clearness(features, upsample_proposal(features, part)) >= ALL_ROUND


def _forget_oldest(kept: dict[Pixel, Any]) -> None:
    """Make room for the answer to another click."""
    while len(kept) >= REMEMBERED:
        kept.pop(next(iter(kept)))


def candidates_with_traits(
    features: PlaneFeatures, click: Pixel, reporter: Reporter
) -> tuple[list[Proposal], Floats, Floats]:
    """Return what a click may mean, and what each looks like.

    Parameters
    ----------
    features : PlaneFeatures
        The plane.
    click : (int, int)
        Row and column.
    reporter : Reporter
        Stops the work.

    Returns
    -------
    items : list of Proposal
        The best parts, and outlines drawn round the click; none where nothing stands out.
    traits : ndarray, shape (N, 16), dtype float64
        ``TRAITS`` of each.
    worths : ndarray, shape (N,), dtype float64
        The first of them, not compared.
    """
    parts = find_proposals(features, click, reporter)
    reporter.check()
    items = _best(parts, click, RATED) + list(_drawn(features, click) if parts else ())
    fields: dict[int, _Fields] = {}
    for octave, group in itertools.groupby(sorted(items, key=_octave), _octave):
        regions = [item.region for item in group]
        fields[octave] = _Fields.cut_out(features, functools.reduce(Region.union, regions), octave)
    seen = [_look(fields[item.octave], item, click) for item in items]
    kept = [index for index, look in enumerate(seen) if look is not None]
    if not kept:
        return [], np.zeros((0, len(TRAITS))), np.zeros(0)
    items = [items[index] for index in kept]
    table = np.array([seen[index] for index in kept])
    alike = _alike(items, parts)
    weights = np.array([worth(part) for part in parts])
    levels = np.log(0.5 + np.count_nonzero(alike > AGREE, axis=1))
    agreement = np.log(0.05 + alike**4 @ (weights / max(weights.max(initial=0.0), 1e-9)))
    worths = table[:, 0].copy()
    table[:, [0, -4, -3, -2, -1]] -= table[worths.argmax(), [0, -4, -3, -2, -1]]
    return items, np.insert(table, [10, 10], np.stack([levels, agreement], 1), 1), worths


def _octave(item: Proposal) -> int:
    return item.octave


def worth(proposal: Proposal) -> float:
    """Return the rating of a part, somewhat greater for a larger one."""
    return float(proposal.rating * proposal.area**LARGER)


def centred(depth: float) -> float:
    """Return how likely a click so deep inside something means it."""
    return min(1.0, max(RIM, depth) / MIDDLE)


def aim(click: Pixel, proposal: Proposal) -> float:
    """Return the worth of a part, less if the click is not in its middle."""
    return worth(proposal) * centred(proposal.depth(click))


def _best(parts: Sequence[Proposal], click: Pixel, count: int) -> list[Proposal]:
    """Return the parts that are worth most, the click in their middle."""
    aimed: list[tuple[float, int]] = []
    ranked = sorted(parts, key=worth, reverse=True)
    for index, part in enumerate(ranked):
        if len(aimed) >= count and worth(part) <= sorted(aimed)[-count][0]:
            break  # a click in the middle takes nothing away
        aimed.append((aim(click, part), -index))
    return [ranked[-index] for _, index in sorted(aimed, reverse=True)[:count]]


def _drawn(features: PlaneFeatures, click: Pixel) -> Iterator[Proposal]:
    """Yield the likeliest closed outlines round a click, of several sizes."""
    octaves = np.maximum(0, np.ceil(np.log2(RADII / WIDEST))).astype(int)
    for octave in np.unique(octaves).tolist():
        radii = RADII[octaves == octave] / 2**octave
        image = features.octave(octave)
        plane = Region.whole((image.shape[0], image.shape[1]))
        y, x = ((value + 0.5) / 2**octave - 0.5 for value in click)
        row, column = (value >> octave for value in click)
        middle = Region(row, column, row + 1, column + 1)
        window = middle.grow(math.ceil(LOOKED_AT * radii[-1]) + 4).intersect(plane)
        if min(window.shape) < 2:
            return
        odds = np.full((len(radii), *window.shape), contours.CERTAIN)
        for plane_odds, radius in zip(odds, radii.tolist(), strict=True):
            near = middle.grow(math.ceil(LOOKED_AT * radius) + 4).intersect(plane)
            rows, columns = np.indices(near.shape)
            away = np.hypot(rows + near.y0 - y, columns + near.x0 - x) / radius
            shape = SHAPE * np.tanh((1 - away) / SOFT)
            plane_odds[near.localise(window).slices] = log_odds(image, near, shape, ())
        smooth = ndi.gaussian_filter(image[window.slices], 1.0, mode="nearest")
        centre = (y - window.y0, x - window.x0)
        for mask in contours.likeliest(smooth, odds, centre, np.repeat(radii[:, None], 2, 1)):
            patch = Patch(mask, window).crop()
            polarity = 1 if smooth[mask].mean() >= smooth.mean() else -1
            yield Proposal(patch.mask, patch.region, octave, polarity, 0.0)


# -- traits ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Fields:
    """Part of an octave, and the edges in it."""

    image: npt.NDArray[np.float32]
    down: npt.NDArray[np.float32]
    across: npt.NDArray[np.float32]
    steep: npt.NDArray[np.float32]
    crest: npt.NDArray[np.float32]  # the steepest within two pixels
    region: Region
    plane: tuple[int, int]

    @classmethod
    def cut_out(cls, features: PlaneFeatures, region: Region, octave: int) -> _Fields:
        whole = features.octave(octave)
        plane = (whole.shape[0], whole.shape[1])
        region = region.grow(BESIDE + 6).intersect(Region.whole(plane))
        image = whole[region.slices]
        down, across = (
            ndi.gaussian_filter(image, 1.0, order=order, mode="nearest")
            for order in ((1, 0), (0, 1))
        )
        steep = np.hypot(down, across)
        return cls(image, down, across, steep, ndi.maximum_filter(steep, 5), region, plane)


def _look(fields: _Fields, item: Proposal, click: Pixel) -> tuple[float, ...] | None:
    """Return the traits of a candidate that it has by itself; None if it has no outline."""
    frame = item.region.grow(BESIDE + 2).intersect(Region.whole(fields.plane))
    inside = Patch(item.mask, item.region).within(frame)
    padded = np.pad(inside, 1, mode="edge").astype(np.float32)
    down = (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2
    across = (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2
    length = np.hypot(down, across)
    rim = length > 0
    if not rim.any():
        return None
    place = frame.localise(fields.region).slices
    length = length[rim]
    rise = fields.down[place][rim] * down[rim] + fields.across[place][rim] * across[rim]
    sign = 1.0 if rise.sum() >= 0 else -1.0
    along = sign * rise / length
    steep = fields.steep[place]
    edge = float(steep[rim].mean()) + 1e-3
    flux = max(1e-3, sign * float(rise.sum() / length.sum()))
    convex = item.convex or solidity(item.mask)
    size = 2.0**item.octave
    rated = item.rating
    if not rated:
        free = free_share(item.mask, item.region, fields.plane)
        rated = DRAWN * rating(edge / size * free, convex)
    depth = item.depth(click)
    near = ndi.binary_dilation(inside)
    nearer = ndi.binary_dilation(near)
    ring = ndi.binary_dilation(nearer, iterations=BESIDE - 1) & ~near
    core = ndi.binary_erosion(inside, iterations=2, border_value=1)
    image = fields.image[place]
    held = image[inside]
    ground = image[ring] if ring.any() else held
    far = ring & ~nearer
    contrast = sign * float(held.mean() - ground.mean())
    return (
        math.log(max(1e-4, rated * item.area**LARGER * centred(depth))),
        float(not item.rating),
        math.log(min(MIDDLE, max(RIM, depth))),
        float(np.percentile(along, 25)) / edge,
        float(np.mean(along > 0.3 * along.mean())),
        math.log(flux / edge),
        math.log(convex),
        math.log(edge / (float(fields.crest[place][rim].mean()) + 1e-3)),
        math.log((float(steep[far].mean() if far.any() else 0.0) + 0.05) / (edge + 0.05)),
        math.log((float(steep[core if core.any() else inside].mean()) + 0.05) / (edge + 0.05)),
        math.log(item.area) / 2,
        math.log(max(contrast, 0.1)),
        math.log(1 + float(held.std())),
        math.log(1 + float(ground.std())),
    )


def _alike(items: Sequence[Proposal], parts: Sequence[Proposal]) -> Floats:
    """Return how much candidates and parts agree by their boxes and areas, shape (N, P)."""
    boxes, others = (
        np.array([item.covers.box for item in some], float).reshape(-1, 4)
        for some in (items, parts)
    )
    areas, other_areas = (np.array([item.area for item in some], float) for some in (items, parts))
    first = np.maximum(boxes[:, None, :2], others[:, :2])
    last = np.minimum(boxes[:, None, 2:], others[:, 2:])
    shared = (last - first).clip(0).prod(2)
    filled, fills = ((some[:, 2:] - some[:, :2]).prod(1) for some in (boxes, others))
    ratio = np.minimum(areas[:, None], other_areas) / np.maximum(areas[:, None], other_areas)
    alike: Floats = shared / (filled[:, None] + fills - shared) * ratio
    return alike


# -- trees ----------------------------------------------------------------------------------------


@functools.cache
def _trees() -> tuple[Floats, ...]:
    """Return the trees, an array for each field, shape (trees, nodes)."""
    text = resources.files(__package__).joinpath("click_trees.json").read_text("utf-8")
    trees = json.loads(text)
    return tuple(np.array(trees[name]) for name in ("trait", "most", "low", "high", "adds"))


def _predict(traits: Floats) -> Floats:
    """Return the overlap (IoU) with the object that the trees expect, shape (N,)."""
    trait, most, low, high, adds = _trees()
    tree = np.arange(len(trait))[:, None]
    node = np.zeros((len(trait), len(traits)), np.intp)
    item = np.arange(len(traits))
    while True:  # until all are at leaves, which lead to themselves
        lower = traits[item, trait[tree, node]] <= most[tree, node]
        after = np.where(lower, low[tree, node], high[tree, node])
        if (after == node).all():
            break
        node = after
    expected: Floats = adds[tree, node].sum(0)
    return expected
