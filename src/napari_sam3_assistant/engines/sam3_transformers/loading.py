"""Load a SAM 3 model folder once, for every head."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.engines.checkpoints import inspect_folder
from napari_sam3_assistant.engines.device import supports_bfloat16
from napari_sam3_assistant.engines.errors import map_engine_errors
from napari_sam3_assistant.errors import CheckpointInvalid, EngineNotInstalled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import torch

    from napari_sam3_assistant.core.progress import Reporter

_STAGES = 4


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """One copy of the weights, seen by each head that uses them.

    Parameters
    ----------
    video : Sam3VideoModel
        Holds the weights; tracks through frames.
    clicks : Sam3TrackerModel
        One mask for each prompted object; shares the modules of ``video``.
    find_processor : Sam3Processor
        Prepares images, phrases and example boxes.
    click_processor : Sam3TrackerProcessor
        Prepares points and boxes.
    device : str
        Where the weights lie.
    dtype : torch.dtype
        The number format of the weights and of the work.
    weights : str
        File name of the weights.
    """

    video: Any
    clicks: Any
    find_processor: Any
    click_processor: Any
    device: str
    dtype: torch.dtype
    weights: str

    @property
    def detector(self) -> Any:  # noqa: ANN401 - transformers ships no types for its models
        """The ``Sam3Model`` that finds all instances of a concept."""
        return self.video.detector_model

    @property
    def number_format(self) -> str:
        """Name of the number format, such as ``float32``."""
        return str(self.dtype).removeprefix("torch.")

    def close(self) -> None:
        """Do nothing: loading changed nothing but memory."""


def load_model(folder: Path, device: str, reporter: Reporter) -> LoadedModel:
    """Load the folder of ``facebook/sam3``, offline.

    Parameters
    ----------
    folder : Path
        Holds ``config.json``, ``processor_config.json``, ``model.safetensors`` and the files
        of the tokenizer.
    device : str
        ``cpu``, ``cuda:N`` or ``mps``.
    reporter : Reporter
        Is told of each stage; the work stops before the next one.

    Returns
    -------
    LoadedModel
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
    reporter.report(Progress(0, _STAGES, "Checking the model folder"))
    report = inspect_folder(folder)
    report.require("sam3-transformers")
    reporter.report(Progress(1, _STAGES, "Starting PyTorch and transformers"))
    try:
        import torch
        from transformers import Sam3Processor, Sam3TrackerProcessor, Sam3VideoModel
    except (ImportError, RuntimeError) as exc:
        # RuntimeError: "operator torchvision::nms does not exist" of a torchvision that was
        # built for another torch.
        raise EngineNotInstalled(
            f"PyTorch, torchvision or transformers can't be imported: {exc}",
            "Install them anew, in versions that go together: "
            'pip install --upgrade --force-reinstall "napari-sam3-assistant[sam3]"',
        ) from exc
    # Half the memory and several times the speed, where the hardware has it.
    dtype = torch.bfloat16 if supports_bfloat16(device) else torch.float32
    with map_engine_errors(), _quiet_progress():
        find = _read_processor(Sam3Processor, folder)
        click = _read_processor(Sam3TrackerProcessor, folder)
        reporter.report(Progress(2, _STAGES, "Reading the weights"))
        # Its annotation knows only the answer without output_loading_info.
        read: Any = Sam3VideoModel.from_pretrained
        video, found = read(
            folder,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            # Told by `found`, and refused there in our words.
            ignore_mismatched_sizes=True,
        )
        _refuse_random(folder, found)
        reporter.report(Progress(3, _STAGES, f"Moving the model to {device}"))
        video = video.to(device).eval()
        clicks = build_click_model(video)
    reporter.report(Progress(_STAGES, _STAGES, "SAM 3 is ready"))
    return LoadedModel(video, clicks, find, click, device, dtype, "model.safetensors")


def _read_processor(kind: Any, folder: Path) -> Any:  # noqa: ANN401 - see LoadedModel
    try:
        return kind.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise CheckpointInvalid(
            f"The processor or the tokenizer in {folder} can't be read: {exc}",
            "Download processor_config.json and the tokenizer files of facebook/sam3 again.",
        ) from exc


def _refuse_random(folder: Path, found: dict[str, Any]) -> None:
    """Raise if a part of the model kept random weights, which would answer nonsense."""
    file = folder / "model.safetensors"
    missing = sorted(found["missing_keys"])
    misfits = sorted(name for name, *_ in found["mismatched_keys"])
    for names, what in ((missing, "missing"), (misfits, "of a wrong size")):
        if names:
            raise CheckpointInvalid(
                f"Weights that are {what} in {file}: {len(names)}, such as {names[0]}.",
                "Download model.safetensors of facebook/sam3 again, whole, with its config.json.",
            )


def build_click_model(video: Any) -> Any:  # noqa: ANN401 - see LoadedModel
    """Return a ``Sam3TrackerModel`` made of the modules of a ``Sam3VideoModel``.

    ``Sam3TrackerModel.from_pretrained`` leaves 147 weights random for a ``sam3_video`` folder
    (transformers 5.23), and would be a second copy of the image encoder.
    """
    import torch
    from transformers import Sam3TrackerConfig, Sam3TrackerModel

    tracker = video.tracker_model
    parts = video.config.tracker_config
    # Its image encoder is left out below, so it need not be built at its size.
    vision = parts.vision_config.to_dict()
    vision["backbone_config"]["num_hidden_layers"] = 1
    config = Sam3TrackerConfig(
        vision_config=vision,
        prompt_encoder_config=_plain(parts.prompt_encoder_config),
        mask_decoder_config=_plain(parts.mask_decoder_config),
    )
    # On "meta" nothing is allocated; every module that is used is put in from the loaded model.
    with torch.device("meta"):
        model = Sam3TrackerModel(config).eval()
    # It is given image embeddings and never encodes an image by itself.
    model.vision_encoder = torch.nn.Identity()
    model.shared_image_embedding = tracker.shared_image_embedding
    model.prompt_encoder = tracker.prompt_encoder
    model.mask_decoder = tracker.mask_decoder
    model.no_memory_embedding = tracker.no_memory_embedding
    return model


def _plain(config: Any) -> dict[str, Any]:  # noqa: ANN401 - see LoadedModel
    """Return a part's settings without the name of the video model's part."""
    settings: dict[str, Any] = config.to_dict()
    settings.pop("model_type", None)
    return settings


@contextmanager
def _quiet_progress() -> Iterator[None]:
    """Keep the progress bars of transformers off the terminal: the reporter tells."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
