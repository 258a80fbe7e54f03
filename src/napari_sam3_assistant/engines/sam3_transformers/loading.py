"""Load a SAM 3 model folder once, for every head."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.engines.checkpoints import inspect_folder
from napari_sam3_assistant.engines.checkpoints.files import FileIdentity, read_header, read_settings
from napari_sam3_assistant.engines.device import supports_bfloat16
from napari_sam3_assistant.engines.errors import reading_files
from napari_sam3_assistant.errors import CheckpointInvalid, EngineNotInstalled

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator
    from pathlib import Path

    import torch

    from napari_sam3_assistant.core.progress import Reporter


_STAGES = 4
# Nothing is asked of a hub, and no code that comes with a folder is run, nor offered to be run.
_OFFLINE: Any = {"local_files_only": True, "trust_remote_code": False}
_CACHE_LINE = 64
_LARGEST_SETTING = 10_000_000
_CONFIG_AGAIN = "Download config.json of facebook/sam3 again."
_WEIGHTS_AGAIN = "Download model.safetensors of facebook/sam3 again, whole, with its config.json."


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
    worked : set
        The parts that have worked with these files.
    """

    video: Any
    clicks: Any
    find_processor: Any
    click_processor: Any
    device: str
    dtype: torch.dtype
    weights: str
    worked: set[Hashable] = field(default_factory=set)

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
    with _quiet():
        file = folder / "model.safetensors"
        with reading_files(f"{folder / 'config.json'} is not of SAM 3.", _CONFIG_AGAIN):
            config = _check_size(folder, file)
        find = read_processor(Sam3Processor, folder)
        click = read_processor(Sam3TrackerProcessor, folder)
        with reading_files(f"{folder / 'processor_config.json'} is odd.", _CONFIG_AGAIN):
            _check_processor(find, config)
        reporter.report(Progress(2, _STAGES, "Reading the weights"))
        with reading_files(f"{file} can't be read.", _WEIGHTS_AGAIN):
            # Its annotation knows only the answer without output_loading_info.
            read: Any = Sam3VideoModel.from_pretrained
            video, found = read(
                # No folder, in which it would look for other files than these.
                None,
                config=_read_config(folder),
                state_dict=_read_weights(file, dtype),
                dtype=dtype,
                output_loading_info=True,
                # Told by `found`, and refused there in our words.
                ignore_mismatched_sizes=True,
                **_OFFLINE,
            )
        _refuse_random(folder, found)
        reporter.report(Progress(3, _STAGES, f"Moving the model to {device}"))
        _restore_positions(video)
        video = video.to(device).eval()
        with reading_files(f"{folder / 'config.json'} is not of SAM 3.", _CONFIG_AGAIN):
            clicks = build_click_model(video)
    reporter.report(Progress(_STAGES, _STAGES, "SAM 3 is ready"))
    return LoadedModel(video, clicks, find, click, device, dtype, "model.safetensors")


def _restore_positions(video: Any) -> None:  # noqa: ANN401 - see LoadedModel
    """Let the image encoder's layers know their positions in float32, whatever its number format.

    transformers before 5.24 makes them in that of the weights, and the global layers, which
    count in thirds, are then off by some hundredths.
    """
    for layer in video.detector_model.vision_encoder.backbone.layers:
        # Other versions have no such positions.
        if hasattr(layer, "position_ids") and hasattr(layer, "precompute_positions"):
            layer.position_ids = layer.precompute_positions(layer.config, layer.window_size)


def read_processor(kind: Any, folder: Path) -> Any:  # noqa: ANN401 - see LoadedModel
    """Return a processor of a model folder; nothing is fetched, and no code in the folder is run.

    Parameters
    ----------
    kind : type
        Its class, such as ``Sam3Processor``.
    folder : Path
        The model folder.

    Raises
    ------
    CheckpointInvalid
        If its files can't be used.
    """
    with reading_files(
        f"The processor or the tokenizer in {folder} can't be read.",
        "Download processor_config.json and the tokenizer files of facebook/sam3 again.",
    ):
        return kind.from_pretrained(folder, **_OFFLINE)


def _read_config(folder: Path) -> Any:  # noqa: ANN401 - see LoadedModel
    """Return the settings, made anew: models change those that they get."""
    from transformers import Sam3VideoConfig

    return Sam3VideoConfig.from_pretrained(folder, **_OFFLINE)


def _check_size(folder: Path, file: Path) -> Any:  # noqa: ANN401 - see LoadedModel
    """Return the settings, if these and the weights are of one size; none of it is made yet."""
    import torch
    from transformers import Sam3VideoModel

    tensors = read_header(file)
    _check_numbers(read_settings(folder / "config.json"), len(tensors))
    # On "meta" nothing is allocated.
    config = _read_config(folder)
    with torch.device("meta"):
        model = Sam3VideoModel(config)
    asked = sum(one.numel() for one in (*model.parameters(), *model.buffers()))
    held = sum(math.prod(tensor.shape) for tensor in tensors.values())
    # Some weights may be missing, which is told weight by weight later.
    if not held / 2 < asked < 2 * held:
        raise CheckpointInvalid(
            f"config.json is of a model of {asked:,} weights, {file.name} holds {held:,}.",
            "Download both files of facebook/sam3 again, into one folder.",
        )
    return config


def _check_numbers(settings: Any, tensors: int, name: str = "") -> None:  # noqa: ANN401 - any JSON
    """Raise if a number would keep the computer busy: each layer has weights of its own."""
    if isinstance(settings, dict):
        for key, value in settings.items():
            _check_numbers(value, tensors, key)
    elif isinstance(settings, list):
        for value in settings:
            _check_numbers(value, tensors, name)
    elif isinstance(settings, int | float):
        most = tensors if "layers" in name or "depth" in name else _LARGEST_SETTING
        if not abs(settings) <= most:
            raise CheckpointInvalid(f"In config.json, {name} is {settings!r:.40}.", _CONFIG_AGAIN)


def _check_processor(processor: Any, config: Any) -> None:  # noqa: ANN401 - see LoadedModel
    """Raise unless images are prepared at the size that the model takes."""
    size = processor.image_processor.size
    if (size["height"], size["width"]) != (config.image_size, config.image_size):
        raise CheckpointInvalid(
            f"processor_config.json is for images of {size['height']} × {size['width']} pixels, "
            f"config.json for {config.image_size} × {config.image_size}.",
            "Download both files of facebook/sam3 again, into one folder.",
        )


def _read_weights(file: Path, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return the weights in memory of their own, in a number format.

    Mapped from the file, as ``from_pretrained`` would have them, they would change with it: a file
    that is cut short would end the program, one that is written anew would change the answers.
    """
    import torch

    formats = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16}
    formats["BF16"] = torch.bfloat16
    weights: dict[str, torch.Tensor] = {}
    unchanged = FileIdentity(file)
    with file.open("rb") as opened:
        for name, stored in read_header(file).items():
            kind = formats.get(stored.kind)
            if kind is None or stored.nbytes != kind.itemsize * math.prod(stored.shape):
                raise CheckpointInvalid(
                    f"{name} in {file.name} has {stored.nbytes:,} bytes, and is said to be of type "
                    f"{stored.kind} and shape {stored.shape}.",
                    _WEIGHTS_AGAIN,
                )
            # To a cache line as in a mapped file: sums, which depend on it, round as they do there.
            lead = stored.begin % _CACHE_LINE
            memory = torch.empty(lead + stored.nbytes, dtype=torch.uint8)[lead:]
            opened.seek(stored.begin)
            if opened.readinto(memory.numpy().data) != stored.nbytes:
                raise CheckpointInvalid(f"{file.name} ends within {name}.", _WEIGHTS_AGAIN)
            weights[name] = memory.view(kind).reshape(stored.shape).to(dtype)
    unchanged.check()
    return weights


def _refuse_random(folder: Path, found: dict[str, Any]) -> None:
    """Raise if a part of the model kept random weights, which would answer nonsense."""
    file = folder / "model.safetensors"
    missing = sorted(found["missing_keys"])
    misfits = sorted(name for name, *_ in found["mismatched_keys"])
    for names, what in ((missing, "missing"), (misfits, "of a wrong size")):
        if names:
            raise CheckpointInvalid(
                f"Weights that are {what} in {file}: {len(names)}, such as {names[0]}.",
                _WEIGHTS_AGAIN,
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
def _quiet() -> Iterator[None]:
    """Keep bars and reports of transformers off the terminal: the reporter and our errors tell."""
    from transformers.utils import logging

    shown, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if shown:
            logging.enable_progress_bar()
