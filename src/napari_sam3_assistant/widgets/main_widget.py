"""The dock widget ``SAM3 Assistant``: where the session and the views are put together."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from napari import current_viewer  # noqa: TID251 (the one place that may ask, see design)
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QFrame, QScrollArea, QVBoxLayout, QWidget

from napari_sam3_assistant.viewer.binding import session_for
from napari_sam3_assistant.viewer.shortcuts import bind_shortcuts
from napari_sam3_assistant.widgets.advanced.panel import AdvancedPanel
from napari_sam3_assistant.widgets.chime_player import chime_for
from napari_sam3_assistant.widgets.fields.sound import SoundField
from napari_sam3_assistant.widgets.live_points import live_points_of
from napari_sam3_assistant.widgets.modes import Modes
from napari_sam3_assistant.widgets.notify import guarded
from napari_sam3_assistant.widgets.qt_dispatch import QtDispatcher
from napari_sam3_assistant.widgets.settings_store import QtSettingsStore
from napari_sam3_assistant.widgets.simple.panel import SimplePanel

if TYPE_CHECKING:
    from napari.components import ViewerModel

_NARROWEST = 300


class MainWidget(QWidget):
    """SAM3 Assistant.

    Parameters
    ----------
    napari_viewer, viewer : ViewerModel, optional
        The viewer; by default the current one.
    """

    def __init__(
        self, napari_viewer: ViewerModel | None = None, viewer: ViewerModel | None = None
    ) -> None:
        super().__init__()
        chosen = napari_viewer or viewer or current_viewer()
        self.setObjectName("sam3_assistant")
        store = QtSettingsStore()
        self.binding = binding = session_for(chosen, QtDispatcher(), store)
        live = live_points_of(binding)
        live.hold()
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
        chime_for(binding.session, self)
        self.setMinimumWidth(_NARROWEST)

        # Once, whichever way the widget goes: taken out of its dock, destroyed by Qt, or forgotten.
        self._leave = leave = weakref.finalize(self, live.release)
        leave.atexit = False
        self.destroyed.connect(lambda *_: leave())

    def changeEvent(self, event: QEvent | None) -> None:
        """Close for good when napari takes the widget out of its dock.

        That is how it closes a dock; it leaves the widget to Python's garbage collection, which
        may come late, and on another thread.
        """
        super().changeEvent(event)
        taken_out = event is not None and event.type() == QEvent.Type.ParentChange
        if taken_out and self.parent() is None:
            self._leave()
            self.deleteLater()
