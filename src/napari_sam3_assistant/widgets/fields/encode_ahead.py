"""Whether the plane on show is encoded while the user draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QCheckBox

from napari_sam3_assistant.session.model import EncodeAhead
from napari_sam3_assistant.widgets.allow import allow
from napari_sam3_assistant.widgets.bind import watch

if TYPE_CHECKING:
    from napari_sam3_assistant.session.session import Session


class EncodeAheadField(QCheckBox):
    """A box that follows the device until the user ticks or clears it.

    Parameters
    ----------
    session : Session
        The session.
    """

    def __init__(self, session: Session) -> None:
        super().__init__("Encode while I draw")
        self._session = session
        self.setObjectName("encode_ahead")
        self.setToolTip(
            "Let the model look at the plane while you still place prompts, so that the first "
            "result comes sooner. On by default where the model runs on a GPU."
        )
        watch(session.model, "encode_ahead device_in_use engine", self, self._show)
        self.clicked.connect(self._choose)

    def _show(self) -> None:
        self.setChecked(self._session.ahead.enabled)
        spec = self._session.spec
        nothing = f"{spec.title} encodes nothing. Choose a SAM 3 engine."
        allow(self, "" if spec.needs_weights else nothing)

    def _choose(self, on: bool) -> None:
        self._session.model.encode_ahead = EncodeAhead.ON if on else EncodeAhead.OFF
        if on:
            self._session.ahead.begin()
        else:
            self._session.ahead.cancel()
