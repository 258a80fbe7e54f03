"""Which device and number format the model runs in, and why; and giving its memory back.

Keep Triton's copy of LLVM apart from the one of the OpenGL driver.

Mesa draws with LLVM where there is no GPU driver of its own (software rendering, remote desktops,
some AMD GPUs), so once napari has drawn, ``libLLVM`` is in memory with its names open to all.
PyTorch imports Triton where that is installed, as it is with PyTorch for Linux from PyPI. Its
library has an LLVM of another version inside, whose calls then go to Mesa's: the process ends
with a segmentation fault. (Seen with triton 3.9 and Mesa's LLVM 15; the same with TensorFlow's:
https://github.com/tensorflow/tensorflow/issues/124205)
"""

from __future__ import annotations

import ctypes
import gc
import os
import re
import sys
import warnings
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.errors import DeviceUnavailable, EngineError, EngineNotInstalled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import torch

    from napari_sam3_assistant.core.images import Untyped

OVERRIDE_VARIABLE = "NAPARI_SAM3_ENABLE_DEVICE_OVERRIDE"
# Below so much free memory of the GPU the memory of followed objects lies in the computer's.
_ROOMY = 8 << 30
_USE_CPU = "Choose the device 'auto' or 'cpu'."
_GET_BUILD = (
    "Install a PyTorch build for this GPU (https://pytorch.org), or choose the device 'cpu'."
)


@dataclass(frozen=True, slots=True)
class CudaDevice:
    """A CUDA device as PyTorch sees it.

    ``name``: such as ``NVIDIA RTX A6000``.
    ``capability``: compute capability, major and minor.
    ``problem``: why a first small calculation on it failed; empty if it worked, or was not tried.
    """

    name: str
    capability: tuple[int, int]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Devices:
    """What PyTorch finds on this machine.

    ``cuda_build``: whether PyTorch is built for CUDA (or ROCm).
    ``architectures``: what the build has code for: ``sm_80`` machine code, ``compute_90`` PTX.
    ``cuda``: the CUDA devices by number.
    ``mps``: whether the Apple GPU can be used.
    """

    cuda_build: bool = False
    architectures: tuple[str, ...] = ()
    cuda: tuple[CudaDevice, ...] = ()
    mps: bool = False


@dataclass(frozen=True, slots=True)
class DeviceChoice:
    """The chosen device.

    ``device``: ``cpu``, ``cuda:0``, ``mps``: what PyTorch takes.
    ``reason``: why, for the user.
    """

    device: str
    reason: str


def is_override_enabled(environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether the user may choose the device in the widget."""
    return environment.get(OVERRIDE_VARIABLE, "").strip().lower() in {"1", "true", "yes", "on"}


def is_architecture_supported(capability: tuple[int, int], architectures: Sequence[str]) -> bool:
    """Return whether a build's code can run on a GPU of a compute capability.

    Machine code (``sm_80``) runs on the same major number with an equal or higher minor one;
    PTX (``compute_80``) on every equal or higher capability. Architecture-specific code
    (``sm_90a``) runs on that very capability only, family-specific code (``sm_100f``) as plain
    machine code. (CUDA C++ Programming Guide, "Binary compatibility" and "PTX compatibility".)
    """
    parsed = [re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", name) for name in architectures]
    known = [match.groups() for match in parsed if match]
    if not known:
        return True
    for kind, major, minor, special in known:
        built = (int(major), int(minor))
        if special == "a":
            fits = capability == built
        elif kind == "sm" or special == "f":
            fits = capability[0] == built[0] and capability[1] >= built[1]
        else:
            fits = capability >= built
        if fits:
            return True
    return False


def read_devices(requested: str = "") -> Devices:
    """Ask PyTorch what it finds; a machine without PyTorch has none of it.

    To try a GPU takes some hundred MB of its memory until the process ends (its CUDA context),
    so only those are tried that a request may get.
    """
    if find_spec("torch") is None:
        return Devices()
    # Every engine chooses its device before it imports anything else of PyTorch.
    keep_triton_apart()
    import torch

    built = bool(torch.backends.cuda.is_built())
    if not (built and torch.cuda.is_available()):
        return Devices(cuda_build=built, mps=bool(torch.backends.mps.is_available()))
    requested = requested.strip().lower()
    cuda: list[CudaDevice] = []
    for number in range(torch.cuda.device_count()):
        device = f"cuda:{number}"
        if requested == "auto":
            is_tried = all(gpu.problem for gpu in cuda)
        else:
            is_tried = requested in {"", device} or (requested == "cuda" and number == 0)
        name = torch.cuda.get_device_name(number)
        capability = torch.cuda.get_device_capability(number)
        cuda.append(CudaDevice(name, capability, _try_device(device) if is_tried else ""))
    return Devices(built, tuple(torch.cuda.get_arch_list()), tuple(cuda))


def _try_device(device: str) -> str:
    """Return why a small calculation fails on a device; empty if it works."""
    import torch

    try:
        # A matrix product needs the kernels and the BLAS library that the model needs.
        torch.ones((8, 8), device=device).mm(torch.ones((8, 8), device=device)).sum().item()
    except RuntimeError as exc:
        return str(exc).splitlines()[0]
    return ""


def choose_device(requested: str = "auto") -> DeviceChoice:
    """Choose the device to run on: ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``."""
    return pick_device(requested, read_devices(requested))


def pick_device(requested: str, devices: Devices) -> DeviceChoice:
    """Choose among known devices; see :func:`choose_device`."""
    requested = requested.strip().lower()
    if requested == "auto":
        return _pick_automatically(devices)
    if requested == "cpu":
        return DeviceChoice("cpu", "The CPU was asked for.")
    if requested == "mps":
        if not devices.mps:
            raise DeviceUnavailable("The Apple GPU (mps) can't be used here.", _USE_CPU)
        return DeviceChoice("mps", "The Apple GPU was asked for.")
    check_device_name(requested)
    return _pick_cuda(int(requested.partition(":")[2] or 0), devices)


def check_device_name(requested: str) -> None:
    """Raise DeviceUnavailable unless a device has such a name, on this machine or another."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", requested.strip().lower()):
        raise DeviceUnavailable(
            f"There is no device '{requested}'.", "Use auto, cpu, cuda, cuda:0, cuda:1 or mps."
        )


def _pick_automatically(devices: Devices) -> DeviceChoice:
    for number, gpu in enumerate(devices.cuda):
        if not gpu.problem:
            return DeviceChoice(f"cuda:{number}", f"{gpu.name} works with this PyTorch.")
    if devices.mps:
        return DeviceChoice("mps", "The Apple GPU works with this PyTorch.")
    if devices.cuda:
        return DeviceChoice(
            "cpu", f"The GPU can't be used: {_explain_problem(devices.cuda[0], devices)}"
        )
    return DeviceChoice("cpu", "There is no GPU that PyTorch can use.")


def _pick_cuda(number: int, devices: Devices) -> DeviceChoice:
    if not devices.cuda_build:
        raise DeviceUnavailable(
            "A CUDA GPU was asked for, but the installed PyTorch is built for the CPU only.",
            _GET_BUILD,
        )
    if not devices.cuda:
        raise DeviceUnavailable(
            "A CUDA GPU was asked for, but PyTorch finds none.",
            f"Check the NVIDIA driver with nvidia-smi. {_USE_CPU}",
        )
    if number >= len(devices.cuda):
        names = ", ".join(f"cuda:{index} {gpu.name}" for index, gpu in enumerate(devices.cuda))
        raise DeviceUnavailable(f"There is no GPU cuda:{number}.", f"There is {names}.")
    gpu = devices.cuda[number]
    if gpu.problem:
        raise DeviceUnavailable(
            f"cuda:{number} ({gpu.name}) can't be used: {_explain_problem(gpu, devices)}",
            _GET_BUILD,
        )
    return DeviceChoice(f"cuda:{number}", f"{gpu.name} was asked for.")


def _explain_problem(gpu: CudaDevice, devices: Devices) -> str:
    if is_architecture_supported(gpu.capability, devices.architectures):
        return gpu.problem
    major, minor = gpu.capability
    return (
        f"{gpu.name} has compute capability {major}.{minor} (sm_{major}{minor}), but this PyTorch "
        f"has code for {', '.join(devices.architectures)}."
    )


def device_options(devices: Devices) -> dict[str, str]:
    """Return the devices that a user may choose, each with its name for the user."""
    options = {"auto": "Automatic", "cpu": "CPU"}
    if devices.cuda:
        options["cuda"] = "GPU (the first)"
    for number, gpu in enumerate(devices.cuda):
        options[f"cuda:{number}"] = gpu.name + (" (does not work)" if gpu.problem else "")
    if devices.mps:
        options["mps"] = "Apple GPU"
    return options


def working_devices(devices: Devices) -> tuple[str, ...]:
    """Return the devices on which a first small calculation worked, the CPU first."""
    cuda = (f"cuda:{number}" for number, gpu in enumerate(devices.cuda) if not gpu.problem)
    return ("cpu", *cuda, *(("mps",) if devices.mps else ()))


def device_reason(requested: str, used: str) -> str:
    """Return why a loaded engine runs where it runs."""
    # An engine that did without PyTorch knows no GPU, and asking PyTorch would take seconds.
    if "torch" in sys.modules:
        choice = choose_device(requested)
        if choice.device == used:
            return choice.reason
    return f"The engine runs on the device {used}."


def name_device(device: str) -> str:
    """Return what a device is, for the user, such as ``NVIDIA H100``."""
    if device.startswith("cuda"):
        import torch

        return str(torch.cuda.get_device_name(device))
    return "Apple GPU" if device == "mps" else f"CPU with {os.cpu_count() or 1} cores"


def supports_bfloat16(device: str) -> bool:
    """Return whether the model shall run in bfloat16: on CUDA GPUs that have it in hardware."""
    if not device.startswith("cuda"):
        return False
    import torch

    major, _ = torch.cuda.get_device_capability(device)
    # Ampere (8.0) is the first with bfloat16 units; before, PyTorch emulates it slowly.
    return torch.version.hip is not None or major >= 8


def memory_device(device: str) -> str:
    """Return where the memory of followed objects lies: beside the model where there is room."""
    if not device.startswith("cuda"):
        return device
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    return device if free >= _ROOMY else "cpu"


def objects_together(device: str) -> int:
    """Return how many objects a tracker takes through a network at once.

    A GPU has more to do at a time then; for each object SAM 3's memory attention takes 0.26 GB. A
    CPU is as busy with one (10.4 processor seconds of each, by one or by two), and with more of
    them it would take longer until the user can stop it.
    """
    return 1 if device == "cpu" else 4


def free_cache() -> None:
    """Give memory that PyTorch keeps for later back to the device."""
    torch = sys.modules.get("torch")
    if torch is None:
        return
    # A GPU that has stopped gives nothing back, and must not keep its engine from being closed.
    with suppress(RuntimeError):
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        elif torch.backends.mps.is_available():
            torch.mps.empty_cache()


def give_back_memory() -> None:
    """Return unused memory to the system, in RAM and on the device.

    To let go of a model is not enough. Its parts refer to each other, so Python frees them when it
    next looks for such circles. PyTorch keeps what it had on a GPU. And the C library of Linux
    keeps most of it, too: once a block of up to 32 MB has been freed, blocks of that size no longer
    come from the system one by one (``M_MMAP_THRESHOLD`` in mallopt(3)). Takes some tenths of a
    second.
    """
    gc.collect()
    free_cache()
    if sys.platform == "linux":
        # Of glibc only; another C library, such as musl, gives back by itself.
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def keep_triton_apart() -> None:
    """Load Triton's library so that it calls its own LLVM, if another one is in memory.

    To be called before PyTorch is imported; later it does nothing.
    """
    if not sys.platform.startswith("linux") or "triton" in sys.modules:
        return
    if "libLLVM" not in Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace"):
        return
    spec = find_spec("triton")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        library = Path(folder) / "_C" / "libtriton.so"
        if library.is_file():
            # The import of it later finds it in memory, and so with these bindings.
            ctypes.CDLL(str(library), mode=os.RTLD_NOW | os.RTLD_DEEPBIND)


class Precision(StrEnum):
    """A number format of an image encoder, or the best that the hardware has."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    INT8 = "int8"


AUTO, FLOAT32, BFLOAT16, INT8 = Precision
PRECISIONS = tuple(precision.value for precision in Precision)
PRECISION_VARIABLE = "NAPARI_SAM3_PRECISION"
"""The environment variable that says what ``auto`` stands for, such as on all nodes of a cluster:
processors of two kinds would make masks that differ in single pixels."""

_AMX, _AVX512 = "AMX", "AVX-512 BF16"


@dataclass(frozen=True, slots=True)
class PrecisionChoice:
    """The chosen number format.

    ``precision``: ``float32``, ``bfloat16`` or ``int8``.
    ``reason``: why, for the user.
    """

    precision: str
    reason: str


def choose_precision(
    requested: str, device: str, environment: Mapping[str, str] = os.environ
) -> PrecisionChoice:
    """Choose the number format of an image encoder on a device, or see that one can be used."""
    precision = requested.strip().lower()
    preset = environment.get(PRECISION_VARIABLE, "").strip().lower()
    if precision == AUTO and preset in {"", AUTO}:
        return _choose_by_hardware(device)
    reason = f"{precision} was asked for."
    if precision == AUTO:
        precision, reason = preset, f"{PRECISION_VARIABLE} is {preset}."
    if precision not in PRECISIONS:
        raise EngineError(f"There is no precision '{precision}'.", f"Use {', '.join(PRECISIONS)}.")
    if precision == INT8 and device != "cpu":
        raise EngineError(
            f"int8 is for the CPU, and the model runs on {device}.",
            "Choose the precision 'auto' or 'bfloat16', or the device 'cpu'.",
        )
    return PrecisionChoice(precision, reason)


def _choose_by_hardware(device: str) -> PrecisionChoice:
    if device == "cpu":
        units = read_processor_units()
        if units:
            return PrecisionChoice(BFLOAT16, f"The processor has {units}.")
        return PrecisionChoice(
            FLOAT32, "The processor computes bfloat16 more slowly (neither AMX nor AVX-512 BF16)."
        )
    if supports_bfloat16(device):
        return PrecisionChoice(BFLOAT16, "The GPU has units for bfloat16.")
    return PrecisionChoice(FLOAT32, f"On {device}, bfloat16 would be slow or is not proven.")


def read_processor_units() -> str:
    """Return what the processor computes bfloat16 with; empty where it would emulate it."""
    import torch

    # Public since PyTorch 2.10; before, each has a question of its own.
    ask = getattr(torch.cpu, "get_capabilities", None)
    if ask is not None:
        found = ask()
        amx, avx512 = found.get("amx_bf16", False), found.get("avx512_bf16", False)
    else:
        amx, avx512 = (
            getattr(torch.cpu, name, lambda: False)()
            for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
        )
    return _AMX if amx else _AVX512 if avx512 else ""


def convert(encoder: torch.nn.Module, precision: str) -> str:
    """Let an image encoder on the CPU work in a number format; it takes and returns float32.

    Of its parts only the weights change: positions and running means stay in float32.
    """
    if precision == BFLOAT16:
        _to_bfloat16(encoder)
    elif precision == INT8:
        if not _has_linear_layers(encoder):
            return FLOAT32
        _quantise(encoder)
    return precision


def _to_bfloat16(encoder: Untyped) -> None:
    from torch.nn.modules.batchnorm import _BatchNorm

    for part in encoder.modules():
        # PyTorch wants weights and running means of a normalisation in one format.
        if not isinstance(part, _BatchNorm):
            for weight in part.parameters(recurse=False):
                weight.data = weight.data.bfloat16()
    encoder.register_forward_pre_hook(
        lambda _part, args, kwargs: (_cast(args, "bfloat16"), _cast(kwargs, "bfloat16")),
        with_kwargs=True,
    )
    encoder.register_forward_hook(lambda _part, _args, answer: _cast(answer, "float"))


def _cast(value: Untyped, method: str) -> Untyped:
    """Return a value with the floating point tensors in it in another number format."""
    import torch

    if isinstance(value, torch.Tensor):
        # By the tensor's own method: Meta's package has its `to` watched, see compat.py.
        return getattr(value, method)() if value.is_floating_point() else value
    if isinstance(value, dict):
        cast = {name: _cast(item, method) for name, item in value.items()}
        # Also the answers of transformers, which are dictionaries with fields.
        kind: Callable[..., Any] = type(value)
        return kind(**cast)
    if isinstance(value, list | tuple):
        return type(value)(_cast(item, method) for item in value)
    return value


def _has_linear_layers(encoder: Untyped) -> bool:
    import torch

    return any(isinstance(part, torch.nn.Linear) for part in encoder.modules())


def _quantise(encoder: Untyped) -> None:
    """Let PyTorch keep the weights of linear layers in int8, and round what they are given."""
    import torch

    try:
        from torch.ao.quantization import per_channel_dynamic_qconfig, quantize_dynamic
    except ImportError as error:
        raise EngineNotInstalled(
            "This version of PyTorch has no int8 for linear layers.",
            "Choose the precision 'auto', 'bfloat16' or 'float32'.",
        ) from error
    with warnings.catch_warnings():
        # PyTorch plans to move this to torchao, whose eager mode is slow on a CPU.
        warnings.simplefilter("ignore")
        quantize_dynamic(encoder, {torch.nn.Linear: per_channel_dynamic_qconfig}, inplace=True)
