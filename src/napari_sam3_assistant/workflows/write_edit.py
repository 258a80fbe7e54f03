"""Edits of labels, written off the GUI thread: to the end, or not at all."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.masks.pyramid import write_smaller
from napari_sam3_assistant.errors import ExportError, JobCancelled, MaskError
from napari_sam3_assistant.io.drafts import process_mark
from napari_sam3_assistant.io.edit_journal import folder_of, journal_of, told

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_sam3_assistant.core.masks.edits import LabelEdit
    from napari_sam3_assistant.core.progress import Progress, Reporter
    from napari_sam3_assistant.io.edit_journal import JournaledEdit


@dataclass(frozen=True, slots=True, eq=False)
class Written:
    """What became of an edit.

    Parameters
    ----------
    edit : LabelEdit
        What was really done.
    problem : str
        Why it was given up, for the user; empty if it was not.
    is_left : bool
        Whether a part of it is in the labels though it was given up.
    """

    edit: LabelEdit
    problem: str = ""
    is_left: bool = False


def write_edit(
    edit: LabelEdit,
    labels: Any,  # noqa: ANN401 - arrays of numpy, zarr and others
    smaller: Sequence[Any],
    reporter: Reporter,
    *,
    forward: bool = True,
) -> Iterator[Written]:
    """Write an edit piece by piece, or take it back, and yield what was really done.

    Where the disk fails, what was written by then is taken back. Labels in a zarr folder have a
    note of the edit beside them meanwhile, so that it is known also after the process was killed.

    Parameters
    ----------
    edit : LabelEdit
        What to write.
    labels : array-like of int
        Where to.
    smaller : sequence of array-like of int
        Smaller levels of the same labels, which follow.
    reporter : Reporter
        Is told of the progress.
    forward : bool
        Whether to do it or to take it back.
    """
    journal = _journal(edit, labels, smaller, forward=forward)
    try:
        if journal is not None:
            journal.write()
        written = edit.write(labels, forward=forward, reporter=_ToTheEnd(reporter))
        write_smaller(labels, smaller, edit.box)
        if journal is not None:
            journal.remove()
    except (OSError, ExportError) as error:
        yield _given_up(edit, labels, smaller, journal, error, forward=forward)
    else:
        yield Written(written)


def end_edit(journal: JournaledEdit, reporter: Reporter, *, forward: bool) -> Iterator[Written]:
    """Write an edit to its end that was stopped half-way, or take it back.

    Parameters
    ----------
    journal : JournaledEdit
        What was begun.
    reporter : Reporter
        Is told of the progress.
    forward : bool
        Whether to do what was being done, or to take it back.

    Raises
    ------
    MaskError
        If the labels are others now, or somebody is at it.
    ExportError
        If nothing can be written there.
    """
    if not journal.is_stopped and not journal.is_ours:
        raise MaskError(*told(journal))
    largest, smaller = journal.open()
    way = journal.forward if forward else not journal.forward
    # From here on it is ours, and what is being done is this.
    replace(journal, forward=way, process=process_mark()).write()
    yield from write_edit(journal.edit, largest, smaller, reporter, forward=way)


def _journal(
    edit: LabelEdit,
    labels: Any,  # noqa: ANN401
    smaller: Sequence[Any],
    *,
    forward: bool,
) -> JournaledEdit | None:
    """Return what is to be written down of an edit, in the pixels of the arrays on the disk."""
    stored = getattr(labels, "stored", labels)
    if folder_of(stored) is None:
        return None
    if stored is not labels:
        edit = labels.stored_edit(edit)
    levels = [getattr(level, "stored", level) for level in smaller]
    return journal_of(stored, levels, edit, forward=forward)


def _given_up(
    edit: LabelEdit,
    labels: Any,  # noqa: ANN401
    smaller: Sequence[Any],
    journal: JournaledEdit | None,
    error: OSError | ExportError,
    *,
    forward: bool,
) -> Written:
    reason = (error.strerror or error) if isinstance(error, OSError) else error.message.rstrip(".")
    why = f"The labels can't be written: {reason}."
    try:
        edit.write(labels, forward=not forward)
        write_smaller(labels, smaller, edit.box)
        if journal is not None:
            journal.remove()
    except OSError:
        # What is left of it can be taken back later: only pixels that hold it are touched.
        left = f"{why} A part of the change is in them: press Undo once the disk works again."
        return Written(edit, left, is_left=True)
    return Written(edit, f"{why} They are as they were before. Check the disk, then try again.")


class _ToTheEnd:
    """A reporter that never stops the work: nothing is written by half.

    Parameters
    ----------
    reporter : Reporter
        Is told of the progress.
    """

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def report(self, progress: Progress) -> None:
        with suppress(JobCancelled):
            self._reporter.report(progress)

    def check(self) -> None:
        """Go on."""
