"""What can run now, and why not: a pure function of the model and the engine's card."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.prompts import PromptKind
from napari_sam3_assistant.core.tasks import Task, Tool, prompt_kind, tools_of

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
    tools : tuple of Tool
        The prompt tools that the task offers.
    """

    can_run: bool
    reason: str
    tools: tuple[Tool, ...]


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
    return Availability(not reason, reason, tools_of(model.task))


def _why_not(model: SessionModel, spec: EngineSpec) -> str:
    if model.chosen_image is None:
        return "Open an image first."
    kind = prompt_kind(model.task, model.tool)
    if kind not in spec.accepts:
        return f"{spec.title} does not take this prompt. Choose another tool or engine."
    if spec.needs_weights and not model.model_folder:
        return f"{spec.title} needs its weights. Use Choose model folder."
    if spec.needs_weights and not model.load_when_running and model.device_in_use is None:
        return (
            "The model is not loaded. In Advanced, press Load 2D Model, or tick "
            "Load model when running."
        )
    if _given(kind, model.prompts, model.text) or model.phrases:
        return ""
    if model.refining and model.prompts.negative:
        return ""
    if model.prompts.elsewhere and kind is not PromptKind.TEXT:
        return "The prompts are on another slice. Go there, or prompt on this slice."
    if kind is PromptKind.POINTS and model.prompts.negative:
        return "All points are negative. Add a positive point on the object."
    return _MISSING[kind]


def _given(kind: PromptKind, counts: PromptCounts, text: str) -> bool:
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
