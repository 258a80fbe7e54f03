"""SAM 3 by Meta's own ``sam3`` package, for planes and stacks.

Importing this package loads neither torch nor sam3; they come with ``load``.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.extras import outdated, pip_install
from napari_sam3_assistant.core.paths import expand_user
from napari_sam3_assistant.core.prompts import PromptKind
from napari_sam3_assistant.engines.base import EngineEntry, EngineSpec, EngineStatus, TrackSpec
from napari_sam3_assistant.engines.device import AUTO, PRECISIONS
from napari_sam3_assistant.engines.sam3_meta.loading import is_multiplex

if TYPE_CHECKING:
    from pathlib import Path

    from napari_sam3_assistant.engines.base import ImageEngine


SPEC = EngineSpec(
    name="sam3-meta",
    title="SAM 3 (Meta sam3 package)",
    accepts=frozenset(PromptKind),
    needs_weights=True,
    # The requests of Meta's video predictor take one box and no masks, and clicks not together with
    # them; its tracker, which is what we ask, takes all of them.
    video=TrackSpec(
        prompts=frozenset(PromptKind) - {PromptKind.EXEMPLARS, PromptKind.EVERYTHING}, max_points=16
    ),
    soft_masks=True,
    precisions=PRECISIONS,
)

MULTIPLEX_SPEC = replace(
    SPEC,
    title="SAM 3.1 (Meta sam3 package)",
    accepts=frozenset(),
    video=TrackSpec(
        prompts=frozenset({PromptKind.POINTS, PromptKind.BOXES, PromptKind.TEXT}), max_points=16
    ),
    soft_masks=False,
    precisions=(),
)
"""The same engine on a folder with SAM 3.1, which is for stacks only."""

# What sam3 imports for images; some releases do not list all of it as requirements.
_IMPORTS = (
    "torch",
    "torchvision",
    "einops",
    "ftfy",
    "huggingface_hub",
    "iopath",
    "psutil",
    "pycocotools",
    "regex",
    "timm",
)


def status() -> EngineStatus:
    """Return whether sam3 and what it imports are installed; nothing is imported to tell."""
    spec = find_spec("sam3")
    # A folder named sam3 in the working directory is found too, as a package without a file.
    if spec is None or spec.origin is None:
        return EngineStatus(
            available=False,
            reason="Meta's package sam3 is not installed. "
            f"Install it with: {pip_install('meta')}. "
            "The engine sam3-transformers runs SAM 3 without it.",
        )
    missing = [name for name in _IMPORTS if find_spec(name) is None]
    if missing:
        return EngineStatus(
            available=False,
            reason=f"sam3 is installed, but it needs {', '.join(missing)}. "
            f"Install with: pip install {' '.join(missing)}.",
        )
    too_old = outdated("meta")
    if too_old:
        return EngineStatus(available=False, reason=f"{too_old} Run: {pip_install('meta')}")
    return EngineStatus(available=True)


def choose_spec(model_folder: Path) -> EngineSpec:
    """Return the card of the model in a folder: that of SAM 3.1 where there is no SAM 3.0."""
    return MULTIPLEX_SPEC if is_multiplex(model_folder) else SPEC


def create(model_folder: Path | None, device: str, precision: str = AUTO) -> ImageEngine:
    """Return the engine; nothing is loaded yet."""
    from napari_sam3_assistant.engines.sam3_meta.engine import Sam3MetaEngine
    from napari_sam3_assistant.engines.sam3_meta.multiplex import Sam3MultiplexEngine

    if model_folder is not None and is_multiplex(expand_user(model_folder)):
        return Sam3MultiplexEngine(MULTIPLEX_SPEC, model_folder, device)
    return Sam3MetaEngine(SPEC, model_folder, device, precision)


ENTRY = EngineEntry(SPEC, status, create, choose_spec)
