"""Read the header of a safetensors file.

The file is 8 bytes with the header's length (little endian), the header (JSON: name to dtype,
shape and data offsets), and the data. https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.errors import CheckpointInvalid

if TYPE_CHECKING:
    from pathlib import Path

_LENGTH_BYTES = 8
# A tenth of it does for 100 000 tensors. A file of something else is not read into memory.
_MAX_HEADER = 16 * 2**20
_AGAIN = "Download the file again, whole."


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor lies in a file.

    Parameters
    ----------
    kind : str
        Its number format, as the file format names it: ``F32``.
    shape : tuple of int
        Its shape.
    begin : int
        Its first byte, counted from the beginning of the file.
    nbytes : int
        How many bytes it takes, which may not be what its shape asks for.
    """

    kind: str
    shape: tuple[int, ...]
    begin: int
    nbytes: int


def read_tensor_names(path: Path) -> tuple[str, ...]:
    """Return the names of the tensors; see :func:`read_header`."""
    return tuple(read_header(path))


def read_header(path: Path) -> dict[str, StoredTensor]:
    """Return where the tensors lie, once the size of the file agrees with its header.

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
    data = _LENGTH_BYTES + length
    try:
        entries = json.loads(header)
        tensors = {
            name: _stored(entry, data) for name, entry in entries.items() if name != "__metadata__"
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as exc:
        raise CheckpointInvalid(f"The header of {path.name} is damaged.", _AGAIN) from exc
    expected = max((one.begin + one.nbytes for one in tensors.values()), default=data)
    if size != expected:
        word = "only " if size < expected else ""
        raise CheckpointInvalid(
            f"{path.name} is incomplete or damaged: it has {word}{size:,} bytes, its header says "
            f"{expected:,}.",
            _AGAIN,
        )
    return tensors


def _stored(entry: dict[str, Any], data: int) -> StoredTensor:
    kind, shape, (begin, end) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
    numbers = (*shape, begin, end - begin)
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError(f"a tensor of the shape {shape} from {begin} to {end}")
    return StoredTensor(str(kind), shape, data + begin, end - begin)
