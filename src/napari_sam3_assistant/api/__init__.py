"""Segment without a window: what the widget does, as functions, and the values that they take.

Scripts import from here only: modules below may move. Importing this package loads neither Qt nor
napari nor torch.
"""

from napari_sam3_assistant.api.engines import (
    EngineInfo,
    compare_devices,
    doctor,
    download,
    engine_for,
    engines,
    measure_precision,
    open_engine,
)
from napari_sam3_assistant.api.folder import Rerun, export_series, precompute, rerun, segment_folder
from napari_sam3_assistant.api.labels import (
    clean,
    export,
    finish_edits,
    measure,
    read_classes,
    read_coco,
    read_geojson,
    read_rois,
    take_back_edits,
    unfinished_edits,
)
from napari_sam3_assistant.api.segment import add_example, imread, scan, segment
from napari_sam3_assistant.api.track import save_tracks, track, track_folder
from napari_sam3_assistant.compute.connection import Connection
from napari_sam3_assistant.core.classes import ClassList, ObjectClass
from napari_sam3_assistant.core.display import FrameSource, view_of_array
from napari_sam3_assistant.core.images import PixelSize
from napari_sam3_assistant.core.lengths import Length
from napari_sam3_assistant.core.masks.labels import Connectivity
from napari_sam3_assistant.core.masks.objects import ExportFormat
from napari_sam3_assistant.core.masks.operations import (
    Expand,
    FillHoles,
    KeepLargest,
    MergeValues,
    RemoveSmall,
    Renumber,
    Shrink,
    Smooth,
    Split,
)
from napari_sam3_assistant.core.masks.pieces import Apart
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.progress import NullReporter, Progress, Reporter
from napari_sam3_assistant.core.prompts import (
    BoxPrompt,
    Everything,
    ExemplarPrompt,
    Joining,
    MaskPrompt,
    PointPrompt,
    PromptSet,
    Seeds,
)
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import ObjectRecord, Provenance, Segmentation
from napari_sam3_assistant.core.stitching import StitchedObject
from napari_sam3_assistant.core.tracks import Direction, FrameResult, Span, TrackScale, TrackTable
from napari_sam3_assistant.engines.download import HUB_MODELS
from napari_sam3_assistant.errors import JobCancelled, Sam3AssistantError
from napari_sam3_assistant.io.annotations import (
    CocoFile,
    CocoImage,
    GeoJsonFile,
)
from napari_sam3_assistant.io.areas import ImportedLabels
from napari_sam3_assistant.io.imagej_rois import RoiFile
from napari_sam3_assistant.io.loaded import LoadedImage
from napari_sam3_assistant.workflows.annotate_folder import FolderExport
from napari_sam3_assistant.workflows.batch import FolderRow
from napari_sam3_assistant.workflows.everything import label_seeds
from napari_sam3_assistant.workflows.examples import Example, ExampleLibrary
from napari_sam3_assistant.workflows.model_setup import DeviceComparison
from napari_sam3_assistant.workflows.precompute import PrecomputedRow
from napari_sam3_assistant.workflows.scan import ScanResult, ScanStep
from napari_sam3_assistant.workflows.track import Tracking

__all__ = [
    "HUB_MODELS",
    "Apart",
    "BoxPrompt",
    "ClassList",
    "CocoFile",
    "CocoImage",
    "Connection",
    "Connectivity",
    "DeviceComparison",
    "Direction",
    "EngineInfo",
    "Everything",
    "Example",
    "ExampleLibrary",
    "ExemplarPrompt",
    "Expand",
    "ExportFormat",
    "FillHoles",
    "FolderExport",
    "FolderRow",
    "FrameResult",
    "FrameSource",
    "GeoJsonFile",
    "ImportedLabels",
    "JobCancelled",
    "Joining",
    "KeepLargest",
    "Length",
    "LoadedImage",
    "MaskPrompt",
    "MergeValues",
    "NullReporter",
    "ObjectClass",
    "ObjectRecord",
    "PixelSize",
    "PointPrompt",
    "PrecomputedRow",
    "PredictOptions",
    "Progress",
    "PromptSet",
    "Provenance",
    "Region",
    "RemoveSmall",
    "Renumber",
    "Reporter",
    "Rerun",
    "RoiFile",
    "Sam3AssistantError",
    "ScanResult",
    "ScanStep",
    "Seeds",
    "Segmentation",
    "Shrink",
    "Smooth",
    "Span",
    "Split",
    "StitchedObject",
    "TrackScale",
    "TrackTable",
    "Tracking",
    "add_example",
    "clean",
    "compare_devices",
    "doctor",
    "download",
    "engine_for",
    "engines",
    "export",
    "export_series",
    "finish_edits",
    "imread",
    "label_seeds",
    "measure",
    "measure_precision",
    "open_engine",
    "precompute",
    "read_classes",
    "read_coco",
    "read_geojson",
    "read_rois",
    "rerun",
    "save_tracks",
    "scan",
    "segment",
    "segment_folder",
    "take_back_edits",
    "track",
    "track_folder",
    "unfinished_edits",
    "view_of_array",
]
