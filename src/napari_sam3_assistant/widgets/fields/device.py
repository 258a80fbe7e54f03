"""Where the engine runs: an indicator, or a choice where the environment frees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant.widgets.bind import bind_value, watch
from napari_sam3_assistant.widgets.fields.elided_combo import ElidedCombo

if TYPE_CHECKING:
    from napari_sam3_assistant.session.session import Session

_FIXED = (
    "The device is chosen automatically: the GPU where it works, else the CPU. To choose it "
    "yourself, start napari with NAPARI_SAM3_ENABLE_DEVICE_OVERRIDE=1."
)
_FREE = "Where the engine runs. The model is loaded again when you change it."


class DeviceField(ElidedCombo):
    """The device.

    Parameters
    ----------
    session : Session
        The session.
    """

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._model = session.model
        self.setObjectName("device")
        free = session.setup.may_choose_device
        self.setEnabled(free)
        self.setToolTip(_FREE if free else _FIXED)
        watch(self._model, "device_options device_in_use", self, self._fill)
        bind_value(self._model, "device", self, self.activated, self.currentData, self._choose)
        if free:
            session.setup.find_devices()

    def _fill(self) -> None:
        self.clear()
        for name, title in self._model.device_options:
            self.addItem(title, name)
        used = self._model.device_in_use
        if used is not None:
            self.setItemText(self.findData("auto"), f"Automatic ({used.name})")
        self._choose(self._model.device)

    def _choose(self, name: str) -> None:
        if self.findData(name) < 0:
            # Remembered from another time; whether it is there will be known in a moment.
            self.addItem(name, name)
        self.setCurrentIndex(self.findData(name))
