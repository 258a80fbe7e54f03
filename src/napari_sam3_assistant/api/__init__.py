"""Segment without a window: what the widget does, as functions.

Importing this package loads neither Qt nor napari nor torch.
"""

from napari_sam3_assistant.api.edits import finish_edits, take_back_edits, unfinished_edits
from napari_sam3_assistant.api.engines import EngineInfo, doctor, engines, open_engine
from napari_sam3_assistant.api.folder import segment_folder
from napari_sam3_assistant.api.models import compare_devices, download, engine_for
from napari_sam3_assistant.api.rerun import Rerun, rerun
from napari_sam3_assistant.api.scan import scan
from napari_sam3_assistant.api.segment import segment
from napari_sam3_assistant.api.track import track
from napari_sam3_assistant.api.tracks import save_tracks
from napari_sam3_assistant.core.results import ObjectRecord, Provenance, Segmentation
from napari_sam3_assistant.core.stitching import StitchedObject
from napari_sam3_assistant.core.track_table import TrackScale, TrackTable
from napari_sam3_assistant.core.tracks import FrameResult
from napari_sam3_assistant.workflows.compare_devices import DeviceComparison
from napari_sam3_assistant.workflows.folder import FolderRow
from napari_sam3_assistant.workflows.scan import ScanResult, ScanStep

__all__ = [
    "DeviceComparison",
    "EngineInfo",
    "FolderRow",
    "FrameResult",
    "ObjectRecord",
    "Provenance",
    "Rerun",
    "ScanResult",
    "ScanStep",
    "Segmentation",
    "StitchedObject",
    "TrackScale",
    "TrackTable",
    "compare_devices",
    "doctor",
    "download",
    "engine_for",
    "engines",
    "finish_edits",
    "open_engine",
    "rerun",
    "save_tracks",
    "scan",
    "segment",
    "segment_folder",
    "take_back_edits",
    "track",
    "unfinished_edits",
]
