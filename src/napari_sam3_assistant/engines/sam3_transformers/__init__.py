"""SAM 3 by Hugging Face transformers: phrases, examples, clicks, boxes and masks.

Importing this package imports neither PyTorch nor transformers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant.core.prompts import PromptKind
from napari_sam3_assistant.engines.base import EngineEntry, EngineSpec, TrackSpec
from napari_sam3_assistant.engines.device import AUTO, PRECISIONS
from napari_sam3_assistant.engines.sam_transformers import status

if TYPE_CHECKING:
    from pathlib import Path

    from napari_sam3_assistant.engines.base import ImageEngine


SPEC = EngineSpec(
    name="sam3-transformers",
    title="SAM 3 (transformers)",
    accepts=frozenset(PromptKind),
    needs_weights=True,
    video=TrackSpec(prompts=frozenset(PromptKind) - {PromptKind.EXEMPLARS, PromptKind.EVERYTHING}),
    soft_masks=True,
    precisions=PRECISIONS,
)


def create(model_folder: Path | None, device: str, precision: str = AUTO) -> ImageEngine:
    """Make the engine; nothing is loaded yet."""
    from napari_sam3_assistant.engines.sam3_transformers.engine import Sam3TransformersEngine

    return Sam3TransformersEngine(SPEC, model_folder, device, precision)


ENTRY = EngineEntry(SPEC, status, create)
