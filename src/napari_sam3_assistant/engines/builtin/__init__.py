"""The built-in engine: image analysis and two small networks that ship along; nothing downloaded.

Importing this package loads neither scikit-image nor scipy; they come with ``create``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant.core.prompts import PromptKind
from napari_sam3_assistant.engines.base import EngineEntry, EngineSpec, EngineStatus, TrackSpec

if TYPE_CHECKING:
    from pathlib import Path

    from napari_sam3_assistant.engines.base import ImageEngine

SPEC = EngineSpec(
    name="builtin",
    title="Built-in (no SAM 3 weights)",
    accepts=frozenset(PromptKind),
    needs_weights=False,
    phrases="'bright ...' and 'dark ...', such as 'bright cells' or 'bright cells 30 px'",
    takes_diameter=True,
    video=TrackSpec(prompts=frozenset({PromptKind.MASK})),
    proposes=True,
    bytes_per_pixel=10,
    bytes_per_pixel_searched=100,
)


def _status() -> EngineStatus:
    """Return that the engine can run: its packages are requirements of the base install."""
    return EngineStatus(available=True)


def _create(model_folder: Path | None, device: str) -> ImageEngine:
    """Return the engine; it needs no folder and works on the CPU whatever device is asked for."""
    from napari_sam3_assistant.engines.builtin.engine import BuiltinEngine

    return BuiltinEngine(SPEC)


ENTRY = EngineEntry(SPEC, _status, _create)
