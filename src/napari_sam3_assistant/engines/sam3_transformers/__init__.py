"""SAM 3 by Hugging Face transformers: phrases, examples, clicks, boxes and masks.

Importing this package imports neither PyTorch nor transformers.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.prompts import PromptKind
from napari_sam3_assistant.engines.base import EngineEntry, EngineSpec, EngineStatus, TrackSpec

if TYPE_CHECKING:
    from pathlib import Path

    from napari_sam3_assistant.engines.base import ImageEngine


SPEC = EngineSpec(
    name="sam3-transformers",
    title="SAM 3 (transformers)",
    accepts=frozenset(PromptKind),
    needs_weights=True,
    video=TrackSpec(prompts=frozenset(PromptKind) - {PromptKind.EXEMPLARS}),
    soft_masks=True,
)
_PACKAGES = ("torch", "torchvision", "transformers", "safetensors")
_FIRST_WITH_SAM3 = 5
_REMEDY = 'Run: pip install "napari-sam3-assistant[sam3]"'


def status() -> EngineStatus:
    """Return whether the packages are there, without importing them."""
    missing = [package for package in _PACKAGES if find_spec(package) is None]
    if missing:
        return EngineStatus(False, f"Not installed: {', '.join(missing)}. {_REMEDY}")
    try:
        installed = version("transformers")
    except PackageNotFoundError:
        return EngineStatus(False, f"The installed transformers has no version. {_REMEDY}")
    if int(installed.split(".")[0]) < _FIRST_WITH_SAM3:
        return EngineStatus(
            False, f"transformers {installed} has no SAM 3; version 5 or later has. {_REMEDY}"
        )
    return EngineStatus(True)


def create(model_folder: Path | None, device: str) -> ImageEngine:
    """Make the engine; nothing is loaded yet."""
    from napari_sam3_assistant.engines.sam3_transformers.engine import Sam3TransformersEngine

    return Sam3TransformersEngine(SPEC, model_folder, device)


ENTRY = EngineEntry(SPEC, status, create)
