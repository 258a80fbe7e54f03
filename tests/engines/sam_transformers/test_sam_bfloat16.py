"""In bfloat16, as on a GPU: what GPUs have is pretended, the model is on the CPU."""

from __future__ import annotations

import numpy as np

from napari_sam3_assistant.core.display import FrameSource, view_of_array
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import BoxPrompt, MaskPrompt, PointPrompt, PromptSet
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.tracks import TrackSeed
from napari_sam3_assistant.engines.sam_transformers import ENTRY, loading

REPORTER = NullReporter()
CLICK, BOX = PointPrompt(30, 40), BoxPrompt.from_box((12.4, 19.75, 43.7, 61.2))
MASK = MaskPrompt(np.ones((20, 20), bool), Region(20, 15, 40, 35))
PROMPTS = {
    "click": PromptSet(points=(CLICK,)),
    "box": PromptSet(boxes=(BOX,)),
    "mask": PromptSet(masks=(MASK,)),
    "click and box": PromptSet(points=(CLICK,), boxes=(BOX,)),
}


def test_every_head_works_in_one_number_format(sam_folder, kind, make_image, monkeypatch):
    import torch

    monkeypatch.setattr(loading, "supports_bfloat16", lambda _device: True)
    picture = make_image(60, 80)
    engine = ENTRY.create(sam_folder(kind), "cpu")
    engine.load(REPORTER)
    encoding = engine.embed(picture, REPORTER)
    assert {one.dtype for one in encoding.maps} == {torch.bfloat16}
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
