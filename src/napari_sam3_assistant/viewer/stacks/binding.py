"""What a viewer's binding does for the task 3D/video."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant.core.tasks import Task, Tool, prompt_kind
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.session.stacks.values import FramePlace
from napari_sam3_assistant.viewer.roles import Role, key_of, role_of, slot_of
from napari_sam3_assistant.viewer.stacks import point_objects

if TYPE_CHECKING:
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
        model.events.object_id.connect(self.arm_points, max_args=0)
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
        """Choose a number for the next click that no object has."""
        model = self._model
        clicked = self._scene.stacks.clicked_objects(model.image)
        model.object_id = max([0, *model.tracked, *clicked]) + 1

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
