"""All objects of a plane that are brighter, or darker, than their surroundings.

The flattened plane is cut at several grey levels and resolutions; what looks most like objects
is kept, what touches is divided, every outline is fitted, and every object is scored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.engines.builtin import background
from napari_sam3_assistant.engines.builtin.embedding import PlaneFeatures
from napari_sam3_assistant.engines.builtin.measures import measured
from napari_sam3_assistant.engines.builtin.parallel import each
from napari_sam3_assistant.engines.builtin.partition import divided
from napari_sam3_assistant.engines.builtin.polish import polished
from napari_sam3_assistant.engines.builtin.strips import blurred, steepness
from napari_sam3_assistant.engines.builtin.tree import Plane, best_parts

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.builtin.candidates import Candidate
    from napari_sam3_assistant.engines.builtin.patches import Patch

    Floats = npt.NDArray[np.float32]

LEVELS = 9
FLOOR = 2.5  # lowest grey level, in standard deviations of the background
SCALES = ((0, 1.0), (0, 2.0), (1, 1.5), (2, 1.5), (3, 1.5), (4, 1.5), (5, 1.5))
LEAST = 1.5  # grey levels: nothing in the plane stands out by more
FAINT = 0.2  # share of the usual grey step at which an object is doubtful
EDGE = 1.0  # blur of the plane's own edges, in pixels
FINE = 0.7  # blur of the gradient, in pixels of the octave
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
    return _scored(flat, found, background.noise(flat), reporter)


def _parts(
    plane: Floats, octave: int, sigma: float, polarity: int, reporter: Reporter
) -> list[Candidate]:
    """Return the best parts of one resolution; none lies in another."""
    image = blurred(plane, sigma, reporter)
    sample = image.ravel()[:: max(1, image.size // SAMPLE)]
    top = float(np.percentile(sample, 99.9))
    if top < LEAST:
        return []
    # Where the ground varies more than what lies on it, the noise says nothing about levels.
    low = min(FLOOR * background.noise(image), 0.3 * top)
    # Times its width, the gradient of a smoothed step is the height of the step.
    gradient = steepness(image, FINE, reporter)
    gradient *= np.hypot(np.hypot(sigma, FINE), EDGE / 2**octave)
    levels = np.geomspace(low, top * 0.9, LEVELS)[::-1].tolist()
    return best_parts(Plane(image, gradient, octave, polarity), levels, reporter)


def _scored(
    flat: Floats, found: Sequence[Patch], spread: float, reporter: Reporter
) -> tuple[Detection, ...]:
    """Return objects with their scores, the surest first.

    Parameters
    ----------
    flat : ndarray, shape (H, W), dtype float32
        Grey values above the background.
    found : sequence of Patch
        The objects.
    spread : float
        Standard deviation of the background.
    reporter : Reporter
        Stops the work.
    """
    if not found:
        return ()
    seen = measured(flat, found, reporter)
    steps = np.nan_to_num(seen.mean - seen.ground)
    # Uneven ground: what counts is how rough it is round the object.
    rough = np.minimum(spread, 1.5 * np.nan_to_num(seen.roughness) + 0.3)
    # Both the noise and a grey step that is barely seen count as doubt.
    noise = rough / np.sqrt(np.clip(seen.area, 1, 100))
    clear = np.maximum(0.0, steps) / (6 * noise + 4)
    scores = (1 - np.exp(-(clear**2) / 1.3)) * seen.solidity
    # What stands out by far less than most of what was found is less sure.
    order = np.argsort(steps, kind="stable")
    areas = np.cumsum(seen.area[order])
    usual = max(1e-3, float(steps[order][np.searchsorted(areas, areas[-1] / 2)]))
    scores *= 1 - np.exp(-((np.maximum(steps, 0) / (FAINT * usual)) ** 2))
    ranks = np.argsort(-scores, kind="stable")
    return tuple(Detection(found[rank], float(scores[rank])) for rank in ranks)
