"""The detection threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QDoubleSpinBox

from napari_sam3_assistant.widgets.bind import bind_value

if TYPE_CHECKING:
    from napari_sam3_assistant.session.model import SessionModel


class ThresholdField(QDoubleSpinBox):
    """The least score of an object that is found.

    Parameters
    ----------
    model : SessionModel
        The state.
    """

    def __init__(self, model: SessionModel) -> None:
        super().__init__()
        self.setObjectName("threshold")
        self.setRange(0.01, 0.95)
        self.setSingleStep(0.05)
        self.setDecimals(2)
        self.setToolTip(
            "Objects with a lower score are left out. Lower it to find more, raise it to keep "
            "only the clear ones. It does not touch objects that you click or box."
        )
        bind_value(model, "threshold", self, self.valueChanged, self._rounded, self.setValue)

    def _rounded(self) -> float:
        return round(self.value(), 2)
