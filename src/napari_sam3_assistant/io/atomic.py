"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_sam3_assistant.errors import ExportError
from napari_sam3_assistant.io.drafts import draft_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_REMEDY = "Check the free space and that you may write there, or choose another folder."
_REMEDIES = {
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT), "Free some space on this disk, or choose another folder."
    ),
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS), "Choose a folder that you may write to."
    ),
    **dict.fromkeys(
        (errno.EEXIST, errno.EISDIR, errno.ENOTDIR),
        "A folder or a file of that name is there already: choose another name.",
    ),
    errno.ENAMETOOLONG: "Choose a shorter name.",
    **dict.fromkeys(
        (errno.ENOENT, errno.ESTALE, errno.EIO, errno.ENOTCONN, errno.EHOSTDOWN),
        "Check that the disk or the network folder is connected, or choose another folder.",
    ),
}


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the system says when a file can't be written into a sentence.

    Parameters
    ----------
    path : Path
        The file or folder that the block writes.

    Raises
    ------
    ExportError
        If the block fails for the disk, the network or the user's rights.
    """
    try:
        yield
    except OSError as exc:
        raise ExportError(
            f"{path} can't be written: {exc.strerror or exc}.",
            _REMEDIES.get(exc.errno or 0, _REMEDY),
        ) from exc


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a file to write that takes its final name only when it is complete.

    Parameters
    ----------
    path : Path
        The final file; replaced if it exists. If anything fails it stays as it was.

    Yields
    ------
    Path
        A new file of the same ending in the same folder, to be written by the block.

    Raises
    ------
    ExportError
        If the folder is missing or the file can't be written.
    """
    if not path.parent.is_dir():
        raise ExportError(
            f"The folder {path.parent} does not exist.", "Make it first, or choose another."
        )
    # Made by the writer itself and not by tempfile, whose files only their owner may read.
    draft = draft_of(path)
    with explained(path):
        try:
            yield draft
            with draft.open("rb+") as file:
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
