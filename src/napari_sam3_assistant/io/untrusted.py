"""Files, JSON values and paths of strangers: checked before they are used.

``as_text`` and its like return their argument, and raise TypeError or ValueError if it is of
another type. JSON of Python holds NaN and infinite numbers, and whole numbers of any size; other
programs write 10 as 10.0.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    from pathlib import Path


_LARGEST = sys.float_info.max
_MOST = 1 << 53  # up to here floating-point numbers hold all whole ones


def as_text(value: object) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise TypeError(f"{_shorten(value)} is not a text")
    return value


def as_number(value: object) -> float:
    """Return a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{_shorten(value)} is not a number")
    if not abs(value) <= _LARGEST:
        raise ValueError(f"{_shorten(value)} is not a finite number")
    return float(value)


def as_whole(value: object) -> int:
    """Return a whole number that any program can count with."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{_shorten(value)} is not a whole number")
    if abs(value) > _MOST:
        raise ValueError(f"{_shorten(value)} is too large")
    return value


def as_flag(value: object) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise TypeError(f"{_shorten(value)} is neither true nor false")
    return value


def as_list(value: object, length: int | None = None) -> list[Any]:
    """Return a list, of a certain length where one is given."""
    if not isinstance(value, list):
        raise TypeError(f"{_shorten(value)} is not a list")
    if length is not None and len(value) != length:
        raise ValueError(f"{_shorten(value)} has not {length} values")
    return value


def as_dict(value: object) -> dict[str, Any]:
    """Return values with names."""
    if not isinstance(value, dict):
        raise TypeError(f"{_shorten(value)} holds no values with names")
    return value


def _shorten(value: object) -> str:
    """Return a value in short."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = repr(value) if not isinstance(value, int) or abs(value) <= _MOST else "a huge number"
    return text if len(text) < 40 else f"{text[:36]}..."


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
        raise OSError(errno.EINVAL, "it is not a file on a disk", str(path))
    return path.open("rb")


def is_on_a_share(path: str, folder: Path) -> bool:
    """Return whether a path that a note names leads to another computer than its own.

    Windows logs on to each computer that a path names with two slashes in front, and shows it who
    asks: a stranger's note must not make it do so.

    Parameters
    ----------
    path : str
        What the note says.
    folder : Path
        The folder in which it lies.
    """
    if len(path) < 2 or path[:2].strip("/\\"):
        return False
    share, own = PureWindowsPath(path).drive, PureWindowsPath(folder.absolute()).drive
    return not share or share.casefold() != own.casefold()
