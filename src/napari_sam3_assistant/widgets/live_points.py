"""What all widgets of one session share: live runs, the chime, and a tool that is ready."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING
from weakref import ReferenceType, WeakKeyDictionary, ref

from qtpy.QtCore import QObject, QTimer, QUrl
from qtpy.QtWidgets import QApplication
from superqt.utils import QSignalDebouncer

from napari_sam3_assistant.qt.bind import show_errors

if TYPE_CHECKING:
    from napari_sam3_assistant.viewer.binding import Binding


DELAY_MS = 200
"""Live runs start when the prompts have not changed for so many milliseconds."""

_CHIME = Path(__file__).with_name("chime.wav")

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
        binding.drawn.connect(self._on_edited)
        binding.session.chime.connect(self._play_chime)

    def acquire(self) -> None:
        """Take note of one more widget; each calls :meth:`release` when it goes."""
        self._binding.acquire()

    def release(self) -> None:
        """Take note that a widget has gone; with the last one, do no more."""
        self._binding.release()
        if self._binding.closed:
            session = self._binding.session
            session.prompts_edited.disconnect(self._on_edited, missing_ok=True)
            self._binding.drawn.disconnect(self._on_edited, missing_ok=True)
            session.chime.disconnect(self._play_chime, missing_ok=True)
            self._binding.opened.disconnect(self._on_opened, missing_ok=True)
            self._pause.deleteLater()
            self._ready.deleteLater()

    def _on_opened(self) -> None:
        self._said = self._binding.model.message
        self._ready.start()

    def _get_ready(self) -> None:
        # What has been said meanwhile is news, and stays.
        self._binding.get_ready(say=self._binding.model.message is self._said)

    def _on_edited(self) -> None:
        self._pause.throttle()

    def _run(self) -> None:
        # What is being drawn is done first; the end of that comes here again.
        if not self._binding.drawing:
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
