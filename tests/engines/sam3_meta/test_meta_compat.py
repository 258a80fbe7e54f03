"""What is done to Meta's package, and that it is undone."""

from __future__ import annotations

import subprocess
import sys
import threading
import types
from contextlib import contextmanager, nullcontext

import numpy as np
import pytest

from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.engines.sam3_meta import compat
from napari_sam3_assistant.engines.sam3_meta.compat import Patches, choose_patches
from napari_sam3_assistant.errors import EngineError, EngineNotInstalled

torch = pytest.importorskip("torch", reason="PyTorch is not installed")


class TestRedirect:
    def test_what_asks_for_cuda_gets_the_device(self):
        with compat.redirect_cuda("cpu"):
            assert torch.zeros(2, device="cuda").device.type == "cpu"
            assert torch.arange(3, device=torch.device("cuda:1")).device.type == "cpu"
            assert torch.ones(2).cuda().device.type == "cpu"
            assert torch.ones(2).to("cuda").device.type == "cpu"
            assert torch.ones(2).to(device="cuda", dtype=torch.bfloat16).dtype == torch.float32
            assert torch.ones(2).to(torch.bfloat16).dtype == torch.float32
            assert not torch.ones(2).pin_memory().is_pinned()

    def test_other_devices_and_numbers_are_left(self):
        with compat.redirect_cuda("cpu"):
            assert torch.zeros(2, device="meta").device.type == "meta"
            assert torch.ones(2).to(torch.float64).dtype == torch.float64
            assert torch.ones(2, dtype=torch.int32).dtype == torch.int32

    def test_on_cuda_another_number_is_meant_and_bfloat16_stays(self):
        with compat.redirect_cuda("cuda:3", bfloat16=True):
            assert torch.ones(2).to(torch.bfloat16).dtype == torch.bfloat16
            if not torch.cuda.is_available():
                with pytest.raises((RuntimeError, AssertionError), match=r"CUDA|NVIDIA"):
                    torch.zeros(2, device="cuda")

    def test_a_gpu_without_bfloat16_works_in_float32(self):
        with compat.redirect_cuda("cuda:0"):
            assert torch.ones(2).to(torch.bfloat16).dtype == torch.float32
            assert torch.ones(2).to(dtype=torch.bfloat16).dtype == torch.float32

    def test_calls_are_made_with_their_gpu_as_the_current_one(self, monkeypatch):
        """Triton's kernels go to it; no GPU is at hand, so the switch is pretended."""
        current = ["cuda:0"]

        @contextmanager
        def switch(device):
            current.append(device)
            yield
            current.pop()

        monkeypatch.setattr(torch.cuda, "device", switch)
        with compat.call_context("cuda:1"):
            assert current[-1] == "cuda:1"
        assert current == ["cuda:0"]

    def test_another_thread_does_not_see_it(self):
        seen = []

        def elsewhere():
            try:
                seen.append(torch.zeros(2, device="cuda").device.type)
            except (RuntimeError, AssertionError):
                seen.append("refused")

        with compat.redirect_cuda("cpu"):
            worker = threading.Thread(target=elsewhere)
            worker.start()
            worker.join(240)

        assert seen == ["cuda" if torch.cuda.is_available() else "refused"]

    def test_it_ends_with_the_block(self):
        with compat.redirect_cuda("cpu"):
            pass
        if torch.cuda.is_available():
            assert torch.zeros(2, device="cuda").is_cuda
        else:
            with pytest.raises((RuntimeError, AssertionError)):
                torch.zeros(2, device="cuda")


def _global_state():
    return {
        "tf32": torch.backends.cuda.matmul.allow_tf32,
        "cudnn": torch.backends.cudnn.allow_tf32,
        "autocast": (torch.is_autocast_enabled("cuda"), torch.is_autocast_enabled("cpu")),
        "grad": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "dtype": torch.get_default_dtype(),
        "zeros": torch.zeros,
        "pin_memory": torch.Tensor.pin_memory,
        "to": torch.Tensor.to,
        "cuda": torch.Tensor.cuda,
        "properties": torch.cuda.get_device_properties,
        "threads": torch.get_num_threads(),
    }


def test_loading_using_and_closing_leaves_torch_as_it_was(make_engine, make_picture):
    from napari_sam3_assistant.core.options import PredictOptions
    from napari_sam3_assistant.core.prompts import PromptSet

    before, modules = _global_state(), dict(sys.modules)
    engine = make_engine()
    engine.load(NullReporter())
    assert _global_state() == before
    encoding = engine.embed(make_picture(30, 40), NullReporter())
    engine.predict(encoding, PromptSet(text="cell"), PredictOptions(0.2), NullReporter())
    assert _global_state() == before
    engine.close()

    assert _global_state() == before
    changed = {n for n, module in modules.items() if sys.modules.get(n) is not module}
    assert changed == set()


def test_measures_are_undone_on_closing(make_engine, monkeypatch):
    import sam3.model.sam3_tracker_utils
    import sam3.model.vl_combiner
    import sam3.perflib.connected_components

    def names():
        return (
            sam3.model.vl_combiner.sdpa_kernel,
            sam3.model.sam3_tracker_utils.edt_triton,
            sam3.perflib.is_enabled,
            sam3.perflib.connected_components.connected_components,
        )

    before = names()
    monkeypatch.setenv("SAM3_FORCE_SDPA_FALLBACK", "1")
    monkeypatch.setenv("SAM3_FORCE_SLOW_EDT", "1")
    monkeypatch.setenv("USE_PERFLIB", "0")
    engine = make_engine()
    engine.load(NullReporter())
    taken = names()
    assert all(one is not other for one, other in zip(taken, before, strict=True))
    assert taken[1] is compat.distance_transform
    engine.close()

    assert names() == before


class TestMeasures:
    @pytest.mark.parametrize(
        ("environment", "windows", "triton", "expected"),
        [
            ({}, False, True, (False, False, False)),
            ({}, True, False, (True, True, True)),
            ({}, True, True, (True, False, False)),
            ({"SAM3_FORCE_SDPA_FALLBACK": "1"}, False, True, (True, False, False)),
            ({"SAM3_FORCE_SLOW_EDT": "1"}, False, True, (False, True, False)),
            ({"USE_PERFLIB": "0"}, False, True, (False, False, True)),
            (
                {
                    "SAM3_FORCE_SDPA_FALLBACK": "0",
                    "SAM3_FORCE_SLOW_EDT": "0",
                    "USE_PERFLIB": "1",
                },
                True,
                False,
                (False, False, False),
            ),
        ],
    )
    def test_by_machine_and_switches(self, environment, windows, triton, expected):
        assert choose_patches(environment, windows=windows, triton=triton) == Patches(*expected)

    def test_attention_finds_a_kernel_where_the_named_one_is_not(self, monkeypatch):
        from torch.nn.attention import SDPBackend, sdpa_kernel
        from torch.nn.functional import scaled_dot_product_attention

        module = types.ModuleType("sam3.stand_in")
        module.sdpa_kernel = sdpa_kernel
        monkeypatch.setitem(sys.modules, "sam3.stand_in", module)
        # No flash kernel takes a mask that differs by query, on any machine.
        query, mask = torch.ones(1, 1, 4, 8), torch.eye(4, dtype=torch.bool)[None, None]

        def attend():
            with module.sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
                return scaled_dot_product_attention(query, query, query, attn_mask=mask)

        with pytest.raises(RuntimeError, match=r"[Nn]o (available|viable)"):
            attend()
        with compat.apply_patches(Patches(attention=True, distance=False, perflib=False)):
            np.testing.assert_array_equal(attend(), query)
        assert module.sdpa_kernel is sdpa_kernel

    def test_distances_by_hand(self):
        masks = torch.tensor([[[0, 1, 1, 1], [0, 1, 1, 1]], [[1, 1, 1, 1], [1, 1, 1, 1]]])
        distances = compat.distance_transform(masks)

        np.testing.assert_array_equal(distances[0], [[0, 1, 2, 3], [0, 1, 2, 3]])
        np.testing.assert_array_equal(distances[1], np.full((2, 4), np.float32(1e9)))

    def test_holes_are_filled_without_triton(self, builder):
        from sam3.perflib import connected_components

        ring = torch.ones(1, 1, 5, 5, dtype=torch.uint8)
        ring[0, 0, 2, 2] = 0
        with compat.apply_patches(Patches(attention=False, distance=False, perflib=True)):
            labels, sizes = connected_components.connected_components(1 - ring)

        assert labels.sum() == 1
        assert sizes[0, 0, 2, 2] == 1


_WITHOUT_TRITON = """
import sys
sys.modules["triton"] = None
sys.modules["pkg_resources"] = None
import torch
from napari_sam3_assistant.engines.sam3_meta import compat
patches = compat.Patches(attention=True, distance=True, perflib=True)
tf32 = torch.backends.cudnn.allow_tf32
del sys.modules["pkg_resources"]
builder = compat.import_model_builder(patches)
import sam3.model.sam3_tracker_utils as utils
assert utils.edt_triton is compat.distance_transform
assert sys.modules["triton"] is None, "torch would find a stand-in"
assert "sam3.model.edt" not in sys.modules
assert torch.backends.cudnn.allow_tf32 == tf32
print("imported", builder.__name__)
"""


def test_imports_without_triton(builder):
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _WITHOUT_TRITON],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )

    assert result.stdout.strip() == "imported sam3.model_builder", result.stderr


def test_overlaps_are_intersection_over_union_of_each_pair():
    import torch

    masks = torch.rand((7, 30, 20), generator=torch.Generator().manual_seed(1)) > 0.6
    masks[2] = False
    masks[5] = True
    # As mask_iou of the package computes it, all pairs at once.
    one, other = masks[:, None], masks[None, 1:]
    common, both = (one & other).sum((2, 3)), (one | other).sum((2, 3))

    made = compat.mask_iou(masks, masks[1:])

    assert made[2, 1] == 0
    torch.testing.assert_close(made, common.float() / both.float().clamp(min=1), rtol=0, atol=0)
    assert compat.mask_iou(masks[:0], masks).shape == (0, 7)
    assert compat.mask_iou(masks, masks[:0]).shape == (7, 0)


def test_a_package_that_cant_be_imported_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "sam3.model_builder", None)

    with pytest.raises(EngineNotInstalled, match=r"can't be imported .* pip install"):
        compat.import_model_builder(choose_patches())


class _InsistsOnCuda:
    @staticmethod
    def build_sam3_image_model(**_):
        raise RuntimeError("Found no NVIDIA driver on your system.")


def test_a_build_that_insists_on_cuda_points_to_transformers(tmp_path):
    with pytest.raises(EngineError, match=r"without CUDA .* sam3-transformers"):
        compat.build_image_model(_InsistsOnCuda, tmp_path, "cpu")


@pytest.mark.parametrize("fails", [False, True])
def test_autocast_that_the_package_enters_is_left(fails, tmp_path):
    """A stand-in for the constructor, whose autocast is a real one only on a machine with CUDA."""

    class Enters:
        @staticmethod
        def build_sam3_image_model(**_options):
            for _ in range(2):
                torch.autocast_increment_nesting()
            torch.set_autocast_enabled("cuda", True)
            torch.set_autocast_dtype("cuda", torch.bfloat16)
            if fails:
                raise OSError("The disk is gone.")

    torch.set_autocast_dtype("cuda", torch.float16)
    with pytest.raises(OSError, match="gone") if fails else nullcontext():
        compat.build_image_model(Enters, tmp_path, "cpu")

    assert not torch.is_autocast_enabled("cuda")
    assert torch.get_autocast_dtype("cuda") == torch.float16
    assert torch.autocast_increment_nesting() == 1
    assert torch.autocast_decrement_nesting() == 0
