"""What a viewer's binding does for the task 3D/video."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant.core.tasks import Task, Tool, prompt_kind
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.session.model import Message
from napari_sam3_assistant.session.stacks.values import FramePlace
from napari_sam3_assistant.viewer.polarity import is_positive, polarity_of
from napari_sam3_assistant.viewer.roles import Role, key_of, role_of, slot_of
from napari_sam3_assistant.viewer.stacks import point_objects

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.layers import Labels, Layer, Points

    from napari_sam3_assistant.session.model import PromptCounts, ResultRow, SessionModel
    from napari_sam3_assistant.session.session import Session
    from napari_sam3_assistant.viewer.scene import ViewerScene


class StackBinding:
    """Keeps the axes, the objects of clicks, and the propagated labels in step with the model.

    Parameters
    ----------
    model : SessionModel
        The state.
    scene : ViewerScene
        The viewer.
    session : Session
        The session.
    """

    def __init__(self, model: SessionModel, scene: ViewerScene, session: Session) -> None:
        self._model = model
        self._scene = scene
        self._session = session
        self._wants_new = False
        model.events.object_id.connect(self._on_object_id, max_args=0)
        model.events.task.connect(self.arm_points, max_args=0)
        model.events.tool.connect(self.arm_points, max_args=0)
        model.events.image.connect(self._on_image, max_args=0)

    def list_axes(self) -> None:
        """Take note of the axes that the chosen image can be gone through along."""
        model = self._model
        axes = self._scene.stacks.frame_axes(model.image)
        model.frame_axes = axes
        numbers = [axis.number for axis in axes]
        if model.frame_axis not in numbers:
            # The slices of a volume, rather than its times.
            model.frame_axis = numbers[-1] if numbers else -1
        length = next((axis.length for axis in axes if axis.number == model.frame_axis), 0)
        for name in ("first_frame", "last_frame"):
            chosen = getattr(model, name)
            if chosen is not None and chosen >= length:
                setattr(model, name, None)

    def _on_image(self) -> None:
        self._model.first_frame = self._model.last_frame = None
        self.list_axes()

    def count(self) -> PromptCounts:
        """Return how many prompts a propagation would take now."""
        model = self._model
        kind = prompt_kind(model.task, model.tool)
        return self._scene.stacks.count(model.image, kind, model.frame_axis)

    def arm_points(self) -> None:
        """Let the next click be on the chosen object, and number the clicks."""
        if self._model.task is not Task.VIDEO:
            self._scene.stacks.hide_numbers(self._model.image)
        elif self._model.tool is Tool.POINTS:
            self._scene.stacks.arm_points(self._model.image, self._model.object_id)

    def new_object(self) -> None:
        """Choose a number for the next click that no object has, wherever it is."""
        model = self._model
        clicked = self._scene.stacks.clicked_objects(model.image)
        model.object_id = max([0, *model.tracked, *clicked]) + 1
        self._wants_new = True

    def _on_object_id(self) -> None:
        self._wants_new = False
        self.arm_points()

    def points_added(self, layer: Points, indices: Iterable[int]) -> None:
        """Put clicks on the propagated labels on the objects under them, and say so.

        On the background a click is on the chosen object. After New Object the next positive
        click is on a new one, also where there is another: so one is split.

        Parameters
        ----------
        layer : Points
            Our points layer.
        indices : iterable of int
            Which points are new; negative ones count from the end.
        """
        model, stack = self._model, self._model.propagated
        wants_new, self._wants_new = self._wants_new, False
        chosen = [int(index) % len(layer.data) for index in indices if len(layer.data)]
        if model.task is not Task.VIDEO or stack is None or not chosen:
            return
        under = self._scene.stacks.objects_under(stack, layer, chosen)
        words = polarity_of(layer)
        objects = {}
        for point, here in zip(chosen, under, strict=True):
            if here is None:
                continue
            starts = wants_new and is_positive(words[point])
            objects[point] = here if here and not starts else model.object_id
            known = objects[point] in model.tracked or not model.can_continue
            said = _said(objects[point], here, known=known)
            hint = " Press Propagate Existing Session to apply it." if model.can_continue else ""
            model.message = Message(f"{said}{hint}")
        if objects:
            with self._scene.at_work():
                point_objects.set_ids(layer, objects)
            model.object_id = objects[max(objects)]

    def follow_points(self, layer: Points) -> None:
        """Take note of the object of the next click."""
        next_id = point_objects.next_id(layer)
        if next_id is not None and self._model.task is Task.VIDEO:
            self._model.object_id = next_id

    def removed(self, layer: Layer) -> None:
        """Take note that a layer has gone."""
        stack = self._model.propagated
        if self._scene.busy or stack is None:
            return
        if role_of(layer) is Role.PROPAGATED:
            self._session.propagation.labels_removed(layer.name)
        elif key_of(layer) == stack.target.image:
            self._session.propagation.image_removed(layer.name)

    def picked(self, layer: Labels) -> ResultRow | None:
        """Return the row of the selected object on the frame on show, or on its first frame."""
        slot, wanted = slot_of(layer), layer.selected_label
        rows = [
            row
            for row in self._model.results
            if row.record.id == wanted
            and row.preview.slot == slot
            and isinstance(row.preview, FramePlace)
        ]
        try:
            on_show = self._scene.stage(self._model.image).plane.leading
        except ImageError:
            on_show = None
        here = (row for row in rows if row.preview.target.plane.leading == on_show)
        return next(here, rows[0] if rows else None)


def _said(object_id: int, under: int, *, known: bool) -> str:
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
