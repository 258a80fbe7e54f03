"""Changes of labels, computed and written off the GUI thread: to the end, or not at all."""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.masks.components import Components, find_components
from napari_sam3_assistant.core.masks.edits import LabelEdit, changes_between, classify_pixels
from napari_sam3_assistant.core.masks.labels import (
    box_shape,
    check_fits,
    read,
    split_blocks,
    whole_box,
    write_smaller,
)
from napari_sam3_assistant.core.masks.merge import find_free
from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.errors import (
    ExportError,
    JobCancelled,
    MaskError,
    Sam3AssistantError,
)
from napari_sam3_assistant.io.atomic import process_mark
from napari_sam3_assistant.io.edit_journal import array_folder, explain_unfinished, make_journal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    import numpy.typing as npt

    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.core.masks.labels import Box, Connectivity, LabelArray
    from napari_sam3_assistant.core.masks.merge import AcceptedObjects, AcceptRequest
    from napari_sam3_assistant.core.masks.operations import LabelsPart, MaskOperation
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.io.edit_journal import JournaledEdit


LARGEST_PREVIEW = 1 << 27


def compute_edit(
    operation: MaskOperation, part: LabelsPart, reporter: Reporter
) -> Iterator[LabelEdit]:
    """Yield the edit that an operation would make; raises MaskError if it can't be done."""
    yield operation.edit(part, reporter)


def preview_edit(
    operation: MaskOperation, part: LabelsPart, reporter: Reporter
) -> Iterator[tuple[LabelEdit, npt.NDArray[np.uint8] | None]]:
    """Yield the edit and what it does to each pixel of its box; None if that is too large."""
    yield from make_preview(operation.edit(part, reporter), reporter)


def make_preview(
    edit: LabelEdit, reporter: Reporter
) -> Iterator[tuple[LabelEdit, npt.NDArray[np.uint8] | None]]:
    """Yield an edit and what it does to each pixel of its box; None if that is too large."""
    reporter.check()
    size = math.prod(box_shape(edit.box))
    yield edit, classify_pixels(edit) if size <= LARGEST_PREVIEW else None


def analyse(
    labels: AnyArray,
    connectivity: Connectivity,
    box: Box | None,
    reporter: Reporter,
    *,
    apart: Sequence[int] = (),
) -> Iterator[Components]:
    """Yield the components of labels, which end along the axes that count apart."""
    yield find_components(labels, connectivity, box, reporter, apart=apart)


def overlay(
    source: AnyArray,
    target: AnyArray,
    label: int,
    reporter: Reporter,
    *,
    replace: bool,
    action: str = "",
) -> Iterator[LabelEdit]:
    """Yield the edit that writes the labels of one layer into another."""
    if source.shape != target.shape:
        raise MaskError(
            f"Shape mismatch: source {tuple(source.shape)}, target {tuple(target.shape)}.",
            "Choose a target of the same size, or save as a new layer.",
        )
    shape = tuple(int(size) for size in target.shape)
    pieces = split_blocks(target, whole_box(shape))

    def parts() -> Iterator[tuple[Box, LabelArray, LabelArray]]:
        for done, box in enumerate(pieces):
            reporter.report(Progress(done, len(pieces), "Comparing"))
            # A copy: the user may paint on the target meanwhile.
            before, fresh = read(target, box).copy(), pick_label(read(source, box), label)
            check_fits(int(fresh.max(initial=0)), target.dtype)
            after = before.copy()
            chosen = ... if replace else fresh != 0
            after[chosen] = fresh[chosen]
            yield box, before, after

    action = action or ("replace accepted object" if replace else "append accepted object")
    yield LabelEdit.pack(action, shape, changes_between(parts(), shape), target.dtype)


def pick_label(labels: LabelArray, label: int) -> LabelArray:
    """Return labels, or one of them and 0 elsewhere."""
    if label == 0:
        return labels
    kept: LabelArray = labels * (labels == label)
    return kept


@dataclass(frozen=True, slots=True, eq=False)
class WriteResult:
    """What became of an edit.

    ``edit``: what was really done.
    ``problem``: why it was given up, for the user; empty if it was not.
    ``is_left``: whether a part of it is in the labels though it was given up.
    """

    edit: LabelEdit
    problem: str = ""
    is_left: bool = False


def write_edit(
    edit: LabelEdit,
    labels: AnyArray,
    smaller: Sequence[Any],
    reporter: Reporter,
    *,
    forward: bool = True,
) -> Iterator[WriteResult]:
    """Write an edit piece by piece, or take it back, and yield what was really done.

    Where the disk fails, what was written by then is taken back. Labels in a zarr folder have a
    note of the edit beside them meanwhile, so that it is known also after the process was killed.
    """
    journal = _make_journal(edit, labels, smaller, forward=forward)
    try:
        if journal is not None:
            journal.write()
        written = edit.write(labels, forward=forward, reporter=_UncancellableReporter(reporter))
        write_smaller(labels, smaller, edit.box)
        if journal is not None:
            journal.remove()
    except (OSError, ExportError) as error:
        yield _give_up(edit, labels, smaller, journal, error, forward=forward)
    else:
        yield WriteResult(written)


def end_edit(journal: JournaledEdit, reporter: Reporter, *, forward: bool) -> Iterator[WriteResult]:
    """Write an edit to its end that was stopped half-way, or take it back."""
    if not journal.is_stopped and not journal.is_ours:
        raise MaskError(*explain_unfinished(journal))
    largest, smaller = journal.open()
    forward = journal.forward if forward else not journal.forward
    # From here on it is ours, and what is being done is this.
    replace(journal, forward=forward, process=process_mark()).write()
    yield from write_edit(journal.edit, largest, smaller, reporter, forward=forward)


def _make_journal(
    edit: LabelEdit,
    labels: AnyArray,
    smaller: Sequence[Any],
    *,
    forward: bool,
) -> JournaledEdit | None:
    """Return what is to be written down of an edit, in the pixels of the arrays on the disk."""
    stored = getattr(labels, "stored", labels)
    if array_folder(stored) is None:
        return None
    if stored is not labels:
        edit = labels.stored_edit(edit)
    levels = [getattr(level, "stored", level) for level in smaller]
    return make_journal(stored, levels, edit, forward=forward)


def _give_up(
    edit: LabelEdit,
    labels: AnyArray,
    smaller: Sequence[Any],
    journal: JournaledEdit | None,
    error: OSError | ExportError,
    *,
    forward: bool,
) -> WriteResult:
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
        return WriteResult(edit, left, is_left=True)
    return WriteResult(edit, f"{why} They are as they were before. Check the disk, then try again.")


class _UncancellableReporter:
    """A reporter that never stops the work: nothing is written by half."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter

    def report(self, progress: Progress) -> None:
        with suppress(JobCancelled):
            self._reporter.report(progress)

    def check(self) -> None:
        """Go on."""


def accept(
    requests: Sequence[AcceptRequest], reporter: Reporter
) -> Iterator[tuple[AcceptedObjects, ...]]:
    """Add objects to labels as the next ids, on empty pixels only, and yield what was added."""
    done: list[tuple[AcceptRequest, AcceptedObjects]] = []
    try:
        for request in requests:
            found = find_free(request, reporter)
            _write_accepted(request, found.edit, reporter)
            done.append((request, found))
        reporter.check()
    except Sam3AssistantError:
        for request, found in reversed(done):
            _write_accepted(request, found.edit, reporter, forward=False)
        raise
    yield tuple(found for _, found in done)


def write_accepted(
    steps: Sequence[tuple[AcceptRequest, LabelEdit]], reporter: Reporter, *, forward: bool
) -> Iterator[tuple[LabelEdit, ...]]:
    """Write edits of labels, or take them back; yield what was really done, when all of it is.

    Pixels that hold something else by now are left alone. It is not stopped half-way.
    """
    yield tuple(
        _write_accepted(request, edit, reporter, forward=forward) for request, edit in steps
    )


def _write_accepted(
    request: AcceptRequest, edit: LabelEdit, reporter: Reporter, *, forward: bool = True
) -> LabelEdit:
    smaller: tuple[Any, ...] = request.smaller
    (result,) = write_edit(edit, request.labels, smaller, reporter, forward=forward)
    if result.problem:
        raise ExportError(result.problem)
    return result.edit
