"""The viewer's stacks as the session sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from napari_sam3_assistant.core.frames import FrameSource
from napari_sam3_assistant.errors import Sam3AssistantError
from napari_sam3_assistant.session.choices import FrameAxis
from napari_sam3_assistant.session.model import PromptCounts
from napari_sam3_assistant.session.stacks.scene import StackCopy, StackPixels, StackShot
from napari_sam3_assistant.session.stacks.values import StackTarget
from napari_sam3_assistant.viewer.geometry import file_axes, kept_shape
from napari_sam3_assistant.viewer.image_layers import axis_name, shape_of
from napari_sam3_assistant.viewer.placing import add_below_prompts
from napari_sam3_assistant.viewer.prompt_layers import ROLE_OF_KIND
from napari_sam3_assistant.viewer.roles import Role, key_of, role_of, topmost, with_role
from napari_sam3_assistant.viewer.stacks import point_objects, prompts, propagated_layers
from napari_sam3_assistant.viewer.stacks.propagated_layers import FrameWindow

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt
    from napari.layers import Labels, Layer, Points

    from napari_sam3_assistant.core.prompts import PromptKind
    from napari_sam3_assistant.core.regions import Region
    from napari_sam3_assistant.core.tracks import FrameResult
    from napari_sam3_assistant.viewer.prompt_layers import Stage
    from napari_sam3_assistant.viewer.scene import ViewerScene

# What the propagated labels belong to: who closes the dock and opens it again finds them.
_SHOWN: WeakKeyDictionary[Labels, StackTarget] = WeakKeyDictionary()
_TIMES = {"t", "time", "frame", "frames"}


class ViewerStacks:
    """The stacks of a scene; see :class:`napari_sam3_assistant.session.stacks.scene.Stacks`.

    Parameters
    ----------
    scene : ViewerScene
        The viewer as a scene.
    """

    def __init__(self, scene: ViewerScene) -> None:
        self._scene = scene
        self._viewer = scene.viewer
        self._written: set[int] = set()

    # -- what there is ----------------------------------------------------------------------

    def frame_axes(self, image: str) -> tuple[FrameAxis, ...]:
        """Return the axes of an image that objects can be followed along."""
        try:
            layer = self._scene.image(image)
            axes = self._scene.axes(layer)
        except Sam3AssistantError:
            # No image, or no plane of it: a run says why.
            return ()
        shape = shape_of(layer)
        return tuple(
            FrameAxis(axis, axis_name(layer, axis), shape[axis])
            for axis in axes.leading
            if shape[axis] > 1
        )

    def take(self, image: str, kind: PromptKind, axis: int) -> StackShot:
        """Freeze a stack and the prompts of one kind on all of its slices."""
        stage = self._scene.stage(image)
        frames = FrameSource(self._scene.take_view(image), axis)
        found, _ = prompts.collect(self._prompts_of(stage, kind), stage, kind, axis)
        frame = stage.plane.leading[stage.axes.leading.index(axis)]
        return StackShot(StackTarget(stage.target, axis), frame, frames, found, self._scene.paths())

    def count(self, image: str, kind: PromptKind, axis: int) -> PromptCounts:
        """Return how many prompts of one kind lie on all slices of a stack."""
        try:
            stage = self._scene.stage(image)
        except Sam3AssistantError:
            return PromptCounts()
        if axis not in stage.axes.leading:
            return PromptCounts()
        return prompts.count(self._prompts_of(stage, kind), stage, kind, axis)

    def _prompts_of(self, stage: Stage, kind: PromptKind) -> list[Layer]:
        role = ROLE_OF_KIND.get(kind)
        if role is None:
            return []
        image = key_of(stage.layer)
        layer = self._scene.prompt_layer(image, role)
        own = list(with_role(self._viewer.layers, role, image))
        if role is Role.MASK and layer in own:
            # One is made on each slice that is painted.
            return own
        return [] if layer is None else [layer]

    def arm_points(self, image: str, object_id: int) -> None:
        """Let the next click of an image be on an object, and number the clicks."""
        layer = self._own_points(image)
        if layer is not None:
            with self._scene.at_work():
                point_objects.ensure(layer, object_id)
                point_objects.show_numbers(layer, shown=True)

    def clicked_objects(self, image: str) -> set[int]:
        """Return the objects that clicks of an image are on."""
        layer = self._scene.points_layer(image)
        return {one for one in point_objects.ids_of(layer) if one} if layer is not None else set()

    def hide_numbers(self, image: str) -> None:
        """Do not write beside each click which object it is on."""
        layer = self._own_points(image)
        if layer is not None:
            point_objects.show_numbers(layer, shown=False)

    def _own_points(self, image: str) -> Points | None:
        """Return an image's points layer, if it is not one of the user's: these are only read."""
        layer = self._scene.points_layer(image)
        return layer if layer is not None and role_of(layer) is Role.POINTS else None

    # -- results ------------------------------------------------------------------------------

    def left_on_show(self) -> StackTarget | None:
        """Return what the labels belong to that an earlier session has left on show, or None."""
        for layer in reversed(list(with_role(self._viewer.layers, Role.PROPAGATED))):
            stack = _SHOWN.get(layer)
            if stack is not None and self._scene.holds(stack.target):
                self._written = set(range(stack.target.shape[stack.axis]))
                return stack
        return None

    def show(self, stack: StackTarget, result: FrameResult) -> None:
        """Write a frame into the propagated labels, which the first frame makes."""
        image, layer = self._scene.image_of(stack.target), self._layer(stack)
        with self._scene.at_work():
            if layer is None:
                if self._written:
                    raise propagated_layers.gone()
                layer = propagated_layers.make(self._viewer, image, stack, result)
                _SHOWN[layer] = stack
            fresh = result.frame not in self._written
            self._written.add(result.frame)
            propagated_layers.write(layer, self._window(stack), result, fresh=fresh)

    def plane(self, stack: StackTarget, frame: int) -> npt.NDArray[np.uint32]:
        """Return a copy of the labels of a frame, shape (H, W)."""
        layer = self._existing(stack)
        window = self._window(stack)
        return np.array(window.upright(np.asarray(layer.data[window.key(frame)])), np.uint32)

    def objects_under(
        self, stack: StackTarget, points: Points, chosen: Sequence[int]
    ) -> list[int | None]:
        """Return the objects under points, as the propagated labels show them.

        Parameters
        ----------
        stack : StackTarget
            What was propagated.
        points : Points
            The layer.
        chosen : sequence of int
            Which of its points.

        Returns
        -------
        list of int or None
            0 for the background, None where the point is not on the stack.
        """
        layer, stage = self._layer(stack), self._scene.stage(stack.target.image)
        if layer is None or StackTarget(stage.target, stack.axis).at(0) != stack.at(0):
            return [None] * len(chosen)
        window = self._window(stack)

        def under(frame: int, y: int, x: int) -> int:
            key = window.key(frame, (slice(y, y + 1), slice(x, x + 1)))
            return int(np.asarray(layer.data[key]).item())

        found = prompts.pixels_of(points, chosen, stage, stack.axis)
        return [None if place is None else under(*place) for place in found]

    def erase(self, stack: StackTarget, object_id: int, where: Mapping[int, Region]) -> None:
        """Take an object out of the labels, given its bounding box on each frame."""
        layer = self._layer(stack)
        if layer is None:
            return
        window = self._window(stack)
        for frame, region in where.items():
            propagated_layers.erase(layer, window, frame, region, object_id)

    def remove(self) -> None:
        """Remove the propagated labels."""
        self._written.clear()
        with self._scene.at_work():
            for layer in list(with_role(self._viewer.layers, Role.PROPAGATED)):
                self._viewer.layers.remove(layer)

    def finish(self) -> None:
        """Draw what was put off while frames came in: the volume in 3-D, and the thumbnail."""
        for layer in with_role(self._viewer.layers, Role.PROPAGATED):
            layer.refresh(extent=False)

    def pixels(self, stack: StackTarget) -> StackPixels:
        """Return the propagated labels as they are on show."""
        layer = self._existing(stack)
        window = self._window(stack)
        rows, columns, frames = window.y, window.x, window.axis

        def read(frame: int) -> npt.NDArray[np.uint32]:
            return window.upright(np.asarray(layer.data[window.key(frame)]))

        shape, data = layer.data.shape, layer.data
        named = str(layer.axis_labels[frames]).strip().lower()
        image, axes = self._scene.find(stack.target.image), stack.target.axes
        units = image and [image.units[axis] for axis in (stack.axis, axes.y, axes.x)]
        # napari's own names, -3 and so on, say nothing: then what the axis counts in does.
        is_time = named in _TIMES or layer.units[frames].is_compatible_with("second")
        names = ("t" if is_time else "z", "y", "x")
        placed = file_axes(layer, (frames, rows, columns), names, units)
        return StackPixels(
            (shape[frames], shape[rows], shape[columns]),
            read,
            window.stack_of(data) if isinstance(data, np.ndarray) else None,
            placed,
        )

    def copy(self, stack: StackTarget) -> StackCopy:
        """Begin to copy the propagated labels into a saved layer."""
        source = self._existing(stack)
        window = self._window(stack)
        kept = propagated_layers.empty_copy(source)

        def copy(frame: int) -> None:
            key = window.key(frame)
            kept.data[key] = source.data[key]

        def add() -> str:
            with self._scene.at_work():
                add_below_prompts(self._viewer, kept)
            return str(kept.name)

        return StackCopy(tuple(sorted(self._written)), copy, add)

    def hand_over(self, stack: StackTarget) -> str:
        """Make the propagated labels themselves a saved layer; returns its name."""
        layer = self._existing(stack)
        self._written.clear()
        with self._scene.at_work():
            propagated_layers.make_saved(layer)
        return str(layer.name)

    def _layer(self, stack: StackTarget) -> Labels | None:
        target = stack.target
        layer = topmost(self._viewer.layers, Role.PROPAGATED, target.image)
        shape = kept_shape(target.shape, target.axes)
        # One that the user gave other pixels is as good as gone.
        return layer if layer is not None and layer.data.shape == shape else None

    def _existing(self, stack: StackTarget) -> Labels:
        layer = self._layer(stack)
        if layer is None:
            raise propagated_layers.gone()
        return layer

    @staticmethod
    def _window(stack: StackTarget) -> FrameWindow:
        return FrameWindow(stack.target.axes, stack.target.plane, stack.axis)
