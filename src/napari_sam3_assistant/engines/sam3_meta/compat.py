"""Every reach into Meta's ``sam3`` package, and measures where it lacks a kernel.

The package is written for Linux with CUDA. No file of it is changed: each function below says
which line of it stands in the way, and undoes what it does. Names and lines are of sam3 0.1.4
(the code of SAM 3.0); where the repository's later code differs, it is said.

Measures for machines that lack the kernels which Meta's ``sam3`` names.

Windows has no Triton and PyTorch is often built without flash attention there. Each measure
replaces a name in the loaded package, none changes a file of it, and all are undone.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import threading
import types
import warnings
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.extras import pip_install
from napari_sam3_assistant.engines.device import BFLOAT16, FLOAT32, supports_bfloat16
from napari_sam3_assistant.engines.sam3.engine import replace_attribute
from napari_sam3_assistant.errors import EngineError, EngineNotInstalled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import torch

    from napari_sam3_assistant.core.images import Untyped


_LOG = logging.getLogger(__name__)
# Of compilers, drivers and Triton: what keeps a kernel from running is listed nowhere.
_ANYTHING = (Exception,)
_EDT = "sam3.model.edt"
ONE_AT_A_TIME = threading.RLock()
"""Held while names of the package are replaced by what is of one model or stack."""


def import_model_builder(patches: Patches) -> Untyped:
    """Import ``sam3.model_builder`` and return it.

    The import warns (``torch.jit.script`` at ``box_ops.py:145``, autocast without CUDA at
    ``sam3_video_inference.py:798``), turns TensorFloat-32 on for the whole process
    (``model_builder.py:50``), and needs Triton (``edt.py:6``); later code also needs
    ``pkg_resources``. None of that is left behind.
    """
    with ExitStack() as stack:
        stack.enter_context(silence_warnings())
        stack.enter_context(restore_tf32())
        stack.enter_context(_edt_module(needed=patches.distance))
        stack.enter_context(_pkg_resources_module())
        try:
            return importlib.import_module("sam3.model_builder")
        except ImportError as exc:
            raise EngineNotInstalled(
                f"Meta's package sam3 can't be imported ({exc}).",
                f"Install it with what it needs: {pip_install('meta')}, "
                "or choose the engine sam3-transformers.",
            ) from exc


@contextmanager
def silence_warnings() -> Iterator[None]:
    """Keep the warnings to itself that say nothing to a user; see the callers for which."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*torch.jit.script", category=FutureWarning)
        warnings.filterwarnings("ignore", message=".*torch.jit.script", category=DeprecationWarning)
        warnings.filterwarnings("ignore", message=".*CUDA is not available", category=UserWarning)
        warnings.filterwarnings("ignore", message=".*pkg_resources is deprecated")
        warnings.filterwarnings("ignore", message=".*timm.models.layers is deprecated")
        yield


@contextmanager
def restore_tf32() -> Iterator[None]:
    """Put TensorFloat-32 back to what it was for the whole process when the block ends."""
    import torch

    places: tuple[Untyped, ...] = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [place.allow_tf32 for place in places]
    try:
        yield
    finally:
        for place, allowed in zip(places, before, strict=True):
            place.allow_tf32 = allowed


@contextmanager
def _edt_module(*, needed: bool) -> Iterator[None]:
    """Stand in for ``sam3.model.edt``, which can't be imported without Triton.

    Only the entry of that one module is set, and only while sam3 is imported: a stand-in for
    Triton itself would be found by torch and others.
    """
    if not needed or _EDT in sys.modules:
        yield
        return
    module = types.ModuleType(_EDT)
    module.edt_triton = distance_transform  # type: ignore[attr-defined]
    sys.modules[_EDT] = module
    try:
        yield
    finally:
        sys.modules.pop(_EDT, None)


@contextmanager
def _pkg_resources_module() -> Iterator[None]:
    """Stand in for ``pkg_resources``, which new setuptools no longer have.

    The repository's code (``model_builder.py:8``) asks it for nothing but a file's path.
    """
    if "pkg_resources" in sys.modules or find_spec("pkg_resources") is not None:
        yield
        return
    module = types.ModuleType("pkg_resources")
    module.resource_filename = _resource_filename  # type: ignore[attr-defined]
    sys.modules["pkg_resources"] = module
    try:
        yield
    finally:
        sys.modules.pop("pkg_resources", None)


def _resource_filename(package: str, name: str) -> str:
    spec = find_spec(package)
    origin = "" if spec is None or spec.origin is None else spec.origin
    return str(Path(origin).parent / name)


@cache
def _redirect_class() -> Untyped:
    """Make the mode's class, once; torch is imported only here."""
    from torch.overrides import TorchFunctionMode

    class RedirectCuda(TorchFunctionMode):
        """Send what asks for CUDA to another device.

        ``target``: the device to use.
        ``bfloat16``: whether what asks for bfloat16 gets it, or float32.
        """

        def __init__(self, target: str, *, bfloat16: bool) -> None:
            super().__init__()
            self._target = target
            self._bfloat16 = bfloat16

        def __torch_function__(
            self,
            func: Callable[..., Any],
            types: object,
            args: tuple[Any, ...] = (),
            kwargs: dict[str, Any] | None = None,
        ) -> Untyped:
            return _call_on(self._target, self._bfloat16, func, args, dict(kwargs or {}))

    return RedirectCuda


def _call_on(
    target: str,
    bfloat16: bool,
    func: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Untyped:
    """Call a function of torch, on ``target`` where it asks for CUDA."""
    import torch

    on_cuda = target.startswith("cuda")
    if func is torch.Tensor.cuda:
        return args[0].to(target)
    if func is torch.Tensor.pin_memory and not on_cuda:
        # Pinned memory is memory of the CUDA driver.
        return args[0]

    def swapped(value: Untyped) -> Untyped:
        if isinstance(value, str | torch.device) and str(value).startswith("cuda"):
            return target
        # Later code (perflib/fused.py:15) casts to bfloat16 whatever the other operand is: beside
        # a model in float32, also on a GPU, both operands shall be float32.
        return torch.float32 if value is torch.bfloat16 and not bfloat16 else value

    if func is torch.Tensor.to:
        args = tuple(swapped(value) for value in args)
        if args[0].is_cuda:
            # What leaves the GPU is read at once (sam3_tracking_predictor.py:589), and would be
            # what was in that memory before.
            kwargs.pop("non_blocking", None)
    if not on_cuda:
        kwargs.pop("pin_memory", None)
    for name in kwargs.keys() & {"device", "dtype"}:
        kwargs[name] = swapped(kwargs[name])
    return func(*args, **kwargs)


def redirect_cuda(device: str, *, bfloat16: bool = False) -> Untyped:
    """Return a context in which sam3's "cuda" means ``device``.

    The package names CUDA itself: ``position_encoding.py:47``, ``decoder.py:281`` when it is
    built, ``geometry_encoders.py:659`` (pinned memory) at every call. PyTorch keeps such modes
    per thread, so no other thread sees it.
    """
    return _redirect_class()(device, bfloat16=bfloat16)


@contextmanager
def call_context(device: str, precision: str = FLOAT32) -> Iterator[None]:
    """Return the context of every call of the model: device, precision, no gradients.

    On CUDA the published weights are used in bfloat16 autocast; on the CPU the image encoder
    itself is in another number format, and all else in float32. ``sam3_tracking_predictor.py:49``
    enters that once, in the thread that builds the model; here each call enters and leaves it,
    whatever thread it is in.
    """
    import torch

    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        # Beside weights in float32, what the package casts to bfloat16 would fit nothing.
        autocast = device.startswith("cuda") and precision == BFLOAT16
        stack.enter_context(redirect_cuda(device, bfloat16=autocast))
        if device.startswith("cuda"):
            # Triton starts the package's own kernels on the current device, wherever the data lie.
            stack.enter_context(torch.cuda.device(device))
        if autocast:
            stack.enter_context(torch.autocast("cuda", dtype=torch.bfloat16))
        yield


def build_image_model(builder: Untyped, bpe_path: Path, device: str) -> Untyped:
    """Build the image model with the click head, without weights, on the CPU."""
    try:
        with silence_warnings(), redirect_cuda(device), leave_autocast():
            return builder.build_sam3_image_model(
                bpe_path=str(bpe_path),
                device="cpu",
                load_from_HF=False,
                checkpoint_path=None,
                enable_inst_interactivity=True,
            )
    except (RuntimeError, AssertionError) as exc:
        text = str(exc).lower()
        if device.startswith("cuda") or not ("cuda" in text or "nvidia" in text):
            raise
        raise EngineError(
            f"The installed sam3 package can't be built without CUDA ({exc}).",
            "Use the engine sam3-transformers, which runs SAM 3 on the CPU, or install sam3 0.1.4.",
        ) from exc


@contextmanager
def leave_autocast() -> Iterator[None]:
    """Leave the CUDA autocast that the package's classes enter and never leave.

    ``sam3_tracking_predictor.py:50``; it would hold for all else that this thread does with torch,
    also where building ends in an error.
    """
    import torch

    enabled, dtype = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    with torch.autocast("cuda", dtype=dtype, enabled=enabled):  # puts back what holds now
        depth = _autocast_depth()
        try:
            yield
        finally:
            for _ in range(_autocast_depth() - depth):
                torch.autocast_decrement_nesting()


def _autocast_depth() -> int:
    """Return how many blocks of autocast this thread is in; PyTorch tells it only on a change."""
    import torch

    torch.autocast_increment_nesting()
    return torch.autocast_decrement_nesting()


def click_model(model: Untyped) -> Untyped:
    """Return the part of the model that answers clicks, boxes and masks."""
    return model.inst_interactive_predictor.model


def make_processor(model: Untyped, device: str) -> Untyped:
    """Return the package's image processor at the size that the model is built for."""
    from sam3.model.sam3_image_processor import Sam3Processor

    return Sam3Processor(model, resolution=click_model(model).image_size, device=device)


def geometric_prompt(
    boxes: torch.Tensor,
    labels: torch.Tensor,
) -> Untyped:
    """Return the package's prompt of example boxes.

    ``Sam3Processor.add_geometric_prompt`` takes one box a call and runs the model each time;
    this takes all at once, so the model runs once.

    ``boxes`` (shape (N, 4)): centre x, centre y, width, height, as parts of the image's width and
    height.
    ``labels`` (shape (N,), dtype bool): true for an example of what to find.
    """
    import torch
    from sam3.model.geometry_encoders import Prompt

    prompt = Prompt(
        box_embeddings=torch.zeros((0, 1, 4), device=boxes.device),
        box_mask=torch.zeros((1, 0), dtype=torch.bool, device=boxes.device),
    )
    if len(boxes):
        prompt.append_boxes(boxes[:, None], labels[:, None])
    return prompt


def vision_blocks(model: Untyped) -> list[Any]:
    """Return the blocks of the image encoder, in the order in which they run."""
    return list(model.backbone.vision_backbone.trunk.blocks)


def position_encodings(model: Untyped, maps: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Return the position encodings of feature maps, as ``necks.py:116`` makes them."""
    encode = model.backbone.vision_backbone.position_encoding
    return [encode(level).to(level.dtype) for level in maps]


def prompt_stages(model: Untyped) -> list[Any]:
    """Return the parts that run for a phrase or examples, in the order in which they run."""
    transformer = model.transformer
    return [
        model.geometry_encoder,
        *transformer.encoder.layers,
        *transformer.decoder.layers,
        model.segmentation_head,
    ]


@dataclass(frozen=True, slots=True)
class Patches:
    """Which of the run-time measures are taken.

    ``attention``: let attention run on any kernel that is there, not on the one that sam3 names.
    ``distance``: compute distance transforms with SciPy instead of Triton.
    ``perflib``: leave out sam3's own fast kernels (perflib); fill holes and drop what overlaps on
    the CPU.
    """

    attention: bool
    distance: bool
    perflib: bool


def choose_patches(
    environment: Mapping[str, str] = os.environ,
    *,
    windows: bool = sys.platform == "win32",
    triton: bool | None = None,
) -> Patches:
    """Return the measures that this machine needs.

    ``SAM3_FORCE_SDPA_FALLBACK``, ``SAM3_FORCE_SLOW_EDT`` (1 takes the measure, 0 leaves it) and
    ``USE_PERFLIB`` (0 leaves the kernels out, 1 keeps them) decide where they are set.
    """
    has_triton = find_spec("triton") is not None if triton is None else triton
    return Patches(
        attention=_switch(environment, "SAM3_FORCE_SDPA_FALLBACK", windows),
        distance=_switch(environment, "SAM3_FORCE_SLOW_EDT", not has_triton),
        perflib=not _switch(environment, "USE_PERFLIB", has_triton),
    )


def check_kernels(
    patches: Patches, device: str, environment: Mapping[str, str] = os.environ
) -> Patches:
    """Return the measures with those that a GPU needs, the package imported.

    Flash attention takes no float32. Triton compiles the package's kernels at their first call,
    which takes a C compiler, Python's headers and a GPU that Triton knows: so one is called.
    """
    if not device.startswith("cuda"):
        return patches
    needed = patches.attention or not supports_bfloat16(device)
    needed = _switch(environment, "SAM3_FORCE_SDPA_FALLBACK", needed)
    patches = replace(patches, attention=needed)
    kept = patches.perflib or _switch(environment, "USE_PERFLIB", default=False)
    if kept or _has_kernels(device):
        return patches
    return replace(patches, distance=True, perflib=True)


def _has_kernels(device: str) -> bool:
    """Return whether Triton's kernels run on a GPU."""
    import torch

    components = importlib.import_module("sam3.perflib.connected_components")
    try:
        with torch.cuda.device(device):
            ones = torch.ones((1, 1, 2, 2), dtype=torch.uint8, device=device)
            components.connected_components(ones)[1].cpu()
    except torch.OutOfMemoryError:
        raise  # of another program on the GPU: nothing is wrong with the kernels
    except _ANYTHING as exc:
        _LOG.warning("The kernels of Meta's package do not run on %s: %s", device, exc)
        return False
    return True


def _switch(environment: Mapping[str, str], name: str, default: bool) -> bool:
    value = environment.get(name, "").strip()
    return default if value == "" else value not in {"0", "false", "False"}


@contextmanager
def apply_patches(patches: Patches) -> Iterator[None]:
    """Take the measures for the loaded sam3; all are undone on leaving."""
    with ExitStack() as stack:
        if patches.attention:
            stack.enter_context(_any_attention_kernel())
        if patches.distance:
            stack.enter_context(_slow_distance_transform())
        if patches.perflib:
            stack.enter_context(_no_perflib())
        stack.enter_context(_no_components_of_nothing())
        # ``mask_iou`` (masks_ops.py:48) compares all pairs of masks at once: 26 GB for 200 objects.
        stack.enter_context(_replace_everywhere("mask_iou", mask_iou))
        yield


@contextmanager
def _replace_everywhere(name: str, value: Untyped) -> Iterator[None]:
    """Replace a name in every loaded module of sam3 that has it."""
    with ExitStack() as stack:
        for key, module in list(sys.modules.items()):
            if key.startswith("sam3.") and hasattr(module, name):
                stack.enter_context(replace_attribute(module, name, value))
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

    def any_kernel(*_named: object, **_options: object) -> Untyped:
        return sdpa_kernel(kernels)

    with _replace_everywhere("sdpa_kernel", any_kernel):
        yield


@contextmanager
def _slow_distance_transform() -> Iterator[None]:
    """Use SciPy's distance transform for ``edt.py:117``, a Triton kernel."""
    with _replace_everywhere("edt_triton", distance_transform):
        yield


@contextmanager
def _no_perflib() -> Iterator[None]:
    """Switch perflib off, and do without Triton what the package does on each GPU with it.

    Without this, clicks leave holes open (``sam1_utils.py:85``), with a warning at each call, and
    following ends in an error: ``fill_holes_in_mask_scores``, and ``nms_masks`` of phrases.
    """
    perflib = importlib.import_module("sam3.perflib")
    components = importlib.import_module("sam3.perflib.connected_components")
    overlaps = importlib.import_module("sam3.perflib.nms")
    with ExitStack() as stack:
        stack.enter_context(replace_attribute(overlaps, "generic_nms", overlaps.generic_nms_cpu))
        stack.enter_context(replace_attribute(perflib, "is_enabled", value=False))
        stack.enter_context(
            replace_attribute(
                components, "connected_components", components.connected_components_cpu
            )
        )
        yield


@contextmanager
def _no_components_of_nothing() -> Iterator[None]:
    """Make filling holes work where there are no masks.

    ``connected_components_cpu`` (``connected_components.py:48``) stacks an empty list when a frame
    has no new object, and fails.
    """
    module = importlib.import_module("sam3.perflib.connected_components")
    label = module.connected_components

    def components(masks: torch.Tensor) -> Untyped:
        return label(masks) if len(masks) else (masks.int(), masks.int())

    with replace_attribute(module, "connected_components", components):
        yield


def mask_iou(masks: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return the intersection over union of each pair of masks, as ``mask_iou`` of the package.

    ``masks`` and ``others`` has the shape (N, H, W), dtype bool.

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

    ``masks`` (shape (B, H, W)): zero is background.

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
