"""A field of both windows: what the file of a layer says of its axes, and taking it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QSizePolicy, QVBoxLayout, QWidget

from napari_sam3_assistant.qt.bind import follow
from napari_sam3_assistant.qt.controls import push_button
from napari_sam3_assistant.qt.layout import WrappedLabel
from napari_sam3_assistant.session.values import AxesUse

if TYPE_CHECKING:
    from napari_sam3_assistant.mask_operations.model import MaskModel
    from napari_sam3_assistant.session.axes_from_file import FileAxes
    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.session.values import AxesFromFile


_USES = {
    AxesUse.NAMES: "Use Axes",
    AxesUse.SIZES: "Use Pixel Size",
    AxesUse.ALL: "Use Axes and Pixel Size",
}


class AxesFromFileField(QWidget):
    """What a layer's file says of its axes, and two buttons; on show where it says anything."""

    def __init__(self, model: SessionModel | MaskModel, verbs: FileAxes) -> None:
        super().__init__()
        self._text = WrappedLabel(most_lines=4)
        self._text.setObjectName("axes_from_file")
        self._use = push_button(
            model,
            _USES[AxesUse.SIZES],
            "use_axes",
            verbs.take,
            "Take what the file says, and the reader that opened it left out: names of the axes, "
            "size of a pixel, unit. Prompts, results and layers that lie on it go with it",
        )
        self._back = push_button(
            model,
            "Take Back",
            "take_axes_back",
            verbs.take_back,
            "Have it without what its file says of its axes, as it was opened",
        )
        self._back.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Fixed)
        row = QHBoxLayout()
        row.addWidget(self._text, 1)
        row.addWidget(self._back, 0, Qt.AlignmentFlag.AlignTop)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self._use)
        follow(self, lambda: model.axes_from_file, self._show, model)

    def _show(self, told: AxesFromFile | None) -> None:
        self.setVisible(told is not None)
        if told is not None:
            self._text.setText(told.text)
            self._use.setVisible(bool(told.offered))
            self._use.setText(_USES.get(told.offered, ""))
            self._back.setVisible(told.taken)
