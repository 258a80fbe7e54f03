"""Measures for machines that lack the kernels which Meta's ``sam3`` names.

Windows has no Triton and PyTorch is often built without flash attention there. Each measure
replaces a name in the loaded package, none changes a file of it, and all are undone.
"""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import torch


@dataclass(frozen=True, slots=True)
class Measures:
    """Which of the run-time measures are taken.

    Parameters
    ----------
    attention : bool
        Let attention run on any kernel that is there, not on the one that sam3 names.
    distance : bool
        Compute distance transforms with SciPy instead of Triton.
    perflib : bool
        Leave out sam3's own fast kernels (perflib), and fill holes on the CPU.
    """

    attention: bool
    distance: bool
    perflib: bool


def choose_measures(
    environment: Mapping[str, str] = os.environ,
    *,
    windows: bool = sys.platform == "win32",
    triton: bool | None = None,
) -> Measures:
    """Return the measures that this machine needs.

    ``SAM3_FORCE_SDPA_FALLBACK``, ``SAM3_FORCE_SLOW_EDT`` (1 takes the measure, 0 leaves it) and
    ``USE_PERFLIB`` (0 leaves the kernels out, 1 keeps them) decide where they are set.

    Parameters
    ----------
    environment : mapping
        The environment variables.
    windows : bool
        Whether this is Windows, where PyTorch is often built without flash attention.
    triton : bool or None
        Whether Triton is installed; looked up if None.
    """
    has_triton = find_spec("triton") is not None if triton is None else triton
    return Measures(
        attention=_switch(environment, "SAM3_FORCE_SDPA_FALLBACK", windows),
        distance=_switch(environment, "SAM3_FORCE_SLOW_EDT", not has_triton),
        perflib=not _switch(environment, "USE_PERFLIB", has_triton),
    )


def _switch(environment: Mapping[str, str], name: str, default: bool) -> bool:
    value = environment.get(name, "").strip()
    return default if value == "" else value not in {"0", "false", "False"}


@contextmanager
def applied(measures: Measures) -> Iterator[None]:
    """Take the measures for the loaded sam3; all are undone on leaving."""
    with ExitStack() as stack:
        if measures.attention:
            stack.enter_context(_any_attention_kernel())
        if measures.distance:
            stack.enter_context(_slow_distance_transform())
        if measures.perflib:
            stack.enter_context(_no_perflib())
        stack.enter_context(_no_components_of_nothing())
        # ``mask_iou`` (masks_ops.py:48) compares all pairs of masks at once: 26 GB for 200 objects.
        stack.enter_context(_replaced_everywhere("mask_iou", overlaps))
        yield


@contextmanager
def replaced(module: Any, name: str, value: Any) -> Iterator[None]:  # noqa: ANN401
    """Replace a name in a module of the package while in the block."""
    before = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, before)


@contextmanager
def _replaced_everywhere(name: str, value: Any) -> Iterator[None]:  # noqa: ANN401
    """Replace a name in every loaded module of sam3 that has it."""
    with ExitStack() as stack:
        for key, module in list(sys.modules.items()):
            if key.startswith("sam3.") and hasattr(module, name):
                stack.enter_context(replaced(module, name, value))
        yield


@contextmanager
def _any_attention_kernel() -> Iterator[None]:
    """Let attention choose among all kernels.

    Later code (``decoder.py:1062`` in the repository) allows flash attention only, and stops
    with "No available kernel" where PyTorch is built without it, as on Windows.
    """
    from torch.nn.attention import SDPBackend, sdpa_kernel

    kernels = [
        SDPBackend.FLASH_ATTENTION,
        SDPBackend.EFFICIENT_ATTENTION,
        SDPBackend.MATH,
    ]

    def any_kernel(*_named: Any, **_options: Any) -> Any:  # noqa: ANN401
        return sdpa_kernel(kernels)

    with _replaced_everywhere("sdpa_kernel", any_kernel):
        yield


@contextmanager
def _slow_distance_transform() -> Iterator[None]:
    """Use SciPy's distance transform for ``edt.py:117``, a Triton kernel."""
    with _replaced_everywhere("edt_triton", distance_transform):
        yield


@contextmanager
def _no_perflib() -> Iterator[None]:
    """Switch perflib off, and fill holes in masks (``sam1_utils.py:85``) without Triton.

    Without this, holes are left open on a GPU without Triton, with a warning at each call.
    """
    perflib = importlib.import_module("sam3.perflib")
    components = importlib.import_module("sam3.perflib.connected_components")
    with ExitStack() as stack:
        stack.enter_context(replaced(perflib, "is_enabled", value=False))
        stack.enter_context(
            replaced(components, "connected_components", components.connected_components_cpu)
        )
        yield


@contextmanager
def _no_components_of_nothing() -> Iterator[None]:
    """Let holes be filled where there are no masks.

    ``connected_components_cpu`` (``connected_components.py:48``) stacks an empty list when a frame
    has no new object, and fails.
    """
    module = importlib.import_module("sam3.perflib.connected_components")
    label = module.connected_components

    def components(masks: torch.Tensor) -> Any:  # noqa: ANN401
        return label(masks) if len(masks) else (masks.int(), masks.int())

    with replaced(module, "connected_components", components):
        yield


def overlaps(masks: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return the intersection over union of each pair of masks, as ``mask_iou`` of the package.

    Parameters
    ----------
    masks, others : Tensor, shape (N, H, W) and (M, H, W), dtype bool
        The masks.

    Returns
    -------
    Tensor, shape (N, M), dtype float32
        0 for two empty masks.
    """
    import torch

    areas = others.sum((1, 2))
    found = torch.zeros((len(masks), len(others)), device=masks.device)
    for row, mask in zip(found, masks, strict=True):
        common = (others & mask).sum((1, 2))
        row.copy_(common / (areas + mask.sum() - common).clamp(min=1))
    return found


def distance_transform(masks: torch.Tensor) -> torch.Tensor:
    """Return each pixel's distance to the nearest zero pixel, as ``sam3.model.edt`` does.

    Parameters
    ----------
    masks : Tensor, shape (B, H, W)
        Zero is background.

    Returns
    -------
    Tensor, shape (B, H, W), dtype float32
        Euclidean distances in pixels; 1e9 where a mask has no zero pixel.
    """
    import numpy as np
    import torch
    from scipy.ndimage import distance_transform_edt

    planes = masks.detach().cpu().numpy() != 0
    distances = np.full(planes.shape, 1e9, np.float32)
    for plane, out in zip(planes, distances, strict=True):
        if not plane.all():
            out[...] = distance_transform_edt(plane)
    return torch.from_numpy(distances).to(masks.device)
