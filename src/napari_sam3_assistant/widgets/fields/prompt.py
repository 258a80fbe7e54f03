"""The prompt tools of the chosen task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_sam3_assistant.core.tasks import Task, Tool, tools_of
from napari_sam3_assistant.widgets.bind import watch
from napari_sam3_assistant.widgets.fields.buttons import ChoiceButtons
from napari_sam3_assistant.widgets.fields.create_prompt_layer import CreatePromptLayer
from napari_sam3_assistant.widgets.fields.polarity import PolarityButtons
from napari_sam3_assistant.widgets.fields.stack_objects import ObjectField
from napari_sam3_assistant.widgets.fields.text import TextField
from napari_sam3_assistant.widgets.notify import guarded
from napari_sam3_assistant.widgets.wrapped_label import WrappedLabel

if TYPE_CHECKING:
    from napari_sam3_assistant.viewer.binding import Binding

_TOOLS = (
    (Tool.POINTS, "Points", "Click on the object"),
    (Tool.BOX, "Box", "Draw a box around the object"),
    (Tool.MASK, "Labels", "Paint roughly over the object"),
    (Tool.TEXT, "Text", "Name what to find"),
    (Tool.EXAMPLE, "Example", "Draw a box around an example of what to find"),
)
_HINTS = {
    (Task.SEGMENT, Tool.POINTS): "Click on one object. Negative points push the mask away.",
    (Task.SEGMENT, Tool.BOX): "Draw a box around each object.",
    (Task.SEGMENT, Tool.MASK): "Paint roughly over one object.",
    (Task.LIVE_POINTS, Tool.POINTS): (
        "Click on an object: the mask follows each click. T switches to negative points, "
        "Shift+T flips the selected or latest point. Accept Object keeps it."
    ),
    (Task.VIDEO, Tool.POINTS): (
        "Click on objects of this slice; New Object before the clicks on another one. Then start."
    ),
    (Task.VIDEO, Tool.BOX): "Draw a box around each object of this slice, then start.",
    (Task.VIDEO, Tool.MASK): (
        "Paint the objects of this slice, each with its own label value, then start. On another "
        "slice press Create Prompt Layer first."
    ),
    (Task.VIDEO, Tool.EXAMPLE): (
        "Draw a box around an example: all like it on this slice are found and followed."
    ),
    (Task.EXEMPLAR, Tool.BOX): "Draw a box around one or more examples, then run.",
}

_GO_ON = "Press Create Prompt Layer to go on with prompts."


class PromptField(QWidget):
    """Tools, polarity, phrase and prompt layer of the chosen task.

    Parameters
    ----------
    binding : Binding
        The session and the viewer.
    """

    def __init__(self, binding: Binding) -> None:
        super().__init__()
        self._binding = binding
        self._model = model = binding.model
        self._create = CreatePromptLayer(binding)
        self._tools = ChoiceButtons(model, "tool", _TOOLS, columns=5, chosen=self._create.arm)
        self._text = TextField(model, guarded(model, binding.session.run))
        self._polarity = PolarityButtons(model)
        self._hint = WrappedLabel()
        self._hint.setObjectName("hint")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        objects = ObjectField(binding)
        for widget in (
            self._tools,
            self._hint,
            self._text,
            self._polarity,
            objects,
            self._create,
        ):
            layout.addWidget(widget)
        watch(model, "task tool engine selected_instead", self, self._show)

    def _show(self) -> None:
        task, tool = self._model.task, self._model.tool
        offered = tools_of(task)
        self._tools.setVisible(len(offered) > 1)
        self._tools.offer(offered)
        text = tool is Tool.TEXT
        self._text.setVisible(text)
        self._polarity.setVisible(tool is Tool.POINTS)
        self._create.setVisible(not text)
        spec = self._binding.session.spec
        phrases = (
            f"This engine understands {spec.phrases}."
            if spec.phrases
            else "Type a short phrase, such as “nucleus”."
        )
        other = self._model.selected_instead
        if text:
            self._hint.setText(phrases)
        else:
            self._hint.setText(f"“{other}” is selected. {_GO_ON}" if other else _HINTS[task, tool])
