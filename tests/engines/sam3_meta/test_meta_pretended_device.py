"""Meta's package on a GPU, by pretence: no operation on tensors of two devices or formats."""

from __future__ import annotations

import pytest

from amounts import thorough

torch = pytest.importorskip("torch")
from tests.pretended_device import go_through, pretended_gpu  # noqa: E402 - it imports torch

# Capability, and room for what is remembered of objects; without it lies in the computer's memory.
CARDS = [
    pytest.param("cuda:1", (7, 5), 2**30, id="second T4, little memory"),
    thorough("cuda:1", (8, 0), 2**30, id="second A100, little memory"),
    pytest.param("cuda:0", (9, 0), 2**40, id="H100"),
]


@pytest.mark.parametrize(("gpu", "capability", "free"), CARDS)
def test_every_prompt_on_images_and_stacks(make_engine, monkeypatch, gpu, capability, free):
    monkeypatch.delenv("NAPARI_SAM3_PRECISION")
    # The package's own kernels can't be pretended: as where they are missing.
    monkeypatch.setenv("USE_PERFLIB", "0")
    monkeypatch.setenv("SAM3_FORCE_SLOW_EDT", "1")
    with pretended_gpu(monkeypatch, gpu, capability=capability, free_bytes=free) as places:
        go_through(make_engine(device=gpu))
    assert places.seen == {"cpu", gpu}
    both = {torch.float32, torch.bfloat16}
    assert places.computed == (both if capability >= (8, 0) else {torch.float32})
