"""Edits of labels, written off the GUI thread: to the end, or not at all."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.masks.pyramid import write_smaller
from napari_sam3_assistant.errors import JobCancelled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_sam3_assistant.core.masks.edits import LabelEdit
    from napari_sam3_assistant.core.progress import Progress, Reporter


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

    Where the disk fails, what was written by then is taken back.

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
    try:
        written = edit.write(labels, forward=forward, reporter=_ToTheEnd(reporter))
        write_smaller(labels, smaller, edit.box)
    except OSError as error:
        yield _given_up(edit, labels, smaller, error, forward=forward)
    else:
        yield Written(written)


def _given_up(
    edit: LabelEdit,
    labels: Any,  # noqa: ANN401
    smaller: Sequence[Any],
    error: OSError,
    *,
    forward: bool,
) -> Written:
    why = f"The labels can't be written: {error.strerror or error}."
    try:
        edit.write(labels, forward=not forward)
        write_smaller(labels, smaller, edit.box)
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
