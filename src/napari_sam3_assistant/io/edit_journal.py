"""What is being written into labels on the disk, beside them: known also after a kill.

The file lies in the folder of the zarr array of the largest level. It is complete, and on the disk,
before the first pixel is written, and goes after the last one of the smallest level is. It is a
line of JSON and the stretches of :class:`.core.masks.edits.LabelEdit`, compressed.
"""

from __future__ import annotations

import json
import os
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil  # type: ignore[import-untyped]
import zarr
from zarr.storage import LocalStore

from napari_sam3_assistant.errors import MaskError
from napari_sam3_assistant.io.atomic import atomic_write, is_running, process_mark
from napari_sam3_assistant.io.edits import read_edit
from napari_sam3_assistant.io.typed_json import WRONG
from napari_sam3_assistant.io.untrusted import as_dict, as_list, as_text, as_whole, open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.core.masks.edits import LabelEdit


NAME = ".sam3-edit"
_FORMAT = "napari-sam3-assistant edit 1"
_LONGEST_LINE = 1 << 16
_DEEPEST = 4
_MARKS = ("zarr.json", ".zarray", ".zgroup")


@dataclass(frozen=True, slots=True, eq=False)
class JournaledEdit:
    """An edit of labels on the disk that was begun.

    Parameters
    ----------
    folder : Path
        The zarr array.
    edit : LabelEdit
        The edit, in the pixels of the array.
    forward : bool
        Whether it was being done, or taken back.
    levels : tuple of str
        Names of the smaller levels, arrays beside the folder.
    process : str
        Who began it; see :func:`.atomic.is_running`.
    """

    folder: Path
    edit: LabelEdit
    forward: bool
    levels: tuple[str, ...]
    process: str

    @property
    def is_stopped(self) -> bool:
        """Whether the process that was writing it has ended."""
        return self.process != process_mark() and is_running(self.process) is not True

    @property
    def is_ours(self) -> bool:
        """Whether this process began it."""
        return self.process == process_mark()

    def open(self) -> tuple[Any, tuple[Any, ...]]:
        """Return the largest level and the smaller ones, to be written to.

        Raises
        ------
        MaskError
            If the array is another one now.
        """
        try:
            largest = zarr.open_array(str(self.folder), mode="r+")
            smaller = tuple(
                zarr.open_array(str(self.folder.parent / name), mode="r+") for name in self.levels
            )
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise MaskError(
                f"The labels in {self.folder} can't be opened: {exc}",
                "Check that the folder is complete and that you may write there.",
            ) from exc
        if largest.shape != self.edit.shape or largest.dtype != np.dtype(self.edit.dtype):
            raise MaskError(
                f"The labels in {self.folder} are others than those that were edited.",
                f"Remove the file {NAME} in that folder.",
            )
        return largest, smaller

    def write(self) -> None:
        """Write it down, to the disk.

        Raises
        ------
        ExportError
            If that can't be done.
        """
        body = b"".join(self.edit.packed)
        edit = self.edit
        about = {
            "format": _FORMAT,
            "action": edit.action,
            "shape": edit.shape,
            "dtype": edit.dtype,
            "count": edit.count,
            "sizes": [len(array) for array in edit.packed],
            "sum": zlib.crc32(body),
            "forward": self.forward,
            "levels": self.levels,
            "process": self.process,
        }
        with atomic_write(self.folder / NAME) as draft, draft.open("wb") as file:
            file.write(json.dumps(about).encode() + b"\n" + body)

    def remove(self) -> None:
        """Take the note away: all pixels are written, or none is left."""
        (self.folder / NAME).unlink(missing_ok=True)


def array_folder(labels: AnyArray) -> Path | None:
    """Return the folder of a zarr array on a disk; None for any other array."""
    store = getattr(labels, "store", None)
    if not isinstance(labels, zarr.Array) or not isinstance(store, LocalStore):
        return None
    return Path(store.root) / labels.path


def make_journal(
    labels: AnyArray,
    smaller: Sequence[Any],
    edit: LabelEdit,
    *,
    forward: bool,
) -> JournaledEdit | None:
    """Return what is to be written down before labels are edited; None if they are on no disk.

    Raises
    ------
    MaskError
        If an earlier edit of them was stopped half-way, or somebody else is at one.
    """
    folder = array_folder(labels)
    if folder is None:
        return None
    before = read_journal(folder)
    if before is not None and not before.is_ours:
        raise MaskError(*explain_unfinished(before))
    folders = [array_folder(level) for level in smaller]
    beside = tuple(
        path.name for path in folders if path is not None and path.parent == folder.parent
    )
    return JournaledEdit(folder, edit, forward, beside, process_mark())


def explain_unfinished(edit: JournaledEdit) -> tuple[str, str]:
    """Return what happened to an edit, and what to do about it, for the user."""
    message = f"“{edit.edit.action}”" if edit.forward else f"Taking back “{edit.edit.action}”"
    if edit.is_stopped:
        return (
            f"{message} was stopped half-way in these labels.",
            "Finish it or take it back first.",
        )
    return f"{message} is being written into these labels by another program.", "Wait for its end."


def read_journal(folder: Path) -> JournaledEdit | None:
    """Return what was begun and not ended in a zarr array; None if there is nothing.

    A note that is damaged, or of something else, counts as none: it was not ours.
    """
    try:
        with open_regular(folder / NAME) as file:
            size = os.fstat(file.fileno()).st_size
            line = file.readline(_LONGEST_LINE)
            about = as_dict(json.loads(line))
            lengths = [as_whole(length) for length in as_list(about["sizes"])]
            if about["format"] != _FORMAT or len(line) + sum(lengths) != size:
                return None
            # However long the file says that it is, there may be no more than a hole in it.
            if min(lengths) < 0 or size > psutil.virtual_memory().available:
                return None
            packed = [file.read(length) for length in lengths]
        return _parse_journal(folder, about, packed)
    except (OSError, *WRONG):
        return None


def _parse_journal(
    folder: Path, about: dict[str, Any], packed: list[bytes]
) -> JournaledEdit | None:
    levels = tuple(map(as_text, as_list(about["levels"])))
    plain = all(Path(name).name == name and name not in ("", ".", "..") for name in levels)
    if zlib.crc32(b"".join(packed)) != about["sum"] or not plain:
        return None
    edit = read_edit(about["action"], about["shape"], about["count"], packed, about["dtype"])
    mark = as_text(about["process"])
    is_running(mark)  # what is no mark of a process raises
    return JournaledEdit(folder, edit, bool(about["forward"]), levels, mark)


def find_journals(path: Path) -> Iterator[JournaledEdit]:
    """Yield what was begun and not ended in the zarr arrays in a folder, or in that array."""
    with suppress(OSError):  # a folder that can't be looked into
        yield from _find_journals(path, _DEEPEST)


def _find_journals(folder: Path, deeper: int) -> Iterator[JournaledEdit]:
    if not any((folder / mark).is_file() for mark in _MARKS):
        return
    found = read_journal(folder)
    if found is not None:
        yield found
    is_array = (folder / ".zarray").is_file() or (folder / "c").is_dir()
    if deeper and not is_array:
        for inside in sorted(folder.iterdir()):
            if inside.is_dir() and not inside.is_symlink():
                yield from _find_journals(inside, deeper - 1)
