"""The pixels of a session's layers: by reference to their files, or in the session's own arrays."""

from __future__ import annotations

import os
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.storage import LocalStore

from napari_sam3_assistant.core.images import map_read_errors
from napari_sam3_assistant.errors import ImageError, Sam3AssistantError, SessionError
from napari_sam3_assistant.io.images import list_series, read_image
from napari_sam3_assistant.io.loaded import LAZY_BYTES, check_memory
from napari_sam3_assistant.io.session_arrays import (
    StoredArray,
    check_codecs,
    write_array,
    write_boxes,
)
from napari_sam3_assistant.io.typed_json import check_kind, check_shape
from napari_sam3_assistant.io.untrusted import as_dict, as_list, as_text, as_whole, is_on_a_share

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.io.session_folder import StoredSession


_WINDOW = 64
"""Pieces of so many pixels along an axis are looked at to know an image again."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What identifies an image: its size, and the pixels of a few pieces.

    Parameters
    ----------
    shape : tuple of int
        Length of each axis.
    dtype : str
        Type of a pixel.
    checksum : int
        CRC-32 of pieces at the ends and in the middle.
    """

    shape: tuple[int, ...]
    dtype: str
    checksum: int

    @classmethod
    def of(cls, array: AnyArray) -> Fingerprint:
        """Look at an array: a few pieces of it are read, however large it is.

        Raises
        ------
        ImageError
            If they can't be read.
        """
        shape, checksum = tuple(map(int, array.shape)), 0
        with map_read_errors("An image can't be read", "Check that its file opens elsewhere."):
            for share in (0.0, 0.5, 1.0):
                part = np.asarray(array[_window(shape, share)])
                checksum = zlib.crc32(np.ascontiguousarray(part).tobytes(), checksum)
        return cls(shape, np.dtype(array.dtype).newbyteorder("=").str, checksum)

    def is_like(self, array: AnyArray) -> bool:
        """Return whether an array has that size and type."""
        kind = np.dtype(array.dtype).newbyteorder("=").str
        return (tuple(map(int, array.shape)), kind) == (self.shape, self.dtype)


def _window(shape: Sequence[int], share: float) -> tuple[slice, ...]:
    key = []
    for number, side in enumerate(reversed(shape)):
        width = min(side, _WINDOW if number < 3 else 1)
        width = width if number < 2 or side <= 4 else 1
        start = round((side - width) * share)
        key.append(slice(start, start + width))
    return tuple(reversed(key))


def file_reference(path: str, plugin: str, level: AnyArray, folder: Path) -> dict[str, Any]:
    """Return JSON that says which image of which file pixels are.

    Parameters
    ----------
    path, plugin : str
        The file, and napari's plugin that read it.
    level : array-like
        The largest size.
    folder : Path
        Where the JSON will lie.
    """
    place = Path(path).absolute()
    found = Fingerprint.of(level)
    try:
        beside: str | None = Path(os.path.relpath(place, folder.absolute().parent)).as_posix()
    except ValueError:  # another drive of Windows
        beside = None
    return {
        "kind": "file",
        "path": str(place),
        "beside": beside,
        "plugin": plugin,
        "fingerprint": _print_to_json(found),
    }


def zarr_reference(levels: Sequence[AnyArray]) -> dict[str, Any] | None:
    """Return JSON that says where arrays of zarr lie on the disk; None for any others."""
    places = []
    for level in levels:
        if not isinstance(level, zarr.Array) or not isinstance(level.store, LocalStore):
            return None
        places.append(str((Path(level.store.root) / level.path).absolute()))
    about = [{"shape": list(level.shape), "dtype": np.dtype(level.dtype).str} for level in levels]
    return {"kind": "zarr", "paths": places, "arrays": about}


def array_reference(names: Iterable[str]) -> dict[str, Any]:
    """Return JSON that says which arrays of the session pixels are in."""
    return {"kind": "arrays", "names": list(names)}


def _print_to_json(fingerprint: Fingerprint) -> dict[str, Any]:
    return {
        "shape": list(fingerprint.shape),
        "dtype": fingerprint.dtype,
        "checksum": fingerprint.checksum,
    }


def _print_from_json(value: object) -> Fingerprint:
    entry = as_dict(value)
    kind = check_kind(entry["dtype"]).str
    return Fingerprint(check_shape(entry["shape"]), kind, as_whole(entry["checksum"]))


def hold(
    folder: Path, key: str, levels: Sequence[AnyArray], reporter: Reporter | None, *, sync: bool
) -> tuple[dict[str, Any], dict[str, StoredArray]]:
    """Write the pixels of a layer into a session; returns the JSON that says so, and the arrays.

    Raises
    ------
    ExportError, SessionError, ImageError
        If they can't be written, or read.
    """
    with map_read_errors("Pixels can't be read", "Check that their file opens elsewhere."):
        arrays = {
            f"{key}/{number}": write_array(folder, level, reporter, sync=sync)
            for number, level in enumerate(levels)
        }
    return array_reference(arrays), arrays


# -- back -----------------------------------------------------------------------------------------


def find_file(entry: Mapping[str, Any], folder: Path) -> Path | None:
    """Return where the file of an image is now: where it was, beside the session, or in it.

    Raises
    ------
    ValueError, TypeError, KeyError
        If the JSON is damaged.
    """
    path, beside = as_text(entry["path"]), entry.get("beside")
    name = PureWindowsPath(path).name if "\\" in path else Path(path).name
    outer = folder.absolute().parent
    candidates = [Path(path)]
    if beside is not None:
        candidates.append(outer / as_text(beside))
    candidates += [outer / name, folder / name]
    for candidate in candidates:
        if (
            not is_on_a_share(str(candidate), folder)
            and candidate.is_absolute()
            and os.path.exists(candidate)
        ):
            return candidate
    return None


def read_file(entry: Mapping[str, Any], place: Path) -> tuple[tuple[AnyArray, ...], str]:
    """Read the image of a file that a session refers to.

    Returns
    -------
    tuple of array-like
        All its sizes.
    str
        What the user should know, as that its pixels are others now; empty for nothing.

    Raises
    ------
    ImageError
        If it can't be read, or holds no image of that size.
    ValueError, TypeError, KeyError
        If the JSON is damaged.
    """
    expected, plugin = _print_from_json(entry["fingerprint"]), as_text(entry.get("plugin", ""))
    alike = []
    for levels in _candidates(place, plugin, expected):
        if levels and expected.is_like(levels[0]):
            if Fingerprint.of(levels[0]) == expected:
                return levels, ""
            alike.append(levels)
    if alike:
        return alike[0], f"{place} has other pixels now than when the session was saved."
    shape = " x ".join(map(str, expected.shape))
    raise ImageError(
        f"{place} holds no image of {shape} pixels any more.", "Choose the file that does."
    )


def is_found_again(entry: Mapping[str, Any], place: Path) -> bool:
    """Return whether a file, or a folder, will give the image that is said to be of it.

    Of a file it is believed: it may take long to read. A folder may hold more than the image.

    Parameters
    ----------
    entry : mapping
        JSON of :func:`file_reference`.
    place : Path
        The file or folder.
    """
    if not place.is_dir():
        return True
    try:
        _, changed = read_file(entry, place)
    except ImageError:
        return False
    return not changed


def _candidates(
    place: Path, plugin: str, fingerprint: Fingerprint
) -> Iterable[tuple[AnyArray, ...]]:
    """Yield the images of a file as what read it does, napari's plugin or we, then as the other."""
    if plugin:
        yield from _read_with_plugin(place, plugin)
    with suppress(ImageError):
        numbers = range(len(list_series(place))) or range(1)
        for number in numbers:
            levels = read_image(place, number).levels
            if fingerprint.is_like(levels[0]):
                yield levels
    if not plugin:
        yield from _read_with_plugin(place, plugin)


def _read_with_plugin(place: Path, plugin: str) -> list[tuple[AnyArray, ...]]:
    import npe2

    found = []
    try:
        with map_read_errors(f"{place} can't be read", ""):
            read = npe2.read([str(place)], stack=False, plugin_name=plugin or None)
    except (Sam3AssistantError, ValueError):
        return []
    for layer_data in read:
        data: Any = layer_data[0] if layer_data else None
        several = isinstance(data, list | tuple) and all(hasattr(part, "shape") for part in data)
        if several and data:
            found.append(tuple(data))
        elif hasattr(data, "shape") and hasattr(data, "dtype"):
            found.append((data,))
    return found


def open_zarr(entry: Mapping[str, Any]) -> tuple[Any, ...]:
    """Open the arrays of zarr that a session refers to, to write to them; no values are read.

    Raises
    ------
    SessionError
        If they are gone, or others now.
    ValueError, TypeError, KeyError
        If the JSON is damaged.
    """
    levels = []
    for path, about in zip(as_list(entry["paths"]), as_list(entry["arrays"]), strict=True):
        place = Path(as_text(path))
        if is_on_a_share(str(place), Path.cwd()):
            raise SessionError(f"{place} is on another computer.", "Copy it to this one.")
        wrong = f"The labels {place} can't be used"
        check_codecs(place, wrong)
        with map_read_errors(wrong, "Check whether they were moved or removed."):
            array: Any = zarr.open_array(str(place), mode="r+")
        shape, kind = check_shape(about["shape"]), check_kind(about["dtype"])
        if array.shape != shape or array.dtype != kind:
            raise SessionError(f"{wrong}: they are others now.", "Choose another copy.")
        levels.append(array)
    if not levels:
        raise ValueError("no arrays are named")
    return tuple(levels)


def open_held(
    entry: Mapping[str, Any], session: StoredSession, *, writable: bool, in_place: bool = False
) -> tuple[AnyArray, ...]:
    """Open the pixels that a session holds; small ones are read, large ones where they are indexed.

    Parameters
    ----------
    entry : mapping
        JSON of :func:`array_reference`.
    session : StoredSession
        The session, whose journal counts.
    writable : bool
        Whether large ones may be written to: what is written is in the session at once.
    in_place : bool
        Whether small ones are not read either, but opened as large ones are.

    Raises
    ------
    SessionError, ImageError
        If they are damaged, or there is no memory for them.
    ValueError, TypeError, KeyError
        If the JSON is damaged.
    """
    levels = []
    for name in map(as_text, as_list(entry["names"])):
        stored = session.arrays[name]
        array = session.open(name, writable=writable)
        if not in_place and stored.nbytes <= LAZY_BYTES:
            check_memory(stored.shape, stored.dtype)
            wrong = f"The pixels {stored.path} of the session {session.folder} can't be read"
            with map_read_errors(wrong, "Open another copy of the session."):
                array = _read_all(array)
        if isinstance(array, np.ndarray) or writable:
            write_boxes(session.boxes_of(name), array)
        levels.append(array)
    if not levels:
        raise ValueError("no arrays are named")
    return tuple(levels)


def _read_all(array: Any) -> npt.NDArray[Any]:  # noqa: ANN401 (zarr has no type)
    read = np.zeros(array.shape, array.dtype)
    if array.size:
        read[...] = array[...]
    return read
