"""The weights file of Meta's layout: found in the model folder, read, and put into the model."""

from __future__ import annotations

import zipfile
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.engines.checkpoints.archive import read_strings
from napari_sam3_assistant.engines.checkpoints.safetensors_header import read_tensor_names
from napari_sam3_assistant.engines.errors import reading_files
from napari_sam3_assistant.errors import CheckpointInvalid, CheckpointNotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import torch

MULTIPLEX_NAME = "sam3.1_multiplex.pt"
# Names in the file and in the image model (sam3.model_builder._load_checkpoint).
_PREFIXES = {"detector.": "", "tracker.": "inst_interactive_predictor.model."}
# Only the checkpoint of SAM 3.1 has these (the rest is shared by both versions).
_MULTIPLEX_PREFIXES = ("tracker.model.", "detector.backbone.vision_backbone.interactive_convs.")

_GET_WEIGHTS = "Download sam3.pt from huggingface.co/facebook/sam3 into the model folder."
_DOWNLOAD = "Download the file again, whole."
_USE_TRANSFORMERS = "Choose the engine sam3-transformers, which reads it."
_USE_SAM30 = (
    "For 2D tasks choose a folder with sam3.pt (engine sam3-meta) or model.safetensors "
    "(engine sam3-transformers) of SAM 3.0; SAM 3.1 is for 3D and video."
)


def find_weights(folder: Path | None) -> Path:
    """Return the weights file to load from a model folder.

    Parameters
    ----------
    folder : Path or None
        The model folder.

    Raises
    ------
    CheckpointNotFound
        If there is no folder, or no weights file in it.
    CheckpointInvalid
        If the folder holds weights that this engine can't use for images.
    """
    if folder is None:
        raise CheckpointNotFound("No model folder is chosen.", _GET_WEIGHTS)
    if not folder.is_dir():
        raise CheckpointNotFound(f"There is no folder {folder}.", _GET_WEIGHTS)
    named = folder / "sam3.pt"
    others = sorted(path for path in folder.glob("*.pt") if path.name != MULTIPLEX_NAME)
    for path in (named, *others):
        if path.is_file():
            return path
    in_meta_layout, in_other_layout = _sort_safetensors(sorted(folder.glob("*.safetensors")))
    if in_meta_layout:
        return in_meta_layout[0]
    if in_other_layout:
        raise CheckpointInvalid(
            f"{in_other_layout[0].name} is in the layout of Hugging Face transformers, "
            "which Meta's package can't read.",
            _USE_TRANSFORMERS,
        )
    if (folder / MULTIPLEX_NAME).is_file():
        raise multiplex_error(MULTIPLEX_NAME)
    raise CheckpointNotFound(f"{folder} has no weights file (sam3.pt).", _GET_WEIGHTS)


def _sort_safetensors(paths: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Tell files in Meta's layout from others by the names in their headers."""
    meta: list[Path] = []
    other: list[Path] = []
    for path in filter(Path.is_file, paths):  # a pipe of that name would never end
        names = read_tensor_names(path)
        (meta if any(name.startswith("detector.") for name in names) else other).append(path)
    return meta, other


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read a weights file; no code in it is run.

    Parameters
    ----------
    path : Path
        A ``.pt`` archive or a safetensors file.

    Returns
    -------
    dict
        Tensors by their names in the file, mapped from it rather than copied.

    Raises
    ------
    CheckpointInvalid
        If it can't be read, or holds something else than tensors.
    """
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        with reading_files(f"{path.name} can't be read.", _DOWNLOAD):
            return dict(load_file(path))
    if not zipfile.is_zipfile(path):
        raise CheckpointInvalid(
            f"{path.name} is not a PyTorch weights archive; it may be cut off.", _DOWNLOAD
        )
    # Also that it does not unpack to more than it is.
    read_strings(path)
    import torch

    with reading_files(f"{path.name} can't be read.", _DOWNLOAD):
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if isinstance(loaded, dict) and isinstance(loaded.get("model"), dict):
        loaded = loaded["model"]
    if not (
        isinstance(loaded, dict)
        and all(isinstance(k, str) and torch.is_tensor(v) for k, v in loaded.items())
    ):
        raise CheckpointInvalid(f"{path.name} does not hold the weights of a model.", _GET_WEIGHTS)
    return loaded


def to_image_model(weights: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the weights by the names of the image model.

    Parameters
    ----------
    weights : mapping
        Tensors by their names in the file.
    name : str
        The file's name, for the message.

    Raises
    ------
    CheckpointInvalid
        If they are of SAM 3.1, of another layout, or of another model.
    """
    if any(key.startswith(_MULTIPLEX_PREFIXES) for key in weights):
        raise multiplex_error(name)
    if any(key.startswith("detector_model.") for key in weights):
        raise CheckpointInvalid(
            f"{name} is in the layout of Hugging Face transformers, "
            "which Meta's package can't read.",
            _USE_TRANSFORMERS,
        )
    if not any(key.startswith("detector.") for key in weights):
        raise CheckpointInvalid(f"{name} holds the weights of another model.", _GET_WEIGHTS)
    return {_image_model_name(key): value for key, value in weights.items()}


def _image_model_name(key: str) -> str:
    for prefix, replacement in _PREFIXES.items():
        if key.startswith(prefix):
            return replacement + key.removeprefix(prefix)
    return key


def put_into(model: Any, weights: Mapping[str, Any], name: str) -> None:  # noqa: ANN401
    """Copy weights into the model, all of them and nothing else.

    The package's own loader goes on with random numbers where a weight is missing, and says so
    in a printed line only (``model_builder.py:539``).

    Raises
    ------
    CheckpointInvalid
        If a weight is missing, unknown, or of another shape or type.
    """
    expected = model.state_dict()
    problems = (
        ("missing", sorted(expected.keys() - weights.keys())),
        ("unknown to the model", sorted(weights.keys() - expected.keys())),
        (
            "of another shape",
            [
                key
                for key in sorted(expected.keys() & weights.keys())
                if expected[key].shape != weights[key].shape
            ],
        ),
        (
            "of another type",
            [
                key
                for key in sorted(expected.keys() & weights.keys())
                if expected[key].is_floating_point() != weights[key].is_floating_point()
            ],
        ),
    )
    found = [f"{len(keys)} are {what} (such as {keys[0]})" for what, keys in problems if keys]
    if found:
        raise CheckpointInvalid(
            f"The weights in {name} do not fit the model: of {len(expected)}, "
            f"{', and '.join(found)}.",
            "Download sam3.pt of facebook/sam3 again, or install the version of the sam3 "
            "package that the file was made for.",
        )
    with reading_files(f"The weights in {name} can't be read.", _DOWNLOAD):
        model.load_state_dict(weights, strict=True)


def is_multiplex(folder: Path) -> bool:
    """Return whether a folder has SAM 3.1 for this engine and not SAM 3.0.

    Parameters
    ----------
    folder : Path
        The model folder; nothing in it is read but the names in safetensors files.
    """
    if not (folder / MULTIPLEX_NAME).is_file() or len(list(folder.glob("*.pt"))) > 1:
        return False
    return not any(map(_may_be_meta, filter(Path.is_file, folder.glob("*.safetensors"))))


def _may_be_meta(path: Path) -> bool:
    """Return whether a safetensors file is in Meta's layout, or can't be read."""
    try:
        found = path.stat()
        return _is_meta(path, found.st_size, found.st_mtime_ns)
    except (OSError, CheckpointInvalid):
        # What is wrong with it is said when it is loaded.
        return True


@lru_cache(maxsize=32)
def _is_meta(path: Path, size: int, changed: int) -> bool:
    """Return whether a file is in Meta's layout; size and time tell whether it is the same."""
    del size, changed
    return any(name.startswith("detector.") for name in read_tensor_names(path))


def multiplex_error(name: str) -> CheckpointInvalid:
    """Return what is said where a model for single planes is asked for."""
    return CheckpointInvalid(f"{name} is SAM 3.1, which has no 2D model here.", _USE_SAM30)
