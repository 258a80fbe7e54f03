"""What is in a model folder, found without loading it."""

from napari_sam3_assistant.engines.checkpoints.files import inspect_folder
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
    "inspect_folder",
]
