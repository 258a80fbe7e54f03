"""Which number format an image encoder gets, and where it is told."""

from __future__ import annotations

import numpy as np
import pytest

from napari_sam3_assistant import api
from napari_sam3_assistant.engines.device import (
    PRECISION_VARIABLE,
    choose_precision,
    read_processor_units,
)
from napari_sam3_assistant.errors import EngineError

torch = pytest.importorskip("torch")


def picture():
    rows, columns = np.mgrid[:60, :80]
    return (127 + 60 * np.sin(rows / 7) + 60 * np.cos(columns / 9)).astype(np.uint8)


@pytest.mark.parametrize(
    ("found", "units"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, "AMX"),
        ({"avx512_bf16": True}, "AVX-512 BF16"),
        ({"avx2": True, "avx512_f": True}, ""),
        # ARM: whether it pays there is not known.
        ({"bf16": True}, ""),
    ],
)
def test_auto_follows_the_processor(monkeypatch, found, units):
    """Other processors are pretended."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    assert read_processor_units() == units
    choice = choose_precision("auto", "cpu", {})
    assert choice.precision == ("bfloat16" if units else "float32")
    assert units in choice.reason


@pytest.mark.parametrize(("capability", "expected"), [((8, 0), "bfloat16"), ((7, 5), "float32")])
def test_auto_follows_the_gpu(monkeypatch, capability, expected):
    """No GPU is at hand, so its answer is pretended."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    assert choose_precision("auto", "cuda:0", {}).precision == expected
    assert choose_precision("auto", "mps", {}).precision == "float32"


def test_what_is_asked_for_comes_before_the_environment():
    preset = {PRECISION_VARIABLE: " BFloat16 "}
    assert choose_precision("auto", "cpu", preset).precision == "bfloat16"
    assert PRECISION_VARIABLE in choose_precision("auto", "cpu", preset).reason
    assert choose_precision("int8", "cpu", preset).precision == "int8"


@pytest.mark.parametrize(
    ("asked", "device", "environment", "said"),
    [
        ("fp8", "cpu", {}, "no precision 'fp8'"),
        ("auto", "cpu", {PRECISION_VARIABLE: "half"}, "no precision 'half'"),
        ("int8", "cuda:0", {}, "int8 is for the CPU"),
    ],
)
def test_what_there_is_not_is_refused(asked, device, environment, said):
    with pytest.raises(EngineError, match=said) as caught:
        choose_precision(asked, device, environment)
    assert "auto" in caught.value.hint


def test_results_tell_it(tiny_checkpoint):
    def made(precision):
        return api.segment(
            picture(),
            points=[(20, 30)],
            model_folder=tiny_checkpoint,
            device="cpu",
            precision=precision,
        )

    # Here `auto` is float32, see conftest.py.
    assert [made(one).engine.precision for one in ("auto", "bfloat16", "int8")] == [
        "float32",
        "bfloat16",
        "int8",
    ]


def test_an_engine_without_the_choice_says_so():
    with pytest.raises(EngineError, match="no choice of the precision"):
        api.segment(picture(), points=[(20, 30)], precision="bfloat16")
    assert not api.segment(picture(), points=[(20, 30)]).engine.precision
