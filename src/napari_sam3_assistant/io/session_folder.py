"""A session as a folder: what was chosen and found as JSON, pixels as zarr, and a journal.

``NAME.sam3session`` holds

- ``session.json``: entries by name, any JSON each, and which arrays there are;
- ``arrays/``: one zarr array each, in chunks, compressed;
- ``journal.log``: what has changed since, appended record by record.

``session.json`` alone says what counts, and is replaced in one step: a session that is saved over
another is the one or the other. A record of the journal has its length and its checksum before it,
so that what a killed process has left half written is known as such, and left out.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import struct
import uuid
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.errors import ExportError, NameTaken, SessionError
from napari_sam3_assistant.io.atomic import (
    atomic_write,
    explain_os_errors,
    is_there,
)
from napari_sam3_assistant.io.session_arrays import (
    ARRAYS,
    LARGEST_CHUNK,
    PixelBox,
    StoredArray,
    explain_damage,
    open_array,
    write_boxes,
)
from napari_sam3_assistant.io.session_lock import LOCK, is_taken, take_folder
from napari_sam3_assistant.io.typed_json import WRONG, check_kind, check_shape
from napari_sam3_assistant.io.untrusted import (
    as_dict,
    as_list,
    as_text,
    as_whole,
    is_on_a_share,
    open_regular,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


FORMAT = "napari-sam3-assistant session"
VERSION = 1
ENDING = ".sam3session"
_INDEX, _JOURNAL = "session.json", "journal.log"
_MOST_BYTES = 1 << 30  # of JSON


@dataclass(frozen=True, slots=True, eq=False)
class Changed:
    """What has changed in a session: one record of its journal.

    Parameters
    ----------
    entries : mapping of str to object
        Entries that came or are others now, any JSON each.
    gone : tuple of str
        Entries and arrays that are no more.
    arrays : mapping of str to StoredArray
        Arrays that came, or took the place of others.
    pixels : tuple of PixelBox
        Values that were written to arrays, the first first.
    """

    entries: Mapping[str, Any] = field(default_factory=dict)
    gone: tuple[str, ...] = ()
    arrays: Mapping[str, StoredArray] = field(default_factory=dict)
    pixels: tuple[PixelBox, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.entries or self.gone or self.arrays or self.pixels)


@dataclass(slots=True, eq=False)
class StoredSession:
    """A session in a folder.

    Parameters
    ----------
    folder : Path
        The folder.
    key : str
        Tells this state of the folder from earlier ones.
    entries : dict of str to object
        What was chosen and found, any JSON by name.
    arrays : dict of str to StoredArray
        The arrays, by name.
    pixels : list of PixelBox
        What the journal says was written to arrays since.
    damaged : int
        How many records of the journal could not be read.
    """

    folder: Path
    key: str
    entries: dict[str, Any]
    arrays: dict[str, StoredArray]
    pixels: list[PixelBox] = field(default_factory=list)
    damaged: int = 0

    def take(self, changed: Changed) -> None:
        """Bring the session up to date by a record of its journal."""
        self.entries |= changed.entries
        for name in changed.gone:
            self.entries.pop(name, None)
            self.arrays.pop(name, None)
        if others := {*changed.gone, *changed.arrays}:
            self.pixels = [box for box in self.pixels if box.array not in others]
        self.arrays |= changed.arrays
        self.pixels += changed.pixels

    def boxes_of(self, name: str) -> list[PixelBox]:
        """Return what was written to an array since."""
        return [box for box in self.pixels if box.array == name]

    def open(self, name: str, *, writable: bool = False) -> Any:  # noqa: ANN401 (zarr has no type)
        """Open an array; no values are read.

        Raises
        ------
        SessionError
            If it is not there, or not what the session says of it.
        """
        return open_array(self.folder, self.arrays[name], writable=writable)


def is_session(path: Path) -> bool:
    """Return whether a folder is a session, of this version or a later one."""
    try:
        with open_regular(path / _INDEX) as file:
            return FORMAT.encode() in file.read(4096)
    except OSError:
        return False


def check_free(folder: Path) -> None:
    """Raise unless a session may be saved in a folder: a new one, or one that holds a session.

    Raises
    ------
    NameTaken
        If there is something else.
    """
    if is_there(folder) and not is_session(folder):
        ours = {ARRAYS, _JOURNAL, LOCK}
        if not folder.is_dir() or {path.name for path in folder.iterdir()} - ours:
            raise NameTaken(
                f"{folder} exists already and is not a session.", "Choose another name."
            )


def make_folder(folder: Path) -> None:
    """Make the folder of a session where it is missing.

    Raises
    ------
    NameTaken, ExportError
        If there is something else of that name, or it can't be made.
    """
    with explain_os_errors(folder):
        check_free(folder)
        (folder / ARRAYS).mkdir(parents=True, exist_ok=True)


# -- the index ------------------------------------------------------------------------------------


def write_index(folder: Path, entries: Mapping[str, Any], arrays: Mapping[str, StoredArray]) -> str:
    """Make entries and arrays what the session is, in one step; returns the key of its state.

    The journal before it counts no more, and arrays that are not named are removed.

    Raises
    ------
    ExportError
        If it can't be written, or could not be read; the session is what it was, then.
    """
    key = uuid.uuid4().hex
    content = {
        "format": FORMAT,
        "version": VERSION,
        "key": key,
        "place": str(folder.absolute()),
        "written_by": {"napari-sam3-assistant": _own_version(), "napari": _version_of("napari")},
        "entries": dict(entries),
        "arrays": {name: _array_to_json(stored) for name, stored in arrays.items()},
    }
    written = json.dumps(content, default=_as_python).encode()
    _check_size(len(written), _MOST_BYTES, folder)
    with atomic_write(folder / _INDEX) as draft:
        draft.write_bytes(written)
    _remove_unnamed(folder, {stored.path for stored in arrays.values()})
    return key


def _check_size(size: int, most: int, folder: Path) -> None:
    """Raise ExportError where what is about to be written could not be read any more."""
    if size > most:
        raise ExportError(
            f"{folder} can't be written: {size / 2**30:.1f} GB at once are too much for a session.",
            "Save or remove some of the results first.",
        )


def _as_python(value: object) -> object:
    """Return a number of NumPy as JSON holds it."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not kept")


def _own_version() -> str:
    return _version_of("napari-sam3-assistant")


def _version_of(package: str) -> str:
    try:
        return version(package)
    except ModuleNotFoundError:
        return ""


def _array_to_json(stored: StoredArray) -> dict[str, Any]:
    return {"path": stored.path, "shape": list(stored.shape), "dtype": stored.dtype}


def _array_from_json(value: object) -> StoredArray:
    found = as_dict(value)
    path = as_text(found["path"])
    parts = path.split("/")
    if parts[0] != ARRAYS or len(parts) != 2 or not _is_plain(parts[1]):
        raise ValueError(f"{path!r} leads out of the session")
    return StoredArray(path, check_shape(found["shape"]), check_kind(found["dtype"]).str)


def _is_plain(name: str) -> bool:
    return name not in ("", ".", "..") and not set(name) & set('\\/:\0<>|"?*')


def _remove_unnamed(folder: Path, named: set[str]) -> None:
    """Remove what no session names any more; what can't be removed is in nobody's way."""
    with suppress(OSError):
        for place in (folder / ARRAYS).iterdir():
            if f"{ARRAYS}/{place.name}" not in named:
                shutil.rmtree(place, ignore_errors=True)


def discard_draft(folder: Path) -> None:
    """Remove what a save that failed has left; what was a session before stays as it was."""
    with suppress(OSError, SessionError):
        if is_session(folder):
            _remove_unnamed(
                folder, {stored.path for stored in read_session(folder).arrays.values()}
            )
        else:
            shutil.rmtree(folder / ARRAYS, ignore_errors=True)
            for name in (_JOURNAL, LOCK):
                (folder / name).unlink(missing_ok=True)
            folder.rmdir()


def read_session(folder: Path) -> StoredSession:
    """Read a session and its journal; of arrays no values are read.

    Raises
    ------
    SessionError
        If it is none, damaged, or of a later version.
    """
    path = folder / _INDEX
    with explain_damage(f"{folder} is not a session that can be opened"):
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > _MOST_BYTES:
                raise ValueError("it is too large")
            found = as_dict(json.loads(file.read().decode("utf-8-sig")))
        if found.get("format") != FORMAT:
            raise ValueError("its format is not that of sessions")
        if as_whole(found["version"]) > VERSION:
            raise SessionError(
                f"{folder} was saved by a later version (format {found['version']}).",
                "Update napari-sam3-assistant.",
            )
        arrays = {name: _array_from_json(entry) for name, entry in as_dict(found["arrays"]).items()}
        place = as_text(found.get("place", ""))
        session = StoredSession(folder, as_text(found["key"]), as_dict(found["entries"]), arrays)
    for changed in _iter_journal(folder, session.key):
        if changed is None:
            session.damaged += 1
        else:
            session.take(changed)
    before, now = _parent_of(place), folder.absolute()
    if place and before != _parent_of(str(now)):
        with explain_damage(f"{folder} is not a session that can be opened"):
            session.entries = _follow(session.entries, before, now.parent)
    return session


def _parent_of(place: str) -> str:
    """Return the folder that something lies in, with the separator at its end, of any system."""
    separator = "\\" if "\\" in place else "/"
    return place.rpartition(separator)[0] + separator


def _follow(value: Any, before: str, now: Path) -> Any:  # noqa: ANN401 (JSON)
    """Return JSON with the paths in a folder as they are since all of it was moved."""
    if isinstance(value, dict):
        return {name: _follow(entry, before, now) for name, entry in value.items()}
    if isinstance(value, list):
        return [_follow(entry, before, now) for entry in value]
    if not isinstance(value, str) or not value.startswith(before):
        return value
    parts = value[len(before) :].split(before[-1])
    moved = str(now.joinpath(*parts))
    is_inside = all(_is_plain(part) for part in parts)
    return moved if is_inside and _was_moved(value, moved, now) else value


def _was_moved(path: str, moved: str, now: Path) -> bool:
    """Return whether something, or what is not made yet but its folder, is at another place."""
    if is_on_a_share(path, now):  # a stranger's session asks no other computer
        return os.path.exists(moved)
    return any(
        os.path.exists(new) and not os.path.exists(old)
        for old, new in ((path, moved), (os.path.dirname(path), os.path.dirname(moved)))
    )


# -- the journal ----------------------------------------------------------------------------------

_MAGIC = b"SAM3 journal 1 "
_HEAD = struct.Struct("<II")
_LONGEST_RECORD = 1 << 30


class Journal:
    """A new journal of a session, to append records to. One thread at a time.

    Parameters
    ----------
    folder : Path
        The session.
    key : str
        The state of the session that the records go on from.

    Attributes
    ----------
    size : int
        Bytes so far.

    Raises
    ------
    ExportError
        If it can't be written.
    """

    def __init__(self, folder: Path, key: str) -> None:
        self._path = folder / _JOURNAL
        with explain_os_errors(self._path):
            self._file = self._path.open("wb", buffering=0)
            self._file.write(_MAGIC + key.encode() + b"\n")
        self.size = self._file.tell()

    def append(self, changed: Changed) -> int:
        """Append a record and return its bytes; a kill later on does not touch it.

        Raises
        ------
        ExportError
            If it can't be written, or could not be read.
        """
        body = _pack_record(changed)
        _check_size(len(body), _LONGEST_RECORD, self._path.parent)
        for box in changed.pixels:
            _check_size(box.values.nbytes, LARGEST_CHUNK, self._path.parent)
        record = _HEAD.pack(len(body), zlib.crc32(body)) + body
        with explain_os_errors(self._path):
            # In one call: of a killed process all of it is there, or its end is missing.
            remaining = memoryview(record)
            while remaining:
                remaining = remaining[self._file.write(remaining) :]
        self.size += len(record)
        return len(record)

    def sync(self) -> None:
        """Wait until all records are on the disk; a failing power supply does not touch them."""
        with explain_os_errors(self._path):
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _key_of(path: Path) -> str:
    with open_regular(path) as file:
        line = file.readline(100)
    return line[len(_MAGIC) :].strip().decode("ascii", "replace") if line.startswith(_MAGIC) else ""


def _pack_record(changed: Changed) -> bytes:
    blobs = [zlib.compress(np.ascontiguousarray(box.values).tobytes(), 1) for box in changed.pixels]
    about = {
        "set": dict(changed.entries),
        "gone": list(changed.gone),
        "arrays": {name: _array_to_json(array) for name, array in changed.arrays.items()},
        "pixels": [
            {
                "array": box.array,
                "first": list(box.first),
                "shape": list(box.values.shape),
                "dtype": box.values.dtype.str,
                "size": len(blob),
            }
            for box, blob in zip(changed.pixels, blobs, strict=True)
        ],
    }
    text = json.dumps(about, default=_as_python, separators=(",", ":")).encode()
    return _HEAD.pack(len(text), 0) + text + b"".join(blobs)


def _unpack_record(body: bytes) -> Changed:
    length, _ = _HEAD.unpack_from(body)
    at = _HEAD.size + length
    about = as_dict(json.loads(body[_HEAD.size : at].decode()))
    pixels = []
    for entry in map(as_dict, as_list(about["pixels"])):
        shape, kind = check_shape(entry["shape"]), check_kind(entry["dtype"])
        first = check_shape(entry["first"])
        n_bytes = math.prod(shape) * kind.itemsize
        if len(first) != len(shape) or n_bytes > LARGEST_CHUNK:
            raise ValueError("its pixels are too many")
        size = as_whole(entry["size"])
        data = zlib.decompressobj().decompress(body[at : at + size], n_bytes + 1)
        if size < 0 or len(data) != n_bytes:
            raise ValueError("its pixels are not as many as it says")
        at += size
        values = np.frombuffer(data, kind).reshape(shape)
        pixels.append(PixelBox(as_text(entry["array"]), first, values))
    return Changed(
        as_dict(about["set"]),
        tuple(map(as_text, as_list(about["gone"]))),
        {name: _array_from_json(entry) for name, entry in as_dict(about["arrays"]).items()},
        tuple(pixels),
    )


def _iter_journal(folder: Path, key: str) -> Iterator[Changed | None]:
    """Yield the records that go on from a state of a session; None for one that is damaged."""
    path = folder / _JOURNAL
    try:
        if _key_of(path) != key:
            return
        file = open_regular(path)
    except OSError:
        return
    with file:
        file.readline(100)
        while len(head := file.read(_HEAD.size)) == _HEAD.size:
            length, checksum = _HEAD.unpack(head)
            body = file.read(length) if length <= _LONGEST_RECORD else b""
            if len(body) < length or not length:
                return  # the last one, half written
            if zlib.crc32(body) != checksum:
                yield None
                continue
            try:
                yield _unpack_record(body)
            except (*WRONG, struct.error, MemoryError):
                yield None


def apply_journal(folder: Path) -> str:
    """Write what the journal of a session says into the session itself, whose state is a new one.

    Who is killed meanwhile finds the session and its journal: to write the same values once more
    changes nothing.

    Returns
    -------
    str
        The key of the new state.

    Raises
    ------
    SessionError, ExportError
        If it can't be read or written.
    """
    session = read_session(folder)
    with explain_os_errors(folder):
        for name in dict.fromkeys(box.array for box in session.pixels):
            if name in session.arrays:  # not where a record is damaged
                array = session.open(name, writable=True)
                with explain_damage(f"The journal of {folder} can't be used"):
                    write_boxes(session.boxes_of(name), array)
    key = write_index(folder, session.entries, session.arrays)
    forget_journal(folder)
    return key


def forget_journal(folder: Path) -> None:
    """Forget the journal of a session: what it says is in the session now, or is not wanted."""
    with explain_os_errors(folder):
        (folder / _JOURNAL).unlink(missing_ok=True)


def remove_session(folder: Path) -> None:
    """Remove a session with all that it holds, if it is one or was about to be.

    Who is killed meanwhile leaves a session, or what :func:`remove_rest` knows by its lock.
    """
    with suppress(OSError, ExportError):
        if not (folder / LOCK).is_file() and not (is_session(folder) and take_folder(folder, "")):
            return
        (folder / _INDEX).unlink(missing_ok=True)
        for place in folder.iterdir():
            if place.is_dir():
                shutil.rmtree(place, ignore_errors=True)
            elif place.name != LOCK:
                place.unlink(missing_ok=True)
        shutil.rmtree(folder, ignore_errors=True)


def retire_session(folder: Path) -> None:
    """Make a session none any more whose arrays are still in use; who took it keeps them.

    When that process has ended, :func:`remove_rest` removes them.
    """
    with suppress(OSError):
        (folder / _INDEX).unlink()


def remove_rest(folder: Path) -> None:
    """Remove what is there of a session that nobody has any more, and that is none."""
    with suppress(OSError):  # then it is not known whether it is one
        if not is_there(folder / _INDEX) and not is_taken(folder):
            remove_session(folder)
