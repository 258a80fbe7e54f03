"""The task and the prompt type, as lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant.core.tasks import Task, Tool, tools_of
from napari_sam3_assistant.session.model import Message
from napari_sam3_assistant.widgets.bind import watch
from napari_sam3_assistant.widgets.fields.combo import ChoiceCombo

if TYPE_CHECKING:
    from napari_sam3_assistant.session.model import SessionModel

_TASKS = (
    (Task.SEGMENT, "2D segmentation"),
    (Task.EXEMPLAR, "Exemplar segmentation"),
    (Task.TEXT, "Text segmentation"),
    (Task.LIVE_POINTS, "Live Points (positive/negative)"),
    (Task.VIDEO, "3D/video propagation"),
)
_TOOLS = (
    (Tool.POINTS, "Points (positive/negative)"),
    (Tool.BOX, "Box"),
    (Tool.MASK, "Labels mask"),
    (Tool.TEXT, "Text only"),
    (Tool.EXAMPLE, "Example boxes"),
)
_GUIDANCE = {
    Task.SEGMENT: "2D: use text, points, boxes, or a labels-mask prompt, then run preview.",
    Task.EXEMPLAR: "Exemplar: create a box prompt layer and draw boxes around examples, then run.",
    Task.TEXT: "Text: enter a phrase and click Run Preview. No prompt layer is required.",
    Task.LIVE_POINTS: (
        "Live Points: create a points layer and add a point. T switches the next point mode; "
        "Shift+T flips the selected or latest point and reruns."
    ),
    Task.VIDEO: (
        "3D/video: go to a slice or frame, prompt the objects there, then press Start 3D "
        "Propagation. Prompts on several slices are used together."
    ),
}


class TaskField(ChoiceCombo):
    """The task; choosing one says what to do next.

    Parameters
    ----------
    model : SessionModel
        The state.
    """

    def __init__(self, model: SessionModel) -> None:
        super().__init__(model, "task", _TASKS)
        self._model = model
        self.setToolTip("What the run does. It sets the prompt types that can be chosen.")
        self.activated.connect(self._say)

    def _say(self) -> None:
        self._model.message = Message(_GUIDANCE[self._model.task])


class PromptTypeField(ChoiceCombo):
    """The kind of prompt, of those that the task takes.

    Parameters
    ----------
    model : SessionModel
        The state.
    """

    def __init__(self, model: SessionModel) -> None:
        super().__init__(model, "tool")
        self._model = model
        watch(model, "task tool", self, self._show)

    def _show(self) -> None:
        offered = tools_of(self._model.task)
        self.offer([choice for choice in _TOOLS if choice[0] in offered])
        self.setEnabled(len(offered) > 1)
        self.setToolTip(
            "What you prompt with. A run takes prompts of this kind only."
            if len(offered) > 1
            else "This task takes no other kind of prompt"
        )
