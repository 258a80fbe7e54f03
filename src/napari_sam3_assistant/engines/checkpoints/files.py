"""Look into model folders and weights files without loading them or running what is in them.

Read the names in a PyTorch ``.pt`` archive without running what is pickled in it.

Since PyTorch 1.6 such a file is an uncompressed zip archive; ``*/data.pkl`` in it is a pickle
with the names, and the data of the tensors are files of their own.

Read the header of a safetensors file.

The file is 8 bytes with the header's length (little endian), the header (JSON: name to dtype,
shape and data offsets), and the data. https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
import pickletools
import struct
import zipfile
import zlib
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.paths import expand_user
from napari_sam3_assistant.engines.checkpoints.report import (
    META,
    NO_PLANES,
    SAM,
    TRANSFORMERS,
    Finding,
    FolderReport,
    Layout,
    WeightsFile,
    foreign_backbone,
    sam_model,
    segment_anything_model,
)
from napari_sam3_assistant.engines.errors import DOWNLOAD, reading_files
from napari_sam3_assistant.errors import CheckpointInvalid, Sam3AssistantError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import torch

    from napari_sam3_assistant.engines.checkpoints.report import SamModel

CONFIG_FILES = ("config.json", "processor_config.json")
MULTIPLEX_NAME = "sam3.1_multiplex.pt"
WEIGHT_FILES = ("model.safetensors", "sam3.pt", MULTIPLEX_NAME)
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.json")
_SOUND_FILE = "audio_tokenizer_config.json"
_MODEL_TYPE = "sam3_video"
_TRANSFORMERS_PREFIXES = ("detector_model.", "tracker_model.", "tracker_neck.")
_META_PREFIXES = ("detector.", "tracker.")
# Only the multiplex checkpoint of SAM 3.1 nests the tracker's model.
_MULTIPLEX_PREFIX = "tracker.model."
# Ten times the largest, tokenizer.json.
_MAX_SETTINGS = 40 * 2**20
# Ten times that of EdgeTAM, which names the classes of ImageNet.
_MAX_CONFIG = 400_000
_ZIP = b"PK\x03\x04"
_POINTER = b"version https://git-lfs"
_FOR_TRANSFORMERS = frozenset({TRANSFORMERS})
_FOR_META = frozenset({META})
_FOR_SAM = frozenset({SAM})
_SAM_PREFIXES = ("vision_encoder.", "prompt_encoder.", "mask_decoder.")
_PROCESSOR_FILES = ("processor_config.json", "preprocessor_config.json")
_GET_FILES = "Download the files of facebook/sam3 from huggingface.co into one folder."


def find_model_folder(path: Path | str) -> Path:
    """Return the folder of the weights that a path stands for.

    The cache of Hugging Face has a folder for each repository (``models--facebook--sam3``), with
    ``snapshots`` of its commits, of which one is current. Any other path is the folder itself.
    """
    folder = expand_user(path)
    snapshots = folder / "snapshots"
    try:
        if not folder.name.startswith("models--") or not snapshots.is_dir():
            return folder
        current = folder / "refs" / "main"
        named = snapshots / (current.read_text("utf-8").strip() if current.is_file() else "-")
        there = sorted(filter(Path.is_dir, snapshots.iterdir()), key=lambda at: at.stat().st_mtime)
    except (OSError, ValueError):
        return folder  # what is wrong with it is said when it is looked into
    return named if named in there else there[-1] if there else folder


def inspect_folder(path: Path | str | None) -> FolderReport:
    """Look into a model folder without loading it."""
    try:
        wrong = _not_a_folder(path)
        if wrong is None:
            return _inspect(find_model_folder(path or ""))
    except (OSError, Sam3AssistantError) as exc:
        reason = getattr(exc, "strerror", None) or exc
        wrong = Finding(
            False, f"{path} can't be looked into: {reason}.", "Choose another folder.", missing=True
        )
    return FolderReport(None, (wrong,))


def _inspect(folder: Path) -> FolderReport:
    findings: list[Finding] = []
    weights: list[WeightsFile] = []
    present = [folder / name for name in WEIGHT_FILES if (folder / name).is_file()]
    if not present and (files := find_segment_anything(folder)):
        return _inspect_segment_anything(folder, files)
    sam = peek_sam(folder)
    if not present:
        findings.append(
            Finding(
                False,
                f"No weight file found. Expected one of: {', '.join(WEIGHT_FILES)}, "
                "or a .pt file of micro-sam or of Meta's SAM 1.",
                _GET_FILES,
                missing=True,
            )
        )
    for file in present:
        found, finding = _check_weights(file, sam)
        findings.append(finding)
        weights += [found] if found else []
    # Not beside a file that can't be read: that may be the model for 2D tasks.
    video_only = len(weights) == len(present) > 0
    if video_only and not any(found.layout.segments_planes for found in weights):
        findings.append(NO_PLANES)
    if sam:
        findings += _check_sam_configuration(folder, sam.name)
    else:
        findings += _check_configuration(folder)
        findings += _check_tokenizer(folder)
    return FolderReport(folder, tuple(findings), tuple(weights))


def _inspect_segment_anything(folder: Path, files: Mapping[Path, SamModel]) -> FolderReport:
    if len(files) > 1:
        names = ", ".join(file.name for file in files)
        several = Finding(
            False,
            f"There are several models in {folder.name}: {names}.",
            "Put the one to use into a folder of its own.",
            _FOR_SAM,
        )
        return FolderReport(folder, (several,))
    ((file, model),) = files.items()
    found = WeightsFile(file, Layout.SEGMENT_ANYTHING, model.name)
    size = file.stat().st_size / 1e9
    fine = Finding(True, f"{file.name} holds {found.content} ({size:.2f} GB).", concerns=_FOR_SAM)
    return FolderReport(folder, (fine,), (found,))


def find_segment_anything(folder: Path) -> dict[Path, SamModel]:
    """Return the files of a folder that hold a SAM 1 in the layout of segment_anything."""
    found = {}
    for file in sorted(folder.iterdir()):
        # micro-sam keeps what it downloads under the model's name alone, such as vit_b_lm.
        if file.suffix not in {"", ".pt", ".pth"} or file.name in WEIGHT_FILES:
            continue
        try:
            about = file.stat()
        except OSError:
            continue  # a link to nothing
        if S_ISREG(about.st_mode):
            model = _peek_segment_anything(file, about.st_size, about.st_mtime_ns)
            if model is not None:
                found[file] = model
    return found


@lru_cache(maxsize=64)
def _peek_segment_anything(file: Path, _size: int, _time: int) -> SamModel | None:
    """Return the model in a file, which is asked at every change in the window."""
    try:
        with file.open("rb") as opened:
            if opened.read(len(_ZIP)) != _ZIP:
                return None
        return segment_anything_model(read_strings(file), file.stem)
    except (OSError, CheckpointInvalid):
        return None


def peek_sam(folder: Path) -> SamModel | None:
    """Return the SAM 1, SAM 2 or EdgeTAM in a folder, as far as can be told at once, or None."""
    try:
        if not any((folder / name).is_file() for name in WEIGHT_FILES):
            models = find_segment_anything(folder)
            if len(models) == 1:
                return next(iter(models.values()))
    except (OSError, ValueError):
        return None
    return _peek_config(folder)


def _peek_config(folder: Path) -> SamModel | None:
    """Return the model that a folder's config.json is of; None if of none of these."""
    file = folder / "config.json"
    try:
        about = file.stat()
        # The window asks: whatever is no such file, such as a pipe, is not waited for.
        if not S_ISREG(about.st_mode) or about.st_size > _MAX_CONFIG:
            return None
        return _peek(file, about.st_size, about.st_mtime_ns)
    except (OSError, ValueError, CheckpointInvalid):
        # ValueError: of a path with a null in it.
        return None


@lru_cache(maxsize=8)
def _peek(file: Path, _size: int, _time: int) -> SamModel | None:
    """Return what :func:`peek_sam` does, which is asked at every change in the window."""
    return sam_model(read_settings(file))


def _not_a_folder(path: Path | str | None) -> Finding | None:
    if path is None or not str(path).strip():
        return Finding(False, "Model directory is empty.", "Choose a folder.", missing=True)
    folder = expand_user(path)
    if not folder.exists():
        return Finding(
            False, f"Path does not exist: {folder}.", "Choose another folder.", missing=True
        )
    if not folder.is_dir():
        return Finding(
            False,
            f"Path is not a directory: {folder}.",
            "Choose the folder that holds the file.",
            missing=True,
        )
    return None


def _check_weights(file: Path, sam: SamModel | None) -> tuple[WeightsFile | None, Finding]:
    """Return what a weights file holds, and the finding on it."""
    concerns = _FOR_META
    if file.suffix == ".safetensors":
        concerns = _FOR_SAM if sam else _FOR_TRANSFORMERS
    try:
        layout = _layout(file, sam)
    except CheckpointInvalid as exc:
        return None, Finding(False, exc.message, exc.hint, concerns)
    except OSError as exc:
        reason = exc.strerror or str(exc)
        return None, Finding(
            False, f"{file.name} can't be read: {reason}.", "Check its permissions.", concerns
        )
    found = WeightsFile(file, layout, sam.name if sam else layout.version)
    text = f"{file.name} holds {found.content} ({file.stat().st_size / 1e9:.2f} GB)."
    return found, Finding(True, text, concerns=frozenset({layout.engine}))


def _layout(file: Path, sam: SamModel | None) -> Layout:
    with file.open("rb") as opened:
        if opened.read(len(_POINTER)) == _POINTER:
            raise CheckpointInvalid(
                f"{file.name} is a Git LFS pointer, not the weights.",
                "Run 'git lfs pull' in the folder, or download the file itself.",
            )
    if file.suffix == ".safetensors":
        names = read_tensor_names(file)
        if not _missing_prefixes(names, _META_PREFIXES):
            return _meta_layout(names)
        if sam:
            if lacking := _missing_prefixes(names, _SAM_PREFIXES):
                raise CheckpointInvalid(
                    f"{file.name} is not of {sam.name} as config.json says: no weight begins with "
                    f"{', '.join(lacking)}.",
                    "Download both files again, into one folder.",
                )
            return Layout.SAM
        lacking = _missing_prefixes(names, _TRANSFORMERS_PREFIXES)
        if lacking:
            raise CheckpointInvalid(
                f"{file.name} is not of SAM 3 for transformers: no weight begins with "
                f"{', '.join(lacking)}.",
                "Use model.safetensors of facebook/sam3.",
            )
        return Layout.TRANSFORMERS
    names = read_strings(file)
    lacking = _missing_prefixes(names, _META_PREFIXES)
    if lacking:
        raise CheckpointInvalid(
            f"{file.name} is not of Meta's SAM 3: no weight begins with {lacking[0]}",
            "Use sam3.pt of facebook/sam3 or sam3.1_multiplex.pt of facebook/sam3.1.",
        )
    return _meta_layout(names)


def _missing_prefixes(names: Sequence[str], prefixes: tuple[str, ...]) -> list[str]:
    """Return the prefixes that no name begins with."""
    return [prefix for prefix in prefixes if not any(name.startswith(prefix) for name in names)]


def _meta_layout(names: Sequence[str]) -> Layout:
    multiplex = any(name.startswith(_MULTIPLEX_PREFIX) for name in names)
    return Layout.META_MULTIPLEX if multiplex else Layout.META


def _check_configuration(folder: Path) -> Iterator[Finding]:
    absent = [name for name in CONFIG_FILES if not (folder / name).is_file()]
    if absent:
        yield Finding(
            False,
            f"Missing required config files: {', '.join(absent)}.",
            _GET_FILES,
            _FOR_TRANSFORMERS,
            missing=True,
        )
    for name in CONFIG_FILES:
        if name not in absent:
            yield _check_json(folder / name)
    if (folder / _SOUND_FILE).is_file():
        yield _sound_finding(_SOUND_FILE)


def _check_sam_configuration(folder: Path, name: str) -> Iterator[Finding]:
    foreign = foreign_backbone(read_settings(folder / "config.json"))
    if foreign:
        yield Finding(
            False,
            f"config.json asks for an image encoder that {name} has not: {foreign:.60}.",
            "Choose the folder of a model that was published by its authors.",
            _FOR_SAM,
        )
    else:
        yield Finding(True, f"config.json is of {name}.", concerns=_FOR_SAM)
    there = [file for file in _PROCESSOR_FILES if (folder / file).is_file()]
    if not there:
        yield Finding(
            False,
            f"There is none of {' and '.join(_PROCESSOR_FILES)}.",
            "Download the small files of the model, too, into the folder.",
            _FOR_SAM,
            missing=True,
        )
    for file in there:
        yield replace(_check_json(folder / file), concerns=_FOR_SAM)
    if (folder / _SOUND_FILE).is_file():
        yield replace(_sound_finding(_SOUND_FILE), concerns=_FOR_SAM)


def _sound_finding(name: str) -> Finding:
    """Return what is said of a part that SAM 3 has not: transformers would ask a hub for it."""
    return Finding(
        False,
        f"{name} names a part for sound, which SAM 3 has not.",
        "Choose the folder of facebook/sam3.",
        _FOR_TRANSFORMERS,
    )


def _check_json(file: Path) -> Finding:
    """Return the finding on a configuration file."""
    again = f"Download {file.name} of facebook/sam3 again."
    try:
        content = read_settings(file)
    except CheckpointInvalid as exc:
        return Finding(False, exc.message, again, _FOR_TRANSFORMERS)
    if "audio_tokenizer" in content:
        return _sound_finding(file.name)
    if file.name == "config.json" and content.get("model_type") != _MODEL_TYPE:
        return Finding(
            False,
            f"config.json is of a model of type {content.get('model_type')!r:.60}, "
            f"SAM 3 is of type '{_MODEL_TYPE}'.",
            "Choose the folder of facebook/sam3.",
            _FOR_TRANSFORMERS,
        )
    return Finding(True, f"{file.name} is readable.", concerns=_FOR_TRANSFORMERS)


def read_settings(file: Path) -> dict[str, Any]:
    """Return what a JSON file of a model folder holds."""
    again = f"Download {file.name} of facebook/sam3 again."
    try:
        size = file.stat().st_size
        if size > _MAX_SETTINGS:
            raise CheckpointInvalid(f"{file.name} can't be read: it has {size:,} bytes.", again)
        content = json.loads(file.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except (OSError, ValueError) as exc:
        raise CheckpointInvalid(f"{file.name} can't be read: {exc}.", again) from exc
    except RecursionError as exc:
        raise CheckpointInvalid(f"{file.name} can't be read: it is nested.", again) from exc
    if not isinstance(content, dict):
        raise CheckpointInvalid(f"{file.name} holds no JSON object.", again)
    return content


def _refuse_constant(name: str) -> None:
    raise ValueError(f"it holds {name}")


def _check_tokenizer(folder: Path) -> Iterator[Finding]:
    complete = (folder / "tokenizer.json").is_file() or all(
        (folder / name).is_file() for name in ("vocab.json", "merges.txt")
    )
    if not complete:
        yield Finding(
            False,
            "There is no tokenizer: neither tokenizer.json nor vocab.json with merges.txt.",
            "Download the tokenizer files of facebook/sam3 into the folder.",
            _FOR_TRANSFORMERS,
            missing=True,
        )
        return
    damaged = [
        finding
        for name in TOKENIZER_FILES
        if (folder / name).is_file() and not (finding := _check_json(folder / name)).ok
    ]
    yield from damaged
    if not damaged:
        yield Finding(True, "The tokenizer is there.", concerns=_FOR_TRANSFORMERS)


# The pickle of a real checkpoint has less than 1 MB: names, shapes and file numbers.
_MAX_PICKLE = 64 * 2**20
# What zipfile and pickletools raise on damaged bytes.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    RuntimeError,  # of encrypted files, and NotImplementedError of packings that nobody uses
    ValueError,
    LookupError,
    OverflowError,
)


def read_strings(path: Path) -> tuple[str, ...]:
    """Return the text strings in the archive's pickle, among them the names of the tensors.

    The pickle is taken apart into its opcodes, none of which is carried out.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            entry = next((item for item in entries if item.filename.endswith("/data.pkl")), None)
            # PyTorch packs nothing, so that what is packed may become far larger than the file.
            packed = any(item.compress_type != zipfile.ZIP_STORED for item in entries)
            if entry is None or packed or entry.file_size > _MAX_PICKLE:
                raise CheckpointInvalid(
                    f"{path.name} is a zip archive, but not one of PyTorch weights.", DOWNLOAD
                )
            pickled = archive.read(entry)
    except _DAMAGED as exc:
        # The table of contents stands at the end of the file: an incomplete one has none.
        raise CheckpointInvalid(
            f"{path.name} is not a readable PyTorch archive; the download may be incomplete.",
            DOWNLOAD,
        ) from exc
    try:
        return tuple(
            argument for _, argument, _ in pickletools.genops(pickled) if isinstance(argument, str)
        )
    except _DAMAGED as exc:
        raise CheckpointInvalid(f"The list of names in {path.name} is damaged.", DOWNLOAD) from exc


def load_archive(path: Path, get: str) -> dict[str, torch.Tensor]:
    """Return the weights in an archive, mapped from the file; no code in it is run.

    ``get``: what to do where it holds none.
    """
    if not zipfile.is_zipfile(path):
        raise CheckpointInvalid(
            f"{path.name} is not a PyTorch weights archive; it may be cut off.", DOWNLOAD
        )
    read_strings(path)  # also that it does not unpack to more than it is
    import torch

    with reading_files(f"{path.name} can't be read.", DOWNLOAD):
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if isinstance(loaded, dict) and isinstance(loaded.get("model"), dict):
        loaded = loaded["model"]
    if not (
        isinstance(loaded, dict)
        and all(
            isinstance(name, str) and torch.is_tensor(tensor) for name, tensor in loaded.items()
        )
    ):
        raise CheckpointInvalid(f"{path.name} does not hold the weights of a model.", get)
    return loaded


_LENGTH_BYTES = 8
# A tenth of it does for 100 000 tensors. A file of something else is not read into memory.
_MAX_HEADER = 16 * 2**20


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor lies in a file.

    ``kind``: its number format, as the file format names it: ``F32``.
    ``begin``: its first byte, counted from the beginning of the file.
    ``nbytes``: how many bytes it takes, which may not be what its shape asks for.
    """

    kind: str
    shape: tuple[int, ...]
    begin: int
    nbytes: int


def read_tensor_names(path: Path) -> tuple[str, ...]:
    """Return the names of the tensors; see :func:`read_header`."""
    return tuple(read_header(path))


def read_header(path: Path) -> dict[str, StoredTensor]:
    """Return where the tensors lie, once the size of the file agrees with its header."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(_LENGTH_BYTES)
        length = int.from_bytes(start, "little")
        if len(start) < _LENGTH_BYTES or not 2 <= length <= _MAX_HEADER:
            raise CheckpointInvalid(f"{path.name} is not a safetensors file.", DOWNLOAD)
        header = file.read(length)
    if len(header) < length:
        raise CheckpointInvalid(f"{path.name} ends within its header: {size} bytes.", DOWNLOAD)
    data = _LENGTH_BYTES + length
    try:
        entries = json.loads(header)
        tensors = {
            name: _parse_tensor(entry, data)
            for name, entry in entries.items()
            if name != "__metadata__"
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise CheckpointInvalid(f"The header of {path.name} is damaged.", DOWNLOAD) from exc
    expected = max((tensor.begin + tensor.nbytes for tensor in tensors.values()), default=data)
    if size != expected:
        word = "only " if size < expected else ""
        raise CheckpointInvalid(
            f"{path.name} is incomplete or damaged: it has {word}{size:,} bytes, its header says "
            f"{expected:,}.",
            DOWNLOAD,
        )
    return tensors


def _parse_tensor(entry: dict[str, Any], data: int) -> StoredTensor:
    kind, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    numbers = (*shape, begin, end - begin)
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError(f"a tensor of the shape {shape} from {begin} to {end}")
    return StoredTensor(str(kind), shape, data + begin, end - begin)


class FileIdentity:
    """Tells whether a file is still the one that it was, by its size, time and number.

    ``file``: the file, before it is read.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._before = self._identify()

    def check(self) -> None:
        """Raise if the file is not what it was."""
        if self._identify() != self._before:
            raise CheckpointInvalid(
                f"{self._file.name} changed on the disk while it was read.",
                "Load the model again, once the file is complete.",
            )

    def _identify(self) -> tuple[int, ...] | None:
        try:
            about = self._file.stat()
        except OSError:
            return None
        return about.st_size, about.st_mtime_ns, about.st_ino, about.st_dev
