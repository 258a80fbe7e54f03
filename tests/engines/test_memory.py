"""What a model leaves behind goes back to the system."""

import gc
import platform
import weakref

import numpy as np
import psutil
import pytest

from engines.tiny_checkpoint import write_tiny_checkpoint
from engines.tiny_sam import write_tiny_sam
from napari_sam3_assistant.core.display import FrameSource, view_of_array
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.core.prompts import PointPrompt
from napari_sam3_assistant.core.tracks import TrackSeed
from napari_sam3_assistant.engines import registry
from napari_sam3_assistant.engines.device import give_back_memory

MIB = 2**20


class Part:
    """A part of a model, which refers to itself."""

    def __init__(self):
        self.whole = self


def test_parts_that_refer_to_each_other_go():
    part = weakref.ref(Part())
    give_back_memory()
    assert part() is None


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library gives back")
def test_freed_blocks_go_back():
    # One block of this size freed, and blocks of 1 MiB no longer come one by one.
    del_at_once = np.ones(31 * MIB, np.uint8)
    del del_at_once
    blocks = [np.ones(MIB, np.uint8) for _ in range(200)]
    last = blocks.pop()
    blocks.clear()
    before = psutil.Process().memory_info().rss

    give_back_memory()

    assert before - psutil.Process().memory_info().rss > 150 * MIB
    assert last[0] == 1


@pytest.mark.parametrize("gpu", ["cuda", "mps"])
def test_a_gpu_that_has_stopped_does_not_keep_its_engine_from_being_closed(monkeypatch, gpu):
    torch = pytest.importorskip("torch")
    asked = []

    def stopped():
        asked.append(gpu)
        raise RuntimeError("CUDA error: unspecified launch failure")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu == "cuda")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: gpu == "mps")
    monkeypatch.setattr(getattr(torch, gpu), "empty_cache", stopped)

    give_back_memory()
    assert asked == [gpu]


def tensors():
    """Return the names and shapes of the tensors in memory; the mean of a processor is none."""
    import torch

    gc.collect()
    found = (one for one in gc.get_objects() if issubclass(type(one), torch.Tensor))
    return {id(one): tuple(one.shape) for one in found if one.numel() > 16}


@pytest.mark.parametrize("model", ["sam3", "sam2_video", "edgetam_video"])
def test_no_tensor_is_left_of_a_closed_engine(tmp_path, model):
    """On a GPU they took 195 MB: what the classes of transformers remember of their last calls."""
    pytest.importorskip("transformers")
    (tmp_path / "model").mkdir()
    write = write_tiny_checkpoint if model == "sam3" else lambda path: write_tiny_sam(path, model)
    write(tmp_path / "model")
    name = "sam3-transformers" if model == "sam3" else "sam-transformers"
    engine = registry.create(name, tmp_path / "model", "cpu")
    before = set(tensors())
    engine.load(NullReporter())
    plane = np.random.default_rng(0).integers(0, 255, (2, 64, 64), np.uint8)
    engine.embed(np.stack([plane[0]] * 3, -1), NullReporter())
    track = engine.track(FrameSource(view_of_array(plane, plane=0), 0), PredictOptions(), lambda: 9)
    track.add(TrackSeed(0, 1, points=(PointPrompt(20, 20),)))
    assert len(list(track.propagate(range(2), NullReporter()))) == 2
    track.close()
    del track

    engine.close()
    give_back_memory()

    assert {shape for name, shape in tensors().items() if name not in before} == set()
