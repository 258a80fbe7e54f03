"""The button that measures the objects of the results table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QPushButton

from napari_sam3_assistant.session.measuring import why_not_measure
from napari_sam3_assistant.widgets.bind import watch
from napari_sam3_assistant.widgets.notify import guarded

if TYPE_CHECKING:
    from napari_sam3_assistant.session.session import Session

_TIP = (
    "Measure area, equivalent diameter, centroid and mean intensity of every object, in the "
    "image's units, into this table and the features of the preview labels"
)


class MeasureField(QPushButton):
    """A button that measures.

    Parameters
    ----------
    session : Session
        The session.
    """

    def __init__(self, session: Session) -> None:
        super().__init__("Measure")
        self._model = session.model
        self.setObjectName("measure")
        self.clicked.connect(guarded(session.model, session.measuring.measure))
        watch(session.model, "results running", self, self._show)

    def _show(self) -> None:
        why_not = why_not_measure(self._model)
        if not why_not and self._model.running:
            why_not = "Wait for the run to end"
        self.setEnabled(not why_not)
        self.setToolTip(why_not.rstrip(".") or _TIP)
