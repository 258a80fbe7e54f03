"""All objects of a plane that are brighter, or darker, than their surroundings.

The flattened plane is cut at several grey levels and resolutions; what looks most like objects
is kept, what touches is divided, every outline is fitted, and every object is scored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.engines.builtin import background
from napari_sam3_assistant.engines.builtin.embedding import PlaneFeatures
from napari_sam3_assistant.engines.builtin.measures import measured
from napari_sam3_assistant.engines.builtin.parallel import each
from napari_sam3_assistant.engines.builtin.partition import divided
from napari_sam3_assistant.engines.builtin.polish import polished
from napari_sam3_assistant.engines.builtin.proposals import rating
from napari_sam3_assistant.engines.builtin.strips import blurred, steepness
from napari_sam3_assistant.engines.builtin.tree import CHECK_EVERY, Plane, best_parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.builtin.patches import Patch
    from napari_sam3_assistant.engines.builtin.proposals import Proposal


if TYPE_CHECKING:
    Floats = npt.NDArray[np.float32]

LEVELS = 12
FLOOR = 2.5  # lowest grey level, in standard deviations of the background
SCALES = ((0, 1.0), (0, 2.0), (1, 1.5), (2, 1.5), (3, 1.5), (4, 1.5), (5, 1.5))
LEAST = 1.5  # grey levels: nothing in the plane stands out by more
# An object is as likely as not whose grey step is this many standard errors of its surroundings,
# if it looks like the usual one of the plane.
EVEN = 20.0
MOST_AREA = 1600  # pixels that count towards the standard error; neighbours are not independent
FINEST = 0.5  # grey levels: what rounding to whole ones adds to the roughness
SURER, CLEARER, SMALLER = 1.6, 0.9, 0.75  # powers of the odds
SAMPLE = 1_000_000  # pixels that stand for a plane where its grey levels are counted


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """An object that was found.

    Parameters
    ----------
    patch : Patch
        Its mask.
    score : float
        How sure it is, 0 to 1.
    """

    patch: Patch
    score: float


def detect(features: PlaneFeatures, polarity: int, reporter: Reporter) -> tuple[Detection, ...]:
    """Return all objects of one polarity, the surest first.

    Parameters
    ----------
    features : PlaneFeatures
        The plane; keeps the answer.
    polarity : int
        +1 for bright objects, -1 for dark ones.
    reporter : Reporter
        Stops the work.
    """
    if polarity not in features.detections:
        features.detections[polarity] = _detect(features, polarity, reporter)
    return features.detections[polarity]


def _detect(features: PlaneFeatures, polarity: int, reporter: Reporter) -> tuple[Detection, ...]:
    flat = background.flattened(features, polarity, reporter)
    ground = PlaneFeatures(flat)
    scales = []
    for octave, sigma in SCALES:
        reporter.check()
        if octave and min(ground.octave(octave).shape) < 24:
            break
        scales.append((octave, sigma))
    parts = each(
        lambda scale, stop: _parts(ground.octave(scale[0]), *scale, polarity, stop),
        scales,
        reporter,
    )
    owner = divided(features, [part for scale in parts for part in scale], reporter)
    found = polished(flat, owner, polarity, reporter)
    return _scored(features, flat, found, reporter)


def _parts(
    plane: Floats, octave: int, sigma: float, polarity: int, reporter: Reporter
) -> list[Proposal]:
    """Return the best parts of one resolution; none lies in another."""
    image = blurred(plane, sigma, reporter)
    sample = image.ravel()[:: max(1, image.size // SAMPLE)]
    top = float(np.percentile(sample, 99.9))
    if top < LEAST:
        return []
    # Where the ground varies more than what lies on it, the noise says nothing about levels.
    low = min(FLOOR * background.noise(image), 0.3 * top)
    gradient = steepness(plane, max(1.0, sigma), reporter) / np.float32(2**octave)
    levels = np.geomspace(low, top * 0.9, LEVELS)[::-1].tolist()
    return best_parts(Plane(image, gradient, octave, polarity), levels, reporter)


def _scored(
    features: PlaneFeatures, flat: Floats, found: Sequence[Patch], reporter: Reporter
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
    found : sequence of Patch
        The objects.
    reporter : Reporter
        Stops the work.
    """
    if not found:
        return ()
    seen = measured(flat, found, reporter)
    steps = np.maximum(0.05, np.nan_to_num(seen.mean - seen.ground))
    errors = (np.nan_to_num(seen.roughness) + FINEST) / np.sqrt(np.minimum(seen.area, MOST_AREA))
    sure = steps / errors
    gradient = steepness(features.luminance, 1.0, reporter)
    ratings = rating(_along_outlines(gradient, found, reporter), seen.solidity)
    weights = ratings**2 * np.sqrt(seen.area) * np.minimum(1.0, sure / 100) ** 2
    fainter = np.minimum(1.0, ratings / _weighted_median(ratings, weights))
    smaller = np.minimum(0.0, np.log(seen.area / _weighted_median(seen.area, weights)) / 2)
    odds = (sure / EVEN) ** SURER * fainter**CLEARER * np.exp(-SMALLER * smaller**2)
    scores = odds / (1 + odds)
    ranks = np.argsort(-scores, kind="stable")
    return tuple(Detection(found[rank], float(scores[rank])) for rank in ranks)


def _along_outlines(
    gradient: Floats, found: Sequence[Patch], reporter: Reporter
) -> npt.NDArray[np.float64]:
    """Return the mean gradient along the outline of each object, shape (N,)."""
    means = np.empty(len(found))
    for index, patch in enumerate(found):
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
