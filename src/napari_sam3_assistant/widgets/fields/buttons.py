"""Buttons of which one is chosen, bound to a field of the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QButtonGroup, QGridLayout, QPushButton, QSizePolicy, QWidget

from napari_sam3_assistant.widgets.allow import allow
from napari_sam3_assistant.widgets.bind import watch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_sam3_assistant.session.model import SessionModel


class ChoiceButtons(QWidget):
    """A grid of buttons, one for each value of a field.

    Parameters
    ----------
    model : SessionModel
        The state.
    field : str
        The field that holds the chosen value.
    choices : sequence of (value, text, tooltip)
        The values.
    columns : int
        How many buttons stand side by side.
    chosen : callable, optional
        Called with a value that the user has chosen, also when it was chosen already.
    """

    def __init__(
        self,
        model: SessionModel,
        field: str,
        choices: Sequence[tuple[Any, str, str]],
        *,
        columns: int,
        chosen: Callable[[Any], None] | None = None,
    ) -> None:
        super().__init__()
        self._buttons: dict[Any, QPushButton] = {}
        group = QButtonGroup(self)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        for place, (value, text, tooltip) in enumerate(choices):
            button = QPushButton(text)
            button.setCheckable(True)
            button.setToolTip(tooltip)
            button.setObjectName(f"{field}_{value}")
            button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            group.addButton(button)
            layout.addWidget(button, place // columns, place % columns)
            self._buttons[value] = button

            def choose(*_: object, value: Any = value) -> None:  # noqa: ANN401
                setattr(model, field, value)
                if chosen is not None:
                    chosen(value)

            button.clicked.connect(choose)

        def show() -> None:
            self._buttons[getattr(model, field)].setChecked(True)

        watch(model, field, self, show)

    def allow(self, why_not: str) -> None:
        """Let nobody choose and say why, or let them choose if the reason is empty."""
        for button in self._buttons.values():
            allow(button, why_not)

    def offer(self, values: Sequence[Any]) -> None:
        """Show only the buttons of these values."""
        for value, button in self._buttons.items():
            button.setVisible(value in values)
