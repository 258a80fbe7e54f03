"""What prompts name: objects in boxes, painted, like examples, or by a phrase.

The image proposes (:mod:`proposals`), the prompt picks.
"""

from __future__ import annotations

import functools
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.builtin import contours
from napari_sam3_assistant.engines.builtin.detection import detect
from napari_sam3_assistant.engines.builtin.object_mask import (
    Detection,
    Patch,
    Proposal,
    along_outline,
    largest_part,
    measure,
    outline_values,
    signed_depth,
    solidity,
)
from napari_sam3_assistant.engines.builtin.outline_net import Window, draw_outlines
from napari_sam3_assistant.engines.builtin.proposals import (
    agreement,
    covered_by,
    in_box,
    octave_for,
    upsample_proposal,
)
from napari_sam3_assistant.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import ExemplarPrompt
    from napari_sam3_assistant.engines.builtin.features import PlaneFeatures
    from napari_sam3_assistant.engines.builtin.outline_net import Drawing

    Pixel = tuple[int, int]
    Floats = npt.NDArray[np.float64]
    Greys = npt.NDArray[np.float32]
    Bools = npt.NDArray[np.bool_]

# What the proposals, if they agree, and its grey level may add to the log-odds of a pixel.
VOTES, GREYS = 3.5, 3.0
BESIDE_DRAWN = 0.57  # share of its vote that a proposal has where an outline is drawn already
BINS = 24  # of a histogram of grey levels
ROUNDS = 4

CREST = 2  # pixels beside an outline in which the edge is looked for
TINY = 4  # boxes with a thinner side are filled
LEAST_AGREEMENT = 0.12  # of an object's box with the drawn one: a third of its sides
CENTRED = 3.0  # cost of lying beside the middle of the box, per its side
SCALES = (1.0, 0.75, 0.55)  # of the drawn box: boxes in which an object may fill
SLACK = 1  # pixels by which a box is thought larger: it is drawn too small as often as too large
WEAKEST = 25  # percentile of the gradient along an outline: loose boxes hold clear parts of others
SHAPED = 1.5  # power of the solidity and of the fit to the box
FILLED = 1.3  # how much clearer something smaller in a box must be than what fills it
CERTAIN = 4.0  # power of its worth by which something is likely to be the object
CUTS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)  # probabilities from which on pixels may belong to an object
# Share of the votes that each of two drawings of the networks has, if they expect this overlap or a
# better one; it counts less by the fourth power of a lower one, for nothing may be there to draw.
HEARD, SURELY = 0.33, 0.65
SHAPE = 4.0  # log-odds of a pixel in the middle of a box to belong to the object
SOFT = 0.4  # share of the half axes over which these odds fall
FITTING = 6.0  # power of the fit by which proposals vote
AROUND = 0.35  # of the longer side: what is looked at round a box to tell it from its surroundings
COARSE = 160  # largest side, in pixels, at which an object and its surroundings are compared
LEAST_OVERLAP = 0.5  # overlap from which something may be what was painted
NEAR = 0.85  # overlap below which an outline's edge must be the clearer, the further it is away
DISTANCE = 4.0  # how much clearer: power of the overlap
OVERLAPPING = 4.0  # power of the overlap by which proposals vote
BESIDE = 0.45  # of the longer side: what is looked at round what was painted
DRAWN = 6.0  # log-odds of a pixel far from the outline to be as it was painted
FEW = 16  # pixels below which a piece stays as it was painted
GROUND = 8  # pixels round what was painted that are its ground
THIN = 4.0  # greatest depth, in pixels, up to which a painted outline is as exact as pixels are
NEAR_OUTLINE = 0.25  # share of the greatest depth over which these odds rise
# Hands paint too large or too small all round. How far at most, as a share of the diameter and in
# pixels; by which share they often are; and how much steeper the edge there must be.
OFF, OFF_PIXELS, OFTEN, STEEPER = 0.12, 1.5, 0.08, 1.05
OFF_STEP = 0.5  # pixels
BACK = 0.5  # of that edge: how steep one back may be that runs all round beside it
ALL_ROUND = 0.65  # of the mean edge, which three quarters of such an outline must reach

EXAMPLE_SCORE = 0.99
# The odds that what was found is meant: those of its score, up to the one from which on it is an
# object for sure, times its likeness to an example, times what looking just like that one counts.
SURE, ALIKE = 0.9, 1.5
UNWANTED = 0.3  # share of its score that an object keeps which is more like a negative example
SAME = 0.4  # overlap from which a found object is the example itself
# How far apart two objects may be in each trait and still be alike (one standard deviation).
TOLERANCE = np.array([0.6, 0.45, 0.15, 0.35, 0.6], np.float64)

_POLARITIES = {"bright": 1, "dark": -1}


# -- which pixels belong to an object -------------------------------------------------------------


def _log_odds(
    image: Greys, window: Region, odds: Floats, votes: Sequence[tuple[Proposal, float]]
) -> Floats:
    """Return the log-odds of the pixels of a window to belong to an object, shape (h, w).

    What is known of a pixel is added up: where it lies, what the proposals say, and its grey level.
    Grey levels inside and outside are told apart by their histograms, in turns with the pixels
    (expectation maximisation).

    Parameters
    ----------
    image : ndarray, shape (H, W), dtype float32
        Grey values of an octave.
    window : Region
        Part of it.
    odds : ndarray, shape (h, w), dtype float64
        Log-odds of the window's pixels by where they lie.
    votes : sequence of (Proposal, float)
        Proposals of the octave, and what each counts; together 1 at most.
    """
    odds = odds.copy()
    for item, weight in votes:
        inside = Patch(item.mask, item.region).within(window)
        odds += VOTES * weight * np.where(inside, 1.0, -1.0)
    smooth = ndi.gaussian_filter(image[window.slices], 1.0, mode="nearest")
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


# -- boxes ----------------------------------------------------------------------------------------


def object_in(features: PlaneFeatures, box: Region, reporter: Reporter) -> Patch:
    """Return the object in a box, which reaches ``SLACK`` pixels beyond it at most.

    A box is drawn tight round the object, or loosely: what fills it or a smaller box in its middle,
    or a proposal. The likelier is what is whole in the box and near its middle, whose outline has
    the clearest edge where it is weakest, and what is most convex. They vote for their pixels.

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
    proposals = list(in_box(features, box, LEAST_AGREEMENT, reporter))
    filling, smaller = _contents(features, box, proposals)
    others = smaller + proposals
    octave = octave_for(box)
    worths = _boxed_worths(features.octave(octave), filling + others, box)
    worths *= np.repeat((FILLED, 1.0), (len(filling), len(others)))
    reach = box.grow(SLACK).intersect(features.region)
    window = covered_by(reach, octave)
    voted = _votes(filling + others, worths, window)
    likely = voted.copy()
    for drawing in _drawn_in(features, box, window, octave):
        share = HEARD * min(1.0, drawing.overlap / SURELY) ** 4
        likely += share * (drawing.likely(window, octave) - voted)
    mask = _most_overlapping(likely)
    patch = upsample_proposal(features, Proposal(mask, window, octave, 1, 0.0)).clip(reach)
    if not patch.area:
        return Patch(_radii(box, box) <= 1, box)
    return replace(patch, polarity=polarity_of(features, patch))


def _votes(items: Sequence[Proposal], worths: Floats, window: Region) -> Floats:
    """Return how likely pixels of a window belong to the object, by proposals of their worths."""
    shares = (worths / max(worths.max(), 1e-9)) ** CERTAIN
    shares /= max(shares.sum(), 1e-9)
    masks = np.stack([Patch(item.mask, item.region).within(window) for item in items])
    likely: Floats = np.tensordot(shares, masks.astype(np.float64), 1)
    return likely


def _drawn_in(
    features: PlaneFeatures, box: Region, window: Region, octave: int
) -> Iterator[Drawing]:
    """Yield what the networks draw in a box, and in the box of that: a loose one is seen from afar.

    Each counts by the overlap that it expects.
    """
    (first,) = draw_outlines(features, [Window.of_box(box)])
    yield first
    drawn = first.within(window, octave) > 0
    nearer = box
    if drawn.any():
        found = Region.around(largest_part(drawn)).globalise(window)
        nearer = Region(*(value * 2**octave for value in found.box)).intersect(features.region)
    yield from draw_outlines(features, [Window.of_box(nearer)])


def _most_overlapping(likely: Floats) -> Bools:
    """Return the mask whose expected overlap with the object is the greatest.

    Of a pixel it is known how likely it belongs to the object; the best mask holds the likelier.
    """
    best, most = likely > 0, -1.0
    for least in CUTS:
        held = likely > least
        overlap = likely[held].sum() / max(np.count_nonzero(held) + likely[~held].sum(), 1e-9)
        if overlap > most:
            best, most = held, float(overlap)
    return largest_part(best) if best.any() else best


def _boxed_worths(image: Greys, items: Sequence[Proposal], box: Region) -> Floats:
    """Return how likely each is what a box was drawn round, in grey levels per pixel."""
    patches = [Patch(item.mask, item.region).crop() for item in items]
    window = functools.reduce(Region.union, (patch.region for patch in patches)).grow(8)
    window = window.intersect(Region.whole((image.shape[0], image.shape[1])))
    gradient = ndi.gaussian_gradient_magnitude(image[window.slices], 1.0, mode="nearest")
    worths = np.empty(len(items))
    for index, (item, patch) in enumerate(zip(items, patches, strict=True)):
        edge = outline_values(gradient, patch.mask, patch.region.localise(window))
        covers = Region(*(value * 2**item.octave for value in patch.region.box))
        shaped = (solidity(patch.mask) * _fit(covers, box)) ** SHAPED
        worths[index] = np.percentile(edge, WEAKEST) * shaped
    return worths


def _fit(region: Region, box: Region) -> float:
    """Return how likely a box is drawn round what has this bounding box: whole and centred."""
    inside = region.intersect(box).area / region.area
    y = (region.y0 + region.y1 - box.y0 - box.y1) / (2 * box.height)
    x = (region.x0 + region.x1 - box.x0 - box.x1) / (2 * box.width)
    return inside * math.sqrt(agreement(region, box)) * math.exp(-CENTRED * math.hypot(y, x))


def _contents(
    features: PlaneFeatures, box: Region, proposals: Sequence[Proposal]
) -> tuple[list[Proposal], list[Proposal]]:
    """Return what most likely fills a box, and what fills smaller ones in its middle.

    Its place is about the ellipse that fills a box; what fills the drawn one is given by its pixels
    and by its outline, what fills smaller ones by the outline.
    """
    octave = octave_for(box)
    image = features.octave(octave)
    size = 2**octave
    own = covered_by(box, octave)
    window = own.grow(max(4, round(AROUND * max(own.shape))))
    window = window.intersect(Region.whole((image.shape[0], image.shape[1])))
    centre = np.array([box.y0 + box.y1, box.x0 + box.x1]) / (2 * size) - 0.5
    centre -= (window.y0, window.x0)
    axes = (np.array(box.shape) + 2 * SLACK) / (2 * size) * np.array(SCALES)[:, None]
    rows, columns = np.indices(window.shape)
    odds = []
    for scale, (tall, wide) in zip(SCALES, axes, strict=True):
        radii = np.hypot((rows - centre[0]) / tall, (columns - centre[1]) / wide)
        drawn = _shrink(box, scale)
        weights = [item.rating * _fit(item.covers, drawn) ** FITTING for item in proposals]
        total = sum(weights) or 1.0
        votes = [(item, weight / total) for item, weight in zip(proposals, weights, strict=True)]
        odds.append(_log_odds(image, window, SHAPE * np.tanh((1 - radii) / SOFT), votes))
    smooth = ndi.gaussian_filter(image[window.slices], 1.0, mode="nearest")
    masks = contours.likeliest(smooth, np.stack(odds), (centre[0], centre[1]), axes)
    likely = odds[0] > 0
    if likely.any():
        masks = np.concatenate([[largest_part(likely)], masks])
    found = [Proposal(mask, window, octave, 1, 0.0) for mask in masks]
    smaller = len(SCALES) - 1
    return found[:-smaller], found[-smaller:]


def _shrink(box: Region, scale: float) -> Region:
    """Return a box with the same middle, of at least a pixel."""
    y, x = (round(side * (1 - scale) / 2) for side in box.shape)
    return Region(box.y0 + y, box.x0 + x, box.y1 - y, box.x1 - x)


def _radii(box: Region, window: Region) -> Floats:
    """Return how far the pixels of a window lie from the middle of a box; 1 on its ellipse."""
    rows = (np.arange(window.y0, window.y1) - box.y0 + 0.5) / box.height * 2 - 1
    columns = (np.arange(window.x0, window.x1) - box.x0 + 0.5) / box.width * 2 - 1
    radii: Floats = np.hypot(rows[:, None], columns[None, :])
    return radii


# -- painted masks --------------------------------------------------------------------------------


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


def clearness(features: PlaneFeatures, patch: Patch) -> float:
    """Return how far an outline runs along an edge all round, 0 to 1, times its solidity.

    That is its mean gradient, as a share of the greatest gradients within ``CREST`` pixels.

    Parameters
    ----------
    features : PlaneFeatures
        The plane.
    patch : Patch
        An object of at least one pixel.
    """
    octave = octave_for(patch.region)
    image, seen = features.octave(octave), patch.coarser(octave)
    if not seen.mask.any():
        return 0.0
    seen = seen.crop()
    window = seen.region.grow(8).intersect(Region.whole((image.shape[0], image.shape[1])))
    gradient = ndi.gaussian_gradient_magnitude(image[window.slices], 1.0, mode="nearest")
    crest = ndi.maximum_filter(gradient, 2 * CREST + 1)
    own, best = (
        along_outline(one, seen.mask, seen.region.localise(window)) for one in (gradient, crest)
    )
    return own / best * solidity(seen.mask) if best > 0 else 0.0


def snap_to_edge(features: PlaneFeatures, painted: Patch, reporter: Reporter) -> Patch:
    """Return a painted object, its outline moved where the image clearly contradicts it.

    Its pieces may be strokes on one object, or parts of it that lie apart: where the one
    object that the image shows leaves a piece out, each is moved to its own edge. Holes that look
    like the ground stay.

    Parameters
    ----------
    features : PlaneFeatures
        The plane.
    painted : Patch
        At least one pixel.
    reporter : Reporter
        Stops the work.
    """
    holes = _holes_in(features, painted)
    filled = replace(painted, mask=painted.mask | holes)
    found = _snap(features, filled, reporter)
    pieces = _pieces(filled)
    if len(pieces) > 1 and not all(_holds_half(found, piece) for piece in pieces):
        mask = np.zeros(features.shape, bool)
        for piece in pieces:
            moved = _snap(features, piece, reporter) if piece.area >= FEW else piece
            mask[moved.region.slices] |= moved.mask
        found = Patch(mask, features.region, found.polarity).crop()
    mask = found.mask & ~replace(painted, mask=holes).within(found.region)
    return replace(found, mask=mask).crop() if mask.any() else painted


def _pieces(patch: Patch) -> list[Patch]:
    """Return the parts of a patch that do not touch each other, not even at a corner."""
    labels, _ = ndi.label(patch.mask, np.ones((3, 3)))
    return [
        Patch(
            labels[y, x] == number, Region(y.start, x.start, y.stop, x.stop).globalise(patch.region)
        )
        for number, (y, x) in enumerate(ndi.find_objects(labels), start=1)
    ]


def _holes_in(features: PlaneFeatures, painted: Patch) -> Bools:
    """Return the holes of a mask whose grey level is nearer to that of the ground than to its own.

    Other holes were left out by a quick brush.
    """
    labels, count = ndi.label(ndi.binary_fill_holes(painted.mask) & ~painted.mask)
    if not count:
        return np.zeros_like(painted.mask)
    frame = painted.region.grow(GROUND).intersect(features.region)
    grey = features.luminance[frame.slices]
    inside = painted.within(frame)
    ground = ndi.binary_dilation(inside, iterations=GROUND) & ~ndi.binary_fill_holes(inside)
    if not ground.any():
        return np.zeros_like(painted.mask)
    own, beside = np.median(grey[inside]), np.median(grey[ground])
    numbers = np.arange(1, count + 1)
    greys = ndi.median(features.luminance[painted.region.slices], labels, numbers)
    kept: Bools = np.isin(labels, numbers[np.abs(greys - beside) < np.abs(greys - own)])
    return kept


def _holds_half(found: Patch, piece: Patch) -> bool:
    """Return whether an object has at least half of a piece."""
    shared = int(np.count_nonzero(found.within(piece.region) & piece.mask))
    return 2 * shared >= piece.area


def _snap(features: PlaneFeatures, painted: Patch, reporter: Reporter) -> Patch:
    """Return one painted object with its outline moved.

    Among what the image proposes the clearest outline is taken if it is clearer than the painted
    one, and so much the clearer the less the two overlap. Otherwise only pixels near the outline
    change sides, which what was painted, the proposals and the grey levels together speak for. If
    a clearer edge than that runs all round at the same distance from what was painted, that is it.
    """
    reporter.check()
    painted = replace(painted, polarity=polarity_of(features, painted)).crop()
    octave = octave_for(painted.region)
    window = painted.region.grow(max(painted.region.shape) + 2**octave).intersect(features.region)
    gradient = ndi.gaussian_gradient_magnitude(features.luminance[window.slices], 2.0**octave)

    def strength(patch: Patch) -> float:
        return along_outline(gradient, patch.mask, patch.region.localise(window))

    own = max(strength(painted), 1e-3)
    best, best_rating = None, 0.0
    votes, total = [], 0.0
    for proposal in in_box(features, painted.region, LEAST_OVERLAP - 0.1, reporter):
        patch = upsample_proposal(features, proposal).clip(window)
        overlap = patch.overlap(painted)
        if overlap < LEAST_OVERLAP:
            continue
        found = strength(patch)
        weight = proposal.rating * overlap**OVERLAPPING
        votes.append((proposal, weight * min(1.0, max(0.0, found / own - 1))))
        total += weight
        if found < own * max(1.0, (NEAR / overlap) ** DISTANCE):
            continue
        if found * overlap**0.5 > best_rating:
            best, best_rating = patch, found * overlap**0.5
    if best is None:
        votes = [(proposal, BESIDE_DRAWN * weight / total) for proposal, weight in votes]
        best = _refine_pixels(features, painted, octave, votes)
    moved = move_outline(features, painted, octave)
    if moved is not None and clearness(features, moved) > clearness(features, best):
        return moved
    return best


def move_outline(features: PlaneFeatures, painted: Patch, octave: int) -> Patch | None:
    """Return an object grown or shrunk to an edge that runs all round it, if there is one."""
    image = features.octave(octave)
    seen = painted.coarser(octave)
    if not seen.mask.any():
        return None
    reach = max(OFF_PIXELS, OFF * 2 * math.sqrt(seen.area / math.pi))
    window = seen.region.grow(math.ceil(reach) + 3)
    window = window.intersect(Region.whole((image.shape[0], image.shape[1])))
    if min(window.shape) < 2:
        return None
    before = seen.within(window)
    depth = signed_depth(before)
    inwards = np.gradient(ndi.gaussian_filter(depth, 1.0))
    smooth = ndi.gaussian_filter(image[window.slices], 1.0, mode="nearest")
    down, across = np.gradient(smooth)
    steps = painted.polarity * (down * inwards[0] + across * inwards[1])
    steps /= np.hypot(*inwards) + 1e-6
    count = int(reach / OFF_STEP)
    levels = OFF_STEP * np.arange(-count, count + 1)
    levels = levels[levels <= 0.6 * (depth.max() + 0.5)]
    rings = [np.abs(depth - level) <= 0.75 for level in levels]
    steepness = np.array([steps[ring].mean() if ring.any() else 0.0 for ring in rings])
    edges = steepness * np.exp(-((levels / (OFTEN * 2 * math.sqrt(seen.area / math.pi))) ** 2) / 2)
    best = int(edges.argmax())
    if -steepness.min() > BACK * steepness[best]:
        return None  # a membrane: nothing tells to which side of it the object reaches
    if edges[best] < STEEPER * max(edges[count], 0.1) or not 1 < best < levels.size - 2:
        return None
    along = steps[rings[best]]
    if np.percentile(along, WEAKEST) < ALL_ROUND * along.mean():
        return None
    mask = depth > levels[best]
    if not mask.any():
        return None
    found = Proposal(largest_part(mask), window, octave, painted.polarity, 0.0)
    return upsample_proposal(features, found).crop()


def _refine_pixels(
    features: PlaneFeatures, painted: Patch, octave: int, votes: Sequence[tuple[Proposal, float]]
) -> Patch:
    """Return a painted object whose pixels near the outline changed sides where they likely do."""
    image = features.octave(octave)
    seen = painted.coarser(octave)
    window = seen.region.grow(max(6, round(BESIDE * max(seen.region.shape))))
    window = window.intersect(Region.whole((image.shape[0], image.shape[1])))
    before = seen.within(window)
    depth = signed_depth(before)
    deepest = depth.max() + 0.5
    if deepest < THIN:
        return painted
    odds = DRAWN * np.tanh(depth / (NEAR_OUTLINE * deepest))
    after = _log_odds(image, window, odds, votes) > 0
    if not after.any():
        return painted
    old, new = (
        upsample_proposal(features, Proposal(mask, window, octave, painted.polarity, 0.0))
        for mask in (before, largest_part(after))
    )
    mask = painted.within(new.region) ^ old.within(new.region) ^ new.mask
    return replace(new, mask=mask).crop() if mask.any() else painted


# -- examples -------------------------------------------------------------------------------------


def similar(
    features: PlaneFeatures, prompts: Sequence[ExemplarPrompt], reporter: Reporter
) -> tuple[Detection, ...]:
    """Return the objects that look like the positive examples and not like the negative ones.

    What is surely an object may look less like them than what hardly stands out.

    Parameters
    ----------
    features : PlaneFeatures
        The plane.
    prompts : sequence of ExemplarPrompt
        At least one positive.
    reporter : Reporter
        Stops the work.

    Returns
    -------
    tuple of Detection
        The surest first; the positive examples' own objects are among them.
    """
    examples = []
    for prompt in prompts:
        reporter.check()
        examples.append(object_in(features, prompt.region, reporter))
    traits = _traits(features, examples, reporter)
    positive = np.array([prompt.positive for prompt in prompts])
    polarities = np.array([patch.polarity for patch in examples])
    found = [
        Detection(patch, EXAMPLE_SCORE)
        for patch, wanted in zip(examples, positive.tolist(), strict=True)
        if wanted
    ]
    for polarity in (1, -1):
        here = polarities == polarity
        if not (here & positive).any():
            continue
        others = [
            detection
            for detection in detect(features, polarity, reporter)
            if not any(detection.patch.overlap(example) > SAME for example in examples)
        ]
        if not others:
            continue
        seen = _traits(features, [detection.patch for detection in others], reporter)
        alike = _likeness(seen, traits[here & positive])
        scores = np.minimum(SURE, [detection.score for detection in others])
        odds = ALIKE * alike * scores / (1 - scores)
        scores = odds / (1 + odds)
        scores[_likeness(seen, traits[here & ~positive]) >= alike] *= UNWANTED
        found += [
            Detection(detection.patch, score)
            for detection, score in zip(others, scores.tolist(), strict=True)
        ]
    return tuple(sorted(found, key=lambda item: -item.score))


def _traits(
    features: PlaneFeatures, patches: Sequence[Patch], reporter: Reporter
) -> npt.NDArray[np.float64]:
    """Return what objects look like, shape (N, 5): size, contrast, convexity, length, texture."""
    seen = measure(features.luminance, patches, reporter)
    contrast = np.abs(seen.mean - np.nan_to_num(seen.ground)) + 1
    return np.stack(
        [
            np.log(seen.area) / 2,
            np.log(contrast),
            seen.solidity,
            np.log(seen.elongation),
            np.log(1 + seen.deviation / contrast),
        ],
        1,
    )


def _likeness(
    traits: npt.NDArray[np.float64], examples: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return how much objects are like the example that is most like each, 0 to 1.

    Parameters
    ----------
    traits : ndarray, shape (N, 5), dtype float64
        Of the objects.
    examples : ndarray, shape (M, 5), dtype float64
        Of the examples; 0 is the answer where there is none.
    """
    apart = (traits[:, None] - examples) / TOLERANCE
    alike: npt.NDArray[np.float64] = np.exp(-0.5 * (apart**2).mean(2)).max(1, initial=0.0)
    return alike


# -- phrases --------------------------------------------------------------------------------------


def polarity_named(phrase: str) -> int:
    """Return +1 for bright objects and -1 for dark ones.

    Parameters
    ----------
    phrase : str
        As :func:`.clean_phrase` gives it; only its first
        word counts, the rest is a name.

    Raises
    ------
    PromptError
        If the phrase begins with another word.
    """
    words = phrase.split(maxsplit=1)
    first = words[0].lower() if words else ""
    if first not in _POLARITIES:
        raise PromptError(
            f"The built-in engine understands 'bright ...' and 'dark ...' only, so '{phrase}' "
            "needs SAM 3 weights.",
            "Choose an engine that uses them, and their folder as the model folder.",
        )
    return _POLARITIES[first]
