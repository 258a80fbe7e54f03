"""Fields: the image, its channel axis, large images, encoding ahead, the threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QFormLayout,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_sam3_assistant.core.tiling import ROI_SIZES
from napari_sam3_assistant.qt.axes_from_file import AxesFromFileField
from napari_sam3_assistant.qt.bind import bind_enabled, bind_value, follow, set_enabled
from napari_sam3_assistant.qt.controls import (
    ChoiceCombo,
    DecimalBox,
    ElidedCombo,
    check_box,
    spin_box,
)
from napari_sam3_assistant.qt.layout import WrappedLabel
from napari_sam3_assistant.session.runs import explain_large_image
from napari_sam3_assistant.session.values import EncodeAhead

if TYPE_CHECKING:
    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.session.session import Session
    from napari_sam3_assistant.session.values import ImageChoice
    from napari_sam3_assistant.viewer.binding import Binding


class ImageField(QWidget):
    """A list of the open images that follows the viewer, and how the chosen one is read."""

    def __init__(self, binding: Binding) -> None:
        super().__init__()
        self._binding = binding
        self._model = model = binding.model
        # napari tells images of one name apart at the end: “cells”, “cells [1]”.
        self._combo = ElidedCombo(Qt.TextElideMode.ElideMiddle)
        self._combo.setObjectName("image")
        self._combo.setAccessibleName("Image")
        self._combo.setToolTip("The image to segment. Follows the selected layer.")
        self._summary = WrappedLabel()
        self._summary.setObjectName("image_summary")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._combo)
        layout.addWidget(self._summary)
        layout.addWidget(AxesFromFileField(model, binding.session.axes_from_file))
        self._combo.activated.connect(self._choose)
        follow(self, lambda: (model.images, model.image, model.no_image), self._show, model)

    def _choose(self) -> None:
        self._model.image = self._combo.value
        self._binding.prompts.get_ready()

    def _show(self, read: tuple[tuple[ImageChoice, ...], str, str]) -> None:
        choices, image, none = read
        self._combo.offer([(choice.key, choice.name) for choice in choices])
        set_enabled(self._combo, "" if choices else "Open an image first")
        self._combo.choose(image)
        chosen = self._model.chosen_image
        self._summary.setText(chosen.summary if chosen else none)


def channel_axis_box(model: SessionModel) -> QSpinBox:
    """Return the number of the channel axis, or -1."""
    return spin_box(
        model,
        "channel_axis",
        "Leave -1 unless your image has an explicit channel dimension: "
        "C,H,W is 0; Z,C,H,W and T,C,H,W are 1; Z,H,W,C is 3.",
        -1,
        8,
    )


_TOOLTIP = (
    "A run works on a square around your points or boxes and reads nothing else, "
    "for images that are too large to be segmented whole."
)


class LargeImageField(QWidget):
    """The switch of large-image mode, and the size of its region."""

    def __init__(self, model: SessionModel) -> None:
        super().__init__()
        text = "Enable large-image local inference"
        switch = check_box(model, "large_image", text, _TOOLTIP)
        size = QWidget()
        sizes = [(side, f"{side} x {side}") for side in ROI_SIZES]
        combo = ChoiceCombo(model, "roi_size", sizes)
        combo.setToolTip("Side of the square in pixels")
        form = QFormLayout(size)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("ROI size", combo)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(switch, 0, Qt.AlignmentFlag.AlignLeft)
        layout.addWidget(size)
        bind_enabled(model, "large_image", switch)
        follow(
            self,
            lambda: model.large_image and not model.why_not.large_image,
            size.setVisible,
            model,
        )


class LargeImageHint(QWidget):
    """For an image that is large: a sentence, and the button that turns large-image mode on."""

    def __init__(self, model: SessionModel) -> None:
        super().__init__()
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
        follow(self, lambda: explain_large_image(model), self._show, model)

    def _show(self, hint: str) -> None:
        self._text.setText(hint)
        self.setVisible(bool(hint))


class EncodeAheadField(QCheckBox):
    """A box that follows the device until the user ticks or clears it."""

    def __init__(self, session: Session) -> None:
        super().__init__("Encode while I draw")
        self._session = session
        self.setObjectName("encode_ahead")
        self.setToolTip(
            "Let the model look at the plane while you still place prompts, so that the first "
            "result comes sooner. On by default where the model runs on a GPU."
        )
        model = session.model
        follow(self, lambda: session.prefetch.is_enabled, self.setChecked, model)
        bind_enabled(model, "encode_ahead", self)
        self.clicked.connect(self._choose)

    def _choose(self, on: bool) -> None:
        self._session.model.encode_ahead = EncodeAhead.ON if on else EncodeAhead.OFF
        if on:
            self._session.prefetch.start()
        else:
            self._session.prefetch.cancel()


def threshold_box(model: SessionModel) -> DecimalBox:
    """Return the least score of an object that is found."""
    box = DecimalBox()
    box.setObjectName("threshold")
    box.setRange(0.01, 0.95)
    box.setSingleStep(0.05)
    box.setDecimals(2)
    box.setToolTip(
        "Objects with a lower score are left out. Lower it to find more, raise it to keep "
        "only the clear ones. It does not touch objects that you click or box."
    )
    bind_value(
        model, "threshold", box, box.valueChanged, lambda: round(box.value(), 2), box.setValue
    )
    return box
