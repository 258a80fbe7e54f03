"""Fields of 3D/video: frame axis, direction, object number, going on, tracks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QCheckBox,
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QWidget,
)

from napari_sam3_assistant.core.prompts import Task, Tool
from napari_sam3_assistant.core.tracks import Direction
from napari_sam3_assistant.qt.bind import bind_value, set_enabled, show_errors, watch
from napari_sam3_assistant.qt.controls import ChoiceCombo, ElidedCombo, combo_box
from napari_sam3_assistant.qt.save_dialog import ask_where

if TYPE_CHECKING:
    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.session.session import Session
    from napari_sam3_assistant.viewer.binding import Binding


_NONE = -1
_MOST_FRAMES = 9999


class FrameAxisField(ChoiceCombo):
    """The axis that objects are followed along."""

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


def direction_box(model: SessionModel) -> ElidedCombo:
    """Return the choice of which way prompts spread."""
    return combo_box(
        model,
        "direction",
        [(way, str(way)) for way in Direction],
        "From the slices with prompts: to higher frames, to lower ones, or both",
    )


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
        self.setRange(_NONE, _MOST_FRAMES)
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
        self.setMaximum(axes.get(self._model.frame_axis, _MOST_FRAMES + 1) - 1)


def stop_after_lost_box(model: SessionModel) -> QSpinBox:
    """Return the number of frames without any object after which a direction ends."""
    made = QSpinBox()
    made.setObjectName("stop_after_lost")
    made.setRange(0, _MOST_FRAMES)
    made.setSpecialValueText("never")
    made.setSuffix(" frames")
    made.setToolTip("A direction ends when all objects have been gone for so many frames")
    bind_value(model, "stop_after_lost", made, made.valueChanged, made.value, made.setValue)
    return made


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
        form.addRow("3D direction" if all_rows else "Direction", direction_box(model))
        if all_rows:
            form.addRow("First frame", FrameEndField(model, "first_frame"))
            form.addRow("Last frame", FrameEndField(model, "last_frame"))
            form.addRow("Stop when lost for", stop_after_lost_box(model))
        watch(model, "task frame_axes", self, self._show)

    def _show(self) -> None:
        self.setVisible(self._model.task is Task.VIDEO)
        several = len(self._model.frame_axes) > 1
        self._axis.setVisible(several)
        label = self._form.labelForField(self._axis)
        if label is not None:
            label.setVisible(several)


_MOST_OBJECTS = 99999


class ObjectField(QWidget):
    """The number of the object that clicks are on, and a button for the next number."""

    def __init__(self, binding: Binding) -> None:
        super().__init__()
        self._model = model = binding.model
        number = QSpinBox()
        number.setObjectName("object_id")
        number.setRange(1, _MOST_OBJECTS)
        number.setToolTip(
            "The object that the next click is on: its value in the labels. A click on an object "
            "that was found corrects that one, whatever the number is."
        )
        bind_value(model, "object_id", number, number.valueChanged, number.value, number.setValue)
        new = QPushButton("New Object")
        new.setObjectName("new_object")
        new.setToolTip("Let the next click be on a new object, also in the pixels of another")
        new.clicked.connect(show_errors(model, binding.new_object))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(QLabel("Object"))
        layout.addWidget(number, 1)
        layout.addWidget(new)
        watch(model, "task tool", self, self._show)

    def _show(self) -> None:
        model = self._model
        self.setVisible(model.task is Task.VIDEO and model.tool is Tool.POINTS)


class PropagationControls(QWidget):
    """Propagate Existing Session, Remove Object; shown for the task 3D/video only."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        model = session.model
        self._go_on = QPushButton("Propagate Existing Session")
        self._go_on.setObjectName("propagate_existing")
        self._go_on.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._go_on.clicked.connect(show_errors(model, session.propagation.go_on))
        self._objects = ElidedCombo()
        self._objects.setObjectName("tracked_objects")
        self._objects.setToolTip("The objects that are followed, by their value in the labels")
        self._remove = QPushButton("Remove Object")
        self._remove.setObjectName("remove_object")
        self._remove.setToolTip("Take the object out of all frames, and follow it no more")
        self._remove.clicked.connect(show_errors(model, self._remove_chosen))
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(self._go_on, 0, 0, 1, 2)
        layout.addWidget(self._objects, 1, 0)
        layout.addWidget(self._remove, 1, 1)
        watch(model, "tracked", self, self._list)
        watch(model, "task running can_continue tracked", self, self._show)

    def _remove_chosen(self) -> None:
        self._session.propagation.remove(self._objects.value)

    def _list(self) -> None:
        self._objects.offer([(id_, f"Object {id_}") for id_ in self._session.model.tracked])

    def _show(self) -> None:
        model = self._session.model
        why_not = self._session.availability.why_not_go_on
        self.setVisible(model.task is Task.VIDEO)
        self._go_on.setEnabled(not why_not)
        self._go_on.setToolTip(
            why_not
            or "Go on with the objects that are known. Prompts that you added or changed on any "
            "slice correct them from there, away from where you began; without any it goes on "
            "where it was stopped, or from the frame on show."
        )
        if not model.tracked:
            why_not = why_not or "No object is followed"
        for control in (self._objects, self._remove):
            set_enabled(control, why_not)


class TracksField(QWidget):
    """A box for the Tracks layer, and a button that exports the table; for 3D/video only."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._model, self._tracks, self._saving = session.model, session.tracks, session.saving
        box = QCheckBox("Tracks layer")
        box.setObjectName("tracks_layer")
        box.setToolTip(
            "Show the way of each object through its centroids, for time series. It is brought up "
            "to date at the end of each propagation."
        )
        bind_value(self._model, "tracks_layer", box, box.toggled, box.isChecked, box.setChecked)
        self._export = QPushButton("Export Tracks")
        self._export.setObjectName("export_tracks")
        self._export.clicked.connect(show_errors(self._model, self._choose_file))
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(box)
        layout.addWidget(self._export, 1)
        watch(self._model, "task propagated running", self, self._show)

    def _choose_file(self) -> None:
        start = self._saving.propose_path("tracks", ".csv")
        title = "Export the tracks"
        path, _ = ask_where(self, self._model, title, start, ["CSV (*.csv)"])
        if path is not None:
            self._tracks.export(path if path.suffix else path.with_name(f"{path.name}.csv"))

    def _show(self) -> None:
        self.setVisible(self._model.task is Task.VIDEO)
        if self._model.propagated is None:
            why_not = "There is nothing propagated yet"
        else:
            why_not = "Wait for the run to end" if self._model.running else ""
        self._export.setEnabled(not why_not)
        self._export.setToolTip(
            why_not
            or "Write a CSV file with one row for each frame and object: area and centroid in "
            "pixels and in the units of the image, score"
        )
