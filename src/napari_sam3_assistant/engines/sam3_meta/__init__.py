"""SAM 3 by Meta's own ``sam3`` package, for single planes.

Importing this package loads neither torch nor sam3; they come with ``load``.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.prompts import PromptKind
from napari_sam3_assistant.engines.base import EngineEntry, EngineSpec, EngineStatus

if TYPE_CHECKING:
    from pathlib import Path

    from napari_sam3_assistant.engines.base import ImageEngine

SPEC = EngineSpec(
    name="sam3-meta",
    title="SAM 3 (Meta sam3 package)",
    accepts=frozenset(PromptKind),
    needs_weights=True,
)

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
            'Install it with: pip install "napari-sam3-assistant[meta]". '
            "The engine sam3-transformers runs SAM 3 without it.",
        )
    missing = [name for name in _IMPORTS if find_spec(name) is None]
    if missing:
        return EngineStatus(
            available=False,
            reason=f"sam3 is installed, but it needs {', '.join(missing)}. "
            f"Install with: pip install {' '.join(missing)}.",
        )
    return EngineStatus(available=True)


def create(model_folder: Path | None, device: str) -> ImageEngine:
    """Return the engine; nothing is loaded yet."""
    from napari_sam3_assistant.engines.sam3_meta.engine import Sam3MetaEngine

    return Sam3MetaEngine(SPEC, model_folder, device)


ENTRY = EngineEntry(SPEC, status, create)
