"""What is in a model folder, found without loading it."""

from napari_sam3_assistant.engines.checkpoints.files import (
    find_model_folder,
    find_segment_anything,
    inspect_folder,
    peek_sam,
)
from napari_sam3_assistant.engines.checkpoints.report import (
    EngineChoice,
    Finding,
    FolderReport,
    Layout,
    WeightsFile,
    choose_engine,
)

__all__ = [
    "EngineChoice",
    "Finding",
    "FolderReport",
    "Layout",
    "WeightsFile",
    "choose_engine",
    "find_model_folder",
    "find_segment_anything",
    "inspect_folder",
    "peek_sam",
]
