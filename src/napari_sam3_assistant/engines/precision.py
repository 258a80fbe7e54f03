"""Which number format an image encoder works in, and why; the rest of a model keeps float32."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.engines.device import supports_bfloat16
from napari_sam3_assistant.errors import EngineError, EngineNotInstalled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch

    from napari_sam3_assistant.core.images import Untyped


class Precision(StrEnum):
    """A number format of an image encoder, or the best that the hardware has."""

    AUTO = "auto"
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    INT8 = "int8"


AUTO, FLOAT32, BFLOAT16, INT8 = Precision
PRECISIONS = tuple(one.value for one in Precision)
VARIABLE = "NAPARI_SAM3_PRECISION"
"""The environment variable that says what ``auto`` stands for, such as on all nodes of a cluster:
processors of two kinds would make masks that differ in single pixels."""

_AMX, _AVX512 = "AMX", "AVX-512 BF16"


@dataclass(frozen=True, slots=True)
class PrecisionChoice:
    """The chosen number format.

    Parameters
    ----------
    precision : str
        ``float32``, ``bfloat16`` or ``int8``.
    reason : str
        Why, for the user.
    """

    precision: str
    reason: str


def choose_precision(
    requested: str, device: str, environment: Mapping[str, str] = os.environ
) -> PrecisionChoice:
    """Choose the number format of an image encoder on a device.

    Parameters
    ----------
    requested : str
        ``auto``, ``float32``, ``bfloat16`` or ``int8``.
    device : str
        ``cpu``, ``cuda:N`` or ``mps``.
    environment : mapping
        Where :data:`VARIABLE` is looked for.

    Raises
    ------
    EngineError
        If there is no such number format, or not on that device.
    """
    wanted = requested.strip().lower()
    preset = environment.get(VARIABLE, "").strip().lower()
    if wanted == AUTO and preset in {"", AUTO}:
        return _choose_by_hardware(device)
    reason = f"{wanted} was asked for."
    if wanted == AUTO:
        wanted, reason = preset, f"{VARIABLE} is {preset}."
    if wanted not in PRECISIONS:
        raise EngineError(f"There is no precision '{wanted}'.", f"Use {', '.join(PRECISIONS)}.")
    if wanted == INT8 and device != "cpu":
        raise EngineError(
            f"int8 is for the CPU, and the model runs on {device}.",
            "Choose the precision 'auto' or 'bfloat16', or the device 'cpu'.",
        )
    return PrecisionChoice(wanted, reason)


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

    Parameters
    ----------
    encoder : torch.nn.Module
        In float32, not yet moved to its device; changed in place.
    precision : str
        ``float32``, ``bfloat16`` or ``int8``.

    Returns
    -------
    str
        What it works in now: of convolutions alone, none can be in int8.

    Raises
    ------
    EngineNotInstalled
        If this PyTorch can't quantise.
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
        made = {name: _cast(one, method) for name, one in value.items()}
        # Also the answers of transformers, which are dictionaries with fields.
        kind: Callable[..., Any] = type(value)
        return kind(**made)
    if isinstance(value, list | tuple):
        return type(value)(_cast(one, method) for one in value)
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
