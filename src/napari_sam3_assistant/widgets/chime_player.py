"""Playing the chime by the system's player or by Qt, and never a word where neither can."""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
import weakref
from pathlib import Path

from qtpy.QtCore import QCoreApplication, QObject, QProcess, QUrl

from napari_sam3_assistant.core.chime_sound import chime_wav

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
            file.write_bytes(chime_wav())
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
