"""The vocabulary file of Meta's tokenizer: found, checked by its content, or made.

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
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from napari_sam3_assistant.errors import CheckpointInvalid, CheckpointNotFound

if TYPE_CHECKING:
    import io
    from collections.abc import Sequence

BPE_NAME = "bpe_simple_vocab_16e6.txt.gz"
MERGES_NAME = "merges.txt"
MERGE_COUNT = 49152 - 256 - 2
_MOST_BYTES = 32 * 2**20  # ten times the real one
_LOG = logging.getLogger(__name__)
_HEADER = "#version: 0.2"
_DOWNLOAD = f"Put {MERGES_NAME} of the facebook/sam3 repository into the model folder."


def find_bpe(folder: Path) -> Path:
    """Return a vocabulary file that the tokenizer reads rightly.

    Looked for in this order: the gzip file in the model folder, the one that some copies of
    sam3 carry, and ``merges.txt`` of the model folder. What is not in the tokenizer's form is
    rewritten into the model folder, or into the user's cache where the folder can't be written.

    Parameters
    ----------
    folder : Path
        The model folder.

    Raises
    ------
    CheckpointNotFound
        If there is none of them.
    CheckpointInvalid
        If there are some, and none has the merges.
    """
    problems: list[str] = []
    for path in (folder / BPE_NAME, folder / f"{MERGES_NAME}.gz", *_packaged()):
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
        raise CheckpointInvalid(" ".join(problems), _DOWNLOAD)
    raise CheckpointNotFound(
        f"{folder} has no tokenizer vocabulary ({BPE_NAME} or {MERGES_NAME}).", _DOWNLOAD
    )


def read_merges(lines: Sequence[str], name: str) -> list[str]:
    """Return the merges of a vocabulary file, in order, without the header.

    Parameters
    ----------
    lines : sequence of str
        The file's lines. What follows the last merge that the tokenizer uses is left out.
    name : str
        The file's name, for the message.

    Raises
    ------
    CheckpointInvalid
        If there are too few merges, or a line is not a pair of symbols.
    """
    rows = [line.split() for line in lines if line.strip()]
    if lines and _is_header(lines[0]):
        rows = rows[1:]
    merges = rows[:MERGE_COUNT]
    if len(merges) < MERGE_COUNT:
        raise CheckpointInvalid(
            f"{name} has {len(merges)} merges, {MERGE_COUNT} are needed.", _DOWNLOAD
        )
    odd = next((number for number, row in enumerate(merges, 1) if len(row) != 2), None)
    if odd is not None:
        raise CheckpointInvalid(f"Merge {odd} of {name} is not a pair of symbols.", _DOWNLOAD)
    return [" ".join(row) for row in merges]


def _is_header(line: str) -> bool:
    return "#version" in line


def _packaged() -> tuple[Path, ...]:
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
        raise CheckpointInvalid(f"{path.name} is not a whole gzip text file.", _DOWNLOAD) from exc


def _read_text(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            return _lines(path, file)
    except (OSError, UnicodeDecodeError) as exc:
        raise CheckpointInvalid(f"{path.name} is not a text file.", _DOWNLOAD) from exc


def _lines(path: Path, file: io.BufferedIOBase) -> list[str]:
    # Not to its end, which a few bytes of gzip may put very far away.
    data = file.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES:
        raise CheckpointInvalid(f"{path.name} is too large for a vocabulary.", _DOWNLOAD)
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
    cached.parent.mkdir(parents=True, exist_ok=True)
    return _write_whole(cached, data)


def _write_whole(path: Path, data: bytes) -> Path:
    """Write a file whole or not at all: a second process may read it at any time."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        draft.write_bytes(data)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return path
