"""What can run now, and why not: a pure function of the model and the engine's card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.prompts import PromptKind
from napari_sam3_assistant.core.tasks import Task, Tool, prompt_kind, tools_of
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.workflows.track_checks import check_limits

if TYPE_CHECKING:
    from napari_sam3_assistant.engines.base import EngineSpec
    from napari_sam3_assistant.session.model import PromptCounts, SessionModel


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
    """Return what can run now.

    Parameters
    ----------
    model : SessionModel
        The session's state.
    spec : EngineSpec
        The chosen engine's card.
    """
    reason = _why_not(model, spec)
    return Availability(not reason, reason, _why_not_go_on(model))


def _why_not(model: SessionModel, spec: EngineSpec) -> str:
    image = model.chosen_image
    if image is None:
        return "Open an image first."
    if image.why_not and not model.runs_all_images:
        return image.why_not
    kind = prompt_kind(model.task, model.tool)
    if refused := _why_refused(model, spec, kind):
        return refused
    if missing := why_no_model(model, spec):
        return missing
    if given(kind, model.prompts, model.text) or model.phrases:
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


def _why_refused(model: SessionModel, spec: EngineSpec, kind: PromptKind) -> str:
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


def given(kind: PromptKind, counts: PromptCounts, text: str) -> bool:
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
