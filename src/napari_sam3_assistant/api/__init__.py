"""Segment without a window: what the widget does, as functions.

Importing this package loads neither Qt nor napari nor torch.
"""

from napari_sam3_assistant.api.engines import EngineInfo, doctor, engines
from napari_sam3_assistant.api.models import compare_devices, download
from napari_sam3_assistant.api.scan import scan
from napari_sam3_assistant.api.segment import open_engine, segment
from napari_sam3_assistant.api.track import track
from napari_sam3_assistant.core.results import ObjectRecord, Provenance, Segmentation
from napari_sam3_assistant.core.stitching import StitchedObject
from napari_sam3_assistant.core.tracks import FrameResult
from napari_sam3_assistant.workflows.compare_devices import DeviceComparison
from napari_sam3_assistant.workflows.scan import ScanResult, ScanStep

__all__ = [
    "DeviceComparison",
    "EngineInfo",
    "FrameResult",
    "ObjectRecord",
    "Provenance",
    "ScanResult",
    "ScanStep",
    "Segmentation",
    "StitchedObject",
    "compare_devices",
    "doctor",
    "download",
    "engines",
    "open_engine",
    "scan",
    "segment",
    "track",
]
