"""With the image encoder in another number format than float32, on the CPU."""

from __future__ import annotations

import numpy as np
import pytest

from napari_sam3_assistant.core.display import FrameSource, view_of_array
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import BoxPrompt, MaskPrompt, PointPrompt, PromptSet
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.tracks import TrackSeed
from napari_sam3_assistant.engines.sam_transformers import ENTRY

REPORTER = NullReporter()
CLICK, BOX = PointPrompt(30, 40), BoxPrompt.from_box((12.4, 19.75, 43.7, 61.2))
MASK = MaskPrompt(np.ones((20, 20), bool), Region(20, 15, 40, 35))
PROMPTS = {
    "click": PromptSet(points=(CLICK,)),
    "box": PromptSet(boxes=(BOX,)),
    "mask": PromptSet(masks=(MASK,)),
    "click and box": PromptSet(points=(CLICK,), boxes=(BOX,)),
}


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_every_head_works_on_its_encodings(sam_folder, kind, make_image, loaded_sam, precision):
    import torch

    picture = make_image(60, 80)
    engine = ENTRY.create(sam_folder(kind), "cpu", precision)
    engine.load(REPORTER)
    if kind.startswith("edgetam") and precision == "int8":
        # Its encoder has nothing but convolutions.
        precision = "float32"
    assert engine.precision == precision
    encoding = engine.embed(picture, REPORTER)
    exact = loaded_sam(kind).embed(picture, REPORTER)
    for own, other in zip(encoding.maps, exact.maps, strict=True):
        assert own.dtype == torch.float32
        away = float((own - other).norm() / other.norm())
        # Near, and not the same where another format was at work.
        assert away < 0.1
        assert (away > 0) == (precision != "float32")
    for prompts in PROMPTS.values():
        assert engine.predict(encoding, prompts, PredictOptions(), REPORTER).objects
    if engine.spec.video is not None:
        frames = FrameSource(view_of_array(np.stack([picture] * 3), plane=0), 0)
        track = engine.track(frames, PredictOptions(), lambda: 9)
        track.add(TrackSeed(0, 1, points=(CLICK,)))
        track.add(TrackSeed(0, 2, mask=MASK))
        assert [found.tracked for found in track.propagate(range(3), REPORTER)] == [{1, 2}] * 3
        track.close()
    engine.close()
