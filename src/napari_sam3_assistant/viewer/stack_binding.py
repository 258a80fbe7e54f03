"""What the user does to a stack: its axis, clicks on objects, strokes on propagated labels."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from napari_sam3_assistant.core.axes import axis_kind
from napari_sam3_assistant.core.masks.labels import whole_box
from napari_sam3_assistant.core.prompts import Task, Tool, free_id
from napari_sam3_assistant.core.results import ObjectRecord
from napari_sam3_assistant.errors import ImageError, PromptError
from napari_sam3_assistant.session.values import FramePlace, KeptPlace, Message, StackSeed
from napari_sam3_assistant.viewer import prompt_layers
from napari_sam3_assistant.viewer.images import view_state
from napari_sam3_assistant.viewer.picking import pick_once
from napari_sam3_assistant.viewer.roles import Role, in_slot, key_of, role_of, slot_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari.layers import Labels, Layer, Points

    from napari_sam3_assistant.core.masks.labels import Box
    from napari_sam3_assistant.core.regions import Region
    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.session.session import Session
    from napari_sam3_assistant.session.values import ResultRow
    from napari_sam3_assistant.viewer.adapter import ViewerAdapter


_NOTHING_HERE = ("No object lies on this slice.", "Go to a slice with one.")


class StackBinding:
    """Keeps the axes, the objects of clicks, and the propagated labels in step with the model."""

    def __init__(self, model: SessionModel, adapter: ViewerAdapter, session: Session) -> None:
        self._model = model
        self._adapter = adapter
        self._session = session
        self._wants_new = False
        # Of labels on which frames the user has painted, and in which view they were drawn last.
        self._painted: WeakKeyDictionary[Labels, set[int]] = WeakKeyDictionary()
        self._views: WeakKeyDictionary[Labels, tuple[object, ...]] = WeakKeyDictionary()
        model.events.object_id.connect(self._on_object_id, max_args=0)
        model.events.task.connect(self.arm_points, max_args=0)
        model.events.tool.connect(self.arm_points, max_args=0)
        model.events.image.connect(self._on_image, max_args=0)
        model.events.frame_axis.connect(self._on_axis, max_args=0)
        model.events.frames_are_times.connect(self._name_frames, max_args=0)

    def list_axes(self) -> None:
        """Record the axes that the chosen image can be gone through along."""
        model = self._model
        axes = self._adapter.frame_axes(model.image)
        model.frame_axes = axes
        numbers = [axis.number for axis in axes]
        if model.frame_axis not in numbers:
            # The slices of a volume, rather than its times, whichever come first.
            slices = [axis.number for axis in axes if axis_kind(axis.name) != "t"]
            model.frame_axis = (slices or numbers or [-1])[-1]
        length = next((axis.length for axis in axes if axis.number == model.frame_axis), 0)
        for name in ("first_frame", "last_frame"):
            chosen = getattr(model, name)
            if chosen is not None and chosen >= length:
                setattr(model, name, None)
        self._show_times()

    def _is_movie(self) -> bool:
        model = self._model
        named = (axis.name for axis in model.frame_axes if axis.number == model.frame_axis)
        return axis_kind(next(named, "")) == "t"

    def _show_times(self) -> None:
        self._model.frames_are_times = self._is_movie()

    def _name_frames(self) -> None:
        """Name the axis of the frames as the user has chosen."""
        model = self._model
        if model.frame_axis >= 0 and model.frames_are_times != self._is_movie():
            name, other = ("t", "z") if model.frames_are_times else ("z", "t")
            for axis in model.frame_axes:
                if axis.number == model.frame_axis:
                    self._adapter.name_frames(model.image, axis.number, name)
                elif axis_kind(axis.name) == name:  # there is one of each
                    self._adapter.name_frames(model.image, axis.number, other)
            model.images = self._adapter.choices()  # they say where the sliders are
            self.list_axes()

    def _on_axis(self) -> None:
        # They count the frames of the axis of before.
        self._model.first_frame = self._model.last_frame = None
        self._show_times()

    def _on_image(self) -> None:
        self._model.first_frame = self._model.last_frame = None
        self.list_axes()

    def arm_points(self) -> None:
        """Let the next click be on the chosen object, and number the clicks."""
        if self._model.task is not Task.VIDEO:
            self._adapter.stacks.hide_numbers(self._model.image)
        elif self._model.tool is Tool.POINTS:
            self._adapter.stacks.arm_points(self._model.image, self._model.object_id)

    def choose_seed(self, chosen: Callable[[StackSeed], None]) -> None:
        """Call ``chosen`` with an object of the plane on show, of a preview or an accepted one.

        That is the picked one, or the only one, or the next one that is clicked.

        Raises Sam3AssistantError if there is none.
        """
        model, viewer = self._model, self._adapter.viewer
        if model.why_not.follow:
            raise PromptError(model.why_not.follow)
        picked = model.picked
        if picked is not None and isinstance(picked.record, ObjectRecord):
            self._adapter.reveal(picked)
            preview = model.find_preview(picked.preview.slot)
            chosen(StackSeed(picked.preview.target, picked.record, preview))
            return
        if picked is not None and isinstance(picked.preview, KeptPlace):
            self._adapter.reveal(picked)
            place = self._adapter.part_on_show(picked).preview
            assert isinstance(place, KeptPlace)
            record = self._session.correcting.read_accepted(place, picked.record.id)
            chosen(StackSeed(place.target, record))
            return
        found = self._objects_on_show()
        if not found:
            raise PromptError(*_NOTHING_HERE)
        if len(found) == 1:
            (make,) = found.values()
            chosen(make())
            return
        layers = list(dict.fromkeys(layer for layer, _ in found))
        viewer.layers.selection.active = layers[0]
        pick_once(layers, partial(self._on_picked, chosen))
        model.message = Message("Click on the object to follow through the stack.")

    def _on_picked(self, chosen: Callable[[StackSeed], None], layer: Labels, number: int) -> None:
        # On the slice that is on show by now.
        make = self._objects_on_show().get((layer, number))
        if make is not None:
            chosen(make())

    def _objects_on_show(self) -> dict[tuple[Labels, int], Callable[[], StackSeed]]:
        """Return what makes the found and accepted objects on show seeds, by layer and label."""
        model, viewer = self._model, self._adapter.viewer
        target = self._adapter.displayed(model.image).target
        found: dict[tuple[Labels, int], Callable[[], StackSeed]] = {}
        for preview in model.previews:
            layer = in_slot(viewer.layers, Role.PREVIEW_LABELS, preview.slot)
            if layer is not None and preview.target == target:
                for record in preview.segmentation.objects:
                    found[layer, record.id] = partial(StackSeed, target, record, preview)
        place, accepted = KeptPlace(target), self._adapter.accepted
        kept = accepted.find(place)
        for number, region in accepted.regions(place).items():
            # Of many objects the pixels of the one that is chosen are read.
            found[kept, number] = partial(self._seed_of, place, number, region)
        return found

    def _seed_of(self, place: KeptPlace, number: int, region: Region) -> StackSeed:
        mask = self._adapter.plane_labels(place)[region.slices] == number
        record = ObjectRecord.from_mask(number, mask, offset=(region.y0, region.x0))
        if record is None:
            raise PromptError(*_NOTHING_HERE)
        return StackSeed(place.target, record)

    def new_object(self) -> None:
        """Choose a number for the next click that no object has, wherever it is."""
        model = self._model
        clicked = self._adapter.stacks.clicked_objects(model.image)
        model.object_id = self._free_after(clicked)
        self._wants_new = True

    def _free_after(self, clicked: Iterable[int]) -> int:
        return free_id((*self._model.tracked, *clicked))

    def _on_object_id(self) -> None:
        self._wants_new = False
        self.arm_points()

    def on_points_added(self, layer: Points, indices: Iterable[int]) -> None:
        """Put clicks on the propagated labels on the objects under them, and say so.

        On the background a click is on the chosen object, or, where each positive click is on an
        object of its own, on a new one. After New Object the next positive click is on a new one,
        also where there is another, so one is split; negative ones before it change nothing.

        ``layer``: our points layer.
        ``indices``: which points are new; negative ones count from the end.
        """
        model, stack = self._model, self._model.propagated
        wants_new, self._wants_new = self._wants_new, False
        chosen = [int(index) % len(layer.data) for index in indices if len(layer.data)]
        if model.task is not Task.VIDEO or not chosen or not (stack or model.each_click):
            return
        under: list[int | None] = [0] * len(chosen)
        if stack is not None:
            under = self._adapter.stacks.objects_under(stack, layer, chosen)
        words, ids = prompt_layers.read_polarity(layer), prompt_layers.read_ids(layer)
        others = [id_ for point, id_ in enumerate(ids) if id_ and point not in chosen]
        before = model.object_id
        objects: dict[int, int] = {}
        for point, here in zip(chosen, under, strict=True):
            if here is None:
                continue
            positive = prompt_layers.is_positive(words[point])
            starts = wants_new and positive
            on_new = positive and model.each_click and not starts
            latest = objects[max(objects)] if objects else model.object_id
            fresh = self._free_after([*others, *objects.values()]) if on_new else latest
            objects[point] = here if here and not starts else fresh
            if stack is None:
                continue
            known = objects[point] in model.tracked or not model.can_continue
            message = _explain_object(objects[point], here, known=known)
            hint = " Press Propagate Existing Session to apply it." if model.can_continue else ""
            model.message = Message(f"{message}{hint}")
        if objects:
            with self._adapter.mark_changes():
                prompt_layers.set_ids(layer, objects)
            begun = any(prompt_layers.is_positive(words[point]) for point in objects)
            waits = wants_new and not begun
            model.object_id = before if waits else objects[max(objects)]
            self._wants_new = waits

    def on_next_object(self, layer: Points) -> None:
        """Record the object of the next click."""
        next_id = prompt_layers.next_id(layer)
        if self._wants_new:  # napari takes the object of a negative click for that of the next one
            self.arm_points()
        elif next_id is not None and self._model.task is Task.VIDEO:
            self._model.object_id = next_id

    def on_removed(self, layer: Layer) -> None:
        """Record that a layer has gone."""
        stack = self._model.propagated
        if self._adapter.busy or stack is None:
            return
        if role_of(layer) is Role.PROPAGATED:
            self._session.propagation.note_labels_removed(layer.name)
        elif key_of(layer) == stack.target.image:
            self._session.propagation.note_image_removed(layer.name)

    def on_edited(self, layer: Labels, box: Box) -> None:
        """Record that pixels of the propagated labels were changed by the user."""
        self._session.propagation.note_edited(self._frames_in(layer, box))

    def on_painted(self, layer: Labels, box: Box) -> None:
        """Take note on which frames the user may take back by napari's own undo what is painted."""
        self._painted.setdefault(layer, set()).update(self._frames_in(layer, box))
        self._views[layer] = view_state(self._adapter.viewer, layer)

    def on_drawn(self, layer: Labels) -> None:
        """Record that napari has drawn the labels: its own undo emits nothing else."""
        view = view_state(self._adapter.viewer, layer)
        before, self._views[layer] = self._views.get(layer), view
        if view == before and not self._adapter.busy:
            there = self._frames_in(layer, whole_box(layer.data.shape))
            painted = self._painted.get(layer, ())
            self._session.propagation.note_edited([layer for layer in there if layer in painted])

    def _frames_in(self, layer: Labels, box: Box) -> range:
        stack = self._model.propagated
        return range(0) if stack is None else self._adapter.stacks.frames_in(stack, layer, box)

    def find_row(self, layer: Labels) -> ResultRow | None:
        """Return the row of the selected object on the frame on show, or on its first frame."""
        slot, selected = slot_of(layer), layer.selected_label
        rows = [
            row
            for row in self._model.results
            if row.record.id == selected
            and row.preview.slot == slot
            and isinstance(row.preview, FramePlace)
        ]
        try:
            on_show = self._adapter.displayed(self._model.image).plane.leading
        except ImageError:
            on_show = None
        here = (row for row in rows if row.preview.target.plane.leading == on_show)
        return next(here, rows[0] if rows else None)


def _explain_object(object_id: int, under: int, *, known: bool) -> str:
    """Return the sentence on which object a click is on, given the one under it."""
    if object_id == under:
        return f"This click corrects object {object_id}."
    if under:
        return f"This click starts object {object_id} in the pixels of object {under}."
    if known:
        return (
            f"No object is under this click: it is on object {object_id}, as chosen in Object. "
            "For another object press New Object before the click."
        )
    return f"This click starts object {object_id}."
