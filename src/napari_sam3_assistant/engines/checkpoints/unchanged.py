"""Weights that are read while somebody else may write to their file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant.errors import CheckpointInvalid

if TYPE_CHECKING:
    from pathlib import Path


class Unchanged:
    """Tells whether a file is still the one that it was, by its size, time and number.

    Parameters
    ----------
    file : Path
        The file, before it is read.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._before = self._about()

    def check(self) -> None:
        """Raise if the file is not what it was.

        Raises
        ------
        CheckpointInvalid
            If somebody wrote to it, replaced it or took it away.
        """
        if self._about() != self._before:
            raise CheckpointInvalid(
                f"{self._file.name} changed on the disk while it was read.",
                "Load the model again, once the file is complete.",
            )

    def _about(self) -> tuple[int, ...] | None:
        try:
            about = self._file.stat()
        except OSError:
            return None
        return about.st_size, about.st_mtime_ns, about.st_ino, about.st_dev
