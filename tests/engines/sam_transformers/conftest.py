"""Loaded engines on tiny checkpoints, one of each kind of model."""

from __future__ import annotations

import pytest

from contracts import documented_use
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.engines.sam_transformers import ENTRY

KINDS = ("sam2_video", "sam2", "edgetam_video", "edgetam", "sam")


@pytest.fixture(scope="session")
def loaded_sam(sam_folder):
    """Return a function that gives a loaded engine of a kind, that the tests leave as it is."""
    torch = pytest.importorskip("torch")

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    made = {}

    def engine(kind):
        if kind not in made:
            made[kind] = ENTRY.create(sam_folder(kind), documented_use.DEVICE)
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
    return documented_use.make_image
