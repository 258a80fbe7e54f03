"""Simple or Advanced: which of the two panels is on show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QHBoxLayout,
    QRadioButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_sam3_assistant.session.settings import SettingsStore

_KEPT = "workspace_mode"
_MARGINS = (9, 4, 9, 0)
_TIPS = {
    "simple": "A few fields, for a first try",
    "advanced": "Every step: model, task, prompts, run, results",
}


class Modes(QWidget):
    """A switch, and the panel that it chooses. Switching changes nothing but the view.

    Parameters
    ----------
    panels : mapping of str to QWidget
        The panels by the name of their mode, the default first.
    store : SettingsStore
        Remembers the mode.
    *beside : QWidget
        What stands beside the switch, in both modes.
    """

    def __init__(
        self, panels: Mapping[str, QWidget], store: SettingsStore, *beside: QWidget
    ) -> None:
        super().__init__()
        # Without it, napari puts empty room below.
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self._panels = panels
        kept = store.get(_KEPT)
        chosen = kept if kept is not None and kept in panels else next(iter(panels))
        switch = QHBoxLayout()
        for name in panels:
            button = QRadioButton(name.capitalize())
            button.setObjectName(f"mode_{name}")
            button.setToolTip(_TIPS[name])
            button.setChecked(name == chosen)

            def choose(on: bool, name: str = name) -> None:
                if on:
                    self._show(name)
                    store.set(_KEPT, name)

            button.toggled.connect(choose)
            switch.addWidget(button)
        switch.addStretch(1)
        for field in beside:
            switch.addWidget(field)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        switch.setContentsMargins(*_MARGINS)
        layout.addLayout(switch)
        for panel in panels.values():
            layout.addWidget(panel, 1)
        self._show(chosen)

    def _show(self, chosen: str) -> None:
        for name, panel in self._panels.items():
            panel.setVisible(name == chosen)
