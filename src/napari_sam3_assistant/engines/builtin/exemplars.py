"""Objects that look like examples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.engines.builtin.boxes import object_in
from napari_sam3_assistant.engines.builtin.detect import Detection, detect
from napari_sam3_assistant.engines.builtin.measures import measured

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import ExemplarPrompt
    from napari_sam3_assistant.engines.builtin.embedding import PlaneFeatures
    from napari_sam3_assistant.engines.builtin.patches import Patch


EXAMPLE_SCORE = 0.99
UNWANTED = 0.3  # share of its score that an object keeps which is more like a negative example
SAME = 0.4  # overlap from which a found object is the example itself
# How far apart two objects may be in each trait and still be alike (one standard deviation).
TOLERANCE = np.array([0.6, 0.45, 0.15, 0.35, 0.6], np.float64)


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
        alike[_likeness(seen, traits[here & ~positive]) >= alike] *= UNWANTED
        found += [
            Detection(detection.patch, score * (0.5 + 0.5 * detection.score))
            for detection, score in zip(others, alike.tolist(), strict=True)
        ]
    return tuple(sorted(found, key=lambda item: -item.score))


def _traits(
    features: PlaneFeatures, patches: Sequence[Patch], reporter: Reporter
) -> npt.NDArray[np.float64]:
    """Return what objects look like, shape (N, 5): size, contrast, convexity, length, texture."""
    seen = measured(features.luminance, patches, reporter)
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
