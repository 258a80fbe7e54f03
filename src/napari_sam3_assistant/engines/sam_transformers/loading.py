"""Read model folders offline, and nothing in them is run; load SAM 2, SAM 1 and EdgeTAM."""

from __future__ import annotations

import math
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field, fields
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.extras import pip_install
from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.engines.checkpoints import Layout, inspect_folder, peek_sam
from napari_sam3_assistant.engines.checkpoints.files import FileIdentity, read_header, read_settings
from napari_sam3_assistant.engines.device import convert
from napari_sam3_assistant.engines.errors import DOWNLOAD, reading_files
from napari_sam3_assistant.engines.sam_transformers.segment_anything import (
    read_segment_anything,
)
from napari_sam3_assistant.errors import CheckpointInvalid, EngineNotInstalled

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    import torch

    from napari_sam3_assistant.core.images import Untyped
    from napari_sam3_assistant.core.progress import Reporter


WEIGHTS = "model.safetensors"
STAGES = 4
# Nothing is asked of a hub, and no code that comes with a folder is run, nor offered to be run.
_OFFLINE: Any = {"local_files_only": True, "trust_remote_code": False}
_CACHE_LINE = 64
_LARGEST_SETTING = 10_000_000
AGAIN = "Download config.json and model.safetensors again, whole, into one folder."


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """One copy of the weights, seen by each head that uses them.

    ``clicks``: one mask for each prompted object.
    ``click_processor``: prepares images, points and boxes.
    ``tracker``: follows objects through frames; shares its modules with ``clicks``. None where the
    weights are for planes only.
    ``device``: where the weights lie.
    ``precision``: the number format of the image encoder: ``float32``, ``bfloat16`` or ``int8``.
    All else is float32: its input and output, the heads, coordinates and phrases.
    ``weights``: file name of the weights.
    ``worked``: the parts that have worked with these files.
    """

    clicks: Any
    click_processor: Any
    tracker: Any
    device: str
    precision: str
    weights: str = WEIGHTS
    worked: set[Hashable] = field(default_factory=set)

    def close(self) -> None:
        """Empty what classes of transformers remember: tensors on the device, of their last calls.

        Its ``compile_compatible_method_lru_cache`` serves all modules of a class and outlives them.
        """
        held = [getattr(self, one.name) for one in fields(self)]
        parts = [part for one in held if hasattr(one, "modules") for part in one.modules()]
        for kind in {kind for part in parts for kind in type(part).__mro__}:
            for method in vars(kind).values():
                function = getattr(method, "__func__", method)  # a static one is wrapped
                for cell in getattr(function, "__closure__", None) or ():
                    if hasattr(cell.cell_contents, "cache_clear"):
                        cell.cell_contents.cache_clear()

    @contextmanager
    def calling(self, part: Hashable, folder: Path | None) -> Iterator[None]:
        """Be ready for calls of a part of the model.

        Until it has worked once, config.json may describe what can be built and not run.
        """
        import torch

        guard: AbstractContextManager[None] = nullcontext()
        if part not in self.worked:
            guard = reading_files(
                f"The model does not work with the files in {folder}.",
                "Download them again; if that does not help, report this.",
            )
        with torch.inference_mode(), guard:
            yield
        self.worked.add(part)


def load_sam(
    folder: Path, name: str, device: str, precision: str, reporter: Reporter
) -> LoadedModel:
    """Load the folder of a SAM 2, SAM 1 or EdgeTAM, offline."""
    reporter.report(Progress(0, STAGES, "Checking the model folder"))
    report = inspect_folder(folder)
    report.require("sam-transformers")
    kind = peek_sam(folder)
    if kind is None:
        raise CheckpointInvalid(f"The files in {folder} changed.", "Load the model again.")
    if kind.package and find_spec(kind.package) is None:
        raise EngineNotInstalled(
            f"{name} needs the package {kind.package}.", f"Run: pip install {kind.package}"
        )
    weights = report.weights[0]
    if weights.layout is Layout.SEGMENT_ANYTHING:
        return _load_segment_anything(weights.path, name, device, precision, reporter)
    network, (processor,), precision = read_folder(
        folder, name, kind.network, (kind.processor,), device, precision, reporter
    )
    tracker, clicks = (network, None) if kind.follows else (None, network)
    if tracker is not None:
        with reading_files(f"{folder / 'config.json'} is not of {name}.", AGAIN):
            clicks = share_modules(tracker, kind.clicks, tracker.config, tracker.vision_encoder)
    reporter.report(Progress(STAGES, STAGES, f"{name} is ready"))
    return LoadedModel(clicks, processor, tracker, device, precision)


def _load_segment_anything(
    file: Path, name: str, device: str, precision: str, reporter: Reporter
) -> LoadedModel:
    """Load a SAM 1 in the layout of segment_anything, which comes without settings."""
    network_class, processor_class, image_class = _import_classes(
        ("SamModel", "SamProcessor", "SamImageProcessor"), reporter
    )
    reporter.report(Progress(2, STAGES, "Reading the weights"))
    settings, weights = read_segment_anything(file)
    with _silence_transformers(), reading_files(f"{file.name} is not of SAM 1.", DOWNLOAD):
        config = network_class.config_class(**settings)
        held = sum(weight.numel() for weight in weights.values())
        _check_size(network_class, deepcopy(config), held, file.name, DOWNLOAD)
        network = _build(network_class, config, weights, file, DOWNLOAD)
        size = config.vision_config.image_size
        low = 4 * size // config.vision_config.patch_size
        processor = processor_class(
            image_class(
                size={"longest_edge": size},
                pad_size={"height": size, "width": size},
                mask_size={"longest_edge": low},
                mask_pad_size={"height": low, "width": low},
            )
        )
    network, precision = _place(network, device, precision, reporter)
    reporter.report(Progress(STAGES, STAGES, f"{name} is ready"))
    return LoadedModel(network, processor, None, device, precision, file.name)


def read_folder(
    folder: Path,
    name: str,
    kind: str,
    processors: Sequence[str],
    device: str,
    precision: str,
    reporter: Reporter,
) -> tuple[Any, list[Any], str]:
    """Return the network of a model folder on a device, its processors, and its precision."""
    network_class, *processor_classes = _import_classes((kind, *processors), reporter)
    file = folder / WEIGHTS
    with _silence_transformers():
        with reading_files(f"{folder / 'config.json'} is not of {name}.", AGAIN):
            tensors = read_header(file)
            _check_settings(read_settings(folder / "config.json"), len(tensors))
            held = sum(math.prod(tensor.shape) for tensor in tensors.values())
            config = _read_config(folder, network_class)
            _check_size(network_class, config, held, WEIGHTS, AGAIN)
        ready = [read_processor(processor_class, folder) for processor_class in processor_classes]
        with reading_files(f"The settings of the processor in {folder} are odd.", AGAIN):
            _check_processor(ready[0], config)
        reporter.report(Progress(2, STAGES, "Reading the weights"))
        with reading_files(f"{file} can't be read.", AGAIN):
            config, weights = _read_config(folder, network_class), _read_weights(file)
            network = _build(network_class, config, weights, file, AGAIN)
    network, precision = _place(network, device, precision, reporter)
    return network, ready, precision


def _import_classes(names: Sequence[str], reporter: Reporter) -> list[Any]:
    """Return classes of transformers, which takes seconds to start."""
    reporter.report(Progress(1, STAGES, "Starting PyTorch and transformers"))
    try:
        import torch  # noqa: F401 - what it raises is told here, too
        import transformers

        return [getattr(transformers, name) for name in names]
    except (ImportError, RuntimeError, AttributeError) as exc:
        # RuntimeError: "operator torchvision::nms does not exist" of a torchvision that was
        # built for another torch.
        raise EngineNotInstalled(
            f"PyTorch, torchvision or transformers can't be imported: {exc}",
            "Install them anew, in versions that go together: "
            + pip_install("sam3", "--upgrade --force-reinstall"),
        ) from exc


def _build(
    network_class: Untyped,
    config: Untyped,
    weights: dict[str, torch.Tensor],
    file: Path,
    remedy: str,
) -> Untyped:
    """Return a network of weights, of which each must be there and fit."""
    import torch

    network, found = network_class.from_pretrained(
        # No folder, in which it would look for other files than these.
        None,
        config=config,
        state_dict=weights,
        dtype=torch.float32,
        output_loading_info=True,
        # Told by `found`, and refused there in our words.
        ignore_mismatched_sizes=True,
        **_OFFLINE,
    )
    _refuse_random(file, found, remedy)
    return network


def _place(network: Untyped, device: str, precision: str, reporter: Reporter) -> tuple[Any, str]:
    """Return a network on a device, and the number format that its image encoder has there."""
    reporter.report(Progress(3, STAGES, f"Moving the model to {device}"))
    precision = convert(find_backbone(network), precision)
    return network.to(device).eval(), precision


def find_backbone(network: Untyped) -> Untyped:
    """Return the part of a network that takes images, and nearly all of the time."""
    # Sam3VideoModel has it in its detector.
    seeing: Any = getattr(network, "detector_model", network)
    encoder = seeing.vision_encoder
    # SAM 1 has its neck within.
    return getattr(encoder, "backbone", encoder)


def read_processor(kind: Untyped, folder: Path) -> Untyped:
    """Return a processor of a model folder; nothing is fetched, and no code there is run."""
    with reading_files(
        f"The processor or the tokenizer in {folder} can't be read.",
        "Download all small files of the model again.",
    ):
        return kind.from_pretrained(folder, **_OFFLINE)


def _read_config(folder: Path, network_class: Untyped) -> Untyped:
    """Return the settings, made anew: models change those that they get."""
    return network_class.config_class.from_pretrained(folder, **_OFFLINE)


def _check_size(network_class: Untyped, config: Untyped, held: int, name: str, remedy: str) -> None:
    """Raise unless settings and weights are of one size; none of it is made yet."""
    import torch

    # On "meta" nothing is allocated.
    with torch.device("meta"):
        model = network_class(config)
    asked = sum(tensor.numel() for tensor in (*model.parameters(), *model.buffers()))
    # Some weights may be missing, which is told weight by weight later.
    if not held / 2 < asked < 2 * held:
        raise CheckpointInvalid(
            f"The settings are of a model of {asked:,} weights, {name} holds {held:,}.", remedy
        )


def _check_settings(settings: Untyped, tensors: int, name: str = "") -> None:
    """Raise if a setting would keep the computer busy, or have something fetched."""
    if isinstance(settings, dict):
        for key, value in settings.items():
            _check_settings(value, tensors, key)
    elif isinstance(settings, list):
        for value in settings:
            _check_settings(value, tensors, name)
    elif isinstance(settings, int | float):
        # Each layer has weights of its own.
        most = tensors if "layers" in name or "depth" in name else _LARGEST_SETTING
        if not abs(settings) <= most:
            raise CheckpointInvalid(f"In config.json, {name} is {settings!r:.40}.", AGAIN)
    elif name == "backbone" and settings:
        # transformers would ask the hub for it.
        raise CheckpointInvalid(f"In config.json, {name} is {settings!r:.40}.", AGAIN)


def _check_processor(processor: Untyped, config: Untyped) -> None:
    """Raise unless images and prompts are prepared at the size that the model takes."""
    image_processor = processor.image_processor
    size = image_processor.pad_size if pads(processor) else image_processor.size
    sides = {size["height"], size["width"], getattr(processor, "target_size", size["height"])}
    taken = getattr(config, "image_size", None) or config.prompt_encoder_config.image_size
    if sides != {taken}:
        raise CheckpointInvalid(
            f"The processor is for images of {size['height']} × {size['width']} pixels, "
            f"config.json for {taken} × {taken}.",
            AGAIN,
        )


def pads(processor: Untyped) -> bool:
    """Return whether images keep their aspect and are padded, as for SAM 1, or are stretched."""
    return bool(getattr(processor.image_processor.size, "longest_edge", None))


def _read_weights(file: Path) -> dict[str, torch.Tensor]:
    """Return the weights in memory of their own, in float32.

    Mapped from the file, as ``from_pretrained`` would have them, they would change with it: a file
    that is cut short would end the program, one that is written anew would change the answers.
    """
    import torch

    formats = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16}
    # Whole numbers are counters of batch normalisation.
    formats |= {"BF16": torch.bfloat16, "I64": torch.int64}
    weights: dict[str, torch.Tensor] = {}
    unchanged = FileIdentity(file)
    with file.open("rb") as opened:
        for name, stored in read_header(file).items():
            kind = formats.get(stored.kind)
            if kind is None or stored.nbytes != kind.itemsize * math.prod(stored.shape):
                raise CheckpointInvalid(
                    f"{name} in {file.name} has {stored.nbytes:,} bytes, and is said to be of type "
                    f"{stored.kind} and shape {stored.shape}.",
                    AGAIN,
                )
            # To a cache line as in a mapped file: sums, which depend on it, round as they do there.
            lead = stored.begin % _CACHE_LINE
            memory = torch.empty(lead + stored.nbytes, dtype=torch.uint8)[lead:]
            opened.seek(stored.begin)
            if opened.readinto(memory.numpy().data) != stored.nbytes:
                raise CheckpointInvalid(f"{file.name} ends within {name}.", AGAIN)
            tensor = memory.view(kind).reshape(stored.shape)
            weights[name] = tensor.float() if kind.is_floating_point else tensor
    unchanged.check()
    return weights


def _refuse_random(file: Path, report: dict[str, Any], remedy: str) -> None:
    """Raise if a part of the model kept random weights, which would answer nonsense."""
    missing = sorted(report["missing_keys"])
    misfits = sorted(name for name, *_ in report["mismatched_keys"])
    for names, problem in ((missing, "missing"), (misfits, "of a wrong size")):
        if names:
            raise CheckpointInvalid(
                f"Weights that are {problem} in {file}: {len(names)}, such as {names[0]}.",
                remedy,
            )


def share_modules(tracker: Untyped, kind: str, parts: Untyped, encoder: Untyped) -> Untyped:
    """Return a model for clicks that is made of the modules of a tracker: no second copy."""
    import torch
    import transformers

    network_class = getattr(transformers, kind)
    config = network_class.config_class(
        vision_config=parts.vision_config.to_dict(),
        prompt_encoder_config=_plain(parts.prompt_encoder_config),
        mask_decoder_config=_plain(parts.mask_decoder_config),
    )
    # On "meta" nothing is allocated; every module that is used is put in from the loaded model.
    with torch.device("meta"):
        model = network_class(config).eval()
    model.vision_encoder = encoder
    for name in ("shared_image_embedding", "prompt_encoder", "mask_decoder", "no_memory_embedding"):
        setattr(model, name, getattr(tracker, name))
    return model


def _plain(config: Untyped) -> dict[str, Any]:
    """Return a part's settings without the name of the video model's part."""
    settings: dict[str, Any] = config.to_dict()
    settings.pop("model_type", None)
    return settings


@contextmanager
def _silence_transformers() -> Iterator[None]:
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
