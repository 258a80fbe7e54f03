"""Large images: work on the part around the prompts, and how large that part is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QFormLayout, QPushButton, QVBoxLayout, QWidget

from napari_sam3_assistant.core.roi import ROI_SIZES
from napari_sam3_assistant.core.tasks import Task
from napari_sam3_assistant.session.local import large_hint
from napari_sam3_assistant.widgets.bind import bind_value, watch
from napari_sam3_assistant.widgets.fields.combo import ChoiceCombo
from napari_sam3_assistant.widgets.wrapped_label import WrappedLabel

if TYPE_CHECKING:
    from napari_sam3_assistant.session.model import SessionModel

_TOOLTIP = (
    "A run works on a square around your points or boxes and reads nothing else, "
    "for images that are too large to be segmented whole."
)
_NOT_FOR_VIDEO = "3D/video follows objects on whole slices; choose a 2D task for a region"


class LargeImageField(QWidget):
    """The switch of large-image mode, and the size of its region.

    Parameters
    ----------
    model : SessionModel
        The state.
    """

    def __init__(self, model: SessionModel) -> None:
        super().__init__()
        self._model = model
        switch = QCheckBox("Enable large-image local inference")
        switch.setObjectName("large_image")
        bind_value(
            model, "large_image", switch, switch.toggled, switch.isChecked, switch.setChecked
        )
        self._switch = switch
        self._size = QWidget()
        sizes = [(side, f"{side} x {side}") for side in ROI_SIZES]
        combo = ChoiceCombo(model, "roi_size", sizes)
        combo.setToolTip("Side of the square in pixels")
        form = QFormLayout(self._size)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("ROI size", combo)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(switch, 0, Qt.AlignmentFlag.AlignLeft)
        layout.addWidget(self._size)
        watch(model, "large_image task", self, self._show)

    def _show(self) -> None:
        video = self._model.task is Task.VIDEO
        self._switch.setEnabled(not video)
        self._switch.setToolTip(_NOT_FOR_VIDEO if video else _TOOLTIP)
        self._size.setVisible(self._model.large_image and not video)


class LargeImageHint(QWidget):
    """For an image that is large: a sentence, and the button that turns large-image mode on.

    Parameters
    ----------
    model : SessionModel
        The state.
    """

    def __init__(self, model: SessionModel) -> None:
        super().__init__()
        self._model = model
        self._text = WrappedLabel()
        self._text.setObjectName("large_image_hint")
        turn_on = QPushButton("Use Large-Image Mode")
        turn_on.setObjectName("use_large_image")
        turn_on.setToolTip(_TOOLTIP.rstrip("."))
        turn_on.clicked.connect(lambda: setattr(model, "large_image", True))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._text)
        layout.addWidget(turn_on, 0, Qt.AlignmentFlag.AlignLeft)
        watch(model, "images image large_image task", self, self._show)

    def _show(self) -> None:
        hint = large_hint(self._model)
        self._text.setText(hint)
        self.setVisible(bool(hint))
