"""Whether the end of a long run is heard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QCheckBox

from napari_sam3_assistant.widgets.bind import bind_value

if TYPE_CHECKING:
    from napari_sam3_assistant.session.model import SessionModel


class SoundField(QCheckBox):
    """A box for the chime.

    Parameters
    ----------
    model : SessionModel
        The state.
    """

    def __init__(self, model: SessionModel) -> None:
        super().__init__("Sound")
        self.setObjectName("sound")
        self.setToolTip(
            "Play a short, soft chime when a run is ready that took more than a minute. "
            "A run that you cancel makes no sound."
        )
        bind_value(model, "sound", self, self.toggled, self.isChecked, self.setChecked)
