"""3D/video in the viewer: stacks and prompts on them, labels that fill in, and tracks."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Labels, Tracks

from napari_sam3_assistant.core.axes import axis_kind
from napari_sam3_assistant.core.display import FrameSource
from napari_sam3_assistant.core.masks.edits import LabelEdit, changes_between
from napari_sam3_assistant.core.masks.labels import (
    FilteredLabels,
    box_shape,
    check_fits,
    is_writable,
    unfiltered,
    union_box,
)
from napari_sam3_assistant.core.masks.merge import LabelMask
from napari_sam3_assistant.core.objects_by_slice import Known
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.tracks import TrackScale
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.session.label_storage import IN_MEMORY, delete_with, empty_labels
from napari_sam3_assistant.session.snapshots import StackCopy, StackPixels, StackSnapshot
from napari_sam3_assistant.session.values import StackTarget
from napari_sam3_assistant.viewer import prompt_layers
from napari_sam3_assistant.viewer.accepted import AcceptedResult
from napari_sam3_assistant.viewer.geometry import (
    World,
    file_axes,
    layer_transform,
    pixel_size,
    plane_of,
    result_axes,
    result_shape,
    transform_of,
)
from napari_sam3_assistant.viewer.images import axis_name, own_axis_name, shape_of
from napari_sam3_assistant.viewer.label_pixels import default_colours, redraw, refresh
from napari_sam3_assistant.viewer.prompt_reading import find_pixels, read_prompts
from napari_sam3_assistant.viewer.roles import (
    ENGINE,
    NAMES,
    PARENTS,
    Role,
    add_below_prompts,
    key_of,
    role_metadata,
    role_of,
    slot_of,
    topmost,
    with_role,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    import numpy.typing as npt
    from napari.components import ViewerModel
    from napari.layers import Image, Layer, Points

    from napari_sam3_assistant.core.axes import ImageAxes
    from napari_sam3_assistant.core.images import PlaneRef
    from napari_sam3_assistant.core.masks.labels import Box, PlaneOfLabels
    from napari_sam3_assistant.core.prompts import PromptKind
    from napari_sam3_assistant.core.tracks import FrameResult, TrackTable
    from napari_sam3_assistant.session.values import PlaneTarget
    from napari_sam3_assistant.viewer.prompts import ViewerPrompts


AXIS = "sam3_frame_axis"
POSITION = "sam3_position"
Part = tuple[slice, slice]
_ALL = (slice(None), slice(None))


def make_propagated(
    viewer: ViewerModel, image: Image, stack: StackTarget, result: FrameResult, in_memory: int
) -> Labels:
    """Add empty labels with the image's axes, the channel left out, and its place in the world."""
    axes = stack.target.axes
    layer = _labels(
        result_shape(shape_of(image), axes),
        Role.PROPAGATED,
        {
            **role_metadata(Role.PROPAGATED, key_of(image)),
            ENGINE: asdict(result.engine),
            "source_image_layer": image.name,
            AXIS: stack.axis,
            POSITION: list(stack.target.plane.leading),
        },
        layer_transform(image, axes, World.of(viewer)),
        in_memory,
    )
    add_below_prompts(viewer, layer)
    return layer


def _labels(
    shape: tuple[int, ...],
    role: Role,
    metadata: dict[str, Any],
    transform: dict[str, Any],
    in_memory: int,
) -> Labels:
    data = empty_labels(shape, in_memory)
    layer = Labels(
        data, name=NAMES[role], metadata=metadata, colormap=default_colours(), **transform
    )
    delete_with(layer, data)
    return layer


class FrameWindow:
    """Where the frames of a propagation lie in its labels.

    ``plane``: the plane that it began on: the other leading axes stay there.
    ``axis``: number of the array's axis that the frames lie along.
    """

    def __init__(self, axes: ImageAxes, plane: PlaneRef, axis: int) -> None:
        kept = result_axes(axes)
        self._fixed = {
            kept.index(number): index
            for number, index in zip(axes.leading, plane.leading, strict=True)
        }
        if axes.channel in kept:
            self._fixed[kept.index(axes.channel)] = 0
        self.axis = kept.index(axis)
        self.y, self.x = kept.index(axes.y), kept.index(axes.x)
        self._ndim = len(kept)

    def key(self, frame: int, part: Part = _ALL) -> tuple[int | slice, ...]:
        """Return the index of a frame, or of some rows and columns of it."""
        at: dict[int, int | slice] = {**self._fixed, self.axis: frame}
        at |= {self.y: part[0], self.x: part[1]}
        return tuple(at[place] for place in range(self._ndim))

    def box(self, frame: int, part: Part) -> list[slice]:
        """Return rows and columns of a frame as one slice with start and stop for each axis."""
        return [
            index if isinstance(index, slice) else slice(index, index + 1)
            for index in self.key(frame, part)
        ]

    def frames_in(self, box: Sequence[slice]) -> range:
        """Return the frames of which a box, a slice for each axis of the labels, has pixels."""
        frames = box[self.axis]
        others = [(box[axis], at) for axis, at in self._fixed.items() if axis != self.axis]
        beside = any(not side.start <= at < side.stop for side, at in others)
        return range(0) if beside else range(frames.start, frames.stop)

    def upright(self, part: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return a part of a frame with rows first, or such a part as the layer holds it."""
        return part if self.y < self.x else part.T

    def stack_of(self, labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the frames as a view, shape (F, H, W)."""
        at: dict[int, int | slice] = {**self._fixed, self.axis: slice(None)}
        key = tuple(at.get(place, slice(None)) for place in range(self._ndim))
        order = [place for place in range(self._ndim) if isinstance(key[place], slice)]
        return np.moveaxis(
            labels[key], [order.index(axis) for axis in (self.axis, self.y, self.x)], [0, 1, 2]
        )


def write_frame(layer: Labels, window: FrameWindow, result: FrameResult, *, is_new: bool) -> None:
    """Write what changes of a frame, and draw it if it is on show.

    ``window``: where the frame lies.
    ``result``: the frame. Objects that were not looked for are kept.
    ``is_new``: whether nothing was written to the frame before, by whom ever.
    """
    if is_new:
        _write_new(layer, window, result)
        return
    before = window.upright(np.asarray(unfiltered(layer.data)[window.key(result.frame)]))
    changed = result.over(before)
    part = Region.around(changed != before)
    if not part.is_empty:
        write_part(layer, window, result.frame, part.slices, changed[part.slices])


def _write_new(layer: Labels, window: FrameWindow, result: FrameResult) -> None:
    """Write a frame that is empty."""
    if not result.objects:
        return
    boxes = np.array([record.region.box for record in result.objects])
    (top, left), (bottom, right) = boxes[:, :2].min(0), boxes[:, 2:].max(0)
    # All at once: object by object the system maps the memory many times more slowly.
    part = (slice(top, bottom), slice(left, right))
    write_part(layer, window, result.frame, part, result.labels[part])


def write_part(
    layer: Labels,
    window: FrameWindow,
    frame: int,
    part: Part,
    pixels: npt.NDArray[np.generic],
) -> None:
    """Write a part of a frame, rows first, and draw it if it is on show."""
    unfiltered(layer.data)[window.key(frame, part)] = window.upright(pixels)
    redraw(layer, window.box(frame, part))


def erase_object(
    layer: Labels, window: FrameWindow, frame: int, region: Region, object_id: int
) -> None:
    """Take an object out of a frame, given its bounding box."""
    before = window.upright(np.asarray(unfiltered(layer.data)[window.key(frame, region.slices)]))
    write_part(layer, window, frame, region.slices, np.where(before == object_id, 0, before))


def empty_copy(source: Labels, in_memory: int) -> Labels:
    """Return an empty layer like the propagated labels, to be a saved one."""
    return _labels(
        source.data.shape,
        Role.SAVED_PROPAGATED,
        _saved_metadata(source),
        transform_of(source),
        in_memory,
    )


def make_saved(layer: Labels) -> None:
    """Make propagated labels saved ones, which no later session touches."""
    layer.metadata = _saved_metadata(layer)
    layer.name = NAMES[Role.SAVED_PROPAGATED]


def _saved_metadata(layer: Labels) -> dict[str, Any]:
    return {**layer.metadata, **role_metadata(Role.SAVED_PROPAGATED, *slot_of(layer))}


def missing_error() -> ImageError:
    """Return the error where the propagated labels are missing."""
    return ImageError("The propagated labels are gone.", "Press Start 3D Propagation again.")


# What the propagated labels belong to: who closes the dock and opens it again finds them.
_TARGETS: WeakKeyDictionary[Labels, StackTarget] = WeakKeyDictionary()


class StacksAdapter:
    """The stacks of a viewer, prompts on all of their slices, and labels that fill up.

    Attributes
    ----------
    in_memory : int, bytes
        Labels up to this size are in memory, larger ones on the disk.
    """

    def __init__(self, adapter: ViewerPrompts) -> None:
        self.in_memory = IN_MEMORY
        self._adapter = adapter
        self._viewer = adapter.viewer
        # The frames that may hold something: of a run, or of the user's hand.
        self._written: set[int] = set()

    def take_snapshot(self, image: str, kind: PromptKind, axis: int) -> StackSnapshot:
        """Freeze a stack and the prompts of one kind on all of its slices."""
        displayed = self._adapter.displayed(image)
        name = axis_name(displayed.layer, displayed.axes, axis)
        frames = FrameSource(self._adapter.view_of(image, displayed), axis, name)
        layers = self._adapter.layers_of(key_of(displayed.layer), kind, every_slice=True)
        found = read_prompts(layers, displayed, kind, axis).frames
        frame = displayed.plane.leading[displayed.axes.leading.index(axis)]
        return StackSnapshot(
            StackTarget(displayed.target, axis),
            frame,
            frames,
            found,
            self._adapter.paths(),
            pixel_size(displayed.layer, displayed.axes.y, displayed.axes.x),
        )

    def arm_points(self, image: str, object_id: int) -> None:
        """Let the next click of an image be on an object, and number the clicks."""
        layer = self._own_points(image)
        if layer is not None:
            with self._adapter.mark_changes():
                prompt_layers.ensure_ids(layer, object_id)
                prompt_layers.show_numbers(layer, shown=True)

    def clicked_objects(self, image: str) -> set[int]:
        """Return the objects that clicks of an image are on."""
        layer = self._adapter.points_layer(image)
        return {id_ for id_ in prompt_layers.read_ids(layer) if id_} if layer is not None else set()

    def hide_numbers(self, image: str) -> None:
        """Do not write beside each click which object it is on."""
        layer = self._own_points(image)
        if layer is not None:
            prompt_layers.show_numbers(layer, shown=False)

    def _own_points(self, image: str) -> Points | None:
        """Return an image's points layer, if it is not one of the user's: these are only read."""
        layer = self._adapter.points_layer(image)
        return layer if layer is not None and role_of(layer) is Role.POINTS else None

    # -- results ------------------------------------------------------------------------------

    def find_earlier(self) -> StackTarget | None:
        """Return what the labels belong to that an earlier session has left on show, or None."""
        for layer in reversed(list(with_role(self._viewer.layers, Role.PROPAGATED))):
            stack = _TARGETS.get(layer)
            if stack is not None and self._adapter.is_current(stack.target):
                self._written = set(range(stack.target.shape[stack.axis]))
                return stack
        return None

    def restore(self, layer: Layer, stack: StackTarget) -> bool:
        """Take a layer for the propagated labels of a stack; returns whether it fits it."""
        shape = result_shape(stack.target.shape, stack.target.axes)
        if layer.data.shape != shape or not self._adapter.is_current(stack.target):
            return False
        _TARGETS[layer] = stack
        self._written = set(range(stack.target.shape[stack.axis]))
        return True

    def note_parents(self, stack: StackTarget, parents: Mapping[int, int]) -> None:
        """Keep in the propagated labels which object came of which one's division."""
        layer = self._layer(stack)
        if layer is not None:
            layer.metadata[PARENTS] = dict(parents)

    def parents(self, stack: StackTarget) -> dict[int, int]:
        """Return what :meth:`note_parents` has kept."""
        layer = self._layer(stack)
        return {} if layer is None else dict(layer.metadata.get(PARENTS, {}))

    def show(self, stack: StackTarget, result: FrameResult) -> None:
        """Write a frame into the propagated labels, which the first frame makes."""
        image, layer = self._adapter.image_of(stack.target), self._layer(stack)
        with self._adapter.mark_changes():
            if layer is None:
                if self._written:
                    raise missing_error()
                layer = make_propagated(self._viewer, image, stack, result, self.in_memory)
                _TARGETS[layer] = stack
            if not is_writable(unfiltered(layer.data)):
                raise ImageError(
                    f"“{layer.name}” was given labels that can only be read.",
                    "Press Start 3D Propagation again.",
                )
            fresh = result.frame not in self._written
            self._written.add(result.frame)
            write_frame(layer, self._window(stack), result, is_new=fresh)

    def note_edited(self, frames: Iterable[int]) -> None:
        """Record that the user has painted on frames, also on such as no run has reached yet."""
        self._written.update(frames)

    def plane(self, stack: StackTarget, frame: int) -> npt.NDArray[np.uint32]:
        """Return a copy of the labels of a frame, shape (H, W)."""
        layer = self._require_layer(stack)
        window = self._window(stack)
        return np.array(window.upright(np.asarray(layer.data[window.key(frame)])), np.uint32)

    def relabel(
        self,
        stack: StackTarget,
        old: int,
        boxes: Mapping[int, Region],
        rename: Callable[[npt.NDArray[np.bool_], Region], npt.NDArray[np.integer[Any]]],
    ) -> LabelEdit:
        """Return the edit that gives an object other numbers on some frames.

        ``boxes``: its bounding box on each frame, in the order of the frames.
        ``rename``: returns the numbers of the pixels of a frame, shape (h, w), given those of the
        object in its box; called frame by frame.
        """
        layer, window = self._require_layer(stack), self._window(stack)
        labels = unfiltered(layer.data)
        parts = []
        for frame, region in boxes.items():
            key = window.key(frame, region.slices)
            box = tuple(window.box(frame, region.slices))
            here = window.upright(np.asarray(labels[key])) == old
            named = rename(here, region)
            check_fits(int(named.max(initial=0)), labels.dtype)
            before, after = (
                window.upright(part.astype(labels.dtype)).reshape(box_shape(box))
                for part in (here * old, named * here)
            )
            parts.append((box, before, after))
        changes = changes_between(parts, labels.shape)
        return LabelEdit.pack("correct tracks", labels.shape, changes, labels.dtype)

    def frame_on_show(self, stack: StackTarget) -> int:
        """Return the frame that is on show.

        Raises ImageError if the image is gone, or on show at another position of the other sliders.
        """
        displayed = self._adapter.displayed(stack.target.image)
        frame = displayed.plane.leading[displayed.axes.leading.index(stack.axis)]
        if StackTarget(displayed.target, stack.axis).at(frame) != stack.at(frame):
            raise ImageError(
                "Another position of the sliders is on show than that of the propagation.",
                "Go back there.",
            )
        return frame

    def plane_labels(self, target: PlaneTarget) -> PlaneOfLabels:
        """Return one frame of the propagated labels; pixels are read when they are asked for.

        Raises ImageError if they are gone.
        """
        layer = self._require_layer(StackTarget(target, target.axes.leading[0]))
        return plane_of(layer.data, target)

    def objects_under(
        self, stack: StackTarget, points: Points, chosen: Sequence[int]
    ) -> list[int | None]:
        """Return the objects under points, as the propagated labels show them.

        ``chosen``: which of its points.
        Returns 0 for the background, None where the point is not on the stack.
        """
        layer, displayed = self._layer(stack), self._adapter.displayed(stack.target.image)
        if layer is None or StackTarget(displayed.target, stack.axis).at(0) != stack.at(0):
            return [None] * len(chosen)
        window = self._window(stack)

        def under(frame: int, y: int, x: int) -> int:
            key = window.key(frame, (slice(y, y + 1), slice(x, x + 1)))
            return int(np.asarray(layer.data[key]).item())

        found = find_pixels(points, chosen, displayed, stack.axis)
        return [None if place is None else under(*place) for place in found]

    def to_accept(self, stack: StackTarget, table: TrackTable) -> AcceptedResult:
        """Return the objects of the propagated labels that are on show.

        Raises ImageError if the labels are gone.
        """
        layer, window = self._require_layer(stack), self._window(stack)
        boxes: dict[int, list[Box]] = {}
        known: dict[int, Known] = {}
        stable: dict[int, list[float]] = {}
        scores = {id_: score for id_, (_, score) in table.totals().items()}
        parents = table.links()
        for row in table.rows():
            box = tuple(window.box(row.frame, row.region.slices))
            boxes.setdefault(row.object_id, []).append(box)
            score, parent = scores[row.object_id], parents.get(row.object_id, 0)
            if row.stability is not None:
                stable.setdefault(row.object_id, []).append(row.stability)
            known[row.object_id] = Known(score, row.text, row.class_name, parent)
        for id_, values in stable.items():
            # As with scores: the mean of its frames.
            known[id_] = known[id_]._replace(stability=sum(values) / len(values))
        whole_boxes = {id_: union_box(parts) for id_, parts in sorted(boxes.items())}
        objects = [(box, LabelMask(layer.data, box, id_), id_) for id_, box in whole_boxes.items()]
        made_by = layer.metadata.get(ENGINE, {}).get("title", "")
        return AcceptedResult(stack.target, objects, known, "3D/video", made_by)

    def reader(self, stack: StackTarget) -> Callable[[int], npt.NDArray[np.uint32]]:
        """Return what reads the labels of a frame, shape (H, W), hidden objects included."""
        data, window = unfiltered(self._require_layer(stack).data), self._window(stack)
        return lambda frame: window.upright(np.asarray(data[window.key(frame)]))

    def hide(self, stack: StackTarget, hidden: Collection[int]) -> None:
        """Show the propagated labels without some objects; nothing is written, or read as a whole.

        They can't be painted on meanwhile.
        """
        layer = self._layer(stack)
        if layer is None:
            return
        with self._adapter.mark_changes():
            if isinstance(layer.data, FilteredLabels) and hidden:
                layer.data.hide(hidden)
                refresh(layer)
            elif hidden or isinstance(layer.data, FilteredLabels):
                stored = unfiltered(layer.data)
                layer.data = FilteredLabels(stored, hidden) if hidden else stored
                layer.editable = not hidden

    def erase(self, stack: StackTarget, object_id: int, regions: Mapping[int, Region]) -> None:
        """Take an object out of the labels, given its bounding box on each frame."""
        layer = self._layer(stack)
        if layer is None:
            return
        window = self._window(stack)
        for frame, region in regions.items():
            erase_object(layer, window, frame, region, object_id)

    def remove(self) -> None:
        """Remove the propagated labels."""
        self._written.clear()
        with self._adapter.mark_changes():
            for layer in list(with_role(self._viewer.layers, Role.PROPAGATED)):
                self._viewer.layers.remove(layer)

    def frames_in(self, stack: StackTarget, layer: Labels, box: Sequence[slice]) -> range:
        """Return the frames that lie in a box of a layer; none if it is not the propagated labels.

        ``box``: a slice with start and stop for each of its axes.
        """
        there = layer is self._layer(stack)
        return self._window(stack).frames_in(box) if there else range(0)

    def finish(self) -> None:
        """Draw what was put off while frames came in: the volume in 3-D, and the thumbnail."""
        with self._adapter.mark_changes():
            for layer in with_role(self._viewer.layers, Role.PROPAGATED):
                refresh(layer)

    def pixels(self, stack: StackTarget) -> StackPixels:
        """Return the propagated labels as they are on show."""
        layer = self._require_layer(stack)
        window = self._window(stack)
        rows, columns, frames = window.y, window.x, window.axis
        shape, data = layer.data.shape, layer.data

        def read(frame: int) -> npt.NDArray[np.uint32]:
            return window.upright(np.asarray(data[window.key(frame)]))

        image, axes = self._adapter.find(stack.target.image), stack.target.axes
        units = image and [image.units[axis] for axis in (stack.axis, axes.y, axes.x)]
        named = (
            axis_name(image, axes, stack.axis)
            if image is not None
            else own_axis_name(layer, frames)
        )
        names = ("t" if axis_kind(named) == "t" else "z", "y", "x")
        placed = file_axes(layer, (frames, rows, columns), names, units)
        return StackPixels(
            (shape[frames], shape[rows], shape[columns]),
            read,
            window.stack_of(data) if isinstance(data, np.ndarray) else None,
            placed,
        )

    def copy(self, stack: StackTarget) -> StackCopy:
        """Begin to copy the propagated labels into a saved layer."""
        source = self._require_layer(stack)
        window = self._window(stack)
        kept = empty_copy(source, self.in_memory)

        def copy(frame: int) -> None:
            key = window.key(frame)
            kept.data[key] = source.data[key]

        def add() -> str:
            with self._adapter.mark_changes():
                add_below_prompts(self._viewer, kept)
            return str(kept.name)

        return StackCopy(tuple(sorted(self._written)), copy, add)

    def hand_over(self, stack: StackTarget) -> str:
        """Make the propagated labels themselves a saved layer; returns its name."""
        layer = self._require_layer(stack)
        self._written.clear()
        with self._adapter.mark_changes():
            make_saved(layer)
        return str(layer.name)

    def _layer(self, stack: StackTarget) -> Labels | None:
        target = stack.target
        layer = topmost(self._viewer.layers, Role.PROPAGATED, target.image)
        shape = result_shape(target.shape, target.axes)
        # One that the user gave other pixels is as good as gone.
        return layer if layer is not None and layer.data.shape == shape else None

    def _require_layer(self, stack: StackTarget) -> Labels:
        layer = self._layer(stack)
        if layer is None:
            raise missing_error()
        return layer

    @staticmethod
    def _window(stack: StackTarget) -> FrameWindow:
        return FrameWindow(stack.target.axes, stack.target.plane, stack.axis)


_MOST_AXES = 4
"""A Tracks layer holds no more: time, z, y, x."""
_LONGEST_TAIL = 300
"""What napari's own slider goes up to."""


class TracksAdapter:
    """The Tracks layers of a viewer: of what is propagated, and of accepted objects."""

    def __init__(self, adapter: ViewerPrompts) -> None:
        self._adapter = adapter
        self._viewer = adapter.viewer

    def show(self, stack: StackTarget, table: TrackTable) -> None:
        """Show the tracks of a propagation; there is no layer where nothing is on two frames."""
        image = self._adapter.image_of(stack.target)
        axes = stack.target.axes
        if len(result_axes(axes)) > _MOST_AXES:
            raise ImageError(
                f"A Tracks layer has up to {_MOST_AXES} axes, “{image.name}” has more.",
                "Export the tracks as CSV, or propagate through a part of the image.",
            )
        found = table.tracks(stack.target.plane.leading, axes.leading.index(stack.axis), least=2)
        self._show(Role.TRACKS, stack, found, table.links())

    def show_accepted(
        self, stack: StackTarget, tracks: npt.NDArray[np.float64], parents: Mapping[int, int]
    ) -> None:
        """Show the tracks of accepted objects, shape (N, 3 + leading axes): see ``join_slices``.

        An image with more axes than a Tracks layer can have gets none.
        """
        if len(result_axes(stack.target.axes)) <= _MOST_AXES:
            self._show(Role.ACCEPTED_TRACKS, stack, tracks, parents)

    def remove(self, *, accepted: bool = False) -> None:
        """Remove the layer of a propagation, or that of accepted objects."""
        with self._adapter.mark_changes():
            self._remove(Role.ACCEPTED_TRACKS if accepted else Role.TRACKS)

    def scale(self, stack: StackTarget) -> TrackScale:
        """Return the size of a pixel of the image."""
        image, axes = self._adapter.image(stack.target.image), stack.target.axes
        (frames,) = file_axes(image, (stack.axis,), ("t",))
        pixel = pixel_size(image, axes.y, axes.x)
        return TrackScale(
            abs(frames.scale), pixel.height, pixel.width, frames.unit, pixel.unit, pixel.sine
        )

    def _show(
        self,
        role: Role,
        stack: StackTarget,
        tracks: npt.NDArray[np.float64],
        parents: Mapping[int, int],
    ) -> None:
        image = self._adapter.image_of(stack.target)
        data = _place(tracks, stack.target.axes)
        there = set(data[:, 0].astype(int).tolist())
        graph = {child: [parent] for child, parent in parents.items() if {child, parent} <= there}
        layer = topmost(self._viewer.layers, role, key_of(image))
        with self._adapter.mark_changes():
            if len(data) == 0:
                self._remove(role)
            elif isinstance(layer, Tracks) and layer.ndim == data.shape[1] - 1:
                layer.data = data  # which empties the graph
                layer.graph = graph
            else:
                self._remove(role)
                self._add(role, image, stack, data, graph)

    def _remove(self, role: Role) -> None:
        for layer in list(with_role(self._viewer.layers, role)):
            self._viewer.layers.remove(layer)

    def _add(
        self,
        role: Role,
        image: Image,
        stack: StackTarget,
        data: npt.NDArray[np.float64],
        graph: dict[int, list[int]],
    ) -> None:
        axes = stack.target.axes
        # napari fades tracks along their first axis alone. Where the frames lie along another one,
        # it has no tail: tracks are drawn at their own time, and at no later one.
        fades = result_axes(axes)[0] == stack.axis
        layer = Tracks(
            data,
            graph=graph,
            name=NAMES[role],
            metadata=role_metadata(role, key_of(image)),
            tail_length=_LONGEST_TAIL if fades else 1,
            **layer_transform(image, axes, World.of(self._viewer)),
        )
        add_below_prompts(self._viewer, layer)


def _place(tracks: npt.NDArray[np.float64], axes: ImageAxes) -> npt.NDArray[np.float64]:
    """Return tracks with the axes of the image's labels, shape (N, 1 + D); 0 on the channel's.

    Their columns are the object's id, the leading axes, y and x.
    """
    kept = result_axes(axes)
    order = [kept.index(axis) for axis in (*axes.leading, axes.y, axes.x)]
    placed = np.zeros((len(tracks), 1 + len(kept)))
    placed[:, 0] = tracks[:, 0]
    placed[:, [1 + place for place in order]] = tracks[:, 1:]
    return placed
