"""What made a result, as the note beside a saved file tells it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam3_assistant.workflows.recipe import Recipe

if TYPE_CHECKING:
    from napari_sam3_assistant.core.results import Segmentation
    from napari_sam3_assistant.session.scene import Shot
    from napari_sam3_assistant.workflows.segment import SegmentRequest


def recipe_of(
    shot: Shot, request: SegmentRequest, result: Segmentation, model_folder: str
) -> Recipe:
    """Return what made a result.

    Parameters
    ----------
    shot : Shot
        What the run saw.
    request : SegmentRequest
        What it was asked.
    result : Segmentation
        What came out.
    model_folder : str
        Folder of the weights; empty for none.
    """
    return Recipe(
        request.view,
        request.prompts,
        request.options,
        result.engine,
        Path(model_folder) if model_folder and result.engine.weights else None,
        shot.paths,
        request.region,
        notes=result.notes,
    )
