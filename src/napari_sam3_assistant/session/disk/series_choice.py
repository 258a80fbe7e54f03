"""Which image of files that hold several a folder batch takes: what there is to choose."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from napari_sam3_assistant.io.outputs import typed_folder
from napari_sam3_assistant.jobs.job import Job, JobState
from napari_sam3_assistant.jobs.runner import JobRunner
from napari_sam3_assistant.session.disk.model import LARGEST
from napari_sam3_assistant.session.model import Level, Message
from napari_sam3_assistant.session.wording import counted
from napari_sam3_assistant.workflows.find_series import FolderSeries, find_series

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_sam3_assistant.core.delivery import Deliver
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.session.disk.model import DiskModel
    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.workflows.find_series import FoundSeries

_FIELDS = ("folder_source", "folder_output", "folder_pattern")
_STILL_S = 0.3
"""A folder is looked at when nothing has been typed for so many seconds."""
_LONGEST = 60
"""Letters of a name from a file."""


class SeriesChoice:
    """Looks at the first files of the folder whenever it changes.

    All methods are called on the GUI thread.

    Parameters
    ----------
    model : SessionModel
        The state, for the status line.
    disk : DiskModel
        The folders, the choice, and what was found.
    deliver : callable
        Runs what it is given on the thread that the session lives on.
    """

    def __init__(self, model: SessionModel, disk: DiskModel, deliver: Deliver) -> None:
        self._model = model
        self._disk = disk
        # A thread of its own: a far disk keeps no run waiting.
        self._searches = JobRunner(deliver)
        self._search: Job | None = None
        for name in _FIELDS:
            getattr(disk.events, name).connect(self._look_anew, max_args=0)

    def look(self) -> Job | None:
        """Look at the files as they are now; returns None where no folder is chosen."""
        disk = self._disk
        if self._search is not None:
            self._search.cancel()
            self._search = None
        if not disk.folder_source.strip():
            disk.folder_series_found = None
            return None
        source = typed_folder(disk.folder_source)
        output = typed_folder(disk.folder_output) if disk.folder_output.strip() else None
        pattern = disk.folder_pattern.strip() or "*"

        over = threading.Event()

        def work(reporter: Reporter) -> Iterator[FolderSeries]:
            over.wait(_STILL_S)
            reporter.check()
            yield from find_series(source, output, pattern, reporter)

        job = Job("Looking at the folder", work)
        job.yielded.connect(self._take)

        def tell(state: JobState) -> None:
            over.set()
            if state is JobState.FAILED:
                disk.folder_series_found = FolderSeries(problem=str(job.error))

        job.finished.connect(tell)
        self._search = job
        self._searches.start(job)
        return job

    @property
    def choices(self) -> tuple[tuple[int, str], ...]:
        """The numbers that can be chosen, each with its name for the user."""
        found, chosen = self._disk.folder_series_found, self._disk.folder_series
        listed: dict[int, str] = {LARGEST: "Largest image (default)"}
        if found is not None and (len(found.series) > 1 or chosen != LARGEST):
            listed |= {one.number: _line(one, found) for one in found.series}
        # A choice is on show, whatever the files hold.
        listed.setdefault(chosen, f"{chosen}: not found yet")
        return tuple(listed.items())

    @property
    def reason(self) -> str:
        """What the choices are, or why there are none."""
        disk = self._disk
        found = disk.folder_series_found
        if not disk.folder_source.strip():
            return "Choose the folder of the images first."
        if found is None:
            return "Looking at what the files hold …"
        if found.problem:
            return found.problem
        readable = found.files - found.unreadable
        spoilt = f" {counted(found.unreadable, 'file')} can't be read." if found.unreadable else ""
        if not readable:
            return spoilt.strip()
        if len(found.series) < 2:
            return (
                "There is nothing to choose: each file holds one image. Looked at: "
                f"{counted(readable, 'file')}, the first by name.{spoilt}"
            )
        said = (
            "Which image of files that hold several, such as positions: the largest of each file, "
            "or the one with this number, from 0. Looked at: "
            f"{counted(readable, 'file')}, the first by name.{spoilt}"
        )
        lack = readable - sum(one.files for one in found.series if one.number == disk.folder_series)
        if disk.folder_series == LARGEST or not lack:
            return said
        return (
            f"{said} {counted(lack, 'file')} of these {'has' if lack == 1 else 'have'} no image "
            f"{disk.folder_series}: they will fail, the others are run."
        )

    def close(self) -> None:
        """Stop looking."""
        self._searches.close()

    # -- inside ---------------------------------------------------------------------------

    def _look_anew(self) -> None:
        # What was found before is of another folder.
        self._disk.folder_series_found = None
        self.look()

    def _take(self, found: FolderSeries) -> None:
        disk = self._disk
        chosen = disk.folder_series
        readable = found.files - found.unreadable
        there = chosen in {LARGEST, *(one.number for one in found.series)}
        if readable and not there:
            disk.folder_series = LARGEST
            self._model.message = Message(
                f"Series {chosen} is in none of the {counted(readable, 'file')} looked at in "
                f"{disk.folder_source.strip()}; the largest image of each is taken now.",
                Level.WARNING,
            )
        disk.folder_series_found = found


def _line(one: FoundSeries, found: FolderSeries) -> str:
    """Return a number, with what it is in how many files."""
    readable = found.files - found.unreadable
    parts = []
    if one.names:
        parts.append(_short(one.names[0]) + (" and others" if len(one.names) > 1 else ""))
    several = len(one.shapes) > 1
    parts.append("different sizes" if several else " x ".join(map(str, one.shapes[0])))
    files = counted(readable, "file")
    of = files if one.files == readable else f"{one.files} of {files}"
    return f"{one.number}: {', '.join(parts)} ({of})"


def _short(name: str) -> str:
    """Return a stranger's text as one short line."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in name).split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
