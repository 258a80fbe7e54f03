"""Files as Windows has them, on Linux: what is open can't be removed or renamed, and the like.

``NAPARI_SAM3_WINDOWS_FILES=1 pytest tests/io`` runs any tests so; those that ask for the fixture
``windows_files`` always do. It holds for what this process does by Python's ``os``, ``pathlib`` and
``shutil``; paths, drives and other programs are as they are here. Tests that pretend that another
process was killed fail under it, where they keep its files open.
"""

import contextlib
import errno
import fcntl
import os
import re
import shutil
import sys
from pathlib import Path
from unittest import mock

import pytest

_FORBIDDEN = re.compile(r'[<>:"|?*\\\x00-\x1f]|[. ]$')
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[1-9]|lpt[1-9])(\..*)?")

_rename, _replace, _unlink, _fsync = os.rename, os.replace, os.unlink, os.fsync
_watches: list[bool] = []  # whether names are watched now; empty until they were once


def _held_files():
    """Return the files that this process has open or mapped."""
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the one by which they are listed
            yield os.readlink(link)
    for line in Path("/proc/self/maps").read_text("utf8", "surrogateescape").splitlines():
        yield line.split(maxsplit=5)[-1]


def _check_free(path):
    """Raise where a file, or one in a folder, is open."""
    place = Path(path)
    place = str(place.parent.resolve() / place.name)
    if not os.path.lexists(place):
        return
    if held := {one for one in _held_files() if one == place or one.startswith(f"{place}/")}:
        error = PermissionError(errno.EACCES, f"being used by a process: {sorted(held)[:3]}", path)
        error.winerror = 32
        raise error


def _check_name(path):
    name = Path(os.fsdecode(path)).name
    if _FORBIDDEN.search(name) or _RESERVED.fullmatch(name):
        raise OSError(errno.EINVAL, "the filename is incorrect", path)


def _watch(event, arguments):
    """Refuse names of new files and folders that Windows refuses."""
    if not _watches[0]:
        return
    if event == "open":
        path, _, flags = arguments
        if isinstance(path, str | bytes) and flags & os.O_CREAT:
            _check_name(path)
    elif event in ("os.mkdir", "os.link"):
        _check_name(arguments[event == "os.link"])


def _rename_of_windows(source, target, **more):
    _check_free(source)
    _check_name(target)
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, "it exists already", target)
    _rename(source, target, **more)


def _replace_of_windows(source, target, **more):
    _check_free(source)
    _check_free(target)
    _check_name(target)
    if Path(target).is_dir():
        raise PermissionError(errno.EACCES, "access is denied", target)
    _replace(source, target, **more)


def _unlink_of_windows(path, **more):
    _check_free(path)
    _unlink(path, **more)


def _fsync_of_windows(descriptor):
    number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
    if fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "open for reading only")
    _fsync(number)


@contextlib.contextmanager
def files_of_windows():
    """Have files behave as those of Windows within a block."""
    if not _watches:
        _watches.append(False)
        sys.addaudithook(_watch)  # for good
    posix_fallocate = os.posix_fallocate
    with (
        mock.patch.object(os, "rename", _rename_of_windows),
        mock.patch.object(os, "replace", _replace_of_windows),
        mock.patch.object(os, "unlink", _unlink_of_windows),
        mock.patch.object(os, "remove", _unlink_of_windows),
        mock.patch.object(os, "fsync", _fsync_of_windows),
        mock.patch.object(shutil, "_use_fd_functions", new=False),
    ):
        del os.posix_fallocate
        _watches[0] = True
        try:
            yield
        finally:
            _watches[0] = False
            os.posix_fallocate = posix_fallocate


class WindowsFiles:
    """A plugin for pytest that runs every test so."""

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_call(self):
        with files_of_windows():
            yield
