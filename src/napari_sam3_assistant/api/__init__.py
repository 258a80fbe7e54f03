"""Segment without a window: what the widget does, as functions.

Importing this package loads neither Qt nor napari nor torch.
"""

from napari_sam3_assistant.api.engines import EngineInfo, doctor, engines
from napari_sam3_assistant.api.segment import open_engine, segment
from napari_sam3_assistant.core.results import ObjectRecord, Provenance, Segmentation

__all__ = [
    "EngineInfo",
    "ObjectRecord",
    "Provenance",
    "Segmentation",
    "doctor",
    "engines",
    "open_engine",
    "segment",
]
