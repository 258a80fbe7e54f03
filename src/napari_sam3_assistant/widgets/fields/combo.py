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
        bind_value(model, field, self, self.activated, self._value, self._choose)

    def offer(self, choices: Sequence[tuple[Any, str]]) -> None:
        """Show these values and no others; the chosen one stays chosen."""
        shown = [(self.itemData(at), self.itemText(at)) for at in range(self.count())]
        if shown != list(choices):
            self.clear()
            for value, text in choices:
                self.addItem(text, value)
        self._choose(getattr(self._state, self._field))

    def _value(self) -> Any:  # noqa: ANN401 (the field's)
        return self.itemData(self.currentIndex())

    def _choose(self, value: object) -> None:
        values = [self.itemData(at) for at in range(self.count())]
        self.setCurrentIndex(values.index(value) if value in values else -1)
