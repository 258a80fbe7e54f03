"""Whether a scan, a folder batch or a merge can start, and why not: pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant.core.prompts import PromptKind
from napari_sam3_assistant.core.tasks import Task, prompt_kind
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.session.availability import (
    availability,
    given,
    why_no_model,
    why_not_planes,
)

if TYPE_CHECKING:
    from napari_sam3_assistant.engines.base import EngineSpec
    from napari_sam3_assistant.session.disk.model import DiskModel
    from napari_sam3_assistant.session.model import Preview, SessionModel

_SCANS = frozenset({PromptKind.TEXT, PromptKind.EXEMPLARS})
_RUNNING = "Wait for the run to end, or cancel it."


def takes_scans(model: SessionModel) -> bool:
    """Return whether the chosen task and tool say what to look for everywhere."""
    return model.task is not Task.VIDEO and prompt_kind(model.task, model.tool) in _SCANS


def worth_a_scan(model: SessionModel, disk: DiskModel) -> bool:
    """Return whether a scan of the chosen image would be of more than one tile."""
    image = model.chosen_image
    return image is not None and max(image.shape) > disk.scan_tile


def why_no_scan(model: SessionModel, disk: DiskModel, spec: EngineSpec) -> str:
    """Return why no scan can start; empty if one can."""
    if model.chosen_image is None:
        return "Open an image first."
    if not takes_scans(model):
        return (
            "A scan finds everything that a phrase or an example names. Choose the task Text or "
            "Exemplar."
        )
    if model.phrases:
        return "A scan takes one phrase. Empty Batch text prompts first."
    if model.running:
        return _RUNNING
    try:
        disk.tiles()
    except PromptError as error:
        return str(error)
    return availability(model, spec).reason


def why_no_folder_batch(model: SessionModel, disk: DiskModel, spec: EngineSpec) -> str:
    """Return why no folder batch can start; empty if one can."""
    if model.task is Task.LIVE_POINTS:
        return "Live Points correct one image. Choose another task for a folder."
    if model.task is Task.VIDEO:
        return "3D/video works on one image. Choose another task for a folder."
    kind = prompt_kind(model.task, model.tool)
    if kind is PromptKind.MASK:
        return "A painted mask fits one image only. Choose a phrase, boxes or points for a folder."
    if refused := why_not_planes(spec, kind):
        return refused
    if missing := why_no_model(model, spec):
        return missing
    if not (given(kind, model.prompts, model.text) or model.phrases):
        return (
            "Type a phrase first."
            if kind is PromptKind.TEXT
            else "Draw the prompt on the image on show first; it is used at the same pixels of "
            "every image."
        )
    if not disk.folder_source.strip():
        return "Choose the folder of the images first."
    if not disk.folder_output.strip():
        return "Choose the folder for the labels first."
    return _RUNNING if model.running else ""


def regions_to_merge(model: SessionModel) -> tuple[Preview, ...]:
    """Return the results of regions that lie on the plane of the latest one, the latest last."""
    local = [
        one
        for one in model.previews
        if one.segmentation.objects and one.recipe is not None and one.recipe.region is not None
    ]
    return tuple(one for one in local if one.target == local[-1].target)


def why_no_merge(model: SessionModel) -> str:
    """Return why regions can't be merged; empty if they can."""
    if not regions_to_merge(model):
        return (
            "There is no result of a region yet. Tick Enable large-image local inference and run."
        )
    return _RUNNING if model.running else ""
