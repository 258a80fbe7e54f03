"""Fields of 3D/video: frame axis, direction, object number, going on, tracks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QFormLayout,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import signals_blocked

from napari_sam3_assistant.core.prompts import MOST_ID, Task, Tool
from napari_sam3_assistant.core.tracks import Direction
from napari_sam3_assistant.qt.bind import bind_enabled, bind_value, follow, show_errors, watch
from napari_sam3_assistant.qt.controls import (
    ChoiceCombo,
    ElidedCombo,
    ask_where,
    check_box,
    push_button,
    spin_box,
)
from napari_sam3_assistant.qt.layout import Fold
from napari_sam3_assistant.session.values import FramePlace

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_sam3_assistant.core.lineage import Division
    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.session.session import Session
    from napari_sam3_assistant.session.values import FrameAxis
    from napari_sam3_assistant.viewer.binding import Binding


_NONE = -1
_MOST_FRAMES = 9999


class FrameAxisField(ChoiceCombo):
    """The axis that objects are followed along."""

    def __init__(self, model: SessionModel) -> None:
        super().__init__(model, "frame_axis")
        self.setToolTip("The slices or times that objects are followed through")
        watch(model, "frame_axes", self, lambda: self._show(model.frame_axes))

    def _show(self, axes: tuple[FrameAxis, ...]) -> None:
        self.offer([(axis.number, f"{axis.name} ({axis.length} frames)") for axis in axes])


def direction_box(model: SessionModel) -> ChoiceCombo:
    """Return the choice of which way prompts spread."""
    return ChoiceCombo(
        model,
        "direction",
        [(direction, str(direction)) for direction in Direction],
        "From the slices with prompts: to higher frames, to lower ones, or both",
    )


class FrameEndField(QSpinBox):
    """The first or the last frame to go through; an end of the stack by default.

    ``field``: ``first_frame`` or ``last_frame``.
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
        follow(self, self._read_last, self._limit, model)

    def _frame(self) -> int | None:
        return None if self.value() == _NONE else self.value()

    def _choose(self, frame: int | None) -> None:
        self.setValue(_NONE if frame is None else frame)

    def _limit(self, last: int) -> None:
        """Let frames be chosen up to the last one; it changes nothing that is chosen."""
        with signals_blocked(self):
            self.setMaximum(last)
            self._choose(getattr(self._model, self._field))

    def _read_last(self) -> int:
        axes = {axis.number: axis.length for axis in self._model.frame_axes}
        return axes.get(self._model.frame_axis, _MOST_FRAMES + 1) - 1


def stop_after_lost_box(model: SessionModel) -> QSpinBox:
    """Return the number of frames without any object after which a direction ends."""
    tip = "A direction ends when all objects have been gone for so many frames"
    box = spin_box(model, "stop_after_lost", tip, 0, _MOST_FRAMES, " frames")
    box.setSpecialValueText("never")
    return box


_TIMES_TIP = (
    "The frames are times of a movie: cells may divide, and files and tracks say so. Without it "
    "they are the slices of a volume. It names the axis of the image, t or z"
)


class StackOptions(QWidget):
    """The choices of the task 3D/video; shown for it only.

    ``all_rows``: whether the range of frames and the early stop are offered, too.
    """

    def __init__(self, model: SessionModel, *, all_rows: bool) -> None:
        super().__init__()
        self._axis = FrameAxisField(model)
        self._form = form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        form.addRow("Follow along", self._axis)
        row = QHBoxLayout()
        direction = direction_box(model)
        direction.setAccessibleName("Direction")  # the label is of both
        row.addWidget(direction, 1)
        row.addWidget(check_box(model, "frames_are_times", "Times", _TIMES_TIP))
        form.addRow("3D direction" if all_rows else "Direction", row)
        if all_rows:
            form.addRow("First frame", FrameEndField(model, "first_frame"))
            form.addRow("Last frame", FrameEndField(model, "last_frame"))
            form.addRow("Stop when lost for", stop_after_lost_box(model))
        follow(self, lambda: model.task is Task.VIDEO, self.setVisible, model)
        follow(self, lambda: len(model.frame_axes) > 1, self._show_axis, model)

    def _show_axis(self, several: bool) -> None:
        self._axis.setVisible(several)
        label = self._form.labelForField(self._axis)
        if label is not None:
            label.setVisible(several)


class ObjectField(QWidget):
    """The number of the object that clicks are on, and a button for the next number."""

    def __init__(self, binding: Binding) -> None:
        super().__init__()
        model = binding.model
        number = spin_box(
            model,
            "object_id",
            "The object that the next click is on: its value in the labels. A click on an object "
            "that was found corrects that one, whatever the number is.",
            1,
            MOST_ID,
        )
        tip = "Let the next click be on a new object, also in the pixels of another"
        new = push_button(model, "New Object", "new_object", binding.actions.new_object, tip)
        new.setSizePolicy(QSizePolicy.Policy.Minimum, QSizePolicy.Policy.Fixed)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        title = QLabel("Object")
        title.setBuddy(number)
        layout.addWidget(title)
        layout.addWidget(number, 1)
        layout.addWidget(new)
        follow(
            self,
            lambda: model.task is Task.VIDEO and model.tool is Tool.POINTS,
            self.setVisible,
            model,
        )


def go_on_button(session: Session) -> QPushButton:
    """Return Propagate Existing Session; shown for the task 3D/video only."""
    model = session.model
    button = push_button(
        model,
        "Propagate Existing Session",
        "propagate_existing",
        session.propagation.go_on,
        "Apply your corrections, and go on with the objects that are known. Prompts that you "
        "added or changed on any slice correct them from there, away from where you began; "
        "without any it goes on where it was stopped, or from the frame on show.",
    )
    follow(button, lambda: model.task is Task.VIDEO, button.setVisible, model)
    bind_enabled(model, "go_on", button)
    return button


class FollowedField(QWidget):
    """The objects that are followed, and Remove Object."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        model = session.model
        self._objects = ElidedCombo()
        self._objects.setObjectName("tracked_objects")
        self._objects.setAccessibleName("Objects that are followed")
        self._objects.setToolTip("The objects that are followed, by their value in the labels")
        tip = "Take the object out of all frames, and follow it no more"
        remove = push_button(model, "Remove Object", "remove_object", self._remove_chosen, tip)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._objects, 1)
        layout.addWidget(remove)
        watch(model, "tracked", self, self._list)
        bind_enabled(model, "remove_object", self._objects, remove)

    def _remove_chosen(self) -> None:
        self._session.propagation.remove(self._objects.value)

    def _list(self) -> None:
        # One that is gone leaves none chosen: the next press would remove what nobody has chosen.
        followed = [(id_, f"Followed: {id_}") for id_ in self._session.model.tracked]
        self._objects.offer([(0, "No object"), *followed])


class TrackCorrectionsField(QWidget):
    """Two tracks, the last two that were clicked on, and what can be wrong with them."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._session = session
        self._model = model = session.model
        self._track, self._other = ElidedCombo(), ElidedCombo()
        for combo, name, tooltip in (
            (self._track, "track", "The track to correct: the last object that was clicked on"),
            (self._other, "other_track", "The other track: the object that was clicked on before"),
        ):
            combo.setObjectName(name)
            combo.setAccessibleName(tooltip.partition(":")[0])
            combo.setToolTip(f"{tooltip}, by its value in the labels")
            combo.setMinimumContentsLength(4)
            bind_enabled(model, "correct_tracks", combo)
        verbs = session.corrections
        pair, single = self._call_with_both, self._call_with_one
        buttons = (
            ("Join", "join_tracks", pair(verbs.join), "The later track goes on the earlier one"),
            (
                "Split Here",
                "split_track",
                single(verbs.split),
                "From the frame on show on, the first track is a track of its own",
            ),
            (
                "Division",
                "divide_track",
                pair(verbs.divide),
                "The track that begins later is a daughter of the other; where that goes on beside "
                "her, its rest is the other daughter",
            ),
            (
                "Unlink",
                "unlink_track",
                self._unlink,
                "Forget the link between both; without another track, all links of the first one",
            ),
        )
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        grid.addWidget(self._track, 0, 0)
        grid.addWidget(self._other, 0, 1)
        for place, (text, name, verb, tip) in enumerate(buttons):
            button = push_button(model, text, name, verb, f"{tip}. Undo takes it back.")
            bind_enabled(model, "correct_tracks", button)
            grid.addWidget(button, 1 + place // 2, place % 2)
        tip = "Look for tracks that end where two begin, and for masks that fall into two pieces"
        find = push_button(model, "Find Divisions", "find_divisions", verbs.find_divisions, tip)
        bind_enabled(model, "correct_tracks", find)
        grid.addWidget(find, 3, 0, 1, 2)
        grid.addWidget(self._make_proposals(), 4, 0, 1, 2)
        watch(model, "propagated_ids", self, self._list)
        watch(model, "picked", self, self._take_picked)

    def _make_proposals(self) -> QWidget:
        """Return the divisions that are proposed, each to be accepted or dropped."""
        model, verbs = self._model, self._session.corrections
        widget, proposed = QWidget(), ElidedCombo()
        proposed.setObjectName("proposed_divisions")
        proposed.setAccessibleName("Proposed divisions")
        proposed.setToolTip("Divisions that are proposed; choosing one shows its frame")
        proposed.activated.connect(show_errors(model, lambda: verbs.reveal(proposed.value)))
        accept = push_button(
            model,
            "Accept Division",
            "accept_division",
            lambda: verbs.accept_division(proposed.value),
            "Make the proposed division one. Undo takes it back.",
        )
        drop = push_button(
            model,
            "Drop",
            "drop_division",
            lambda: verbs.drop_division(proposed.value),
            "Propose this division no more",
        )
        bind_enabled(model, "correct_tracks", proposed, accept, drop)
        grid = QGridLayout(widget)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        grid.addWidget(proposed, 0, 0, 1, 2)
        grid.addWidget(accept, 1, 0)
        grid.addWidget(drop, 1, 1)

        def show(divisions: tuple[Division, ...]) -> None:
            proposed.offer([(division, _describe(division)) for division in divisions])
            widget.setVisible(bool(divisions))

        follow(widget, lambda: model.proposed_divisions, show, model)
        return widget

    def _call_with_both(self, verb: Callable[[int, int], None]) -> Callable[[], None]:
        return lambda: verb(self._track.value, self._other.value)

    def _call_with_one(self, verb: Callable[[int], None]) -> Callable[[], None]:
        return lambda: verb(self._track.value)

    def _unlink(self) -> None:
        self._session.corrections.unlink(self._track.value, self._other.value)

    def _list(self) -> None:
        ids = [(id_, f"Track {id_}") for id_ in self._model.propagated_ids]
        self._track.offer([(0, "No track"), *ids])
        self._other.offer([(0, "No other"), *ids])
        if not self._track.value:  # it was joined to the other, or Undo took it away
            self._track.choose(self._other.value)
            self._other.choose(0)

    def _take_picked(self) -> None:
        row = self._model.picked
        if row is None or not isinstance(row.preview, FramePlace):
            return
        if row.record.id != self._track.value:
            self._other.choose(self._track.value)
            self._track.choose(row.record.id)


def _describe(division: Division) -> str:
    """Return the text of a proposed division."""
    if division.daughters == (division.mother,) * 2:
        return f"Frame {division.frame}: {division.mother} falls in two"
    first, second = division.daughters
    return f"Frame {division.frame}: {division.mother} to {first} and {second}"


_TRACKS = {
    "CSV, one row for each frame and object (*.csv)": ".csv",
    "Cell Tracking Challenge, a folder (*.ctc)": ".ctc",
    "GEFF, a graph in a folder (*.geff)": ".geff",
}


class TracksField(QWidget):
    """The Tracks layer, the export of tracks, and their correction; for 3D/video only."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self._model, self._tracks, self._saving = session.model, session.tracks, session.saving
        model = self._model
        box = check_box(
            model,
            "tracks_layer",
            "Tracks layer",
            "Show the way of each object through its centroids, for time series. It is brought up "
            "to date at the end of each propagation. Accepted objects have a layer of their own.",
        )
        export = push_button(
            model,
            "Export Tracks",
            "export_tracks",
            self._choose_file,
            "Write a CSV file with one row for each frame and object (area and centroid in "
            "pixels and in the units of the image, score), a folder of the Cell Tracking "
            "Challenge, or a GEFF graph",
        )
        row = QHBoxLayout()
        row.addWidget(box)
        row.addWidget(export, 1)
        fold = Fold("Correct Tracks", TrackCorrectionsField(session))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(fold)
        follow(self, lambda: model.task is Task.VIDEO, self.setVisible, model)
        # There is no room to spare for what can't be used yet.
        follow(fold, lambda: model.propagated is not None, fold.setVisible, model)
        bind_enabled(model, "export_tracks", export)

    def _choose_file(self) -> None:
        start = self._saving.propose_path("tracks", ".csv")
        title = "Export the tracks"
        path, kind = ask_where(self, self._model, title, start, list(_TRACKS))
        if path is not None:
            ending = _TRACKS.get(kind, start.suffix)
            # The dialog may keep the ending that was proposed when another kind is chosen.
            kept = path == start and ending != start.suffix
            self._tracks.export(path.with_suffix("") if kept else path, ending)
