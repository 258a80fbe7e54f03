"""Edits of labels in zarr folders that were stopped half-way, by a kill or a power cut."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.progress import NullReporter
from napari_sam3_assistant.errors import MaskError
from napari_sam3_assistant.io.edit_journal import explain_unfinished, find_journals
from napari_sam3_assistant.workflows.edit_masks import end_edit

if TYPE_CHECKING:
    from napari_sam3_assistant.core.progress import Reporter


def unfinished_edits(labels: str | Path) -> tuple[str, ...]:
    """Return what was begun by Mask Operations in labels and not ended, a sentence each.

    Parameters
    ----------
    labels : str or Path
        A zarr folder: an OME-Zarr, a group or an array in it.
    """
    return tuple(
        " ".join(explain_unfinished(found)) for found in find_journals(Path(labels).expanduser())
    )


def finish_edits(labels: str | Path, *, reporter: Reporter | None = None) -> tuple[str, ...]:
    """Write to their end the edits that were stopped half-way; returns what they did.

    Parameters
    ----------
    labels : str or Path
        As for :func:`unfinished_edits`. Smaller levels of a pyramid follow.
    reporter : Reporter, optional
        Is told of the progress.

    Raises
    ------
    MaskError
        If another program is at one, or the labels can't be written.
    ExportError
        If nothing can be written there.
    """
    return _end(labels, reporter, forward=True)


def take_back_edits(labels: str | Path, *, reporter: Reporter | None = None) -> tuple[str, ...]:
    """Take back the edits that were stopped half-way; see :func:`finish_edits`."""
    return _end(labels, reporter, forward=False)


def _end(labels: str | Path, reporter: Reporter | None, *, forward: bool) -> tuple[str, ...]:
    ended = []
    for found in find_journals(Path(labels).expanduser()):
        written = next(end_edit(found, reporter or NullReporter(), forward=forward))
        if written.problem:
            raise MaskError(written.problem)
        ended.append(found.edit.action)
    return tuple(ended)
