"""Which axis of the images is the channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QSpinBox

from napari_sam3_assistant.widgets.bind import bind_value

if TYPE_CHECKING:
    from napari_sam3_assistant.session.model import SessionModel


class ChannelAxisField(QSpinBox):
    """The number of the channel axis, or -1.

    Parameters
    ----------
    model : SessionModel
        The state.
    """

    def __init__(self, model: SessionModel) -> None:
        super().__init__()
        self.setObjectName("channel_axis")
        self.setRange(-1, 8)
        self.setToolTip(
            "Leave -1 unless your image has an explicit channel dimension: "
            "C,H,W is 0; Z,C,H,W and T,C,H,W are 1; Z,H,W,C is 3."
        )
        bind_value(model, "channel_axis", self, self.valueChanged, self.value, self.setValue)
