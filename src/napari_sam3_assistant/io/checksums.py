"""Which weights made a result."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from napari_sam3_assistant.errors import CheckpointNotFound


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file; it is read again only if it has changed.

    Parameters
    ----------
    path : Path
        A file of any size; 3.4 GB take some seconds.

    Raises
    ------
    CheckpointNotFound
        If it can't be read.
    """
    try:
        found = path.stat()
        return _sha256(str(path), found.st_size, found.st_mtime_ns)
    except OSError as exc:
        raise CheckpointNotFound(
            f"The weights {path} can't be read: {exc.strerror or exc}.", "Choose the model folder."
        ) from exc


@lru_cache(maxsize=8)
def _sha256(path: str, size: int, changed: int) -> str:
    del size, changed  # they tell one state of the file from another
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
