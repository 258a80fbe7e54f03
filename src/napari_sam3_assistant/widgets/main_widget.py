"""The dock widget ``SAM3 Assistant``: where the session and the views are put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QButtonGroup,
    QHBoxLayout,
    QRadioButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_sam3_assistant.qt.class_list import keep_class_file
from napari_sam3_assistant.qt.controls import ScrolledPanel
from napari_sam3_assistant.qt.dock import Dock, QtDispatcher, chosen_viewer
from napari_sam3_assistant.qt.settings_store import QtSettingsStore
from napari_sam3_assistant.viewer.binding import binding_for
from napari_sam3_assistant.widgets.activity import activity_of
from napari_sam3_assistant.widgets.advanced_panel import AdvancedPanel
from napari_sam3_assistant.widgets.fields.annotate import AnnotationBar
from napari_sam3_assistant.widgets.fields.run import StatusField, help_button
from napari_sam3_assistant.widgets.fields.session import JournalField, SessionMenu
from napari_sam3_assistant.widgets.live_points import live_points_of
from napari_sam3_assistant.widgets.simple_panel import SimplePanel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari.components import ViewerModel

    from napari_sam3_assistant.session.settings import SettingsStore


_NARROWEST = 300


class MainWidget(Dock):
    """SAM3 Assistant.

    Parameters
    ----------
    napari_viewer, viewer : ViewerModel, optional
        The viewer; by default the current one.
    """

    def __init__(
        self, napari_viewer: ViewerModel | None = None, viewer: ViewerModel | None = None
    ) -> None:
        chosen = chosen_viewer(napari_viewer, viewer)
        super().__init__(chosen, "sam3_assistant", _NARROWEST)
        store = QtSettingsStore()
        self.binding = binding = binding_for(chosen, QtDispatcher(), store)
        keep_class_file(self, binding.model, binding.session.classes.file, store)
        shared = live_points_of(binding)
        shared.acquire()
        session = binding.session

        def stop() -> None:
            (session.cancel if session.model.running else session.setup.stop_download)()

        activity = activity_of(chosen, "SAM3 Assistant", session.model, stop)
        activity.acquire()
        scroll = ScrolledPanel()
        scroll.setWidget(SimplePanel(binding))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        beside = (SessionMenu(binding, store), help_button())
        panels = {"simple": scroll, "advanced": AdvancedPanel(binding, store)}
        layout.setSpacing(0)
        layout.addWidget(JournalField(binding))
        layout.addWidget(AnnotationBar(session))
        layout.addWidget(Modes(panels, store, *beside), 1)
        # Below what scrolls, so that it is always in sight.
        layout.addWidget(StatusField(binding.session))
        self.end_with(activity.release, shared.release)
        binding.get_ready()


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
        # By themselves radio buttons exclude those of the panels inside, too.
        group = QButtonGroup(self)
        for name in panels:
            button = QRadioButton(name.capitalize())
            button.setObjectName(f"mode_{name}")
            group.addButton(button)
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
