"""Save the labels of a propagation, and beside them the note that says what made them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.errors import ExportError
from napari_sam3_assistant.io.free_name import save_under_free_name
from napari_sam3_assistant.io.label_stacks import open_label_stack
from napari_sam3_assistant.io.labels import save_labels
from napari_sam3_assistant.io.outputs import make_folder
from napari_sam3_assistant.io.sidecar import check_note, write_sidecar
from napari_sam3_assistant.workflows.recipe import sidecar_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.workflows.recipe import Recipe


@dataclass(frozen=True, slots=True, eq=False)
class StackSaveRequest:
    """A stack of labels to save.

    Parameters
    ----------
    shape : tuple of int
        Number of frames, height and width.
    read : callable
        Returns a frame's object ids, shape (H, W).
    labels : ndarray of int, shape (F, H, W), or None
        All of them, where they are in memory.
    path : Path
        The file; its ending chooses the format.
    axes : tuple of Axis
        Names of the axes, and the size of a pixel.
    recipe : Recipe or None
        What made the labels, for the note beside the file; None for no note.
    objects : tuple of mapping
        What the note says of each object.
    extra : mapping
        What else the note says.
    """

    shape: tuple[int, int, int]
    read: Callable[[int], npt.NDArray[np.uint32]]
    labels: npt.NDArray[np.uint32] | None
    path: Path
    axes: Axes
    recipe: Recipe | None = None
    objects: tuple[Mapping[str, Any], ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


def check_stack_format(path: Path) -> None:
    """Raise where a format can't hold a stack.

    Raises
    ------
    ExportError
        If it is PNG.
    """
    if path.suffix.lower() == ".png":
        raise ExportError(
            "PNG holds one plane, and propagated labels are a stack.",
            "Choose TIFF, NumPy or OME-Zarr.",
        )


def save_stack(
    request: StackSaveRequest, reporter: Reporter, *, overwrite: bool = False
) -> Iterator[Path]:
    """Save a stack of labels, and yield its path when it and its note are written.

    Labels in memory are compressed; those on disk are copied frame by frame.

    Parameters
    ----------
    request : StackSaveRequest
        What to save.
    reporter : Reporter
        Is told of the progress, and stops the work.
    overwrite : bool
        Whether a file of that name is replaced; if not, ``name_02``, ``name_03``, ... is taken.

    Yields
    ------
    Path
        The file that was written.

    Raises
    ------
    ExportError
        If it can't be written.
    """
    path = request.path
    reporter.report(Progress(0, 1, f"Saving {path.name}"))
    recipe = request.recipe
    # The weights are read first: if they are gone, no labels are left without their note.
    note = (
        None if recipe is None else sidecar_for(recipe, path.parent, request.objects, request.extra)
    )
    make_folder(path)

    def save(name: Path) -> None:
        if request.labels is not None:
            save_labels(request.labels, name, request.axes, overwrite=overwrite, reporter=reporter)
            return
        with open_label_stack(name, request.shape, request.axes, replace=overwrite) as write:
            for frame in range(request.shape[0]):
                told = f"Saving frame {frame + 1} of {request.shape[0]}"
                reporter.report(Progress(frame, request.shape[0], told))
                write(frame, request.read(frame))

    if overwrite:
        if note is not None:
            check_note(path)
        save(path)
    else:
        path = save_under_free_name(path, save)
    if note is not None:
        write_sidecar(path, note)
    yield path
