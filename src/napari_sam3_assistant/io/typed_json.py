"""Values of dataclasses as JSON and back: the types of the fields say how, and are checked.

A new field of a known type needs no line here; one that an older file lacks has its default.
"""

from __future__ import annotations

import base64
import builtins
import math
import sys
import types
import typing
import zlib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_sam3_assistant.io.untrusted import (
    as_dict,
    as_flag,
    as_list,
    as_number,
    as_text,
    as_whole,
)

WRONG = (ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError, zlib.error)
"""What JSON of strangers raises where it is made into values."""
_MOST_BYTES = 1 << 28
"""An array in JSON takes no more; larger ones are kept beside it."""
_KINDS = "biuf"
_NO_NUMBERS = ("nan", "inf", "-inf")


def to_json(value: Any) -> Any:  # noqa: ANN401 (any value)
    """Return a value as JSON holds it: dataclasses by their fields, arrays compressed.

    Bytes are written in base 64, and of slices where they begin and end.

    Raises
    ------
    TypeError
        If it holds something else.
    """
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.ndarray):
        return pack_array(value)
    if isinstance(value, int | float | np.number | np.bool_):
        return _number_to_json(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, slice):
        return [to_json(value.start), to_json(value.stop)]
    return _whole_to_json(value)


def _whole_to_json(value: Any) -> Any:  # noqa: ANN401 (any value)
    if is_dataclass(value):
        names = (field.name for field in fields(value) if field.init)
        return {name: to_json(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value):
            return {str(key): to_json(item) for key, item in value.items()}
        return [[to_json(key), to_json(item)] for key, item in value.items()]
    if isinstance(value, tuple | list):
        return [to_json(item) for item in value]
    if isinstance(value, set | frozenset):
        return [to_json(item) for item in sorted(value)]
    raise TypeError(f"{type(value).__name__} is not kept")


def _number_to_json(value: Any) -> Any:  # noqa: ANN401 (a number)
    number = value.item() if isinstance(value, np.generic) else value
    if isinstance(number, float) and not math.isfinite(number):
        return str(number)
    return number


def pack_array(array: npt.NDArray[Any]) -> dict[str, Any]:
    """Return an array as JSON holds it: masks eight pixels in a byte, all compressed, in base 64.

    Raises
    ------
    TypeError
        If it holds no numbers.
    """
    if array.dtype.kind not in _KINDS:
        raise TypeError(f"arrays of {array.dtype} are not kept")
    flat = np.ascontiguousarray(array)
    data = np.packbits(flat) if array.dtype == bool else flat
    packed = base64.b64encode(zlib.compress(data.tobytes(), 1)).decode("ascii")
    return {"dtype": array.dtype.str, "shape": list(array.shape), "data": packed}


def unpack_array(value: object) -> npt.NDArray[Any]:
    """Return an array that was packed; no more is unpacked than its shape has room for.

    Raises
    ------
    One of :data:`WRONG`
        If it is none.
    """
    found = as_dict(value)
    shape, kind = check_shape(found["shape"]), check_kind(found["dtype"])
    count = math.prod(shape)
    size = -(-count // 8) if kind.kind == "b" else count * kind.itemsize
    if size > _MOST_BYTES:
        raise ValueError("an array is too large")
    packed = base64.b64decode(as_text(found["data"]), validate=True)
    data = zlib.decompressobj().decompress(packed, size + 1)
    if len(data) != size:
        raise ValueError(f"an array has not the size of its shape, {shape}")
    if kind.kind == "b":
        flat = np.unpackbits(np.frombuffer(data, np.uint8), count=count).view(bool)
    else:
        flat = np.frombuffer(data, kind).copy()
    return flat.reshape(shape)


def check_shape(value: object) -> tuple[int, ...]:
    """Return a shape of an array.

    Raises
    ------
    TypeError, ValueError
        If it is none.
    """
    shape = tuple(as_whole(side) for side in as_list(value))
    if len(shape) > 32 or any(side < 0 for side in shape) or math.prod(shape) >= 1 << 53:
        raise ValueError(f"{shape} is not the shape of an array")
    return shape


def check_kind(value: object) -> np.dtype[Any]:
    """Return a type of numbers.

    Raises
    ------
    TypeError, ValueError
        If it is none.
    """
    text = as_text(value)
    if len(text) > 8:
        raise ValueError("no type of numbers")
    kind = np.dtype(text)
    if kind.kind not in _KINDS or kind.hasobject:
        raise ValueError(f"{text} is not a type of numbers")
    return kind


def from_json(kind: Any, value: Any, names: Mapping[str, Any]) -> Any:  # noqa: ANN401 (any type)
    """Return a value of a type, checked all the way down.

    Parameters
    ----------
    kind : type
        A dataclass, a type of Python's or of NumPy's, or several with what they hold.
    value : object
        What JSON held.
    names : mapping of str to type
        Types that annotations name and that their modules import for type checkers alone.

    Raises
    ------
    One of :data:`WRONG`, or Sam3AssistantError
        If the value is of another type, or the dataclass does not take it.
    """
    return _Reader(names).read(kind, value)


class _Unknown:
    """Stands for a type that was not named: no value has it."""


class _Namespace(dict[str, Any]):
    """Names of types; one that a module imports for type checkers alone may be missing."""

    def __missing__(self, name: str) -> type:
        if hasattr(builtins, name):
            raise KeyError(name)
        return _Unknown


@cache
def _hints(kind: type, names: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    known = _Namespace({**vars(sys.modules[kind.__module__]), **dict(names)})
    return typing.get_type_hints(kind, localns=known)


def field_types(kind: type, names: Mapping[str, Any]) -> dict[str, Any]:
    """Return the types of the fields of a dataclass, for :func:`from_json`.

    Parameters
    ----------
    kind : type
        The dataclass.
    names : mapping of str to type
        As :func:`from_json` takes them.
    """
    return _hints(kind, tuple(names.items()))


class _Reader:
    """Reads values, given names of types."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        self._names = tuple(names.items())

    def read(self, kind: Any, value: Any) -> Any:  # noqa: ANN401 (any type)
        origin = typing.get_origin(kind)
        if origin in (types.UnionType, typing.Union):
            return self._read_any(typing.get_args(kind), value)
        if origin is np.ndarray:
            return self._read_array(kind, value)
        if origin is not None:
            return self._read_several(origin, typing.get_args(kind), value)
        if isinstance(kind, type) and is_dataclass(kind):
            return self._read_fields(kind, value)
        return _read_plain(kind, value)

    def _read_any(self, kinds: tuple[Any, ...], value: Any) -> Any:  # noqa: ANN401
        if value is None:
            if type(None) not in kinds:
                raise TypeError("nothing is given")
            return None
        *others, last = [kind for kind in kinds if kind is not type(None)]
        for kind in others:
            try:
                return self.read(kind, value)
            except WRONG:
                continue
        return self.read(last, value)

    def _read_array(self, kind: Any, value: Any) -> npt.NDArray[Any]:  # noqa: ANN401
        array = unpack_array(value)
        (dtype,) = typing.get_args(typing.get_args(kind)[1])
        if isinstance(dtype, type) and not issubclass(array.dtype.type, dtype):
            raise TypeError(f"an array is of type {array.dtype}")
        return array

    def _read_several(self, origin: Any, kinds: tuple[Any, ...], value: Any) -> Any:  # noqa: ANN401
        if origin is tuple:
            if len(kinds) == 2 and kinds[1] is Ellipsis:
                return tuple(self.read(kinds[0], item) for item in as_list(value))
            items = as_list(value, len(kinds))
            return tuple(self.read(kind, item) for kind, item in zip(kinds, items, strict=True))
        if issubclass(origin, Mapping):
            pairs = list(value.items()) if isinstance(value, dict) else as_list(value)
            return {
                self.read(kinds[0], key): self.read(kinds[1], item)
                for key, item in (
                    pair if isinstance(pair, tuple) else as_list(pair, 2) for pair in pairs
                )
            }
        values = (self.read(kinds[0], item) for item in as_list(value))
        return frozenset(values) if origin is frozenset else list(values)

    def _read_fields(self, kind: Any, value: Any) -> Any:  # noqa: ANN401
        found, hints = as_dict(value), _hints(kind, self._names)
        values = {}
        for field in fields(kind):
            if not field.init:
                continue
            if field.name in found:
                values[field.name] = self.read(hints[field.name], found[field.name])
            elif field.default is MISSING and field.default_factory is MISSING:
                raise KeyError(f"{kind.__name__} lacks {field.name}")
        return kind(**values)


_PLAIN: dict[Any, Callable[[Any], Any]] = {
    str: as_text,
    bool: as_flag,
    int: as_whole,
    bytes: lambda value: base64.b64decode(as_text(value), validate=True),
    slice: lambda value: slice(*map(as_whole, as_list(value, 2))),
}


def _read_plain(kind: Any, value: Any) -> Any:  # noqa: ANN401
    if kind in _PLAIN:
        return _PLAIN[kind](value)
    if kind is float:
        return float(value) if value in _NO_NUMBERS else as_number(value)
    if kind is Path:
        return Path(as_text(value))
    if kind is np.ndarray:
        return unpack_array(value)
    if kind is type(None):
        if value is not None:
            raise TypeError("something is given")
        return None
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    if kind in (Any, object):
        return value
    raise TypeError(f"{kind} is not kept")
