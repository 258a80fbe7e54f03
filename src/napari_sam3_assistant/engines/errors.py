"""Turn the errors of PyTorch and its friends into sentences with a remedy.

Recognised by type and code first, by their text last.
"""

from __future__ import annotations

import gc
import pickle
import sys
import traceback
import zipfile
from typing import TYPE_CHECKING

from napari_sam3_assistant.engines.device import free_cache
from napari_sam3_assistant.errors import (
    CheckpointInvalid,
    DeviceUnavailable,
    EngineError,
    OutOfDeviceMemory,
    Sam3AssistantError,
)

if TYPE_CHECKING:
    from types import TracebackType


_SMALLER = (
    "Use a smaller region (ROI mode), close other programs that use the GPU, "
    "or choose the device 'cpu'."
)
_OTHER_BUILD = (
    "Install a PyTorch build that supports this GPU (https://pytorch.org), "
    "or choose the device 'cpu'."
)
_DRIVER = "Update the NVIDIA driver and check it with nvidia-smi, or choose the device 'cpu'."
_RESTART = "Restart napari; if it happens again, choose the device 'cpu' and report it."
_OTHERS = "Close other programs that use the GPU, or choose the device 'cpu'."
DOWNLOAD = "Download the file again, whole."

# Numbers of cudaError_t, as torch.AcceleratorError.error_code holds them.
_CUDA_CODES: dict[int, tuple[type[EngineError], str, str]] = {
    2: (OutOfDeviceMemory, "The GPU has not enough free memory.", _SMALLER),
    35: (DeviceUnavailable, "The NVIDIA driver is too old for this PyTorch.", _DRIVER),
    46: (DeviceUnavailable, "Another program holds the GPU for itself.", _OTHERS),
    100: (DeviceUnavailable, "PyTorch finds no CUDA GPU.", _DRIVER),
    101: (DeviceUnavailable, "There is no GPU of that number.", "Choose the device 'auto'."),
    209: (DeviceUnavailable, "This PyTorch has no code for this GPU.", _OTHER_BUILD),
    222: (DeviceUnavailable, "The NVIDIA driver is too old for this PyTorch.", _DRIVER),
    700: (EngineError, "The GPU stopped with an illegal memory access.", _RESTART),
    719: (EngineError, "The GPU stopped with a launch failure.", _RESTART),
    803: (DeviceUnavailable, "The NVIDIA driver and its library do not match.", _DRIVER),
}

# (words in the lower-case text, error, message, hint); the first that matches counts.
_TEXTS: tuple[tuple[tuple[str, ...], type[EngineError], str, str], ...] = (
    (
        (
            "out of memory",
            "can't allocate memory",
            "not enough memory: you tried to allocate",
            # Of libraries beside PyTorch, and of an Apple GPU for one large tensor.
            "_status_alloc_failed",
            "invalid buffer size",
        ),
        OutOfDeviceMemory,
        "The device has not enough free memory.",
        _SMALLER,
    ),
    (
        ("no kernel image is available", "cudaerrornokernelimagefordevice"),
        DeviceUnavailable,
        "This PyTorch has no code for this GPU.",
        _OTHER_BUILD,
    ),
    (
        ("invalid value for --gpu-architecture", "nvrtc_error", "nvrtc: error"),
        DeviceUnavailable,
        "The CUDA compiler (nvrtc) of this PyTorch does not know this GPU.",
        _OTHER_BUILD,
    ),
    (
        ("torch not compiled with cuda enabled",),
        DeviceUnavailable,
        "The installed PyTorch is built for the CPU only.",
        _OTHER_BUILD,
    ),
    (
        ("found no nvidia driver", "driver on your system is too old", "cuda driver version is in"),
        DeviceUnavailable,
        "The NVIDIA driver is missing or too old for this PyTorch.",
        _DRIVER,
    ),
    (
        ("no available kernel",),
        EngineError,
        "This PyTorch has no fast attention for this GPU.",
        "Set SAM3_FORCE_SDPA_FALLBACK=1 and start again, or choose the device 'cpu'.",
    ),
    (
        (
            "not currently implemented for the mps device",
            "not supported on mps",
            "mps framework doesn't support",
        ),
        EngineError,
        "The Apple GPU lacks a step of the model in this PyTorch.",
        "Set PYTORCH_ENABLE_MPS_FALLBACK=1 and start again, or choose the device 'cpu'.",
    ),
    (
        ("pytorchstreamreader failed", "failed finding central directory", "invalid magic number"),
        CheckpointInvalid,
        "The weights file can't be read.",
        DOWNLOAD,
    ),
    (
        ("have the same dtype", "expected scalar type", "and bias type"),
        EngineError,
        "The model met two number formats (such as bfloat16 and float32) in one step.",
        "Choose the device 'cpu', and report the text below with your PyTorch version.",
    ),
    # Whatever else a GPU says: one that a laptop switched off in its sleep, or was unplugged.
    (
        ("cuda error", "hip error", "cublas_status_", "cudnn_status_", "cudnn error"),
        EngineError,
        "The GPU stopped with an error.",
        _RESTART,
    ),
)


def engine_error(exc: BaseException) -> EngineError | None:
    """Return our error for one of PyTorch, CUDA or the file formats; None for an unknown fault."""
    if isinstance(exc, EngineError):
        return None
    return _by_type(exc) or _by_text(exc)


def _by_type(exc: BaseException) -> EngineError | None:
    torch = sys.modules.get("torch")
    detail = _first_line(exc)
    if torch is not None and isinstance(exc, torch.OutOfMemoryError):
        return OutOfDeviceMemory(f"The GPU has not enough free memory. ({detail})", _SMALLER)
    if isinstance(exc, MemoryError):
        return OutOfDeviceMemory("The computer has not enough free memory.", _SMALLER)
    code = getattr(exc, "error_code", None)
    if isinstance(code, int) and code in _CUDA_CODES:
        kind, message, hint = _CUDA_CODES[code]
        return kind(f"{message} ({detail})", hint)
    if isinstance(exc, pickle.UnpicklingError):
        # Without PyTorch's own words, which say how to run the code in it.
        return CheckpointInvalid(
            "The weights file is damaged, or holds more than weights.", DOWNLOAD
        )
    if isinstance(exc, zipfile.BadZipFile | EOFError):
        return CheckpointInvalid(f"The weights file can't be read. ({detail})", DOWNLOAD)
    # SafetensorError has no base class of its own and its package may not be installed.
    if type(exc).__name__ == "SafetensorError":
        return CheckpointInvalid(f"model.safetensors can't be read. ({detail})", DOWNLOAD)
    return None


def _by_text(exc: BaseException) -> EngineError | None:
    # A TypeError is what an Apple GPU says of a number format that it has not.
    if not isinstance(exc, RuntimeError | AssertionError | OSError | TypeError):
        return None
    text = str(exc).lower()
    for words, kind, message, hint in _TEXTS:
        if any(word in text for word in words):
            return kind(f"{message} ({_first_line(exc)})", hint)
    return None


def _first_line(exc: BaseException) -> str:
    lines = str(exc).strip().splitlines()
    return lines[0][:300] if lines else type(exc).__name__


class map_engine_errors:
    """Raise our error in place of a known one of PyTorch, CUDA or the file formats.

    When memory ran out, what the failed work held is let go before the error goes on, so that
    the next, smaller try finds the memory free.
    """

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Raise our error from a known one."""
        if exc is None:
            return
        mapped = engine_error(exc)
        if mapped is None:
            return
        if isinstance(mapped, OutOfDeviceMemory):
            # The frames of the traceback hold the tensors of the failed work.
            traceback.clear_frames(trace)
            gc.collect()
            free_cache()
        raise mapped from exc


class reading_files:
    """Raise CheckpointInvalid in place of what foreign code makes of foreign files.

    To be put around the calls that hand a model folder's files to a library, and nothing else:
    on damaged bytes these raise errors of any kind, such as KeyError, ZeroDivisionError, the bare
    Exception of ``tokenizers`` or the PanicException of code in Rust. Errors of ours, of the device
    and of memory go on as they are.

    ``subject``: what can't be read, for the user.
    ``remedy``: what to do about it.
    """

    def __init__(self, subject: str, remedy: str) -> None:
        self._subject = subject
        self._remedy = remedy

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Raise our error from a foreign one."""
        if exc is None or isinstance(exc, Sam3AssistantError) or engine_error(exc) is not None:
            return
        if isinstance(exc, Exception) or type(exc).__name__ == "PanicException":
            raise CheckpointInvalid(
                f"{self._subject} ({type(exc).__name__}: {_first_line(exc)})", self._remedy
            ) from exc
