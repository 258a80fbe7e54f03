"""The tasks and prompt tools that the user chooses between, and the prompts that each takes."""

from __future__ import annotations

from enum import StrEnum

from napari_sam3_assistant.core.prompts import PromptKind


class Task(StrEnum):
    """What the user wants done."""

    SEGMENT = "2d_segmentation"
    TEXT = "text_segmentation"
    LIVE_POINTS = "refinement"
    EXEMPLAR = "exemplar_segmentation"
    VIDEO = "3d_video_propagation"


class Tool(StrEnum):
    """What the user prompts with."""

    POINTS = "points"
    BOX = "box"
    MASK = "mask"
    TEXT = "text"
    EXAMPLE = "example"


_TOOLS = {
    Task.SEGMENT: (Tool.POINTS, Tool.BOX, Tool.MASK, Tool.TEXT),
    Task.TEXT: (Tool.TEXT,),
    Task.LIVE_POINTS: (Tool.POINTS,),
    Task.EXEMPLAR: (Tool.BOX,),
    Task.VIDEO: (Tool.POINTS, Tool.BOX, Tool.MASK, Tool.TEXT, Tool.EXAMPLE),
}

_KINDS = {
    Tool.POINTS: PromptKind.POINTS,
    Tool.BOX: PromptKind.BOXES,
    Tool.MASK: PromptKind.MASK,
    Tool.TEXT: PromptKind.TEXT,
    Tool.EXAMPLE: PromptKind.EXEMPLARS,
}


def tools_of(task: Task) -> tuple[Tool, ...]:
    """Return the tools that a task offers, its default first."""
    return _TOOLS[task]


def prompt_kind(task: Task, tool: Tool) -> PromptKind:
    """Return the one kind of prompt that a task takes from a tool.

    A box is one object for the 2D task, and an example of what to find for the exemplar task.
    """
    if task is Task.EXEMPLAR and tool is Tool.BOX:
        return PromptKind.EXEMPLARS
    return _KINDS[tool]


def layer_tool(tool: Tool) -> Tool:
    """Return the tool whose layer a tool draws in: examples are boxes."""
    return Tool.BOX if tool is Tool.EXAMPLE else tool
