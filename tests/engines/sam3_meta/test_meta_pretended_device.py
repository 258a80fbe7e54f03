"""Meta's package on a GPU, by pretence: no operation on tensors of two devices or formats."""

from __future__ import annotations

import importlib

import pytest

from amounts import thorough
from napari_sam3_assistant.engines.sam3_meta import compat_video
from napari_sam3_assistant.engines.sam3_meta.compat import Patches, check_kernels

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
    make = compat_video.make_video_model

    def make_eager(*arguments):
        video = make(*arguments)
        video.score_threshold_detection = video.new_det_thresh = 0.0
        return video

    monkeypatch.setattr(compat_video, "make_video_model", make_eager)
    # The package's own kernels can't be pretended: Triton refuses them, as where no compiler is.
    with pretended_gpu(monkeypatch, gpu, capability=capability, free_bytes=free) as places:
        go_through(make_engine(device=gpu))
    assert places.seen == {"cpu", gpu}
    both = {torch.float32, torch.bfloat16}
    assert places.computed == (both if capability >= (8, 0) else {torch.float32})


@pytest.mark.usefixtures("builder")
def test_a_gpu_has_the_measures_that_it_needs(monkeypatch):
    none = Patches(attention=False, distance=False, perflib=False)
    keep = {"SAM3_FORCE_SDPA_FALLBACK": "0", "USE_PERFLIB": "1"}
    assert check_kernels(none, "cpu", {}) == none
    for capability, in_float32 in (((7, 5), True), ((8, 0), False)):
        with pretended_gpu(monkeypatch, capability=capability):
            assert check_kernels(none, "cuda:0", {}) == Patches(in_float32, True, True)
            assert check_kernels(none, "cuda:0", keep) == none


@pytest.mark.usefixtures("builder")
def test_a_full_gpu_is_told_and_costs_no_kernels(monkeypatch):
    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    components = importlib.import_module("sam3.perflib.connected_components")
    monkeypatch.setattr(components, "connected_components", full)
    none = Patches(attention=False, distance=False, perflib=False)
    with pretended_gpu(monkeypatch), pytest.raises(torch.OutOfMemoryError):
        check_kernels(none, "cuda:0", {})
