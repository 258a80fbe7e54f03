"""Propagated labels on their way to a file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.workflows.save_stack import StackSaveRequest, check_stack_format
from napari_sam3_assistant.workflows.stack_recipe import described

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.track_table import TrackTable
    from napari_sam3_assistant.session.stacks.scene import StackCopy, StackPixels
    from napari_sam3_assistant.workflows.stack_recipe import StackRecipe


def copying(copy: StackCopy, reporter: Reporter) -> Iterator[StackCopy]:
    """Copy propagated labels frame by frame, and yield the copy when it is whole.

    Parameters
    ----------
    copy : StackCopy
        The copy.
    reporter : Reporter
        Is told of the progress, and stops the work.
    """
    for done, frame in enumerate(copy.frames):
        reporter.report(Progress(done, len(copy.frames), f"Copying frame {frame}"))
        copy.copy(frame)
    yield copy


def request_for(
    pixels: StackPixels, path: Path, recipe: StackRecipe | None, table: TrackTable
) -> StackSaveRequest:
    """Return what is to be saved.

    Parameters
    ----------
    pixels : StackPixels
        The labels.
    path : Path
        The file.
    recipe : StackRecipe or None
        What made them; None for no note beside the file.
    table : TrackTable
        The objects by frame.

    Raises
    ------
    ExportError
        If the format holds no stack.
    """
    check_stack_format(path)
    return StackSaveRequest(
        pixels.shape,
        pixels.read,
        pixels.labels,
        path,
        pixels.axes,
        None if recipe is None else recipe.recipe(pixels.axes),
        described(table),
        {} if recipe is None else recipe.extra(),
    )
