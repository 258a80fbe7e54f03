"""Load a SAM 3 model folder once, for every head."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.engines.checkpoints import inspect_folder
from napari_sam3_assistant.engines.errors import reading_files
from napari_sam3_assistant.engines.sam_transformers.loading import (
    AGAIN,
    STAGES,
    LoadedModel,
    read_folder,
    share_modules,
)

if TYPE_CHECKING:
    from pathlib import Path

    from napari_sam3_assistant.core.images import Untyped
    from napari_sam3_assistant.core.progress import Reporter


@dataclass(frozen=True, slots=True, eq=False)
class LoadedSam3(LoadedModel):
    """One copy of the weights of SAM 3, seen by each head that uses them.

    Parameters
    ----------
    video : Sam3VideoModel
        Holds the weights; finds concepts, and follows them through frames.
    find_processor : Sam3Processor
        Prepares images, phrases and example boxes.
    """

    video: Any = None
    find_processor: Any = None

    @property
    def detector(self) -> Untyped:
        """The ``Sam3Model`` that finds all instances of a concept."""
        return self.video.detector_model


def load_model(folder: Path, device: str, precision: str, reporter: Reporter) -> LoadedSam3:
    """Load the folder of ``facebook/sam3``, offline.

    Parameters
    ----------
    folder : Path
        Holds ``config.json``, ``processor_config.json``, ``model.safetensors`` and the files
        of the tokenizer.
    device : str
        ``cpu``, ``cuda:N`` or ``mps``.
    precision : str
        The number format of the image encoder.
    reporter : Reporter
        Is told of each stage; the work stops before the next one.

    Returns
    -------
    LoadedSam3
        Ready to work.

    Raises
    ------
    CheckpointNotFound
        If the folder or its weights are not there.
    CheckpointInvalid
        If the weights are of another model or incomplete.
    EngineNotInstalled
        If the packages are there but do not work together.
    OutOfDeviceMemory
        If they do not fit.
    """
    reporter.report(Progress(0, STAGES, "Checking the model folder"))
    inspect_folder(folder).require("sam3-transformers")
    video, (find, click), precision = read_folder(
        folder,
        "SAM 3",
        "Sam3VideoModel",
        ("Sam3Processor", "Sam3TrackerProcessor"),
        device,
        precision,
        reporter,
    )
    with reading_files(f"{folder / 'config.json'} is not of SAM 3.", AGAIN):
        clicks = build_click_model(video)
    reporter.report(Progress(STAGES, STAGES, "SAM 3 is ready"))
    return LoadedSam3(
        clicks, click, video.tracker_model, device, precision, video=video, find_processor=find
    )


def build_click_model(video: Untyped) -> Untyped:
    """Return a ``Sam3TrackerModel`` made of the modules of a ``Sam3VideoModel``.

    ``Sam3TrackerModel.from_pretrained`` leaves 147 weights random for a ``sam3_video`` folder
    (transformers 5.23), and would be a second copy of the image encoder. It is given image
    embeddings and never encodes an image by itself.
    """
    import torch

    parts = deepcopy(video.config.tracker_config)
    # Its image encoder is left out, so it need not be built at its size.
    parts.vision_config.backbone_config.num_hidden_layers = 1
    return share_modules(video.tracker_model, "Sam3TrackerModel", parts, torch.nn.Identity())
