"""From the worker thread to the GUI thread."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Qt, Signal

if TYPE_CHECKING:
    from collections.abc import Callable


class QtDispatcher(QObject):
    """Runs what it is given on the thread that it was made on, in order, by Qt's event loop."""

    _asked = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self._asked.connect(self._run, Qt.ConnectionType.QueuedConnection)

    def __call__(self, call: Callable[[], None]) -> None:
        """Have ``call`` run on the GUI thread; returns at once."""
        self._asked.emit(call)

    def _run(self, call: Callable[[], None]) -> None:
        call()
