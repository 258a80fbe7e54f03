"""Live Points: a run a short while after the last change, once for each session."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import ReferenceType, WeakKeyDictionary, ref

from superqt.utils import QSignalDebouncer

from napari_sam3_assistant.widgets.notify import guarded

if TYPE_CHECKING:
    from napari_sam3_assistant.viewer.binding import Binding

DELAY_MS = 200

_KNOWN: WeakKeyDictionary[Binding, ReferenceType[LivePoints]] = WeakKeyDictionary()


class LivePoints:
    """Runs a session's Live Points when its prompts have not changed for a while.

    Made by :func:`live_points_of`. It lives as long as one of the widgets that hold it.

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
        binding.session.prompts_edited.connect(self._on_edited)

    def hold(self) -> None:
        """Take note of one more widget; each calls :meth:`release` when it goes."""
        self._binding.hold()

    def release(self) -> None:
        """Take note that a widget has gone; with the last one, run no more."""
        self._binding.release()
        if self._binding.closed:
            self._binding.session.prompts_edited.disconnect(self._on_edited, missing_ok=True)
            self._pause.deleteLater()

    def _on_edited(self) -> None:
        self._pause.throttle()


def live_points_of(binding: Binding) -> LivePoints:
    """Return the Live Points of a session: the same for all its widgets, or each would run it.

    Parameters
    ----------
    binding : Binding
        The session and the viewer.
    """
    known = _KNOWN.get(binding)
    live = None if known is None else known()
    if live is None:
        live = LivePoints(binding)
        _KNOWN[binding] = ref(live)
    return live
