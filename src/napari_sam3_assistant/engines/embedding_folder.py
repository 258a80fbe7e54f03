"""Encodings in files, found again by what was encoded, after the process has ended."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
import uuid
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy.typing as npt
    import torch

LIMIT_BYTES = 10 * 2**30
_FORMAT = "napari-sam3-assistant encoding 1"
_NAME = re.compile(r"[0-9a-f]{64}\.safetensors")
_DRAFT = re.compile(r"[0-9a-f]{64}\.[0-9a-f]{32}\.draft")
# A draft that old is of a process that ended half-way, in seconds.
_ABANDONED = 3600

logger = logging.getLogger(__name__)

Packed = tuple[tuple[int, int], "dict[str, torch.Tensor]"]


class EmbeddingFolder:
    """A folder of encodings; of more than its limit, the least recently used go.

    A file appears under its name only when it is complete. One that can't be read, or is not
    what was written, is removed. Files of other names are never touched. Trouble with the disk
    is logged and costs time, never a result.

    Parameters
    ----------
    path : Path
        The folder; made when the first encoding is written.
    limit_bytes : int
        How much all files together may take.
    """

    def __init__(self, path: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self._path = path.expanduser()
        self._limit = limit_bytes

    def key(self, image: npt.NDArray[np.uint8], encoding_id: str) -> str:
        """Return the name for an image encoded by certain weights: a hash of both.

        Parameters
        ----------
        image : ndarray, shape (H, W, 3), dtype uint8
            The pixels; all are read.
        encoding_id : str
            Identity of package, weights and number format.
        """
        digest = hashlib.blake2b(digest_size=32)
        digest.update(f"{_FORMAT}|{encoding_id}|{image.shape}|".encode())
        digest.update(np.ascontiguousarray(image).data)
        return digest.hexdigest()

    def load(self, key: str) -> Packed | None:
        """Return the shape and the tensors of an encoding, or None if it is not there.

        Parameters
        ----------
        key : str
            What :meth:`key` returned.
        """
        from safetensors import SafetensorError, safe_open

        file = self._file(key)
        if not file.is_file():
            return None
        try:
            with safe_open(file, framework="pt") as opened:
                about = opened.metadata() or {}
                # Copies: what is mapped from the file would change with it, or end the program.
                tensors = {name: opened.get_tensor(name).clone() for name in opened.keys()}  # noqa: SIM118 - not a mapping
            if about.get("format") == _FORMAT and about.get("sum") == _checksum(tensors):
                # The time of use, for the order in which files go.
                os.utime(file)
                return (int(about["height"]), int(about["width"])), tensors
            logger.warning("%s is not what was written; it is removed.", file)
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            logger.warning("%s can't be read (%s); it is removed.", file, error)
        with suppress(OSError):
            file.unlink()
        return None

    def save(self, key: str, shape: tuple[int, int], tensors: Mapping[str, torch.Tensor]) -> None:
        """Write an encoding, and remove what is beyond the limit.

        Parameters
        ----------
        key : str
            What :meth:`key` returned.
        shape : tuple of int
            Height and width of the encoded image in pixels.
        tensors : mapping
            The encoding.
        """
        from safetensors.torch import save_file

        here = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
        if sum(tensor.nbytes for tensor in here.values()) > self._limit:
            return
        about = {
            "format": _FORMAT,
            "height": str(shape[0]),
            "width": str(shape[1]),
            "sum": _checksum(here),
        }
        draft = self._path / f"{key}.{uuid.uuid4().hex}.draft"
        try:
            self._path.mkdir(parents=True, exist_ok=True)
            save_file(here, draft, about)
            with draft.open("rb+") as written:
                os.fsync(written.fileno())
            draft.replace(self._file(key))
            self._remove_oldest()
        except OSError as error:
            logger.warning("The encoding can't be kept in %s: %s", self._path, error)
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)

    def _file(self, key: str) -> Path:
        return self._path / f"{key}.safetensors"

    def _remove_oldest(self) -> None:
        for draft in self._path.iterdir():
            if _DRAFT.fullmatch(draft.name) and draft.stat().st_mtime < time.time() - _ABANDONED:
                draft.unlink(missing_ok=True)
        files = [file for file in self._path.iterdir() if _NAME.fullmatch(file.name)]
        used = [(file.stat().st_mtime_ns, file.stat().st_size, file) for file in files]
        total = sum(size for _, size, _ in used)
        for _, size, file in sorted(used):
            if total <= self._limit:
                return
            file.unlink(missing_ok=True)
            total -= size


def _checksum(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return a checksum of tensors and their names."""
    import torch

    total = 0
    for name in sorted(tensors):
        total = zlib.crc32(name.encode(), total)
        total = zlib.crc32(tensors[name].contiguous().view(torch.uint8).numpy().data, total)
    return f"{total:08x}"
