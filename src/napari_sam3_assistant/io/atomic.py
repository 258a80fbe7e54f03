"""Write files so that nobody ever sees half of one, and sweep the drafts of those who were killed.

Names for files and folders on their way, and removing those that nobody finishes any more.

A process that is killed leaves its draft behind. The name of a draft says on which machine, by
which process it was begun, so the next save into the folder can tell that nobody writes to it.
The folder of a scan is marked in the same way.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import time
import uuid
import zlib
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import psutil  # type: ignore[import-untyped]

from napari_sam3_assistant.errors import ExportError, NameTaken

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager


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

_DENIED_BY_WINDOWS = {5, 32, 33}  # access denied (as for a name in use), sharing, locked
_IN_USE = (
    "Close it where it is open, as in Excel or as a layer of napari, or choose another name, in a "
    "folder that you may write to."
)


@contextmanager
def explain_os_errors(path: Path) -> Iterator[None]:
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
        denied = getattr(exc, "winerror", None) in _DENIED_BY_WINDOWS
        raise ExportError(
            f"{path} can't be written: {exc.strerror or exc}.",
            _IN_USE if denied else _REMEDIES.get(exc.errno or 0, _REMEDY),
        ) from exc


@contextmanager
def atomic_write(
    path: Path, *, replace: bool = True, naming: AbstractContextManager[object] | None = None
) -> Iterator[Path]:
    """Give a file to write that takes its final name only when it is complete.

    Parameters
    ----------
    path : Path
        The final file. If anything fails it stays as it was.
    replace : bool
        Whether a file of that name is replaced.
    naming : context manager, optional
        Is entered when the file is complete, and left when it has its name.

    Yields
    ------
    Path
        A new file of the same ending in the same folder, to be written by the block.

    Raises
    ------
    ExportError
        If the folder is missing or the file can't be written.
    NameTaken
        If there is something of that name that shall not be replaced.
    """
    if not path.parent.is_dir():
        raise ExportError(
            f"The folder {path.parent} does not exist.", "Make it first, or choose another."
        )
    # Made by the writer itself and not by tempfile, whose files only their owner may read.
    draft = draft_path(path)
    with explain_os_errors(path):
        try:
            yield draft
            with draft.open("rb+") as file:
                os.fsync(file.fileno())
            with naming or nullcontext():
                give_name(draft, path, replace=replace)
        finally:
            draft.unlink(missing_ok=True)


def give_name(draft: Path, path: Path, *, replace: bool = False) -> None:
    """Give a finished file or folder its final name, in one step.

    Two processes may want the same name: one of them gets it, the other is told.

    Parameters
    ----------
    draft : Path
        What was written, in the same folder.
    path : Path
        The final name.
    replace : bool
        Whether a file, or a folder, of that name is replaced.

    Raises
    ------
    NameTaken
        If there is something of that name that shall not be replaced.
    OSError
        If the system can't do it.
    """
    if replace and not draft.is_dir():
        draft.replace(path)
    elif replace and is_there(path):
        _replace_folder(draft, path)
    else:
        try:
            _take_name(draft, path)
        except OSError as exc:
            if is_there(path):
                raise NameTaken(f"{path} exists already.", "Choose another name.") from exc
            raise


def is_there(path: Path) -> bool:
    """Return whether a name is taken, also by a link to nowhere.

    Raises
    ------
    OSError
        If that can't be known, as where the name is too long.
    """
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def _take_name(draft: Path, path: Path) -> None:
    """Take a name that must be free; an empty folder counts as free for a folder."""
    if draft.is_dir():
        draft.rename(path)
        return
    try:
        os.link(draft, path)
    except FileExistsError:
        raise
    except OSError:
        # FAT, and some folders of the network, know no second name for a file.
        path.touch(exist_ok=False)
        try:
            draft.replace(path)
        except OSError:
            path.unlink()
            raise


def _replace_folder(draft: Path, path: Path) -> None:
    """Rename a finished folder; the one of that name is removed when the new one is there."""
    # No draft: whoever is killed in between finds all of it under this name.
    old = path.with_name(f".{uuid.uuid4().hex}.old")
    path.rename(old)
    try:
        draft.rename(path)
    except OSError:
        old.rename(path)
        raise
    superfluous = draft_path(path)
    old.rename(superfluous)
    shutil.rmtree(superfluous, ignore_errors=True)


# Machine, process, and when that began: numbers of processes come round again.
_DRAFT = re.compile(r"\.sam3-draft-(\w{8}-\d+-\w{8})-\w{8}(\.\w+)?")
_swept: set[Path] = set()
_PAUSES = (0.02, 0.1, 0.5, 1.0)  # seconds after which one looks whether a draft came again


def draft_path(path: Path) -> Path:
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
    draft = draft_path(path)
    try:
        yield draft
    finally:
        # After an error zarr's other threads may write there, and make it again, for a moment.
        for pause in _PAUSES:
            if not os.path.lexists(draft):
                break
            shutil.rmtree(draft, ignore_errors=True)
            time.sleep(pause)  # noqa: TID251 (zarr gives no signal when its threads have ended)


def remove_abandoned(folder: Path) -> None:
    """Remove the drafts in a folder whose process was one of this machine and is gone.

    Those of other machines, which may write to a shared folder, stay. What can't be removed
    stays as well: it is in nobody's way.
    """
    with suppress(OSError):
        for found in folder.iterdir():
            draft = _DRAFT.fullmatch(found.name)
            if draft is None or is_running(draft[1]) is not False:
                continue
            if found.is_dir():
                shutil.rmtree(found, ignore_errors=True)
            else:
                found.unlink(missing_ok=True)


def process_mark() -> str:
    """Return what names this process, for :func:`is_running`."""
    return _mark_of(os.getpid())


def is_running(mark: str) -> bool | None:
    """Return whether the process that made a mark still runs; None if another machine made it.

    Parameters
    ----------
    mark : str
        What :func:`process_mark` returned.
    """
    machine, number, _ = mark.split("-")
    if machine != _machine():
        return None
    try:
        return mark == _mark_of(int(number))
    except psutil.AccessDenied:
        return True
    except (psutil.Error, OverflowError):
        return False


def _mark_of(number: int) -> str:
    """Return the mark of a process that runs."""
    # Linux counts from its start on, and adds the time of that as the clock has it now.
    origin = psutil.boot_time() if psutil.LINUX else 0.0
    began = round(psutil.Process(number).create_time() - origin)
    return f"{_machine()}-{number}-{began:08x}"


@cache
def _machine() -> str:
    """Return an identifier of this machine among those that may share a folder.

    Their names do not: many a lab has two of the same. Containers of one machine count their
    processes on their own, and so are machines of their own here.
    """
    space = Path("/proc/self/ns/pid")
    inside = os.readlink(space) if space.is_symlink() else ""
    return f"{zlib.crc32(f'{socket.gethostname()} {uuid.getnode()} {inside}'.encode()):08x}"
