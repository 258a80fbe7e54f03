"""Every engine's tensors on a GPU, by pretence: no operation on tensors of two devices."""

from __future__ import annotations

import pytest

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


CASES = [
    # Room for what is remembered of objects, and none: it then lies in the computer's memory.
    ("sam3", (8, 0), 2**30),
    ("sam2_video", (7, 5), 2**40),
    ("sam", (8, 0), 2**40),
]


@pytest.mark.parametrize(("kind", "capability", "free"), CASES)
def test_transformers(tiny_checkpoint, sam_folder, monkeypatch, kind, capability, free):
    # Here the hardware shall say which number format `auto` is, see conftest.py.
    monkeypatch.delenv("NAPARI_SAM3_PRECISION")
    with pretended_gpu(monkeypatch, capability=capability, free_bytes=free):
        if kind == "sam3":
            engine = registry.create("sam3-transformers", tiny_checkpoint, GPU)
        else:
            engine = registry.create("sam-transformers", sam_folder(kind), GPU)
        go_through(engine, phrases=kind == "sam3")
