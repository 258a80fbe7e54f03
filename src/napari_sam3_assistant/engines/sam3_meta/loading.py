"""Load Meta's model: the weights file, the tokenizer's vocabulary, the model in memory.

The vocabulary file of Meta's tokenizer: found, checked by its content, or made.

The tokenizer wants a gzip file of a header line and CLIP's 48894 merges, one pair of symbols a
line; it skips the first line whatever it is (``sam3.model.tokenizer_ve.SimpleTokenizer``). The
model folder of Hugging Face has the same merges as plain text, ``merges.txt``.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import zlib
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import platformdirs

from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.engines.base import package_version
from napari_sam3_assistant.engines.checkpoints.files import (
    MULTIPLEX_NAME,
    FileIdentity,
    load_archive,
    read_tensor_names,
)
from napari_sam3_assistant.engines.device import choose_device, choose_precision, convert
from napari_sam3_assistant.engines.encoding_cache import LRUCache
from napari_sam3_assistant.engines.errors import DOWNLOAD, reading_files
from napari_sam3_assistant.engines.sam3_meta import compat, compat_video
from napari_sam3_assistant.errors import (
    CheckpointInvalid,
    CheckpointNotFound,
    DeviceUnavailable,
    EngineError,
)

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import torch

    from napari_sam3_assistant.core.images import Untyped
    from napari_sam3_assistant.core.progress import Reporter


_STEPS = 4


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """The loaded weights and what goes with them.

    ``model``: the image model with the click head.
    ``processor``: prepares images, at the size that the model is built for.
    ``device``: ``cpu`` or ``cuda:N``.
    ``precision``: the number format of the image encoder; of bfloat16 on CUDA, that of all that
    autocast takes.
    ``weights``: file name of the weights.
    ``patches``: undoes the measures that were taken in the package.
    """

    model: Any
    processor: Any
    device: str
    precision: str
    weights: str
    patches: ExitStack
    _positions: LRUCache[Sequence[torch.Tensor]] = field(default_factory=lambda: LRUCache(1))
    _video: LRUCache[Any] = field(default_factory=lambda: LRUCache(2))

    def positions(self, make: Callable[[], Sequence[torch.Tensor]]) -> Sequence[torch.Tensor]:
        """Return the position encodings, one copy for all images; made at the first call.

        They depend on nothing but the size, which is the same for all images, and take 30 % of
        what the package keeps for an image.
        """
        return self._positions.get_or_make("all", make)

    @property
    def tracker(self) -> Untyped:
        """The tracker for stacks, of the same weights."""
        return self._video.get_or_make("tracker", lambda: compat_video.make_tracker(self.model))

    @property
    def video(self) -> Untyped:
        """The model that follows phrases through stacks, of the same weights."""
        return self._video.get_or_make(
            "video", lambda: compat_video.make_video_model(self.model, self.tracker, self.device)
        )

    def close(self) -> None:
        """Undo what was done to the package."""
        self.patches.close()


def sam3_version() -> str:
    """Return the version of the sam3 package."""
    try:
        return package_version("sam3")
    except PackageNotFoundError:
        # A copy of the repository on the path, that was never installed.
        return "unknown"


def choose_cpu_or_cuda(requested: str) -> str:
    """Return the device for Meta's package, which is written for CUDA and runs on the CPU."""
    device = choose_device(requested).device
    if device != "mps":
        return device
    if requested.strip().lower() == "auto":
        return "cpu"
    raise DeviceUnavailable(
        "Meta's sam3 package does not run on the Apple GPU (mps).",
        "Choose the engine sam3-transformers, which does, or the device 'cpu'.",
    )


def load_model(
    folder: Path | None, requested: str, precision: str, reporter: Reporter
) -> LoadedModel:
    """Load the image model on a device, with its image encoder in a precision."""
    path = find_weights(folder)
    bpe = find_bpe(path.parent)
    device = choose_cpu_or_cuda(requested)
    precision = choose_precision(precision, device).precision
    reporter.report(Progress(0, _STEPS, "Importing sam3"))
    patches = compat.choose_patches()
    builder = compat.import_model_builder(patches)
    with ExitStack() as stack:
        stack.enter_context(compat.apply_patches(compat.check_kernels(patches, device)))
        # Read first: a damaged file is told before the model is built, which takes 20 seconds.
        unchanged = FileIdentity(path)
        weights = to_image_model(read_weights(path), path.name)
        reporter.report(Progress(1, _STEPS, "Building SAM 3"))
        model = compat.build_image_model(builder, bpe, device)
        reporter.report(Progress(2, _STEPS, f"Reading {path.name}"))
        # Until here they are mapped from the file: had it been cut short, copying would end Python.
        unchanged.check()
        put_into(model, weights, path.name)
        unchanged.check()
        del weights
        reporter.report(Progress(3, _STEPS, f"Moving SAM 3 to {device}"))
        if device == "cpu":
            precision = convert(model.backbone.vision_backbone.trunk, precision)
        model = model.to(device).eval()
        processor = compat.make_processor(model, device)
        reporter.report(Progress(_STEPS, _STEPS, "SAM 3 is loaded"))
        return LoadedModel(model, processor, device, precision, path.name, stack.pop_all())


# Names in the file and in the image model (sam3.model_builder._load_checkpoint).
_PREFIXES = {"detector.": "", "tracker.": "inst_interactive_predictor.model."}
# Only the checkpoint of SAM 3.1 has these (the rest is shared by both versions).
_MULTIPLEX_PREFIXES = ("tracker.model.", "detector.backbone.vision_backbone.interactive_convs.")

_GET_WEIGHTS = "Download sam3.pt from huggingface.co/facebook/sam3 into the model folder."
_USE_TRANSFORMERS = "Choose the engine sam3-transformers, which reads it."
_USE_SAM30 = (
    "For 2D tasks choose a folder with sam3.pt (engine sam3-meta) or model.safetensors "
    "(engine sam3-transformers) of SAM 3.0; SAM 3.1 is for 3D and video."
)


def find_weights(folder: Path | None) -> Path:
    """Return the weights file to load from a model folder."""
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
    """Read a weights file; no code in it is run."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        with reading_files(f"{path.name} can't be read.", DOWNLOAD):
            return dict(load_file(path))
    return load_archive(path, _GET_WEIGHTS)


def to_image_model(weights: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the weights by the names of the image model."""
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


def put_into(model: Untyped, weights: Mapping[str, Any], name: str) -> None:
    """Copy weights into the model, all of them and nothing else.

    The package's own loader goes on with random numbers where a weight is missing, and says so
    in a printed line only (``model_builder.py:539``).
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
    found = [f"{len(keys)} are {problem} (such as {keys[0]})" for problem, keys in problems if keys]
    if found:
        raise CheckpointInvalid(
            f"The weights in {name} do not fit the model: of {len(expected)}, "
            f"{', and '.join(found)}.",
            "Download sam3.pt of facebook/sam3 again, or install the version of the sam3 "
            "package that the file was made for.",
        )
    with reading_files(f"The weights in {name} can't be read.", DOWNLOAD):
        model.load_state_dict(weights, strict=True)


def is_multiplex(folder: Path) -> bool:
    """Return whether a folder has SAM 3.1 for this engine and not SAM 3.0."""
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


BPE_NAME = "bpe_simple_vocab_16e6.txt.gz"
MERGES_NAME = "merges.txt"
MERGE_COUNT = 49152 - 256 - 2
_MOST_BYTES = 32 * 2**20  # ten times the real one
_LOG = logging.getLogger(__name__)
_HEADER = "#version: 0.2"
_ADD_VOCABULARY = f"Put {MERGES_NAME} of the facebook/sam3 repository into the model folder."


def find_bpe(folder: Path) -> Path:
    """Return a vocabulary file that the tokenizer reads rightly.

    Looked for in this order: the gzip file in the model folder, the one that some copies of
    sam3 carry, and ``merges.txt`` of the model folder. What is not in the tokenizer's form is
    rewritten into the model folder, or into the user's cache where the folder can't be written.
    """
    problems: list[str] = []
    for path in (folder / BPE_NAME, folder / f"{MERGES_NAME}.gz", *_find_packaged_bpe()):
        if path.is_file():
            try:
                lines = _read_gzip(path)
                merges = read_merges(lines, path.name)
            except CheckpointInvalid as error:
                problems.append(error.message)
                continue
            # Without a header the tokenizer would skip the first merge, and every id is off by 1.
            return path if _is_header(lines[0]) else _write(merges, folder)
    plain = folder / MERGES_NAME
    if plain.is_file():
        try:
            return _write(read_merges(_read_text(plain), plain.name), folder)
        except CheckpointInvalid as error:
            problems.append(error.message)
    if problems:
        raise CheckpointInvalid(" ".join(problems), _ADD_VOCABULARY)
    raise CheckpointNotFound(
        f"{folder} has no tokenizer vocabulary ({BPE_NAME} or {MERGES_NAME}).", _ADD_VOCABULARY
    )


def read_merges(lines: Sequence[str], name: str) -> list[str]:
    """Return the merges of a vocabulary file, in order, without the header."""
    rows = [line.split() for line in lines if line.strip()]
    if lines and _is_header(lines[0]):
        rows = rows[1:]
    merges = rows[:MERGE_COUNT]
    if len(merges) < MERGE_COUNT:
        raise CheckpointInvalid(
            f"{name} has {len(merges)} merges, {MERGE_COUNT} are needed.", _ADD_VOCABULARY
        )
    odd = next((number for number, row in enumerate(merges, 1) if len(row) != 2), None)
    if odd is not None:
        raise CheckpointInvalid(f"Merge {odd} of {name} is not a pair of symbols.", _ADD_VOCABULARY)
    return [" ".join(row) for row in merges]


def _is_header(line: str) -> bool:
    return "#version" in line


def _find_packaged_bpe() -> tuple[Path, ...]:
    """Return where copies of sam3 from its repository carry the file; the wheel does not."""
    spec = find_spec("sam3")
    if spec is None or spec.origin is None:
        return ()
    package = Path(spec.origin).parent
    return (package / "assets" / BPE_NAME, package.parent / "assets" / BPE_NAME)


def _read_gzip(path: Path) -> list[str]:
    try:
        with gzip.open(path) as file:
            return _lines(path, file)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as exc:
        raise CheckpointInvalid(
            f"{path.name} is not a whole gzip text file.", _ADD_VOCABULARY
        ) from exc


def _read_text(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            return _lines(path, file)
    except (OSError, UnicodeDecodeError) as exc:
        raise CheckpointInvalid(f"{path.name} is not a text file.", _ADD_VOCABULARY) from exc


def _lines(path: Path, file: io.BufferedIOBase) -> list[str]:
    # Not to its end, which a few bytes of gzip may put very far away.
    data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise CheckpointInvalid(f"{path.name} is too large for a vocabulary.", _ADD_VOCABULARY)
    return data.decode("utf-8").split("\n")


def _write(merges: list[str], folder: Path) -> Path:
    """Write the tokenizer's file, where it can be written, and return its path."""
    text = "\n".join([_HEADER, *merges, ""]).encode("utf-8")
    cache = platformdirs.user_cache_path("napari-sam3-assistant") / "bpe"
    cached = cache / hashlib.sha256(text).hexdigest()[:16] / BPE_NAME
    if cached.is_file():
        return cached
    data = gzip.compress(text, mtime=0)
    target = folder / BPE_NAME
    try:
        if not target.exists():
            return _write_whole(target, data)
    except OSError as error:
        # A read-only folder: shared model folders and mounted media often are.
        _LOG.info("%s is written to the cache: %s", BPE_NAME, error)
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        return _write_whole(cached, data)
    except OSError as error:
        # A home that is full, or only read on the nodes of a cluster.
        raise EngineError(
            f"The tokenizer's vocabulary can be written neither to {folder} nor to {cache} "
            f"({error.strerror or error}).",
            f"Let one of them be written, or put {BPE_NAME} into the model folder.",
        ) from error


def _write_whole(path: Path, data: bytes) -> Path:
    """Write a file whole or not at all: a second process may read it at any time."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(data)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return path
