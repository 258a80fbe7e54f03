"""When a chime is due: the one place that says so."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_sam3_assistant.jobs.job import JobState

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.session.running import Running

LONG_S = 60.0
"""A user may have turned away from a job that takes longer than this, in seconds."""


class Chime:
    """Tells the end of long jobs to whoever can play a sound.

    Parameters
    ----------
    model : SessionModel
        The state.
    running : Running
        The session's jobs, of every kind.
    clock : callable
        Returns the time in seconds.

    Attributes
    ----------
    due : Signal
        Tells that a long job is done, and that the user wants to hear of it.
    """

    due = Signal()

    def __init__(
        self, model: SessionModel, running: Running, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._model = model
        self._clock = clock
        self._began = clock()
        running.begun.connect(self._on_begun)
        running.ended.connect(self._on_ended)

    def _on_begun(self) -> None:
        self._began = self._clock()

    def _on_ended(self, state: JobState) -> None:
        long = self._clock() - self._began > LONG_S
        # Neither for a job that was cancelled, nor for one that failed: the sound says "ready".
        if long and state is JobState.DONE and self._model.sound:
            self.due.emit()
