"""Loaded engines on tiny checkpoints, one of each kind of model."""

from __future__ import annotations

import numpy as np
import pytest

from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.engines.sam_transformers import ENTRY

KINDS = ("sam2_video", "sam2", "edgetam_video", "edgetam", "sam")


@pytest.fixture(scope="session")
def loaded_sam(sam_folder):
    """Return a function that gives a loaded engine of a kind, that the tests leave as it is."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    made = {}

    def engine(kind):
        if kind not in made:
            made[kind] = ENTRY.create(sam_folder(kind), "cpu")
            made[kind].load(NullReporter())
        return made[kind]

    yield engine
    for one in made.values():
        one.close()
    torch.set_num_threads(before)


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="session")
def make_image():
    """Return a function that makes an RGB image of blobs on a ramp."""

    def make(height, width):
        random = np.random.default_rng(0)
        rows, columns = np.mgrid[:height, :width]
        image = np.stack([rows * 200 // height, columns * 200 // width, rows * 0 + 90], -1)
        for _ in range(6):
            y, x = random.uniform(0, height), random.uniform(0, width)
            radius = random.uniform(0.08, 0.25) * min(height, width)
            image[(rows - y) ** 2 + (columns - x) ** 2 < radius**2] = random.integers(0, 256, 3)
        return image.astype(np.uint8)

    return make
