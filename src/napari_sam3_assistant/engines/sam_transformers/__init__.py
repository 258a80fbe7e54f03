"""SAM 2.1, SAM 2, SAM 1 and EdgeTAM by Hugging Face transformers: clicks, boxes and masks.

Importing this package imports neither PyTorch nor transformers.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.extras import outdated, pip_install
from napari_sam3_assistant.core.prompts import PromptKind
from napari_sam3_assistant.engines.base import EngineEntry, EngineSpec, EngineStatus, TrackSpec
from napari_sam3_assistant.engines.checkpoints import peek_sam
from napari_sam3_assistant.engines.device import AUTO, PRECISIONS

if TYPE_CHECKING:
    from pathlib import Path

    from napari_sam3_assistant.engines.base import ImageEngine


_KINDS = frozenset({PromptKind.POINTS, PromptKind.BOXES, PromptKind.MASK})
SPEC = EngineSpec(
    name="sam-transformers",
    title="SAM 2.1, SAM 1, EdgeTAM (transformers)",
    accepts=_KINDS | {PromptKind.EVERYTHING},
    needs_weights=True,
    video=TrackSpec(prompts=_KINDS),
    soft_masks=True,
    precisions=PRECISIONS,
)
_PACKAGES = ("torch", "torchvision", "transformers", "safetensors")


def status() -> EngineStatus:
    """Return whether the packages are there, without importing them; and what is wrong if not."""
    missing = [package for package in _PACKAGES if find_spec(package) is None]
    if missing:
        return _lacking(f"Not installed: {', '.join(missing)}.")
    too_old = outdated("sam3")
    return _lacking(too_old) if too_old else EngineStatus(True)


def _lacking(what: str) -> EngineStatus:
    return EngineStatus(False, f"{what} Run: {pip_install('sam3')}")


def choose_spec(model_folder: Path) -> EngineSpec:
    """Return the card of the model in a folder, by its own name."""
    found = peek_sam(model_folder)
    if not found:
        return SPEC
    video = SPEC.video if found.follows else None
    return replace(SPEC, title=f"{found.name} (transformers)", video=video)


def create(model_folder: Path | None, device: str, precision: str = AUTO) -> ImageEngine:
    """Make the engine; nothing is loaded yet."""
    from napari_sam3_assistant.engines.sam_transformers.engine import SamTransformersEngine

    return SamTransformersEngine(ENTRY.spec_for(model_folder), model_folder, device, precision)


ENTRY = EngineEntry(SPEC, status, create, choose_spec)
