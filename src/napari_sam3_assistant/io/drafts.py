"""Names for files and folders on their way, and removing those that nobody finishes any more.

A process that is killed leaves its draft behind. The name of a draft says on which machine, by
which process it was begun, so the next save into the folder can tell that nobody writes to it.
The folder of a scan is marked in the same way.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import uuid
import zlib
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Iterator

# Machine, process, and a part that tells this process from an earlier one of the same number.
_DRAFT = re.compile(r"\.sam3-draft-(\w{8}-\d+-\w{8})-\w{8}(\.\w+)?")
_THIS_PROCESS = uuid.uuid4().hex[:8]
_swept: set[Path] = set()


def draft_of(path: Path) -> Path:
    """Return a new hidden name in a file's folder, with its ending.

    The first time that a process asks for a folder, drafts that were abandoned there are removed.

    Parameters
    ----------
    path : Path
        The final name.
    """
    folder = path.parent.absolute()
    if folder not in _swept:
        _swept.add(folder)
        remove_abandoned(folder)
    unique = uuid.uuid4().hex[:8]
    return path.with_name(f".sam3-draft-{process_mark()}-{unique}{path.suffix}")


@contextmanager
def draft_folder(path: Path) -> Iterator[Path]:
    """Give the name of a folder to be written, and remove what is left of it at the end.

    Parameters
    ----------
    path : Path
        The final name, which the block gives it when it is complete.
    """
    draft = draft_of(path)
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def remove_abandoned(folder: Path) -> None:
    """Remove the drafts in a folder whose process was one of this machine and is gone.

    Those of other machines, which may write to a shared folder, stay. What can't be removed
    stays as well: it is in nobody's way.
    """
    with suppress(OSError):
        for found in folder.iterdir():
            draft = _DRAFT.fullmatch(found.name)
            if draft is None or runs(draft[1]) is not False:
                continue
            if found.is_dir():
                shutil.rmtree(found, ignore_errors=True)
            else:
                found.unlink(missing_ok=True)


def process_mark() -> str:
    """Return what names this process, for :func:`runs`."""
    return f"{_machine()}-{os.getpid()}-{_THIS_PROCESS}"


def runs(mark: str) -> bool | None:
    """Return whether the process that made a mark still runs; None if another machine made it.

    Parameters
    ----------
    mark : str
        What :func:`process_mark` returned.
    """
    machine, number, process = mark.split("-")
    if machine != _machine():
        return None
    if int(number) == os.getpid():
        # Numbers come round again, in containers with each start.
        return process == _THIS_PROCESS
    return bool(psutil.pid_exists(int(number)))


@cache
def _machine() -> str:
    """Return what tells apart the machines that may share a folder.

    Their names do not: many a lab has two of the same. Containers of one machine count their
    processes on their own, and so are machines of their own here.
    """
    space = Path("/proc/self/ns/pid")
    inside = os.readlink(space) if space.is_symlink() else ""
    return f"{zlib.crc32(f'{socket.gethostname()} {uuid.getnode()} {inside}'.encode()):08x}"
