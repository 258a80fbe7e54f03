"""What both dock widgets have in common: which viewer they are for, and how they end."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from napari import current_viewer  # noqa: TID251 (the one place that may ask, see design)
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QWidget

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel


class Dock(QWidget):
    """A widget that napari docks.

    Parameters
    ----------
    name : str
        Its object name.
    narrowest : int
        Its least width in pixels.
    """

    def __init__(self, name: str, narrowest: int) -> None:
        super().__init__()
        self.setObjectName(name)
        self.setMinimumWidth(narrowest)

    def end_with(self, release: Callable[[], None]) -> None:
        """Call ``release`` once, whichever way the widget goes.

        Parameters
        ----------
        release : callable
            Called when it is taken out of its dock, destroyed by Qt, or forgotten.
        """
        self._leave = leave = weakref.finalize(self, release)
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


def chosen_viewer(*given: ViewerModel | None) -> ViewerModel:
    """Return the first viewer that was given, or else napari's current one."""
    return next((viewer for viewer in given if viewer is not None), None) or current_viewer()
