"""A loaded engine with the tiny checkpoint, and images of several shapes."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager

import pytest

from contracts import documented_use
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.engines.sam3_transformers import ENTRY

SHAPES = {
    "landscape": (90, 160),
    "portrait": (160, 90),
    "tiny": (7, 9),
    "large": (1500, 1100),
}


@pytest.fixture(scope="session")
def _one_thread(tiny_checkpoint):
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def new_engine(tiny_checkpoint, _one_thread):
    """Return an engine of this test's own, not loaded."""
    engine = ENTRY.create(tiny_checkpoint, documented_use.DEVICE)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def shared_engine(tiny_checkpoint, _one_thread):
    """Return a loaded engine that the tests share and leave as it is."""
    engine = ENTRY.create(tiny_checkpoint, documented_use.DEVICE)
    engine.load(NullReporter())
    yield engine
    engine.close()


@pytest.fixture
def engine(shared_engine):
    return shared_engine


@pytest.fixture(scope="session")
def make_image():
    """Return a function that makes an RGB image of blobs on a ramp."""
    return documented_use.make_image


@pytest.fixture(params=list(SHAPES.values()), ids=list(SHAPES))
def image(request, make_image):
    return make_image(*request.param)


@pytest.fixture
def counting():
    """Return a context that counts the calls of the model's parts."""

    @contextmanager
    def count(engine):
        calls: Counter[str] = Counter()
        model = engine.model
        parts = {
            "encode": model.detector.vision_encoder.backbone,
            "text": model.detector.text_encoder,
            "find": model.detector.detr_decoder,
            "click neck": model.video.tracker_neck,
            "click": model.clicks.mask_decoder,
        }

        def counter(name):
            def hook(*_):
                calls[name] += 1

            return hook

        handles = [part.register_forward_hook(counter(name)) for name, part in parts.items()]
        try:
            yield calls
        finally:
            for handle in handles:
                handle.remove()

    return count


@pytest.fixture(scope="session")
def video_checkpoint(tiny_checkpoint, tmp_path_factory):
    """The tiny checkpoint with larger random weights in the tracker.

    With those of a new model every object is lost on the first frame and memory and prompts change
    next to nothing: a comparison would show nothing.
    """
    import shutil

    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("tiny_video") / "sam3"
    shutil.copytree(tiny_checkpoint, folder)
    weights = load_file(folder / "model.safetensors")
    for name, weight in weights.items():
        if name.startswith(("tracker_model.", "tracker_neck.")) and weight.ndim > 1:
            weight *= 4
        if name.endswith("pred_obj_score_head.proj_out.bias"):
            weight += 3
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="session")
def video_engine(video_checkpoint, _one_thread):
    """Return a loaded engine with the checkpoint for videos, that the tests leave as it is."""
    engine = ENTRY.create(video_checkpoint, documented_use.DEVICE)
    engine.load(NullReporter())
    yield engine
    engine.close()
