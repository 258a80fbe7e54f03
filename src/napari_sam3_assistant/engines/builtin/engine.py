"""The built-in engine: which method answers which prompts."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.phrases import clean_phrase
from napari_sam3_assistant.core.prompts import PromptKind
from napari_sam3_assistant.core.results import ObjectRecord
from napari_sam3_assistant.engines.base import Prediction, package_version
from napari_sam3_assistant.engines.builtin import outline_net
from napari_sam3_assistant.engines.builtin.clicks import (
    Click,
    candidates_at,
    correct_by_clicks,
    object_at,
)
from napari_sam3_assistant.engines.builtin.detection import detect, detect_all
from napari_sam3_assistant.engines.builtin.features import PlaneFeatures
from napari_sam3_assistant.engines.builtin.object_mask import Patch
from napari_sam3_assistant.engines.builtin.prompted import (
    clearness,
    object_in,
    polarity_named,
    similar,
    snap_to_edge,
)
from napari_sam3_assistant.engines.builtin.propagation import BuiltinTrack
from napari_sam3_assistant.errors import PromptError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy as np
    import numpy.typing as npt

    from napari_sam3_assistant.core.display import FrameSource
    from napari_sam3_assistant.core.options import PredictOptions
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import PointPrompt, PromptSet
    from napari_sam3_assistant.engines.base import EngineSpec
    from napari_sam3_assistant.engines.builtin.object_mask import Detection

# Of the clicks on real images whose outline is less clear, seven of ten miss their object.
CLEAR = 0.6
_UNCLEAR = (
    "The outline is uncertain here: add a click, draw a box, or use an engine with SAM 3 weights."
)
_NAMES = {
    PromptKind.POINTS: "points",
    PromptKind.BOXES: "boxes",
    PromptKind.MASK: "painted masks",
    PromptKind.EXEMPLARS: "example boxes",
    PromptKind.TEXT: "text",
    PromptKind.EVERYTHING: "everything",
}


class BuiltinEngine:
    """Segments single planes by image analysis and a small network; see the modules beside it.

    Parameters
    ----------
    spec : EngineSpec
        Its card.
    """

    device = "cpu"
    weights = ""

    def __init__(self, spec: EngineSpec) -> None:
        self.spec = spec

    @property
    def version(self) -> str:
        """Version of scikit-image, and of the networks that draw outlines and what they draw."""
        return f"{package_version('scikit-image')} outlines {outline_net.VERSION}"

    def load(self, reporter: Reporter) -> None:
        """Do nothing: there is nothing to load."""
        reporter.check()

    def embed(self, image: npt.NDArray[np.uint8], reporter: Reporter) -> PlaneFeatures:
        """Return the luminance of an image; what else prompts need is computed when needed.

        Parameters
        ----------
        image : ndarray, shape (H, W, 3), dtype uint8
            RGB image; not modified.
        reporter : Reporter
            Stops the work.
        """
        reporter.check()
        return PlaneFeatures.from_rgb(image, reporter)

    def predict(
        self,
        embedding: PlaneFeatures,
        prompts: PromptSet,
        options: PredictOptions,
        reporter: Reporter,
    ) -> Prediction:
        """Segment an embedded image; see :class:`~napari_sam3_assistant.engines.base.ImageEngine`.

        Clicks beside boxes or painted masks correct the first box's or mask's object; without
        them they are one object of their own.

        Parameters
        ----------
        embedding : PlaneFeatures
            The answer of :meth:`embed`.
        prompts : PromptSet
            Prompts in the pixels of the embedded image.
        options : PredictOptions
            The detection threshold for what is found by text or examples.
        reporter : Reporter
            Stops the work.

        Raises
        ------
        PromptError
            If the prompts can't be used, or not together.
        JobCancelled
            If the user stopped the work.
        """
        reporter.check()
        prompts.check(embedding.shape)
        _check_together(prompts)
        if prompts.everything is not None:
            diameter, polarity = options.diameter_in_pixels(), prompts.everything.polarity
            found, balance = detect_all(embedding, options.threshold, reporter, polarity, diameter)
            answer = _found(found, options, "", options.explain_diameter())
            return replace(answer, polarity=balance)
        if PromptKind.TEXT in prompts.kinds:
            phrase = clean_phrase(prompts.text)
            polarity, diameter = polarity_named(phrase), options.diameter_in_pixels(phrase)
            found = detect(embedding, polarity, reporter, diameter)
            return _found(found, options, phrase, options.explain_diameter(phrase))
        if prompts.exemplars:
            if not any(prompt.positive for prompt in prompts.exemplars):
                raise PromptError(
                    "All examples are negative.", "Draw a box round one thing to find as well."
                )
            return _found(similar(embedding, prompts.exemplars, reporter), options, "")
        patches = _named(embedding, prompts, reporter)
        if len(prompts.points) > 1 or prompts.kinds != {PromptKind.POINTS}:
            return Prediction(_records(patches), options.threshold)
        # One click may mean a part, the object, or a group.
        (click,) = _clicks(prompts.points, embedding.shape)
        unclear = clearness(embedding, patches[0]) < CLEAR
        return Prediction(
            _records(patches),
            options.threshold,
            notes=(_UNCLEAR,) if unclear else (),
            candidates=_records(candidates_at(embedding, click.pixel, reporter)),
        )

    def track(
        self, frames: FrameSource, options: PredictOptions, new_id: Callable[[], int]
    ) -> BuiltinTrack:
        """Begin to follow masks through a stack; see :mod:`propagation`."""
        return BuiltinTrack(frames, new_id)

    def close(self) -> None:
        """Do nothing: there is nothing to free."""


def _check_together(prompts: PromptSet) -> None:
    """Raise unless the kinds of prompt can be used together."""
    for alone in (PromptKind.TEXT, PromptKind.EXEMPLARS):
        others = sorted(_NAMES[kind] for kind in prompts.kinds - {alone})
        if alone in prompts.kinds and others:
            raise PromptError(
                f"The built-in engine can't combine {_NAMES[alone]} with {' and '.join(others)}.",
                f"Remove either the {_NAMES[alone]} or the {' and '.join(others)}.",
            )


def _named(features: PlaneFeatures, prompts: PromptSet, reporter: Reporter) -> list[Patch]:
    """Return the objects that boxes, masks and clicks name."""
    patches = []
    for box in prompts.boxes:
        reporter.check()
        patches.append(object_in(features, box.region, reporter))
    for painted in prompts.masks:
        reporter.check()
        region = painted.region.intersect(features.region)
        patch = Patch(painted.mask[region.localise(painted.region).slices], region)
        if patch.area:
            as_painted = painted.as_painted
            patches.append(patch if as_painted else snap_to_edge(features, patch, reporter))
    if not prompts.points:
        return patches
    reporter.check()
    marks = _clicks(prompts.points, features.shape)
    if patches:
        patches[0] = correct_by_clicks(features, patches[0], marks, reporter)
    elif any(mark.positive for mark in marks):
        patches = [object_at(features, marks, reporter)]
    else:
        raise PromptError(
            "All points are negative.", "Add a positive point on the object, or a box round it."
        )
    return patches


def _clicks(points: Iterable[PointPrompt], shape: tuple[int, int]) -> list[Click]:
    """Return the clicks on pixels, each once, in order."""
    signs: dict[tuple[int, int], bool] = {}
    for point in points:
        y = min(max(math.floor(point.y + 0.5), 0), shape[0] - 1)
        x = min(max(math.floor(point.x + 0.5), 0), shape[1] - 1)
        if signs.setdefault((y, x), point.positive) != point.positive:
            raise PromptError(
                f"There is a positive and a negative point on the pixel ({y}, {x}).",
                "Remove one of them.",
            )
    return [Click(pixel, positive) for pixel, positive in signs.items()]


def _found(
    detections: Iterable[Detection],
    options: PredictOptions,
    phrase: str,
    notes: tuple[str, ...] = (),
) -> Prediction:
    """Return the objects that are sure enough."""
    kept = [item for item in detections if item.score >= options.threshold]
    records = _records(
        (item.patch for item in kept), scores=[item.score for item in kept], text=phrase
    )
    return Prediction(records, options.threshold, phrase, notes)


def _records(
    patches: Iterable[Patch], scores: list[float] | None = None, text: str = ""
) -> tuple[ObjectRecord, ...]:
    """Return the records of patches, numbered from 1; empty ones are left out."""
    records: list[ObjectRecord] = []
    for index, patch in enumerate(patches):
        record = ObjectRecord.from_mask(
            len(records) + 1,
            patch.mask,
            offset=(patch.region.y0, patch.region.x0),
            score=None if scores is None else scores[index],
            text=text,
        )
        if record is not None:
            records.append(record)
    return tuple(records)
