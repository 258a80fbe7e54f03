"""Put the results of several regions of one plane into one file of labels."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.errors import MaskError, NameTaken
from napari_sam3_assistant.io.atomic import explained, give_name
from napari_sam3_assistant.io.drafts import draft_folder
from napari_sam3_assistant.io.free_name import save_under_free_name
from napari_sam3_assistant.io.growing_labels import GrowingLabels
from napari_sam3_assistant.io.ome_zarr_labels import check_there
from napari_sam3_assistant.io.sidecar import without_note

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.regions import Region


@dataclass(frozen=True, slots=True, eq=False)
class MergeRequest:
    """Labels of regions, and where they go.

    Parameters
    ----------
    parts : tuple of (Region, ndarray of uint32)
        Each region in pixels of the plane, and its labels, shape (h, w).
    axes : tuple of Axis
        Rows and columns of the plane.
    output : Path
        A zarr folder that does not exist.
    """

    parts: tuple[tuple[Region, npt.NDArray[np.uint32]], ...]
    axes: Axes
    output: Path


def merge_regions(request: MergeRequest, reporter: Reporter) -> Iterator[Path]:
    """Write the labels of all regions into one OME-Zarr image and yield its path.

    Ids are numbered on from one region to the next. Where regions overlap, the later result is on
    top. Only the regions are written, so a plane of any size takes the memory of one region.
    Where somebody else takes the name meanwhile, it is ``name_02``, ``name_03``, ...

    Parameters
    ----------
    request : MergeRequest
        What to merge.
    reporter : Reporter
        Is told of the progress, and stops the work.

    Raises
    ------
    MaskError
        If there is nothing to merge.
    ExportError
        If the output exists or can't be written.
    """
    if not request.parts:
        raise MaskError("There are no results of regions to merge.", "Run a region first.")
    output = request.output
    if os.path.lexists(output):
        raise NameTaken(f"{output} exists already.", "Choose another name.")
    with draft_folder(output) as draft:
        with GrowingLabels(draft, request.axes, called=output) as merged:
            last = 0
            for done, (region, labels) in enumerate(request.parts):
                reporter.report(Progress(done, len(request.parts), f"Merging region {done + 1}"))
                found = np.array(merged[region.slices])
                np.add(labels, np.uint32(last), out=found, where=labels > 0)
                merged[region.slices] = found
                last += int(labels.max(initial=0))
        reporter.check()
        with explained(output):
            check_there(draft)
            output = save_under_free_name(output, lambda name: _named(draft, name))
    yield output


def _named(draft: Path, name: Path) -> None:
    with without_note(name):
        give_name(draft, name)
