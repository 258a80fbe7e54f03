"""What is in a model folder, found without loading it."""

from napari_sam3_assistant.engines.checkpoints.choice import EngineChoice, choose_engine
from napari_sam3_assistant.engines.checkpoints.folder import inspect_folder
from napari_sam3_assistant.engines.checkpoints.report import (
    Finding,
    FolderReport,
    Layout,
    WeightsFile,
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
