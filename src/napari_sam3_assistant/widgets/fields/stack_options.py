"""Along which axis prompts spread, which way, and how far."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFormLayout, QSpinBox, QWidget

from napari_sam3_assistant.core.tasks import Task
from napari_sam3_assistant.core.tracks import Direction
from napari_sam3_assistant.widgets.bind import bind_value, watch
from napari_sam3_assistant.widgets.fields.combo import ChoiceCombo

if TYPE_CHECKING:
    from napari_sam3_assistant.session.model import SessionModel

_NONE = -1
_MOST = 9999


class FrameAxisField(ChoiceCombo):
    """The axis that objects are followed along.

    Parameters
    ----------
    model : SessionModel
        The state.
    """

    def __init__(self, model: SessionModel) -> None:
        super().__init__(model, "frame_axis")
        self._stack = model
        self.setToolTip("The slices or times that objects are followed through")
        watch(model, "frame_axes frame_axis", self, self._show)

    def _show(self) -> None:
        self.offer(
            [
                (axis.number, f"{axis.name} ({axis.length} frames)")
                for axis in self._stack.frame_axes
            ]
        )


class DirectionField(ChoiceCombo):
    """Which way prompts spread.

    Parameters
    ----------
    model : SessionModel
        The state.
    """

    def __init__(self, model: SessionModel) -> None:
        super().__init__(model, "direction", [(way, str(way)) for way in Direction])
        self.setToolTip("From the slices with prompts: to higher frames, to lower ones, or both")


class FrameEndField(QSpinBox):
    """The first or the last frame to go through; an end of the stack by default.

    Parameters
    ----------
    model : SessionModel
        The state.
    field : str
        ``first_frame`` or ``last_frame``.
    """

    def __init__(self, model: SessionModel, field: str) -> None:
        super().__init__()
        self._model = model
        self._field = field
        self.setObjectName(field)
        self.setRange(_NONE, _MOST)
        first = field == "first_frame"
        self.setSpecialValueText("start" if first else "end")
        self.setToolTip(
            f"The {'first' if first else 'last'} frame to go through, counted from 0; by default "
            f"the {'start' if first else 'end'} of the stack"
        )
        bind_value(model, field, self, self.valueChanged, self._frame, self._choose)
        watch(model, "frame_axes frame_axis", self, self._show)

    def _frame(self) -> int | None:
        return None if self.value() == _NONE else self.value()

    def _choose(self, frame: int | None) -> None:
        self.setValue(_NONE if frame is None else frame)

    def _show(self) -> None:
        axes = {axis.number: axis.length for axis in self._model.frame_axes}
        self.setMaximum(axes.get(self._model.frame_axis, _MOST + 1) - 1)


class StopAfterLostField(QSpinBox):
    """After how many frames without any object a direction ends.

    Parameters
    ----------
    model : SessionModel
        The state.
    """

    def __init__(self, model: SessionModel) -> None:
        super().__init__()
        self.setObjectName("stop_after_lost")
        self.setRange(0, _MOST)
        self.setSpecialValueText("never")
        self.setSuffix(" frames")
        self.setToolTip("A direction ends when all objects have been gone for so many frames")
        bind_value(model, "stop_after_lost", self, self.valueChanged, self.value, self.setValue)


class StackOptions(QWidget):
    """The choices of the task 3D/video; shown for it only.

    Parameters
    ----------
    model : SessionModel
        The state.
    all_rows : bool
        Whether the range of frames and the early stop are offered, too.
    """

    def __init__(self, model: SessionModel, *, all_rows: bool) -> None:
        super().__init__()
        self._model = model
        self._axis = FrameAxisField(model)
        self._form = form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        form.addRow("Follow along", self._axis)
        form.addRow("3D direction" if all_rows else "Direction", DirectionField(model))
        if all_rows:
            form.addRow("First frame", FrameEndField(model, "first_frame"))
            form.addRow("Last frame", FrameEndField(model, "last_frame"))
            form.addRow("Stop when lost for", StopAfterLostField(model))
        watch(model, "task frame_axes", self, self._show)

    def _show(self) -> None:
        self.setVisible(self._model.task is Task.VIDEO)
        several = len(self._model.frame_axes) > 1
        self._axis.setVisible(several)
        label = self._form.labelForField(self._axis)
        if label is not None:
            label.setVisible(several)
