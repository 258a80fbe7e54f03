"""The arrays of a session: pixels as zarr in chunks, compressed, one folder each.

What others wrote is checked before it is opened: where it lies, how it is packed, its shape and
type.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import uuid
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from napari_sam3_assistant.core.images import map_read_errors
from napari_sam3_assistant.core.progress import NullReporter, Progress
from napari_sam3_assistant.errors import SessionError
from napari_sam3_assistant.io.atomic import explain_os_errors
from napari_sam3_assistant.io.typed_json import WRONG
from napari_sam3_assistant.io.untrusted import as_dict, as_text, open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.core.progress import Reporter


ARRAYS = "arrays"
"""The folder of them in that of the session."""

LARGEST_CHUNK = 1 << 29
"""Bytes that a piece of an array may unpack to."""

_CHUNK_SIDE, _CHUNK_PIXELS = 1024, 1 << 20
_CODECS = {"bytes", "zstd", "blosc", "gzip", "zlib", "lz4", "crc32c", "shuffle", "transpose"}
_DAMAGED = "Save the session again where it still is, or open another copy of it."


@dataclass(frozen=True, slots=True)
class StoredArray:
    """An array of a session.

    Parameters
    ----------
    path : str
        Its place in the folder.
    shape : tuple of int
        Length of each axis.
    dtype : str
        Type of a value, as NumPy writes it.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str

    @property
    def nbytes(self) -> int:
        """Bytes of its values, unpacked."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


@dataclass(frozen=True, slots=True, eq=False)
class PixelBox:
    """Values of a part of an array.

    Parameters
    ----------
    array : str
        Name of the array.
    first : tuple of int
        Where the part begins, on each axis.
    values : ndarray
        Its values.
    """

    array: str
    first: tuple[int, ...]
    values: npt.NDArray[Any]

    @property
    def key(self) -> tuple[slice, ...]:
        """The index of the part."""
        sides = zip(self.first, self.values.shape, strict=True)
        return tuple(slice(start, start + side) for start, side in sides)

    def check(self, array: Any) -> None:  # noqa: ANN401 (zarr has no type)
        """Raise unless the values are some of an array.

        Raises
        ------
        ValueError
            If they lie beside it, or are of another type.
        """
        inside = len(self.first) == array.ndim and all(
            side.stop <= length for side, length in zip(self.key, array.shape, strict=True)
        )
        kinds = self.values.dtype.newbyteorder("="), np.dtype(array.dtype).newbyteorder("=")
        if not inside or kinds[0] != kinds[1]:
            raise ValueError("pixels lie beside their array")

    def copy_to(self, values: npt.NDArray[Any], key: tuple[slice, ...]) -> None:
        """Copy what lies in a part of the array to the values of that part."""
        here, there = [], []
        for own, side in zip(self.key, key, strict=True):
            start, stop = max(own.start, side.start), max(own.start, min(own.stop, side.stop))
            here.append(slice(start - own.start, stop - own.start))
            there.append(slice(start - side.start, stop - side.start))
        values[tuple(there)] = self.values[tuple(here)]


def write_array(
    folder: Path, array: AnyArray, reporter: Reporter | None = None, *, sync: bool = True
) -> StoredArray:
    """Write an array into a session, chunk by chunk; what it is called there is new.

    Parameters
    ----------
    folder : Path
        The session.
    array : array-like of numbers
        In memory, or read piece by piece.
    reporter : Reporter, optional
        Receives the progress; may cancel the work, which then leaves nothing behind.
    sync : bool
        Whether to wait until it is on the disk.

    Raises
    ------
    ExportError
        If it can't be written.
    SessionError
        If it holds no numbers.
    """
    reporter = reporter or NullReporter()
    kind = np.dtype(array.dtype)
    if kind.kind not in "biuf":
        raise SessionError(f"Values of type {kind} can't be kept in a session.", "Convert them.")
    kind = kind.newbyteorder("=")
    shape = tuple(int(side) for side in array.shape)
    name = f"{ARRAYS}/{uuid.uuid4().hex}.zarr"
    place = folder / name
    chunks = _choose_chunks(shape)
    with explain_os_errors(folder):
        try:
            created = zarr.create_array(
                str(place), shape=shape, chunks=chunks, dtype=kind, fill_value=0, zarr_format=3
            )
            keys = list(_iter_chunks(shape, chunks))
            for number, key in enumerate(keys):
                reporter.report(Progress(number, len(keys), "Saving pixels"))
                part = np.asarray(array[key])
                if part.any():
                    created[key] = part
            if sync:
                _sync_folder(place)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
    return StoredArray(name, shape, kind.str)


def _choose_chunks(shape: tuple[int, ...]) -> tuple[int, ...]:
    remaining, chunks = _CHUNK_PIXELS, []
    for side in reversed(shape):
        chunks.append(max(1, min(side, _CHUNK_SIDE, remaining)))
        remaining //= chunks[-1]
    return tuple(reversed(chunks))


def _iter_chunks(shape: tuple[int, ...], chunks: tuple[int, ...]) -> Iterator[tuple[slice, ...]]:
    starts = (range(0, side, step) for side, step in zip(shape, chunks, strict=True))
    for first in product(*starts):
        yield tuple(
            slice(at, min(at + step, side))
            for at, step, side in zip(first, chunks, shape, strict=True)
        )


def write_boxes(boxes: Sequence[PixelBox], array: Any) -> None:  # noqa: ANN401 (zarr has no type)
    """Write values to their array, in memory or of zarr; the last ones count.

    A piece of zarr is unpacked and packed once, however many strokes are in it.

    Parameters
    ----------
    boxes : sequence of PixelBox
        The values.
    array : array
        The array.

    Raises
    ------
    ValueError
        If some lie beside it, or are of another type.
    """
    touched: dict[tuple[int, ...], list[PixelBox]] = {}
    steps = array.shape if isinstance(array, np.ndarray) else array.chunks
    for box in boxes:
        box.check(array)
        if box.values.size:
            places = (
                range(side.start // step, -(-side.stop // step))
                for side, step in zip(box.key, steps, strict=True)
            )
            for place in product(*places):
                touched.setdefault(place, []).append(box)
    for place, here in touched.items():
        key = tuple(
            slice(at * step, min((at + 1) * step, side))
            for at, step, side in zip(place, steps, array.shape, strict=True)
        )
        values = np.asarray(array[key])
        for box in here:
            box.copy_to(values, key)
        array[key] = values


def _sync_folder(place: Path) -> None:
    for file in place.rglob("*"):
        if file.is_file():
            with file.open("rb+") as opened:  # Windows waits for no file that is open to be read
                os.fsync(opened.fileno())


def open_array(folder: Path, stored: StoredArray, *, writable: bool) -> Any:  # noqa: ANN401
    """Open an array of a session; no values are read.

    Raises
    ------
    SessionError
        If it is not there, leads out of the folder, or is not what the session says of it.
    """
    place = folder / stored.path
    wrong = f"The pixels {stored.path} of the session {folder} can't be used"
    with explain_damage(wrong):
        if not place.resolve().is_relative_to((folder / ARRAYS).resolve()):
            raise ValueError("they lie elsewhere")
    check_codecs(place, wrong)
    with map_read_errors(wrong, _DAMAGED):
        array: Any = zarr.open_array(str(place), mode="r+" if writable else "r", zarr_format=3)
    with explain_damage(wrong):
        if array.shape != stored.shape or array.dtype != np.dtype(stored.dtype):
            raise ValueError("they have another shape or type than it says")
        if math.prod(array.chunks) * array.dtype.itemsize > LARGEST_CHUNK:
            raise ValueError("their pieces are too large")
    return array


def check_codecs(place: Path, wrong: str) -> None:
    """Raise unless an array of zarr is packed in a known way.

    Others may run what the array says (``pickle``).

    Parameters
    ----------
    place : Path
        Folder of the array.
    wrong : str
        What to say where it is not, for the user.

    Raises
    ------
    SessionError
        If it is not, or the array is damaged.
    """
    with explain_damage(wrong):
        new = place / "zarr.json"
        with open_regular(new if new.is_file() else place / ".zarray") as file:
            about = as_dict(json.loads(file.read(1 << 20)))
        packed = [about.get("compressor"), *(about.get("filters") or ()), *about.get("codecs", ())]
        steps = [as_dict(codec) for codec in packed if codec is not None]
        named = {as_text(codec["name"] if "name" in codec else codec["id"]) for codec in steps}
        if not named <= _CODECS or about.get("storage_transformers"):
            raise ValueError("they are packed in an unknown way")


class explain_damage:
    """Turn what damaged or hostile files raise into a sentence."""

    def __init__(self, message: str) -> None:
        self._message = message

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (*WRONG, OSError, MemoryError)):
            raise SessionError(f"{self._message}: {error}.", _DAMAGED) from error
