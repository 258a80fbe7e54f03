"""Opening files of strangers: only those that end."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path


def is_regular(path: Path) -> bool:
    """Return whether a path leads to a file on a disk: no folder, pipe, socket or device.

    Raises
    ------
    OSError
        If it leads nowhere, or that can't be known.
    """
    return stat.S_ISREG(os.stat(path).st_mode)


def open_regular(path: Path) -> BinaryIO:
    """Open a file to read its bytes; a pipe, a socket or a device may never end.

    Raises
    ------
    OSError
        If it can't be opened, or is no file on a disk.
    """
    if not is_regular(path):
        raise OSError(errno.EINVAL, "it is no file on a disk", str(path))
    return path.open("rb")
