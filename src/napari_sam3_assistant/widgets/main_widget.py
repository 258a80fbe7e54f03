"""The dock widget ``SAM3 Assistant``: where the session and the views are put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QFrame, QScrollArea, QVBoxLayout

from napari_sam3_assistant.viewer.binding import session_for
from napari_sam3_assistant.viewer.shortcuts import bind_shortcuts
from napari_sam3_assistant.widgets.advanced.panel import AdvancedPanel
from napari_sam3_assistant.widgets.dock import Dock, chosen_viewer
from napari_sam3_assistant.widgets.fields.sound import SoundField
from napari_sam3_assistant.widgets.modes import Modes
from napari_sam3_assistant.widgets.notify import guarded
from napari_sam3_assistant.widgets.qt_dispatch import QtDispatcher
from napari_sam3_assistant.widgets.settings_store import QtSettingsStore
from napari_sam3_assistant.widgets.shared import shared_of
from napari_sam3_assistant.widgets.simple.panel import SimplePanel

if TYPE_CHECKING:
    from napari.components import ViewerModel

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
        super().__init__("sam3_assistant", _NARROWEST)
        store = QtSettingsStore()
        chosen = chosen_viewer(napari_viewer, viewer)
        self.binding = binding = session_for(chosen, QtDispatcher(), store)
        shared = shared_of(binding)
        shared.hold()
        bind_shortcuts(binding, lambda verb: guarded(binding.model, verb)())
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setWidget(SimplePanel(binding))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        panels = {"simple": scroll, "advanced": AdvancedPanel(binding, store)}
        layout.addWidget(Modes(panels, store, SoundField(binding.model)))
        self.end_with(shared.release)
        binding.get_ready()
