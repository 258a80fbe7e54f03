"""Where the engine runs: an indicator, or a choice where the environment frees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant.widgets.bind import watch
from napari_sam3_assistant.widgets.fields.combo import ChoiceCombo

if TYPE_CHECKING:
    from napari_sam3_assistant.session.session import Session

_FIXED = (
    "The device is chosen automatically: the GPU where it works, else the CPU. To choose it "
    "yourself, start napari with NAPARI_SAM3_ENABLE_DEVICE_OVERRIDE=1."
)
_FREE = "Where the engine runs. The model is loaded again when you change it."


class DeviceField(ChoiceCombo):
    """The device.

    Parameters
    ----------
    session : Session
        The session.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session.model, "device")
        self._model = session.model
        free = session.setup.may_choose_device
        self.setEnabled(free)
        self.setToolTip(_FREE if free else _FIXED)
        watch(self._model, "device_options device_in_use device", self, self._fill)
        if free:
            session.setup.find_devices()

    def _fill(self) -> None:
        model, used = self._model, self._model.device_in_use
        titles = dict(model.device_options)
        # Remembered from another time; whether it is there will be known in a moment.
        titles.setdefault(model.device, model.device)
        if used is not None:
            titles["auto"] = f"Automatic ({used.name})"
        self.offer(list(titles.items()))
