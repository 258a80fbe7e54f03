"""What a model leaves behind goes back to the system."""

import platform
import weakref

import numpy as np
import psutil
import pytest

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
