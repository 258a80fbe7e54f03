"""The dock widget ``SAM3 Assistant``: session and views put together, and what the views share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from weakref import ReferenceType, WeakKeyDictionary, ref

from qtpy.QtCore import QObject, QTimer, QUrl
from qtpy.QtWidgets import (
    QApplication,
    QButtonGroup,
    QHBoxLayout,
    QRadioButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import QSignalDebouncer

from napari_sam3_assistant.qt.bind import show_errors, watch
from napari_sam3_assistant.qt.class_list import keep_class_file
from napari_sam3_assistant.qt.dock import Dock, QtDispatcher, QtSettingsStore, chosen_viewer
from napari_sam3_assistant.qt.layout import ScrolledPanel
from napari_sam3_assistant.viewer.binding import binding_for
from napari_sam3_assistant.widgets.activity import activity_of
from napari_sam3_assistant.widgets.advanced_panel import AdvancedPanel
from napari_sam3_assistant.widgets.fields.annotate import AnnotationBar
from napari_sam3_assistant.widgets.fields.run import LogField, StatusField, help_button
from napari_sam3_assistant.widgets.fields.session import JournalField, NotWrittenField, SessionMenu
from napari_sam3_assistant.widgets.simple_panel import SimplePanel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from napari.components import ViewerModel

    from napari_sam3_assistant.session.settings import SettingsStore
    from napari_sam3_assistant.viewer.binding import Binding


_NARROWEST = 300
DELAY_MS = 200
"""Live runs start when the prompts have not changed for so many milliseconds."""
_CHIME = Path(__file__).with_name("chime.wav")


class MainWidget(Dock):
    """SAM3 Assistant."""

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
        # It takes down what is told from now on, wherever it is looked at later.
        log = LogField(binding.model)
        log.setParent(self)
        log.hide()

        def simple() -> ScrolledPanel:
            scroll = ScrolledPanel()
            scroll.setWidget(SimplePanel(binding))
            return scroll

        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        beside = (SessionMenu(binding, store), help_button())
        panels = {"simple": simple, "advanced": lambda: AdvancedPanel(binding, store, log)}
        layout.setSpacing(0)
        layout.addWidget(JournalField(binding))
        layout.addWidget(NotWrittenField(session.model))
        layout.addWidget(AnnotationBar(session))
        layout.addWidget(Modes(panels, store, *beside), 1)
        # Below what scrolls, so that it is always in sight.
        layout.addWidget(StatusField(binding.session))
        for field in ("results", "running", "columns"):
            watch(session.model, field, self, session.measuring.measure_at_once)
        self.end_with(activity.release, shared.release)
        binding.prompts.get_ready()


_KEPT = "workspace_mode"
_MARGINS = (9, 4, 9, 0)
_TIPS = {
    "simple": "A few fields, for a first try",
    "advanced": "Every step: model, task, prompts, run, results",
}


class Modes(QWidget):
    """A switch, and the panel that it chooses. Switching changes nothing but the view.

    A panel is made when it is first looked at: each takes as long as all else that opens.

    ``panels``: what makes the panels, by the name of their mode, the default first.
    ``*beside``: what stands beside the switch, in both modes.
    """

    def __init__(
        self, panels: Mapping[str, Callable[[], QWidget]], store: SettingsStore, *beside: QWidget
    ) -> None:
        super().__init__()
        # Without it, napari puts empty room below.
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self._make = panels
        self._panels: dict[str, QWidget] = {}
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
        self._layout = layout
        self._show(chosen)

    def _show(self, chosen: str) -> None:
        if chosen not in self._panels:
            self._panels[chosen] = self._make[chosen]()
            self._layout.addWidget(self._panels[chosen], 1)
        for name, panel in self._panels.items():
            panel.setVisible(name == chosen)


_KNOWN: WeakKeyDictionary[Binding, ReferenceType[LivePoints]] = WeakKeyDictionary()


class LivePoints:
    """Runs a session live when its prompts have not changed for a while, and chimes.

    A button that looks active is active: the chosen tool is made ready when an image is opened.

    Made by :func:`live_points_of`. It lives as long as one of the widgets that hold it.
    """

    def __init__(self, binding: Binding) -> None:
        self._binding = binding
        self._pause = QSignalDebouncer()
        self._pause.setTimeout(DELAY_MS)
        self._pause.triggered.connect(show_errors(binding.model, self._run))
        self._sound: QObject | None = None
        # When napari has done with the image, and with all that are opened together.
        self._ready = QTimer()
        self._ready.setSingleShot(True)
        self._ready.timeout.connect(self._get_ready)
        self._said = binding.model.message
        binding.opened.connect(self._on_opened)
        binding.session.prompts_edited.connect(self._on_edited)
        binding.prompts.drawn.connect(self._on_edited)
        binding.session.chime.connect(self._play_chime)

    def acquire(self) -> None:
        """Record one more widget; each calls :meth:`release` when it goes."""
        self._binding.acquire()

    def release(self) -> None:
        """Record that a widget has gone; with the last one, do no more."""
        self._binding.release()
        if self._binding.closed:
            session = self._binding.session
            session.prompts_edited.disconnect(self._on_edited, missing_ok=True)
            self._binding.prompts.drawn.disconnect(self._on_edited, missing_ok=True)
            session.chime.disconnect(self._play_chime, missing_ok=True)
            self._binding.opened.disconnect(self._on_opened, missing_ok=True)
            self._pause.deleteLater()
            self._ready.deleteLater()

    def _on_opened(self) -> None:
        self._said = self._binding.model.message
        self._ready.start()

    def _get_ready(self) -> None:
        # What has been said meanwhile is news, and stays.
        self._binding.prompts.get_ready(say=self._binding.model.message is self._said)

    def _on_edited(self) -> None:
        self._pause.throttle()

    def _run(self) -> None:
        # What is being drawn is done first; the end of that comes here again.
        if not self._binding.prompts.drawing:
            self._binding.session.run_live()

    def _play_chime(self) -> None:
        """Play the chime, or let the system beep where Qt can't play sounds."""
        try:
            from qtpy.QtMultimedia import QMediaDevices, QSoundEffect
        except ImportError:
            # Qt's multimedia is a package of its own, and wants libpulse on Linux.
            QApplication.beep()
            return
        if QMediaDevices.defaultAudioOutput().isNull():
            QApplication.beep()
            return
        # Somebody has to hold it as long as it plays.
        self._sound = effect = QSoundEffect()
        effect.setSource(QUrl.fromLocalFile(str(_CHIME)))
        effect.play()


def live_points_of(binding: Binding) -> LivePoints:
    """Return what the widgets of a session share: each by itself would run it, and chime."""
    known = _KNOWN.get(binding)
    shared = None if known is None else known()
    if shared is None:
        shared = LivePoints(binding)
        _KNOWN[binding] = ref(shared)
    return shared
