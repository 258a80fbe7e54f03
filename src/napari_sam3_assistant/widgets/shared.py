"""What all widgets of one session share: Live Points, the chime, and a tool that is ready."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import ReferenceType, WeakKeyDictionary, ref

from qtpy.QtCore import QTimer
from superqt.utils import QSignalDebouncer

from napari_sam3_assistant.widgets.chime_player import ChimePlayer
from napari_sam3_assistant.widgets.notify import guarded

if TYPE_CHECKING:
    from napari_sam3_assistant.viewer.binding import Binding

DELAY_MS = 200
"""Live Points run when the prompts have not changed for so many milliseconds."""

_KNOWN: WeakKeyDictionary[Binding, ReferenceType[Shared]] = WeakKeyDictionary()


class Shared:
    """Runs a session's Live Points when its prompts have not changed for a while, and chimes.

    A button that looks active is active: the chosen tool is made ready when an image is opened.

    Made by :func:`shared_of`. It lives as long as one of the widgets that hold it.

    Parameters
    ----------
    binding : Binding
        The session and the viewer.
    """

    def __init__(self, binding: Binding) -> None:
        self._binding = binding
        self._pause = QSignalDebouncer()
        self._pause.setTimeout(DELAY_MS)
        self._pause.triggered.connect(guarded(binding.model, binding.session.run_live))
        self._player = ChimePlayer()
        # When napari has done with the image, and with all that are opened together.
        self._ready = QTimer()
        self._ready.setSingleShot(True)
        self._ready.timeout.connect(self._get_ready)
        self._said = binding.model.message
        binding.opened.connect(self._on_opened)
        binding.session.prompts_edited.connect(self._on_edited)
        binding.session.chime.due.connect(self._on_due)

    def hold(self) -> None:
        """Take note of one more widget; each calls :meth:`release` when it goes."""
        self._binding.hold()

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


def shared_of(binding: Binding) -> Shared:
    """Return what the widgets of a session share: each by itself would run it, and chime.

    Parameters
    ----------
    binding : Binding
        The session and the viewer.
    """
    known = _KNOWN.get(binding)
    shared = None if known is None else known()
    if shared is None:
        shared = Shared(binding)
        _KNOWN[binding] = ref(shared)
    return shared
