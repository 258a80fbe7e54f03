"""A list of which one entry is chosen, bound to a field of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.widgets.bind import bind_value
from napari_sam3_assistant.widgets.fields.elided_combo import ElidedCombo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_sam3_assistant.session.disk.model import DiskModel
    from napari_sam3_assistant.session.model import SessionModel


class ChoiceCombo(ElidedCombo):
    """A list, one entry for each value of a field; it may be narrower than its entries.

    Parameters
    ----------
    model : SessionModel or DiskModel
        The state.
    field : str
        The field that holds the chosen value, and the name of the widget.
    choices : sequence of (value, text)
        The values.
    """

    def __init__(
        self, model: SessionModel | DiskModel, field: str, choices: Sequence[tuple[Any, str]] = ()
    ) -> None:
        super().__init__()
        self._state = model
        self._field = field
        self.setObjectName(field)
        self.offer(choices)
        bind_value(model, field, self, self.activated, lambda: self.value, self.choose)

    def offer(self, choices: Sequence[tuple[Any, str]]) -> None:
        """Show these values and no others; chosen is the model's."""
        super().offer(choices)
        self.choose(getattr(self._state, self._field))
