"""All objects of a plane that are brighter, or darker, than their surroundings.

The flattened plane is cut at several grey levels and resolutions; what looks most like objects
is kept, what touches is divided, every outline is fitted, and every object is scored. A network
then draws them (:mod:`redrawing`).
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.builtin import contours
from napari_sam3_assistant.engines.builtin.component_tree import (
    CHECK_EVERY,
    SMALLEST_PART,
    PartTree,
    Plane,
    UsualSize,
    tree_of_parts,
)
from napari_sam3_assistant.engines.builtin.features import (
    PlaneFeatures,
    each,
    gaussian_blur,
    gradient_magnitude,
    grain,
    noise,
    subtract_background,
    upsample,
)
from napari_sam3_assistant.engines.builtin.object_mask import (
    BLOB,
    Detection,
    Patch,
    measure,
    rating,
    split,
)
from napari_sam3_assistant.engines.builtin.proposals import upsample_proposal
from napari_sam3_assistant.engines.builtin.redrawing import add_missed, divide, redraw

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.builtin.object_mask import Proposal

    Floats = npt.NDArray[np.float32]

LEVELS = 12
FLOOR = 2.5  # lowest grey level, in standard deviations of the background
# Octaves, how smooth each is looked at, and whether what stands out from its surroundings is looked
# for as well: a nucleus in a cell, or one rod of a crowd.
SCALES = (
    (0, 1.0, True),
    (0, 2.0, False),
    *((octave, 1.5, True) for octave in range(1, 6)),
)
# The octaves by which, and the smoothing there, with which surroundings are seen more coarsely.
COARSER, AROUND = 3, 2.0
# Of what stands out from its surroundings: grey levels, the lowest and the highest as shares of the
# brightest, and what a rating counts beside that of what stands out from the background.
LOCAL_LEVELS, LOWEST, HIGHEST, LOCAL_RATING = 9, 0.05, 0.8, 0.85
LEAST = 1.5  # grey levels: nothing in the plane stands out by more
# An object is as likely as not whose grey step is this many standard errors of its surroundings,
# if it looks like the usual one of the plane.
EVEN = 20.0
MOST_AREA = 1600  # pixels that count towards the standard error; neighbours are not independent
FINEST = 0.5  # grey levels: what rounding to whole ones adds to the roughness
SURER, CLEARER, SMALLER = 1.6, 0.9, 0.75  # powers of the odds
SPEAKING = 0.9  # of what all parts are worth: what those are worth that tell the usual size
SAMPLE = 1_000_000  # pixels that stand for a plane where its grey levels are counted

FINER = 2  # octaves
SHARP = 1024  # side in pixels of the finer octave; what is larger is sharp enough
SIGMA = 1.2  # in pixels of the finer octave

TAKEN = 0.3  # share of a part that better ones may have taken already
SURE, BESIDE = 0.8, 0.05  # score and most overlap of bright objects among dark ones, or dark ones

RANGES = ((0.75, 1.25), (0.85, 1.15))  # radii looked at in each round, as shares of the last
# Radius up to which a sampling does, its directions and its radius steps.
SAMPLINGS = ((10.0, 48, 40), (np.inf, contours.DIRECTIONS, contours.STEPS))
SAMPLES = 1 << 18  # of a batch
SAME = 0.65  # a fitted contour must still be the object that it started from


# -- detection ------------------------------------------------------------------------------------


def detect(
    features: PlaneFeatures, polarity: int, reporter: Reporter, diameter: float | None = None
) -> tuple[Detection, ...]:
    """Return all objects of one polarity, the surest first.

    Parameters
    ----------
    features : PlaneFeatures
        The plane; keeps the answer.
    polarity : int
        +1 for bright objects, -1 for dark ones.
    reporter : Reporter
        Stops the work.
    diameter : float, optional
        Of the usual object, in pixels, if it is known.
    """
    asked = polarity, diameter
    if asked not in features.detections:
        features.detections[asked] = _detect(features, polarity, diameter, reporter)
    return features.detections[asked]


def detect_all(
    features: PlaneFeatures,
    threshold: float,
    reporter: Reporter,
    polarity: int = 0,
    diameter: float | None = None,
) -> tuple[tuple[Detection, ...], float]:
    """Return all objects of a plane, the surest first, and by how much bright ones weigh more.

    The bright or the dark ones, for what lies between bright objects looks like dark ones. Of the
    others those are added that are sure and lie beside them. Objects weigh their scores times the
    roots of their areas.

    Parameters
    ----------
    features : PlaneFeatures
        The plane.
    threshold : float
        Objects with a lower score are left out.
    reporter : Reporter
        Stops the work.
    polarity : int
        Which are looked for, 1 for bright and -1 for dark ones; 0 for those that weigh more.
    diameter : float, optional
        Of the usual object, in pixels, if it is known.
    """
    sides = [
        [item for item in detect(features, sign, reporter, diameter) if item.score >= threshold]
        for sign in (1, -1)
    ]
    bright, dark = (sum(item.score * item.patch.area**0.5 for item in found) for found in sides)
    taken = np.zeros(features.shape, bool)
    more, fewer = sides if (polarity or bright - dark) >= 0 else sides[::-1]
    kept = list(more)
    for item in more:
        taken[item.patch.region.slices] |= item.patch.mask
    for item in fewer:
        under = taken[item.patch.region.slices] & item.patch.mask
        if item.score >= SURE and np.count_nonzero(under) <= BESIDE * item.patch.area:
            kept.append(item)
    return tuple(sorted(kept, key=lambda item: -item.score)), bright - dark


def _detect(
    features: PlaneFeatures, polarity: int, diameter: float | None, reporter: Reporter
) -> tuple[Detection, ...]:
    flat = subtract_background(features, polarity, reporter)
    ground = PlaneFeatures(flat)
    scales = []
    for scale in SCALES:
        reporter.check()
        if scale[0] and min(ground.octave(scale[0]).shape) < 24:
            break
        scales.append(scale)
        ground.octave(scale[0] + COARSER)  # no two threads shall make it
    at_scales = each(lambda scale, stop: _trees(ground, *scale, polarity, stop), scales, reporter)
    trees = [tree for at_scale in at_scales for tree in at_scale]
    parts = _best(trees, UsualSize(), reporter)
    usual = _usual_size(features, flat, polarity, parts, reporter)
    owner = assign_pixels(features, _best(trees, usual, reporter), reporter)
    found = refine_contours(flat, owner, polarity, reporter)
    scored = _score(features, flat, found, reporter)
    drawn = redraw(features, scored, reporter)
    all_ = add_missed(features, ground, drawn, polarity, diameter, reporter)
    return tuple(divide(all_, features.shape))


def _trees(
    ground: PlaneFeatures, octave: int, sigma: float, local: bool, polarity: int, reporter: Reporter
) -> list[tuple[PartTree, float]]:
    """Return the parts of one resolution, and what their ratings count.

    Parameters
    ----------
    ground : PlaneFeatures
        Grey values above the background.
    octave : int
        The resolution.
    sigma : float
        How smooth, in pixels of the octave.
    local : bool
        Whether what stands out from its surroundings is returned as well as what stands out from
        the background.
    polarity : int
        +1 if objects are bright in the plane, -1 if they are dark.
    reporter : Reporter
        Stops the work.
    """
    plane = ground.octave(octave)
    image = gaussian_blur(plane, sigma, reporter)
    gradient = gradient_magnitude(plane, max(1.0, sigma), reporter) / np.float32(2**octave)
    top = _top(image)
    # Where the ground varies more than what lies on it, the noise says nothing about levels.
    low = min(FLOOR * noise(image), 0.3 * top)
    found = []
    if top >= LEAST:
        levels = np.geomspace(low, top * 0.9, LEVELS)[::-1].tolist()
        tree = tree_of_parts(Plane(image, gradient, octave, polarity), levels, reporter)
        found.append((tree, 1.0))
    if not local:
        return found
    coarse = ndi.gaussian_filter(ground.octave(octave + COARSER), AROUND, mode="nearest")
    # The ground beside an object stands out from it, but not from the background.
    image = image - np.maximum(upsample(coarse, image.shape, 2**COARSER), 0)
    top = _top(image)
    if top >= LEAST:
        low = min(max(LOWEST * top, FLOOR * grain(plane, sigma)), 0.3 * top)
        levels = np.geomspace(low, HIGHEST * top, LOCAL_LEVELS)[::-1].tolist()
        tree = tree_of_parts(Plane(image, gradient, octave, polarity), levels, reporter)
        found.append((tree, LOCAL_RATING))
    return found


def _best(
    trees: Sequence[tuple[PartTree, float]], usual: UsualSize, reporter: Reporter
) -> list[Proposal]:
    """Return the best parts of all trees; none of a tree lies in another."""
    return [
        replace(part, rating=counts * part.rating)
        for tree, counts in trees
        for part in tree.best(usual, reporter)
    ]


def _top(image: Floats) -> float:
    """Return about the highest grey level of an image."""
    return float(np.percentile(image.ravel()[:: max(1, image.size // SAMPLE)], 99.9))


def _score(
    features: PlaneFeatures, flat: Floats, patches: Sequence[Patch], reporter: Reporter
) -> tuple[Detection, ...]:
    """Return objects with their scores, the surest first.

    The odds that something is an object are those of its grey step against the roughness of what
    is round it, less what makes it unlike the usual object of the plane: a fainter outline, a
    smaller size.

    Parameters
    ----------
    features : PlaneFeatures
        The plane.
    flat : ndarray, shape (H, W), dtype float32
        Grey values above the background.
    patches : sequence of Patch
        The objects.
    reporter : Reporter
        Stops the work.
    """
    if not patches:
        return ()
    looks = _looks(features, flat, patches, reporter)
    fainter = np.minimum(1.0, looks.ratings / _weighted_median(looks.ratings, looks.weights))
    usual = _weighted_median(looks.areas, looks.weights)
    smaller = np.minimum(0.0, np.log(looks.areas / usual) / 2)
    odds = (looks.sure / EVEN) ** SURER * fainter**CLEARER * np.exp(-SMALLER * smaller**2)
    scores = odds / (1 + odds)
    ranks = np.argsort(-scores, kind="stable")
    return tuple(Detection(patches[rank], float(scores[rank])) for rank in ranks)


def _usual_size(
    features: PlaneFeatures,
    flat: Floats,
    polarity: int,
    parts: Sequence[Proposal],
    reporter: Reporter,
) -> UsualSize:
    """Return how large the objects of a plane usually are, told by the best parts.

    Parameters
    ----------
    features : PlaneFeatures
        The plane.
    flat : ndarray, shape (H, W), dtype float32
        Grey values above the background.
    polarity : int
        +1 if objects are bright in the plane, -1 if they are dark.
    parts : sequence of Proposal
        What may be objects.
    reporter : Reporter
        Stops the work.
    """
    ranked = sorted(parts, key=lambda part: -part.rating)
    worths = np.cumsum([part.rating**2 * math.sqrt(part.area) for part in ranked])
    best = ranked[: 1 + int(np.searchsorted(worths, SPEAKING * worths[-1]))] if ranked else []
    patches = list(_rough(assign_pixels(features, best, reporter), polarity).values())
    if not patches:
        return UsualSize()
    looks = _looks(features, flat, patches, reporter)
    # As many objects of the same weight would tell as much.
    count = looks.weights.sum() ** 2 / (looks.weights**2).sum()
    return UsualSize(_weighted_median(looks.areas, looks.weights), 1 - 1 / count)


@dataclass(frozen=True, slots=True, eq=False)
class _Looks:
    """How much N objects look like objects, each field of shape (N,) and dtype float64.

    Parameters
    ----------
    areas : ndarray
        Pixels.
    sure : ndarray
        Their grey step, in standard errors of what is round them.
    ratings : ndarray
        See :func:`.object_mask.rating`.
    weights : ndarray
        What each counts where the usual one of the plane is told.
    """

    areas: npt.NDArray[np.float64]
    sure: npt.NDArray[np.float64]
    ratings: npt.NDArray[np.float64]
    weights: npt.NDArray[np.float64]


def _looks(
    features: PlaneFeatures, flat: Floats, patches: Sequence[Patch], reporter: Reporter
) -> _Looks:
    """Return how much objects of a plane look like objects; see :func:`_score`."""
    seen = measure(flat, patches, reporter)
    steps = np.maximum(0.05, np.nan_to_num(seen.mean - seen.ground))
    errors = (np.nan_to_num(seen.roughness) + FINEST) / np.sqrt(np.minimum(seen.area, MOST_AREA))
    sure = steps / errors
    gradient = gradient_magnitude(features.luminance, 1.0, reporter)
    ratings = rating(_along_outlines(gradient, patches, reporter), seen.solidity)
    weights = ratings**2 * np.sqrt(seen.area) * np.minimum(1.0, sure / 100) ** 2
    return _Looks(seen.area, sure, ratings, weights)


def _along_outlines(
    gradient: Floats, patches: Sequence[Patch], reporter: Reporter
) -> npt.NDArray[np.float64]:
    """Return the mean gradient along the outline of each object, shape (N,)."""
    means = np.empty(len(patches))
    for index, patch in enumerate(patches):
        if index % CHECK_EVERY == 0:
            reporter.check()
        rim = patch.mask & ~ndi.binary_erosion(patch.mask)
        means[index] = gradient[patch.region.slices][rim].mean()
    return means


def _weighted_median(values: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> float:
    """Return the value above which half of the weight lies."""
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(total, total[-1] / 2)])


# -- parts at a finer resolution ------------------------------------------------------------------


def upsample_candidate(features: PlaneFeatures, candidate: Proposal) -> tuple[Proposal, float]:
    """Return a candidate at a finer octave, and how much of it was really there.

    Its outline follows the grey level half way between inside and outside. A group of
    separate things that ran together at the coarse resolution falls apart here.

    Parameters
    ----------
    features : PlaneFeatures
        The plane.
    candidate : Proposal
        A part of the image at some octave.

    Returns
    -------
    candidate : Proposal
        The same thing, up to ``FINER`` octaves finer.
    coverage : float
        The share of the coarse mask that is still inside, 0 to 1.
    """
    if max(candidate.region.shape) > SHARP:
        return candidate, 1.0
    octave = max(0, candidate.octave - FINER)
    while max(candidate.region.shape) << (candidate.octave - octave) > SHARP:
        octave += 1
    size = 2 ** (candidate.octave - octave)
    image = features.octave(octave)
    region = candidate.region.grow(3)
    full = Region(*(value * size for value in region.box))
    kept = full.intersect(Region.whole((image.shape[0], image.shape[1])))
    coarse = np.repeat(np.repeat(np.pad(candidate.mask, 3), size, 0), size, 1)
    coarse = coarse[kept.localise(full).slices]
    values = ndi.gaussian_filter(image[kept.slices], SIGMA, mode="nearest") * candidate.polarity
    depth = ndi.distance_transform_edt(coarse)
    distance = ndi.distance_transform_edt(~coarse)
    rim = (distance > 1) & (distance <= 2 * size + 1)
    if not rim.any():
        return candidate, 1.0
    middle = (float(np.median(values[rim])) + float(np.percentile(values[coarse], 75))) / 2
    found = ndi.binary_fill_holes((values >= middle) & (distance <= size + 1))
    coverage = np.count_nonzero(found & coarse) / np.count_nonzero(coarse)
    mask = ndi.binary_fill_holes(found | (depth > size + 1))
    sharp = replace(candidate, mask=mask, region=kept, octave=octave, convex=0.0)
    return sharp, float(coverage)


# -- the plane divided ----------------------------------------------------------------------------


def assign_pixels(
    features: PlaneFeatures, proposals: Sequence[Proposal], reporter: Reporter
) -> npt.NDArray[np.int32]:
    """Return the plane divided among objects: the best first, what touches apart.

    Parameters
    ----------
    features : PlaneFeatures
        The plane.
    proposals : sequence of Candidate
        Parts of it, at any octave.
    reporter : Reporter
        Stops the work.

    Returns
    -------
    ndarray, shape (H, W), dtype int32
        Objects from 1; 0 is none.
    """
    # A coarse part is looked at closely only when its turn comes: that can but lower its rating.
    waiting = [
        (-candidate.rating, index, candidate.octave > 0, candidate)
        for index, candidate in enumerate(proposals)
    ]
    heapq.heapify(waiting)
    owner = np.zeros(features.shape, np.int32)
    count = 0
    while waiting:
        reporter.check()
        _, index, coarse, candidate = heapq.heappop(waiting)
        if _taken(owner, candidate) > TAKEN:
            continue
        if coarse:
            sharp, coverage = upsample_candidate(features, candidate)
            rating = candidate.rating * coverage**2
            heapq.heappush(waiting, (-rating, index, False, sharp))
            continue
        parts = split(candidate.mask, candidate.convex)
        for name in range(1, int(parts.max()) + 1):
            part = upsample_proposal(features, replace(candidate, mask=parts == name))
            count += 1
            target = owner[part.region.slices]
            target[part.mask & (target == 0)] = count
    return owner


def _taken(owner: npt.NDArray[np.int32], candidate: Proposal) -> float:
    """Return the share of a candidate that belongs to others, looked at once a pixel of it."""
    size = 2**candidate.octave
    covers = candidate.covers
    # At the lower and right edges the middle of a coarse pixel may lie outside the plane.
    rows = np.minimum(np.arange(covers.y0 + size // 2, covers.y1, size), owner.shape[0] - 1)
    columns = np.minimum(np.arange(covers.x0 + size // 2, covers.x1, size), owner.shape[1] - 1)
    seen = owner[rows[:, None], columns] > 0
    return float(np.count_nonzero(seen & candidate.mask) / np.count_nonzero(candidate.mask))


# -- outlines -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Blob:
    """An object and its contour."""

    name: int
    rough: Patch
    centre: Floats
    radii: Floats


def refine_contours(
    flat: Floats, owner: npt.NDArray[np.int32], polarity: int, reporter: Reporter
) -> list[Patch]:
    """Return the objects of a divided plane with their outlines on the edges near them.

    Parameters
    ----------
    flat : ndarray, shape (H, W), dtype float32
        Grey values above the background; objects are bright.
    owner : ndarray, shape (H, W), dtype int32
        To which object each pixel belongs; 0 for none.
    polarity : int
        +1 if the objects are bright in the plane, -1 if they are dark.
    reporter : Reporter
        Stops the work.
    """
    rough = _rough(owner, polarity)
    solidity = measure(flat, list(rough.values()), reporter).solidity
    found: list[Patch] = []
    batches: list[list[_Blob]] = [[] for _ in SAMPLINGS]
    for (name, patch), convex in zip(rough.items(), solidity.tolist(), strict=True):
        if patch.area < SMALLEST_PART or convex < BLOB:
            found.append(patch)
            continue
        radius = np.sqrt(patch.area / np.pi)
        kind = next(kind for kind, (largest, _, _) in enumerate(SAMPLINGS) if radius <= largest)
        directions = SAMPLINGS[kind][1]
        centre, radii = contours.from_mask(patch.mask, patch.region.y0, patch.region.x0, directions)
        batches[kind].append(_Blob(name, patch, centre, radii))
    pieces: list[tuple[list[_Blob], int]] = []
    for (_, directions, steps), blobs in zip(SAMPLINGS, batches, strict=True):
        size = max(1, SAMPLES // (directions * steps))
        for first in range(0, len(blobs), size):
            pieces.append((blobs[first : first + size], steps))
    for patches in each(
        lambda piece, stop: _fit_blobs(flat, owner, *piece, stop), pieces, reporter
    ):
        found += patches
    return found


def _rough(owner: npt.NDArray[np.int32], polarity: int) -> dict[int, Patch]:
    """Return the objects of a divided plane by name."""
    rough = {}
    for name, place in enumerate(ndi.find_objects(owner), start=1):
        if place is not None:
            rows, columns = place
            region = Region(rows.start, columns.start, rows.stop, columns.stop)
            rough[name] = Patch(owner[place] == name, region, polarity)
    return rough


def _fit_blobs(
    flat: Floats,
    owner: npt.NDArray[np.int32],
    blobs: Sequence[_Blob],
    steps: int,
    reporter: Reporter,
) -> list[Patch]:
    """Return blobs with their contours fitted; those that run away stay as they were."""
    current = contours.Contours(
        np.stack([blob.centre for blob in blobs]), np.stack([blob.radii for blob in blobs])
    )
    names = np.array([blob.name for blob in blobs], np.int32)
    signs = np.ones(len(blobs), np.float32)
    for range_ in RANGES:
        reporter.check()
        current = contours.fit(
            flat, current, signs, owner=owner, names=names, range_=range_, steps=steps
        ).recenter()
    found = []
    for index, blob in enumerate(blobs):
        mask, y0, x0 = current.mask(index, (flat.shape[0], flat.shape[1]))
        region = Region(y0, x0, y0 + mask.shape[0], x0 + mask.shape[1])
        patch = Patch(mask, region, blob.rough.polarity)
        found.append(patch if patch.overlap(blob.rough) >= SAME else blob.rough)
    return found
