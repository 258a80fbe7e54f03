"""Every engine's tensors on a GPU, by pretence: no operation on tensors of two devices."""

from __future__ import annotations

import pytest

from amounts import thorough
from napari_sam3_assistant.engines import registry

torch = pytest.importorskip("torch")
from tests.pretended_device import GPU, go_through, pretended_gpu  # noqa: E402 - it imports torch


def test_what_a_gpu_refuses_is_refused(monkeypatch):
    with pretended_gpu(monkeypatch):
        there, here = torch.ones(3, device="cuda"), torch.ones(3)
        assert there.device == torch.device(GPU)
        assert there.is_cuda
        assert (there + 1).device == (there * torch.tensor(2.0)).device == there[:2].device
        assert there.cpu().numpy().sum() == 3
        assert here.to(there).device == there.device
        with pytest.raises(RuntimeError, match="cpu, cuda:0"):
            there + here
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()
        # Only something that is waited for says that a copy is there.
        copy = there.to("cpu", non_blocking=True)
        for read in (copy.sum, copy[1:].numpy, lambda: here.copy_(copy)):
            with pytest.raises(RuntimeError, match="still writes"):
                read()
        assert copy.to("cuda", non_blocking=True).sum().item() == 3
        assert copy.sum() == 3


CASES = [
    # Room for what is remembered of objects, and none: it then lies in the computer's memory.
    ("sam3", "cuda:1", (8, 0), 2**30),
    ("sam2_video", "cuda:0", (7, 5), 2**40),
    thorough("sam", "cuda:0", (8, 0), 2**40),
    ("sam3", "mps", (0, 0), 0),
    thorough("sam2_video", "mps", (0, 0), 0),
    ("sam", "mps", (0, 0), 0),
]


@pytest.mark.parametrize(("kind", "gpu", "capability", "free"), CASES)
def test_transformers(tiny_checkpoint, sam_folder, monkeypatch, kind, gpu, capability, free):
    # Here the hardware shall say which number format `auto` is, see conftest.py.
    monkeypatch.delenv("NAPARI_SAM3_PRECISION")
    with pretended_gpu(monkeypatch, gpu, capability=capability, free_bytes=free) as places:
        if kind == "sam3":
            engine = registry.create("sam3-transformers", tiny_checkpoint, gpu)
        else:
            engine = registry.create("sam-transformers", sam_folder(kind), gpu)
        go_through(engine, phrases=kind == "sam3")
    assert places.seen == {"cpu", gpu}
    # The image encoder's; the rest is float32 on every card.
    both = {torch.float32, torch.bfloat16}
    assert places.computed == (both if capability >= (8, 0) else {torch.float32})


def test_what_an_apple_gpu_refuses_is_refused(monkeypatch):
    with pretended_gpu(monkeypatch, "mps"):
        there = torch.ones(3, device="mps")
        with pytest.raises(TypeError, match="float64"):
            there.double()
        with pytest.raises(RuntimeError, match="nobody waits"):
            there.to("cpu", non_blocking=True)
        with pytest.raises(RuntimeError, match="nobody waits"):
            torch.ones(3).to("mps", torch.float32, True)
        assert there.to("cpu").sum() == 3
