"""Save results: the labels, and beside them the note that says what made them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.io.free_name import save_under_free_name
from napari_sam3_assistant.io.labels import save_labels
from napari_sam3_assistant.io.outputs import make_folder
from napari_sam3_assistant.io.sidecar import write_sidecar
from napari_sam3_assistant.workflows.recipe import sidecar_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.workflows.recipe import Recipe


@dataclass(frozen=True, slots=True, eq=False)
class SaveRequest:
    """One result to save.

    Parameters
    ----------
    labels : ndarray of int, shape (..., H, W)
        Object ids.
    path : Path
        File whose ending chooses the format; if it exists, ``name_02``, ``name_03``, ... is
        taken.
    axes : tuple of Axis or None
        Names of the axes, and the size of a pixel; by default those of the recipe.
    recipe : Recipe or None
        What made the labels; None where that is not known.
    objects : tuple of mapping
        What the note says of each object, see
        :func:`napari_sam3_assistant.workflows.recipe.described`.
    """

    labels: npt.NDArray[np.integer[Any]]
    path: Path
    axes: Axes | None = None
    recipe: Recipe | None = None
    objects: tuple[Mapping[str, Any], ...] = ()


def save_results(requests: Sequence[SaveRequest], reporter: Reporter) -> Iterator[Path]:
    """Save results, and yield each file when it and its note are written.

    Nothing that exists is overwritten. Where one can't be written the rest is not tried; what
    was yielded is safe.

    Parameters
    ----------
    requests : sequence of SaveRequest
        What to save.
    reporter : Reporter
        Is told of the progress, and stops the work between two files.

    Yields
    ------
    Path
        A file that was written.

    Raises
    ------
    ExportError
        If a file can't be written.
    """
    for done, request in enumerate(requests):
        reporter.report(Progress(done, len(requests), f"Saving {request.path.name}"))
        # The weights are read first: if they are gone, no labels are left without their note.
        note = (
            None
            if request.recipe is None
            else sidecar_for(request.recipe, request.path.parent, request.objects)
        )
        make_folder(request.path)
        axes = request.axes or (request.recipe.axes if request.recipe else None)
        save = partial(save_labels, request.labels, axes=axes, overwrite=False, reporter=reporter)
        path = save_under_free_name(request.path, save)
        if note is not None:
            write_sidecar(path, note)
        yield path
