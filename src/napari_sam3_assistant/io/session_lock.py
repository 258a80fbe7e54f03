"""Who has a session: one viewer at a time, of this process or another one."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from napari_sam3_assistant.errors import ExportError, NameTaken
from napari_sam3_assistant.io.atomic import atomic_write, is_running, process_mark
from napari_sam3_assistant.io.claims import Claim

if TYPE_CHECKING:
    from pathlib import Path


LOCK = "open.lock"
"""The file in a session's folder that says who has it."""


def take_folder(folder: Path, owner: str) -> bool:
    """Take a session for one owner alone; returns whether no other one has it.

    The mark of a process that is gone counts no more.

    Parameters
    ----------
    folder : Path
        The session.
    owner : str
        Who takes it, among those of this process.

    Raises
    ------
    ExportError
        If the folder can't be written.
    """
    for _ in range(2):
        with suppress(NameTaken):
            with atomic_write(folder / LOCK, replace=False) as draft:
                draft.write_text(_mark_of(owner), "utf8")
            return True
        mark = _read_mark(folder)
        if mark == _mark_of(owner):
            return True
        if _runs(mark) or not _remove_mark(folder, mark):
            return False
    return False


def is_taken(folder: Path) -> bool:
    """Return whether a process that may still run, or this one, has a session."""
    return _runs(_read_mark(folder))


def _mark_of(owner: str) -> str:
    return f"{process_mark()} {owner}"


def _read_mark(folder: Path) -> str:
    """Return the mark of the process that has a session, or had it; empty for none."""
    try:
        return (folder / LOCK).read_text("utf8")[:100]
    except (OSError, ValueError):
        return ""


def _runs(mark: str) -> bool:
    try:
        return is_running(mark.partition(" ")[0]) is not False
    except ValueError:  # it is no mark
        return False


def _remove_mark(folder: Path, mark: str) -> bool:
    """Remove the mark of a process that is gone; returns False where another one is at it."""
    try:
        # Of two that read it only one may: the other would remove the mark of the first.
        with Claim(folder, "taking", "Another process takes it now.", "Wait until it has it."):
            if _read_mark(folder) == mark:
                (folder / LOCK).unlink(missing_ok=True)
    except ExportError:
        return False
    return True


def release_folder(folder: Path, owner: str) -> None:
    """Let others have a session that an owner has taken."""
    with suppress(OSError, ValueError):
        if (folder / LOCK).read_text("utf8") == _mark_of(owner):
            (folder / LOCK).unlink()
