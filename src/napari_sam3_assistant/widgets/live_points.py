"""What all widgets of one session share: Live Points, the chime, and a tool that is ready."""

from __future__ import annotations

import io
import logging
import shutil
import sys
import tempfile
import wave
import weakref
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import ReferenceType, WeakKeyDictionary, ref

import numpy as np
from qtpy.QtCore import QCoreApplication, QObject, QProcess, QTimer, QUrl
from superqt.utils import QSignalDebouncer

from napari_sam3_assistant.qt.bind import show_errors

if TYPE_CHECKING:
    from napari_sam3_assistant.viewer.binding import Binding


DELAY_MS = 200
"""Live Points run when the prompts have not changed for so many milliseconds."""

_KNOWN: WeakKeyDictionary[Binding, ReferenceType[LivePoints]] = WeakKeyDictionary()


class LivePoints:
    """Runs a session's Live Points when its prompts have not changed for a while, and chimes.

    A button that looks active is active: the chosen tool is made ready when an image is opened.

    Made by :func:`live_points_of`. It lives as long as one of the widgets that hold it.
    """

    def __init__(self, binding: Binding) -> None:
        self._binding = binding
        self._pause = QSignalDebouncer()
        self._pause.setTimeout(DELAY_MS)
        self._pause.triggered.connect(show_errors(binding.model, binding.session.run_live))
        self._player = ChimePlayer()
        # When napari has done with the image, and with all that are opened together.
        self._ready = QTimer()
        self._ready.setSingleShot(True)
        self._ready.timeout.connect(self._get_ready)
        self._said = binding.model.message
        binding.opened.connect(self._on_opened)
        binding.session.prompts_edited.connect(self._on_edited)
        binding.session.chime.due.connect(self._on_due)

    def acquire(self) -> None:
        """Take note of one more widget; each calls :meth:`release` when it goes."""
        self._binding.acquire()

    def release(self) -> None:
        """Take note that a widget has gone; with the last one, do no more."""
        self._binding.release()
        if self._binding.closed:
            session = self._binding.session
            session.prompts_edited.disconnect(self._on_edited, missing_ok=True)
            session.chime.due.disconnect(self._on_due, missing_ok=True)
            self._binding.opened.disconnect(self._on_opened, missing_ok=True)
            self._pause.deleteLater()
            self._ready.deleteLater()
            self._player.deleteLater()

    def _on_opened(self) -> None:
        self._said = self._binding.model.message
        self._ready.start()

    def _get_ready(self) -> None:
        # What has been said meanwhile is news, and stays.
        self._binding.get_ready(say=self._binding.model.message is self._said)

    def _on_edited(self) -> None:
        self._pause.throttle()

    def _on_due(self) -> None:
        self._player.play()


def live_points_of(binding: Binding) -> LivePoints:
    """Return what the widgets of a session share: each by itself would run it, and chime."""
    known = _KNOWN.get(binding)
    shared = None if known is None else known()
    if shared is None:
        shared = LivePoints(binding)
        _KNOWN[binding] = ref(shared)
    return shared


logger = logging.getLogger(__name__)

PLAYERS = (("pw-play",), ("paplay",), ("aplay", "-q"), ("afplay",))
"""Programs that play a WAV file, and their arguments before it; the first that works is taken."""


class ChimePlayer(QObject):
    """Plays the chime in the background.

    The system's player comes first: where there is no sound device it ends without a word, while
    Qt's multimedia warns on the terminal.

    Parameters
    ----------
    parent : QObject, optional
        Owns it; the sound's file goes with it.
    """

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._folder = ""
        self._sound = ""
        self._left: list[list[str]] = []
        self._effect: QObject | None = None

    def play(self) -> None:
        """Play the chime; nothing happens where there is no way to."""
        try:
            self._sound = str(self._file())
        except OSError as error:
            logger.debug("The chime has no file: %s", error)
            return
        if sys.platform == "win32":
            _play_on_windows(self._sound)
            return
        self._left = [
            [found, *options, self._sound]
            for program, *options in PLAYERS
            if (found := shutil.which(program)) is not None
        ]
        self._try_next()

    def _file(self) -> Path:
        """Return the sound's file, which is written when it is first needed."""
        if not self._folder:
            self._folder = tempfile.mkdtemp(prefix="napari-sam3-chime-")
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        file = Path(self._folder) / "chime.wav"
        if not file.exists():
            file.write_bytes(make_chime())
        return file

    def _try_next(self) -> None:
        if not self._left:
            self._play_by_qt()
            return
        program, *arguments = self._left.pop(0)
        # The application owns it: the chime of a widget that is closed may end in peace.
        process = QProcess(QCoreApplication.instance())
        process.setStandardOutputFile(QProcess.nullDevice())
        process.setStandardErrorFile(QProcess.nullDevice())
        process.finished.connect(process.deleteLater)
        process.finished.connect(self._on_finished)
        process.errorOccurred.connect(self._on_error)
        process.start(program, arguments)

    def _on_finished(self, code: int, status: QProcess.ExitStatus) -> None:
        if code != 0 or status != QProcess.ExitStatus.NormalExit:
            logger.debug("A player ended with %s.", code)
            self._try_next()

    def _on_error(self, error: QProcess.ProcessError) -> None:
        # Other errors are followed by the end of the process.
        if error == QProcess.ProcessError.FailedToStart:
            logger.debug("A player can't be started.")
            self._try_next()

    def _play_by_qt(self) -> None:
        try:
            from qtpy.QtMultimedia import QMediaDevices, QSoundEffect
        except ImportError as error:
            logger.debug("Qt can't play sounds: %s", error)
            return
        if QMediaDevices.defaultAudioOutput().isNull():
            logger.debug("There is no sound device.")
            return
        # As long as it plays, somebody has to hold it.
        self._effect = effect = QSoundEffect(self)
        effect.setSource(QUrl.fromLocalFile(self._sound))
        effect.play()


if sys.platform == "win32":
    import winsound

    def _play_on_windows(file: str) -> None:
        flags = winsound.SND_FILENAME | winsound.SND_ASYNC | winsound.SND_NODEFAULT
        try:
            winsound.PlaySound(file, flags)
        except RuntimeError as error:
            logger.debug("Windows can't play the chime: %s", error)


RATE = 44_100
"""Samples a second."""
SECONDS = 1.1
_LOUDNESS = 0.24
# Frequency in Hz, share of the loudness, and seconds in which it fades to a third: a low tone and
# a faint one above it.
_TONES = ((345.0, 1.0, 0.28), (888.0, 0.12, 0.11))
_ATTACK_S, _FADE_S = 0.010, 0.150


def make_chime() -> bytes:
    """Return the chime as a WAV file: one channel, 16 bits, 44.1 kHz, 1.1 s."""
    time = np.arange(round(RATE * SECONDS)) / RATE
    sound = sum(
        share * np.exp(-time / decay) * np.sin(2 * np.pi * frequency * time)
        for frequency, share, decay in _TONES
    )
    # It begins and ends at zero: a step would click.
    sound *= np.clip(time / _ATTACK_S, 0, 1) * np.clip((time[-1] - time) / _FADE_S, 0, 1)
    samples = np.round(sound / np.abs(sound).max() * _LOUDNESS * np.iinfo(np.int16).max)
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(samples.astype("<i2").tobytes())
    return content.getvalue()
