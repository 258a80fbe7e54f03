"""What can run now, and why not: pure functions of the model and the engine's card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.prompts import PromptKind, Task, Tool, prompt_kind, tools_of
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.workflows.track_prompts import check_limits

if TYPE_CHECKING:
    from napari_sam3_assistant.engines.base import EngineSpec
    from napari_sam3_assistant.session.model import DiskModel, Preview, PromptCounts, SessionModel


@dataclass(frozen=True, slots=True)
class Availability:
    """What can run now.

    Parameters
    ----------
    can_run : bool
        Whether a run would start.
    reason : str
        Why not, and what to do; empty if it would.
    why_not_go_on : str
        Why the propagation that is open can't go on; empty if it can.
    """

    can_run: bool
    reason: str
    why_not_go_on: str = ""


_MISSING = {
    PromptKind.POINTS: "Click on the object in the image first.",
    PromptKind.BOXES: "Draw a box around an object in the image first.",
    PromptKind.EXEMPLARS: "Draw a box around one example object first.",
    PromptKind.MASK: "Paint over the object in the image first.",
    PromptKind.TEXT: "Type a phrase first.",
}


def availability(model: SessionModel, spec: EngineSpec) -> Availability:
    """Return what can run now."""
    reason = _why_not(model, spec)
    return Availability(not reason, reason, _why_not_go_on(model))


def _why_not(model: SessionModel, spec: EngineSpec) -> str:
    image = model.chosen_image
    if image is None:
        return "Open an image first."
    if image.why_not and not model.runs_all_images:
        return image.why_not
    kind = prompt_kind(model.task, model.tool)
    if refused := _why_engine_refuses(model, spec, kind):
        return refused
    if missing := why_no_model(model, spec):
        return missing
    if has_prompt(kind, model.prompts, model.text) or model.phrases:
        return ""
    return _why_no_prompt(model, kind)


def _why_no_prompt(model: SessionModel, kind: PromptKind) -> str:
    if model.refining and model.prompts.negative:
        return ""
    if model.prompts.elsewhere and model.task is Task.VIDEO:
        return "The prompts are at another position of the other sliders. Go there, or prompt here."
    if model.prompts.elsewhere and kind is not PromptKind.TEXT:
        return "The prompts are on another slice. Go there, or prompt on this slice."
    if model.prompts.outside and kind is not PromptKind.TEXT:
        return "The prompts are flat or beside the image. Prompt on the object."
    if kind is PromptKind.POINTS and model.prompts.negative:
        return "All points are negative. Add a positive point on the object."
    return _MISSING[kind]


def why_no_model(model: SessionModel, spec: EngineSpec) -> str:
    """Return why the engine can't run for want of its weights; empty if it can."""
    if spec.needs_weights and not model.model_folder:
        return f"{spec.title} needs its weights. Use Choose model folder."
    if spec.needs_weights and not model.load_when_running and model.device_in_use is None:
        button = "Load 3D/Video Model" if spec.why_no_planes else "Load 2D Model"
        return (
            f"The model is not loaded. In Advanced, press {button}, or tick "
            "Load model when running."
        )
    return ""


def why_not_planes(spec: EngineSpec, kind: PromptKind) -> str:
    """Return why the engine takes no such prompt for 2D tasks; empty if it does."""
    if kind in spec.accepts:
        return ""
    return spec.why_no_planes or (
        f"{spec.title} does not take this prompt. Choose another tool or engine."
    )


def _why_engine_refuses(model: SessionModel, spec: EngineSpec, kind: PromptKind) -> str:
    if model.task is not Task.VIDEO:
        return why_not_planes(spec, kind)
    if not model.frame_axes:
        return "This image has no z or time axis. Open a stack for 3D/video, or choose the task 2D."
    counts = model.prompts
    boxes = counts.boxes if kind is PromptKind.BOXES else 0
    try:
        check_limits(spec, frozenset({kind}), points=counts.most_points, boxes=boxes)
    except PromptError as error:
        return str(error)
    return ""


def _why_not_go_on(model: SessionModel) -> str:
    if not model.can_continue:
        return "Start a propagation first: this goes on with its objects."
    return "Wait for the run to end." if model.running else ""


def has_prompt(kind: PromptKind, counts: PromptCounts, text: str) -> bool:
    """Return whether there is a prompt of a kind."""
    given = {
        PromptKind.POINTS: counts.positive,
        PromptKind.BOXES: counts.boxes,
        PromptKind.EXEMPLARS: counts.boxes,
        PromptKind.MASK: counts.painted,
        PromptKind.TEXT: text.strip(),
    }
    return bool(given[kind])


def usable_tool(task: Task, tool: Tool) -> Tool:
    """Return the tool if the task offers it, else the task's default."""
    offered = tools_of(task)
    return tool if tool in offered else offered[0]


_SCANS = frozenset({PromptKind.TEXT, PromptKind.EXEMPLARS})
_RUNNING = "Wait for the run to end, or cancel it."


def takes_scans(model: SessionModel) -> bool:
    """Return whether the chosen task and tool say what to look for everywhere."""
    return model.task is not Task.VIDEO and prompt_kind(model.task, model.tool) in _SCANS


def is_worth_a_scan(model: SessionModel, disk: DiskModel) -> bool:
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
    if not (has_prompt(kind, model.prompts, model.text) or model.phrases):
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
        if one.segmentation.objects
        and one.provenance is not None
        and one.provenance.region is not None
    ]
    return tuple(one for one in local if one.target == local[-1].target)


def why_no_merge(model: SessionModel) -> str:
    """Return why regions can't be merged; empty if they can."""
    if not regions_to_merge(model):
        return (
            "There is no result of a region yet. Tick Enable large-image local inference and run."
        )
    return _RUNNING if model.running else ""
