"""Read the header of a safetensors file.

The file is 8 bytes with the header's length (little endian), the header (JSON: name to dtype,
shape and data offsets), and the data. https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from napari_sam3_assistant.errors import CheckpointInvalid

if TYPE_CHECKING:
    from pathlib import Path

_LENGTH_BYTES = 8
# The format's own limit, so that a file of something else is not read into memory.
_MAX_HEADER = 100_000_000
_AGAIN = "Download the file again, whole."


def read_tensor_names(path: Path) -> tuple[str, ...]:
    """Return the names of the tensors, once the size of the file agrees with its header.

    Parameters
    ----------
    path : Path
        A safetensors file.

    Raises
    ------
    CheckpointInvalid
        If it is of another format, damaged, or shorter or longer than its header says.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(_LENGTH_BYTES)
        length = int.from_bytes(start, "little")
        if len(start) < _LENGTH_BYTES or not 2 <= length <= _MAX_HEADER:
            raise CheckpointInvalid(f"{path.name} is not a safetensors file.", _AGAIN)
        header = file.read(length)
    if len(header) < length:
        raise CheckpointInvalid(f"{path.name} ends within its header: {size} bytes.", _AGAIN)
    try:
        entries = json.loads(header)
        names = tuple(name for name in entries if name != "__metadata__")
        end = max((int(entries[name]["data_offsets"][1]) for name in names), default=0)
    except (ValueError, KeyError, TypeError, IndexError) as exc:
        raise CheckpointInvalid(f"The header of {path.name} is damaged.", _AGAIN) from exc
    expected = _LENGTH_BYTES + length + end
    if size != expected:
        word = "only " if size < expected else ""
        raise CheckpointInvalid(
            f"{path.name} is incomplete or damaged: it has {word}{size:,} bytes, its header says "
            f"{expected:,}.",
            _AGAIN,
        )
    return names
