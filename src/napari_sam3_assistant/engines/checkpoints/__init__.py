"""What is in a model folder, found without loading it."""

from napari_sam3_assistant.engines.checkpoints.files import inspect_folder, peek_sam
from napari_sam3_assistant.engines.checkpoints.report import (
    SAM_MODELS,
    EngineChoice,
    Finding,
    FolderReport,
    Layout,
    WeightsFile,
    choose_engine,
)

__all__ = [
    "SAM_MODELS",
    "EngineChoice",
    "Finding",
    "FolderReport",
    "Layout",
    "WeightsFile",
    "choose_engine",
    "inspect_folder",
    "peek_sam",
]
