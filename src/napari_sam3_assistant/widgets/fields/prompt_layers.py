"""Which layers prompts are taken from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFormLayout, QWidget

from napari_sam3_assistant.core.tasks import Tool
from napari_sam3_assistant.session.model import CHOICE_FIELDS
from napari_sam3_assistant.widgets.bind import watch
from napari_sam3_assistant.widgets.fields.combo import ChoiceCombo

if TYPE_CHECKING:
    from napari_sam3_assistant.session.model import SessionModel

_TITLES = {Tool.POINTS: "Points", Tool.BOX: "Shapes", Tool.MASK: "Labels"}


class PromptLayersField(QWidget):
    """One list for each type of layer; they follow the viewer by themselves.

    Parameters
    ----------
    model : SessionModel
        The state.
    """

    def __init__(self, model: SessionModel) -> None:
        super().__init__()
        self._model = model
        self._combos = {tool: ChoiceCombo(model, name) for tool, name in CHOICE_FIELDS.items()}
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        for tool, combo in self._combos.items():
            title = _TITLES[tool]
            combo.setToolTip(
                f"The {title} layer that prompts are taken from. Other layers than the image's "
                "own are only read: undo and Accept Object leave them as they are."
            )
            form.addRow(title, combo)
        watch(model, "prompt_layers", self, self._show)

    def _show(self) -> None:
        for tool, combo in self._combos.items():
            layers = [one for one in self._model.prompt_layers if one.tool is tool]
            combo.offer([("", "(the image's own)"), *((layer.key, layer.name) for layer in layers)])
