"""An engine whose answer is known: bright connected pixels are objects."""

import numpy as np
import pytest
from scipy import ndimage as ndi

from napari_sam3_assistant.core.prompts import PromptKind
from napari_sam3_assistant.core.results import ObjectRecord
from napari_sam3_assistant.engines.base import EngineSpec, Prediction
from napari_sam3_assistant.engines.caching_engine import CachingEngine
from napari_sam3_assistant.errors import EngineError


class BrightEngine:
    """Finds what is brighter than 127, and keeps count of what it was asked."""

    device = "cpu"
    version = "1"
    weights = "bright.pt"
    spec = EngineSpec(
        "bright", "Bright", frozenset({PromptKind.TEXT, PromptKind.EXEMPLARS}), needs_weights=False
    )

    def __init__(self):
        self.encoded = []
        self.asked = []

    def load(self, reporter):
        reporter.check()

    def embed(self, image, reporter):
        reporter.check()
        self.encoded.append(image)
        return image

    def predict(self, embedding, prompts, options, reporter):
        reporter.check()
        self.asked.append(prompts)
        if prompts.text == "what it does not know":
            raise EngineError("It does not know this.", "Say something else.")
        found, count = ndi.label(embedding[..., 0] > 127)
        # The value of the first pixel says how sure it is.
        records = []
        for value in range(1, count + 1):
            mask = found == value
            score = float(embedding[..., 0][mask][0]) / 255
            records.append(ObjectRecord.from_mask(value, mask, score=score, text=prompts.text))
        return Prediction(tuple(records), options.threshold, prompts.text)

    def close(self):
        pass


@pytest.fixture
def bright():
    """The engine itself, to count what it did."""
    return BrightEngine()


@pytest.fixture
def engine(bright):
    """The engine as workflows take it."""
    return CachingEngine(bright)


@pytest.fixture
def plane_of_squares():
    """Return a plane of 600 x 700 pixels with squares, and its labels."""
    rng = np.random.default_rng(1)
    truth = np.zeros((600, 700), np.uint32)
    count = 0
    for _ in range(400):
        y, x, side = (int(value) for value in (*rng.integers(0, 595, 2), rng.integers(3, 30)))
        piece = truth[max(0, y - 1) : y + side + 1, max(0, x - 1) : x + side + 1]
        if piece.size and not piece.any():
            count += 1
            truth[y : y + side, x : x + side] = count
    image = np.where(truth > 0, 200, 20).astype(np.uint8)
    return image, truth
