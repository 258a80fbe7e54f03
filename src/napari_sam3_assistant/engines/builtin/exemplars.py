"""Objects that look like examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.engines.builtin.boxes import object_in
from napari_sam3_assistant.engines.builtin.detect import Detection, detect
from napari_sam3_assistant.engines.builtin.shapes import solidity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import ExemplarPrompt
    from napari_sam3_assistant.engines.builtin.embedding import PlaneFeatures
    from napari_sam3_assistant.engines.builtin.patches import Patch

EXAMPLE_SCORE = 0.99
SAME = 0.4  # overlap from which a found object is the example itself
# How far apart two objects may be in each trait and still be alike (one standard deviation).
TOLERANCE = np.array([0.6, 0.45, 0.15, 0.35, 0.6], np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class _Example:
    """An example and its traits."""

    patch: Patch
    traits: np.ndarray[tuple[int], np.dtype[np.float64]]
    positive: bool


def similar(
    features: PlaneFeatures, prompts: Sequence[ExemplarPrompt], reporter: Reporter
) -> tuple[Detection, ...]:
    """Return the objects that look like the positive examples and not like the negative ones.

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
        patch = object_in(features, prompt.region)
        examples.append(_Example(patch, _traits(features, patch), prompt.positive))
    wanted = [example for example in examples if example.positive]
    unwanted = [example for example in examples if not example.positive]
    found: list[Detection] = []
    for polarity in sorted({example.patch.polarity for example in wanted}, reverse=True):
        alike = [example for example in wanted if example.patch.polarity == polarity]
        others = [example for example in unwanted if example.patch.polarity == polarity]
        for detection in detect(features, polarity, reporter):
            reporter.check()
            if any(detection.patch.overlap(example.patch) > SAME for example in examples):
                continue
            traits = _traits(features, detection.patch)
            score = max(_likeness(traits, example.traits) for example in alike)
            against = max((_likeness(traits, other.traits) for other in others), default=0.0)
            if against >= score:
                score *= 0.3
            found.append(Detection(detection.patch, score * (0.5 + 0.5 * detection.score)))
    found += [Detection(example.patch, EXAMPLE_SCORE) for example in wanted]
    return tuple(sorted(found, key=lambda item: -item.score))


def _traits(features: PlaneFeatures, patch: Patch) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return what an object looks like: size, contrast, convexity, elongation, texture."""
    frame = patch.region.grow(4).intersect(features.region)
    inside = patch.within(frame)
    values = features.luminance[frame.slices]
    near = ndi.binary_dilation(inside)
    outer = ndi.binary_dilation(near, iterations=3) & ~near
    ground = float(np.median(values[outer])) if outer.any() else 0.0
    own = values[inside]
    contrast = abs(float(own.mean()) - ground) + 1.0
    rows, columns = np.nonzero(inside)
    spread = np.cov(np.stack([rows, columns])) if rows.size > 2 else np.eye(2)
    small, large = np.linalg.eigvalsh(spread + np.eye(2) / 12)
    return np.array(
        [
            np.log(patch.area) / 2,
            np.log(contrast),
            solidity(inside),
            np.log(large / small) / 2,
            np.log(1 + float(own.std()) / contrast),
        ]
    )


def _likeness(
    one: np.ndarray[tuple[int], np.dtype[np.float64]],
    other: np.ndarray[tuple[int], np.dtype[np.float64]],
) -> float:
    """Return how alike two objects' traits are, 0 to 1."""
    return float(np.exp(-0.5 * np.mean(((one - other) / TOLERANCE) ** 2)))
