"""Choosing the device, with machines written down as values."""

import sys

import pytest

from napari_sam3_assistant.engines import device as device_module
from napari_sam3_assistant.engines.device import (
    CudaDevice,
    Devices,
    choose_device,
    device_options,
    device_reason,
    is_architecture_supported,
    is_override_enabled,
    pick_device,
    supports_bfloat16,
    working_devices,
)
from napari_sam3_assistant.errors import DeviceUnavailable

WHEEL = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120")
SHORT = ("sm_80", "sm_86", "sm_90")


@pytest.mark.parametrize(
    ("capability", "architectures", "supported"),
    [
        ((8, 9), SHORT, True),  # Ada on Ampere code: same major number, higher minor
        ((8, 0), SHORT, True),
        ((8, 7), ("sm_86",), True),
        ((8, 0), ("sm_86",), False),
        ((7, 5), SHORT, False),
        ((12, 0), SHORT, False),
        ((12, 1), WHEEL, True),  # GB10
        ((12, 1), (*SHORT, "compute_90"), True),  # PTX is compiled for what comes later
        ((8, 9), ("compute_90",), False),
        ((9, 0), ("sm_90a",), True),
        ((9, 1), ("sm_90a",), False),
        ((10, 3), ("sm_100f",), True),
        ((10, 0), ("compute_90a",), False),
        ((11, 0), ("gfx90a", "gfx942"), True),  # ROCm names: nothing to compare
        ((8, 0), (), True),
    ],
)
def test_architecture_supported(capability, architectures, supported):
    assert is_architecture_supported(capability, architectures) is supported


ADA = CudaDevice("NVIDIA L4", (8, 9))
OLD = CudaDevice("NVIDIA GTX 1080", (6, 1), "no kernel image is available for execution")
SICK = CudaDevice("NVIDIA L4", (8, 9), "CUDA error: out of memory")


def cuda(*devices):
    return Devices(cuda_build=True, architectures=SHORT, cuda=devices)


@pytest.mark.parametrize(
    ("devices", "device", "reason"),
    [
        (cuda(ADA), "cuda:0", "NVIDIA L4 works with this PyTorch."),
        (cuda(OLD, ADA), "cuda:1", "NVIDIA L4 works with this PyTorch."),
        (Devices(mps=True), "mps", "The Apple GPU works with this PyTorch."),
        (Devices(), "cpu", "There is no GPU that PyTorch can use."),
        (
            cuda(OLD),
            "cpu",
            "The GPU can't be used: NVIDIA GTX 1080 has compute capability 6.1 (sm_61), but this "
            "PyTorch has code for sm_80, sm_86, sm_90.",
        ),
        (cuda(SICK), "cpu", "The GPU can't be used: CUDA error: out of memory"),
    ],
)
def test_auto(devices, device, reason):
    choice = pick_device("auto", devices)
    assert (choice.device, choice.reason) == (device, reason)


@pytest.mark.parametrize(
    ("requested", "devices", "device"),
    [
        ("cpu", cuda(ADA), "cpu"),
        ("cuda", cuda(ADA), "cuda:0"),
        (" CUDA:1 ", cuda(OLD, ADA), "cuda:1"),
        ("mps", Devices(mps=True), "mps"),
    ],
)
def test_requested(requested, devices, device):
    assert pick_device(requested, devices).device == device


@pytest.mark.parametrize(
    ("requested", "devices", "message"),
    [
        ("cuda", Devices(), "the installed PyTorch is built for the CPU only"),
        ("cuda", Devices(cuda_build=True), "PyTorch finds none"),
        ("cuda:2", cuda(ADA), "There is no GPU cuda:2. There is cuda:0 NVIDIA L4."),
        ("cuda:0", cuda(OLD), r"has compute capability 6.1 \(sm_61\)"),
        ("cuda:0", cuda(SICK), "out of memory"),
        ("mps", cuda(ADA), "Apple GPU"),
        ("cuda:x", cuda(ADA), "There is no device 'cuda:x'"),
        ("tpu", Devices(), "There is no device 'tpu'"),
    ],
)
def test_refused(requested, devices, message):
    with pytest.raises(DeviceUnavailable, match=message) as caught:
        pick_device(requested, devices)
    assert caught.value.hint


def test_this_machine_has_a_device():
    assert choose_device("cpu").device == "cpu"
    choice = choose_device("auto")
    assert choice.device == "cpu" or choice.device.startswith(("cuda:", "mps"))
    assert choice.reason


@pytest.mark.parametrize(
    ("requested", "broken", "tried"),
    [
        ("auto", (), [0]),
        ("auto", (0,), [0, 1]),
        ("auto", (0, 1, 2), [0, 1, 2]),
        ("cuda", (0,), [0]),
        (" CUDA:2 ", (), [2]),
        ("cpu", (), []),
        ("", (), [0, 1, 2]),
    ],
)
def test_only_gpus_that_may_be_chosen_are_tried(monkeypatch, requested, broken, tried):
    """Three GPUs are pretended, as none is at hand."""
    torch = pytest.importorskip("torch")
    seen = []

    def attempt(name):
        seen.append(int(name.removeprefix("cuda:")))
        return "broken" if seen[-1] in broken else ""

    monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"GPU {number}")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda number: (8, 0))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_80"])
    monkeypatch.setattr(device_module, "_try_device", attempt)

    found = device_module.read_devices(requested)

    assert seen == tried
    assert [bool(gpu.problem) for gpu in found.cuda] == [
        number in tried and number in broken for number in range(3)
    ]


def test_without_pytorch(monkeypatch):
    monkeypatch.setattr("napari_sam3_assistant.engines.device.find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert choose_device("auto").device == "cpu"


def test_bfloat16_is_for_recent_cuda_gpus(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert not supports_bfloat16("cuda:0")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    assert supports_bfloat16("cuda:0")
    assert not supports_bfloat16("cpu")
    assert not supports_bfloat16("mps")


@pytest.mark.parametrize(
    ("value", "enabled"), [("1", True), ("true", True), ("0", False), ("", False), (None, False)]
)
def test_override_enabled(value, enabled):
    environment = {} if value is None else {"NAPARI_SAM3_ENABLE_DEVICE_OVERRIDE": value}
    assert is_override_enabled(environment) is enabled


def test_options_and_working_devices():
    assert device_options(Devices()) == {"auto": "Automatic", "cpu": "CPU"}
    assert device_options(cuda(OLD, ADA)) == {
        "auto": "Automatic",
        "cpu": "CPU",
        "cuda": "GPU (the first)",
        "cuda:0": "NVIDIA GTX 1080 (does not work)",
        "cuda:1": "NVIDIA L4",
    }
    assert device_options(Devices(mps=True))["mps"] == "Apple GPU"
    assert working_devices(Devices()) == ("cpu",)
    assert working_devices(cuda(OLD, ADA)) == ("cpu", "cuda:1")
    assert working_devices(Devices(mps=True)) == ("cpu", "mps")


def test_reason_of_a_loaded_engine():
    pytest.importorskip("torch")
    assert device_reason("cpu", "cpu") == "The CPU was asked for."
    # Meta's package goes to the CPU where transformers would take the Apple GPU.
    assert device_reason("cpu", "mps") == "The engine runs on the device mps."
