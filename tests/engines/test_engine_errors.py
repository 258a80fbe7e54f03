"""Errors of PyTorch, CUDA and the file formats, in our words."""

import pickle
import zipfile

import pytest

from napari_sam3_assistant.engines.errors import engine_error, map_engine_errors
from napari_sam3_assistant.errors import (
    CheckpointInvalid,
    DeviceUnavailable,
    EngineError,
    JobCancelled,
    OutOfDeviceMemory,
    PromptError,
)


class AcceleratorError(RuntimeError):
    """As torch.AcceleratorError: a RuntimeError with the number of the CUDA error."""

    def __init__(self, code):
        super().__init__("CUDA error: in a language that nobody reads")
        self.error_code = code


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        (2, OutOfDeviceMemory, "not enough free memory"),
        (35, DeviceUnavailable, "driver is too old"),
        (209, DeviceUnavailable, "no code for this GPU"),
        (46, DeviceUnavailable, "Another program holds the GPU"),
        (700, EngineError, "illegal memory access"),
        # Unknown: of a laptop's GPU after its sleep, of failed assertions, and of what comes.
        (999, EngineError, "The GPU stopped with an error"),
        (710, EngineError, "The GPU stopped with an error"),
    ],
)
def test_by_code(code, kind, words):
    error = engine_error(AcceleratorError(code))
    assert type(error) is kind
    assert words in error.message
    assert error.hint


def test_by_type():
    torch = pytest.importorskip("torch")
    error = engine_error(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"))
    assert type(error) is OutOfDeviceMemory
    assert "2 GiB" in error.message
    assert type(engine_error(MemoryError())) is OutOfDeviceMemory
    assert type(engine_error(pickle.UnpicklingError("bad"))) is CheckpointInvalid
    assert type(engine_error(zipfile.BadZipFile("bad"))) is CheckpointInvalid


def test_real_safetensors_error(tmp_path):
    safetensors = pytest.importorskip("safetensors")
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"\x10" + b"\0" * 7 + b"not a header....")
    message = r"model\.safetensors can't be read"
    with pytest.raises(CheckpointInvalid, match=message), map_engine_errors():
        safetensors.safe_open(file, "np")


def test_real_torch_error_of_a_broken_archive(tmp_path):
    torch = pytest.importorskip("torch")
    file = tmp_path / "sam3.pt"
    file.write_bytes(b"not an archive")
    with pytest.raises(CheckpointInvalid, match="is damaged"), map_engine_errors():
        torch.load(file, weights_only=True)


@pytest.mark.parametrize(
    ("exc", "kind"),
    [
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), OutOfDeviceMemory),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
            OutOfDeviceMemory,
        ),
        (
            RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`"),
            OutOfDeviceMemory,
        ),
        (RuntimeError("Invalid buffer size: 19.53 GB"), OutOfDeviceMemory),
        # As PyTorch before 2.8 says it, without a number.
        (RuntimeError("CUDA error: unspecified launch failure"), EngineError),
        (RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"), EngineError),
        (
            TypeError(
                "Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't "
                "support float64. Please use float32 instead."
            ),
            EngineError,
        ),
        (TypeError("BFloat16 is not supported on MPS"), EngineError),
        (
            RuntimeError("CUDA error: no kernel image is available for execution on the device"),
            DeviceUnavailable,
        ),
        (
            RuntimeError("nvrtc: error: invalid value for --gpu-architecture (-arch)"),
            DeviceUnavailable,
        ),
        (AssertionError("Torch not compiled with CUDA enabled"), DeviceUnavailable),
        (RuntimeError("Found no NVIDIA driver on your system."), DeviceUnavailable),
        (RuntimeError("No available kernel. Aborting execution."), EngineError),
        (
            NotImplementedError("aten::x is not currently implemented for the MPS device."),
            EngineError,
        ),
        (
            RuntimeError("mat1 and mat2 must have the same dtype, but got BFloat16 and Float"),
            EngineError,
        ),
    ],
)
def test_by_text(exc, kind):
    error = engine_error(exc)
    assert type(error) is kind
    assert error.hint


@pytest.mark.parametrize(
    "exc",
    [
        ValueError("out of memory, said a function of ours"),
        RuntimeError("a fault of ours"),
        KeyError("x"),
        JobCancelled(),
        PromptError("The mask is empty."),
        EngineError("Known already."),
    ],
)
def test_others_go_on_as_they_are(exc):
    assert engine_error(exc) is None
    with pytest.raises(type(exc)) as caught, map_engine_errors():
        raise exc
    assert caught.value is exc


def test_cause_is_kept():
    cause = MemoryError()
    with pytest.raises(OutOfDeviceMemory) as caught, map_engine_errors():
        raise cause
    assert caught.value.__cause__ is cause
