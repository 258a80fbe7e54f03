"""Values out of JSON that anybody may have written: what is not of its kind is told.

Each function returns its argument, and raises TypeError or ValueError if it is something else.
JSON of Python holds NaN and infinite numbers, and whole numbers of any size.
"""

from __future__ import annotations

import sys
from typing import Any

_LARGEST = sys.float_info.max
_MOST = 1 << 53  # up to here floating-point numbers hold all whole ones


def text(value: object) -> str:
    """Return a text."""
    if not isinstance(value, str):
        raise TypeError(f"{_told(value)} is no text")
    return value


def number(value: object) -> float:
    """Return a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{_told(value)} is no number")
    if not abs(value) <= _LARGEST:
        raise ValueError(f"{_told(value)} is no finite number")
    return float(value)


def whole(value: object) -> int:
    """Return a whole number that any program can count with."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{_told(value)} is no whole number")
    if abs(value) > _MOST:
        raise ValueError(f"{_told(value)} is too large")
    return value


def flag(value: object) -> bool:
    """Return true or false."""
    if not isinstance(value, bool):
        raise TypeError(f"{_told(value)} is neither true nor false")
    return value


def listed(value: object, length: int | None = None) -> list[Any]:
    """Return a list, of a certain length where one is given."""
    if not isinstance(value, list):
        raise TypeError(f"{_told(value)} is no list")
    if length is not None and len(value) != length:
        raise ValueError(f"{_told(value)} has not {length} values")
    return value


def named(value: object) -> dict[str, Any]:
    """Return values with names."""
    if not isinstance(value, dict):
        raise TypeError(f"{_told(value)} holds no values with names")
    return value


def _told(value: object) -> str:
    """Return a value in short."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    told = repr(value) if not isinstance(value, int) or abs(value) <= _MOST else "a huge number"
    return told if len(told) < 40 else f"{told[:36]}..."
