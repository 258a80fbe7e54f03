"""The viewer as the session sees it: what is on show, the prompts on it, and what came out."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Tracks
from psygnal import Signal

from napari_sam3_assistant.core.display import FrameSource
from napari_sam3_assistant.core.prompts import PromptKind, PromptSet, Tool
from napari_sam3_assistant.core.tracks import TrackScale
from napari_sam3_assistant.errors import ImageError, PromptError, Sam3AssistantError
from napari_sam3_assistant.session.model import (
    FileBackedLabels,
    FrameAxis,
    FramePlace,
    LayerChoice,
    PromptCounts,
    StackTarget,
)
from napari_sam3_assistant.session.snapshots import (
    ImageSnapshot,
    StackCopy,
    StackPixels,
    StackSnapshot,
)
from napari_sam3_assistant.viewer import accepted as accepted_layer
from napari_sam3_assistant.viewer import points as point_features
from napari_sam3_assistant.viewer import previews as preview_layers
from napari_sam3_assistant.viewer import prompts as prompt_layers
from napari_sam3_assistant.viewer import propagated
from napari_sam3_assistant.viewer.file_backed_layers import FileBackedLayers
from napari_sam3_assistant.viewer.geometry import (
    World,
    file_axes,
    layer_transform,
    pixel_size,
    result_axes,
    result_shape,
)
from napari_sam3_assistant.viewer.images import (
    DisplayedPlane,
    ViewerImages,
    axis_name,
    image_layers,
    shape_of,
)
from napari_sam3_assistant.viewer.picking import add_columns, raw_plane, show_object
from napari_sam3_assistant.viewer.placing import add_below_prompts, preserve_choices
from napari_sam3_assistant.viewer.previews import hide_rois, hide_soft, show_roi, show_soft
from napari_sam3_assistant.viewer.prompts import ROLE_OF_KIND, read_prompts
from napari_sam3_assistant.viewer.propagated import FrameWindow
from napari_sam3_assistant.viewer.roles import (
    IMAGE,
    NAMES,
    Role,
    in_slot,
    key_of,
    role_metadata,
    role_of,
    topmost,
    with_role,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt
    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Layer, Points

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.images import RawPlane
    from napari_sam3_assistant.core.regions import Region
    from napari_sam3_assistant.core.tracks import FrameResult, TrackTable
    from napari_sam3_assistant.session.model import (
        ActiveRoi,
        PlaneTarget,
        Preview,
        ResultRow,
        SoftImage,
    )
    from napari_sam3_assistant.session.snapshots import Accepted, KeptPixels, Pixels
    from napari_sam3_assistant.viewer.placing import Choices


_ROLE_OF_TOOL = {Tool.POINTS: Role.POINTS, Tool.BOX: Role.BOXES, Tool.MASK: Role.MASK}
# What each layer of preview labels shows, the latest last: it is not written again, and who closes
# the dock and opens it again finds it.
_SHOWN: WeakKeyDictionary[Layer, Preview] = WeakKeyDictionary()
_TOOL_OF_ROLE = {role: tool for tool, role in _ROLE_OF_TOOL.items()}


class ViewerAdapter(ViewerImages):
    """A napari viewer, not its proxy, as the session sees it. GUI thread only.

    Attributes
    ----------
    busy : bool
        Whether the layers are being changed by us and not by the user.
    chosen : dict of Tool to str
        Keys of the layers that prompts are taken from, where it is not the session's own.
    stacks : StacksAdapter
        The same of whole stacks, for 3D/video.
    tracks : TracksAdapter
        The tracks of what was followed through a stack.
    """

    restored = Signal()
    deselected = Signal()

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__(viewer)
        self.busy = False
        self.chosen: dict[Tool, str] = {}
        self.stacks = StacksAdapter(self)
        self.tracks = TracksAdapter(self)
        self._stored = FileBackedLayers(viewer)

    # -- prompts --------------------------------------------------------------------------

    def take_snapshot(self, image: str, kind: PromptKind) -> ImageSnapshot:
        """Freeze the plane on show and the prompts of one kind on it."""
        displayed = self.displayed(image)
        return self._snapshot(image, displayed, kind, key_of(displayed.layer))

    def _snapshot(
        self, image: str, displayed: DisplayedPlane, kind: PromptKind, prompted: str
    ) -> ImageSnapshot:
        """Freeze a plane, and the prompts that lie on it of the image that has them."""
        view = self.view_of(image, displayed)
        prompts = read_prompts(self.layers_of(prompted, kind), displayed, kind).plane
        anchors = PromptSet()
        if kind is PromptKind.TEXT:
            # Points and boxes say where a phrase is to be looked for.
            points, boxes = (
                read_prompts(self.layers_of(prompted, one), displayed, one).plane
                for one in (PromptKind.POINTS, PromptKind.BOXES)
            )
            anchors = PromptSet(points=points.points, boxes=boxes.boxes)
        return ImageSnapshot(displayed.target, view, prompts, self.paths(), anchors)

    def take_snapshots(
        self, image: str, kind: PromptKind, *, every_image: bool
    ) -> tuple[tuple[ImageSnapshot, ...], tuple[str, ...]]:
        """Freeze one image or every image, with the prompts of the chosen one on each."""
        if not every_image:
            return (self.take_snapshot(image, kind),), ()
        prompted = key_of(self.image(image))
        snapshots, failed = [], []
        for one in image_layers(self.viewer):
            key = key_of(one)
            try:
                snapshots.append(self._snapshot(key, self.displayed(key), kind, prompted))
            except ImageError as error:
                failed.append(f"“{one.name}”: {error}")
        return tuple(snapshots), tuple(failed)

    def arm(self, image: str, tool: Tool) -> str:
        """Make the prompt layer of a tool ready to use; returns its name.

        Raises
        ------
        ImageError
            If the image is gone, or the viewer shows no plane of it.
        """
        displayed = self.displayed(image)
        with self.mark_changes() as chosen:
            layer = prompt_layers.ensure(self.viewer, displayed, _ROLE_OF_TOOL[tool])
            chosen.select(layer)
        return str(layer.name)

    def is_for(self, layer: Layer, image: str, tool: Tool) -> bool:
        """Return whether prompts of a tool for an image are taken from a layer."""
        found, role, chosen = self.find(image), _ROLE_OF_TOOL.get(tool), self.chosen.get(tool, "")
        if chosen or found is None:
            return key_of(layer) == chosen
        # Of the painted ones there may be one for each slice.
        return role_of(layer) is role and layer.metadata.get(IMAGE) == key_of(found)

    def go_back_to(self, image: str, tool: Tool) -> None:
        """Make the layer active that a tool's prompts are taken from, or the image itself."""
        found, role = self.find(image), _ROLE_OF_TOOL.get(tool)
        if found is None:
            return
        layer = None if role is None else self.prompt_layer(key_of(found), role)
        with self.mark_changes() as chosen:
            if layer is not None and role is not None:
                prompt_layers.get_ready(layer, role)
            chosen.select(layer or found)

    def count(self, image: str, kind: PromptKind, axis: int | None = None) -> PromptCounts:
        """Return how many prompts of one kind a run of a plane, or along an axis, would take."""
        try:
            displayed = self.displayed(image)
        except Sam3AssistantError:
            # No image, or no plane of it: no prompts on it either; the run says why.
            return PromptCounts()
        if axis is not None and axis not in displayed.axes.leading:
            return PromptCounts()
        layers = self.layers_of(key_of(displayed.layer), kind, every_slice=axis is not None)
        return prompt_layers.count_prompts(layers, displayed, kind, axis)

    def prompt_choices(self) -> tuple[LayerChoice, ...]:
        """Return the layers that prompts can be taken from, the topmost first."""
        return tuple(
            LayerChoice(key_of(layer), layer.name, _TOOL_OF_ROLE[role])
            for layer in reversed(self.viewer.layers)
            for role, kind in prompt_layers.LAYER_TYPES.items()
            if isinstance(layer, kind)
        )

    def prompt_layer(self, image: str, role: Role) -> Layer | None:
        """Return the layer that an image's prompts of a role are taken from, or None."""
        chosen = self.chosen.get(_TOOL_OF_ROLE[role], "")
        for layer in self.viewer.layers:
            if chosen and key_of(layer) == chosen:
                return layer
        return topmost(self.viewer.layers, role, image)

    def layers_of(
        self, image: str, kind: PromptKind, *, every_slice: bool = False
    ) -> Sequence[Layer]:
        """Return the layers of an image's prompts of a kind: of painted ones one a slice."""
        role = ROLE_OF_KIND.get(kind)
        layer = None if role is None else self.prompt_layer(image, role)
        if role is None or layer is None:
            return ()
        if every_slice and role is Role.MASK:
            own = list(with_role(self.viewer.layers, role, image))
            if layer in own:
                return own
        return (layer,)

    def points_layer(self, image: str) -> Points | None:
        """Return the points layer of an image, or None."""
        layer = self.find(image)
        return None if layer is None else self.prompt_layer(key_of(layer), Role.POINTS)

    def set_next_positive(self, image: str, *, positive: bool) -> None:
        """Choose the polarity of the next click."""
        layer = self.points_layer(image)
        if layer is not None:
            point_features.set_next_polarity(layer, positive=positive)

    def flip_points(self, image: str) -> int:
        """Flip the selected points, or the latest one; returns how many."""
        layer = self.points_layer(image)
        return 0 if layer is None else point_features.flip(layer)

    def mark_points(self, image: str, *, positive: bool) -> int:
        """Give the selected points a polarity; returns how many.

        Raises
        ------
        PromptError
            If there is no points layer, or no point is selected.
        """
        layer = self.points_layer(image)
        if layer is None:
            raise PromptError("There is no points layer.", "Press Create Prompt Layer first.")
        chosen = set(layer.selected_data)
        if not chosen:
            raise PromptError(
                "Select one or more points before applying the positive/negative type.",
                "Use the arrow tool of the points layer.",
            )
        point_features.set_polarity(layer, chosen, dict.fromkeys(chosen, positive))
        return len(chosen)

    def prompt_state(self) -> object:
        """Return all prompts as a value that :meth:`set_prompt_state` takes."""
        return prompt_layers.read_states(self.viewer.layers)

    def set_prompt_state(self, state: object) -> None:
        """Put all prompts back as they were."""
        kept: dict[str, Any] = state if isinstance(state, dict) else {}
        with self.mark_changes():
            prompt_layers.restore_states(self.viewer.layers, kept)
        self.restored.emit()

    def clear_prompts(self, image: str) -> None:
        """Remove the prompts of an image."""
        mine = [layer for layer in self.viewer.layers if layer.metadata.get(IMAGE) == image]
        with self.mark_changes():
            prompt_layers.restore_states(mine, {})
        self.restored.emit()

    @contextmanager
    def mark_changes(self) -> Iterator[Choices]:
        """Mark the changes that follow as ours; see :func:`.placing.preserve_choices`.

        ``deselected`` tells that the active layer went with them.
        """
        outermost, self.busy = not self.busy, True
        try:
            with preserve_choices(self.viewer) as chosen:
                yield chosen
        finally:
            self.busy = not outermost
        if outermost and chosen.lost:
            self.deselected.emit()

    # -- results --------------------------------------------------------------------------

    def show(self, previews: Sequence[Preview]) -> None:
        """Show previews and no others; of those for the same place, the later one.

        Raises
        ------
        ImageError
            If the image of one is gone or has another shape now; the others are shown.
        """
        on_show = set(_SHOWN.values())
        # One of which the user has erased everything stays: the eraser can be taken back. So does
        # one of which all is hidden.
        found = {
            one.slot: one
            for one in previews
            if one.segmentation.objects or one.hidden or one in on_show
        }
        wanted = {slot: one for slot, one in found.items() if self.is_current(one.target)}
        with self.mark_changes():
            preview_layers.remove_previews(self.viewer, wanted)
            for slot, one in wanted.items():
                layer = in_slot(self.viewer.layers, Role.PREVIEW_LABELS, slot)
                if layer is None or _SHOWN.get(layer) is not one:
                    image = self.image_of(one.target)
                    layer = preview_layers.show_preview(self.viewer, image, one)
                    _SHOWN.pop(layer, None)
                    _SHOWN[layer] = one
        for one in found.values():
            self.image_of(one.target)

    def show_soft(self, images: Sequence[SoftImage], *, wanted: bool) -> None:
        """Show the soft masks of results.

        Parameters
        ----------
        images : sequence of SoftImage
            Those that are ready.
        wanted : bool
            Whether the user wants to see any; else all are hidden. Of those that are not ready
            yet, the earlier ones stay for the moment that it takes.
        """
        with self.mark_changes():
            if not wanted:
                hide_soft(self.viewer.layers)
            for one in images:
                labels = in_slot(self.viewer.layers, Role.PREVIEW_LABELS, one.preview.slot)
                image = self.find(one.preview.target.image)
                if labels is not None and image is not None and _SHOWN.get(labels) is one.preview:
                    show_soft(self.viewer, one)

    def show_rois(self, rois: Sequence[ActiveRoi]) -> None:
        """Frame the regions that the last run worked on, and no others."""
        with self.mark_changes():
            hide_rois(self.viewer)
            for roi in rois:
                if self.is_current(roi.target):
                    show_roi(self.viewer, self.image_of(roi.target), roi)

    def reveal(self, row: ResultRow) -> None:
        """Bring an object of a preview to the middle of the canvas, and select it.

        Raises
        ------
        ImageError
            If its image or its preview layer is gone.
        """
        target = row.preview.target
        if isinstance(row.preview, FileBackedLabels):
            labels = self._stored.find(row.preview)
        else:
            followed = isinstance(row.preview, FramePlace)
            role = Role.PROPAGATED if followed else Role.PREVIEW_LABELS
            labels = in_slot(self.viewer.layers, role, row.preview.slot)
        if labels is None:
            raise ImageError("The preview layer is gone.", "Press Run Preview again.")
        image = self.image_of(target)
        show_object(self.viewer, labels, target, row.record, image)

    def accept(self, preview: Preview) -> Accepted:
        """Add the preview's objects to the accepted labels; returns what undoes it."""
        image = self.image_of(preview.target)
        with self.mark_changes():
            return accepted_layer.accept(self.viewer, image, preview, self._labels_on_show(preview))

    def _labels_on_show(self, preview: Preview) -> npt.NDArray[np.integer[Any]]:
        """Return the labels of a preview as its layer shows them, or as they were found."""
        layer = in_slot(self.viewer.layers, Role.PREVIEW_LABELS, preview.slot)
        on_show = layer is not None and _SHOWN.get(layer) is preview
        return self.pixels(preview).labels if on_show else preview.segmentation.labels

    def count_kept(self, image: str) -> int:
        """Return how many accepted objects an image has."""
        found = self.find(image)
        return 0 if found is None else accepted_layer.count_kept(self.viewer, found)

    def kept(self, image: str, previews: Sequence[Preview] = ()) -> KeptPixels | None:
        """Return the accepted labels of an image, and the objects of its previews.

        None where nothing was accepted.
        """
        found = self.find(image)
        if found is None:
            return None
        mine = [one for one in previews if one.target.image == key_of(found)]
        shown = [(one, self._labels_on_show(one)) for one in mine]
        return accepted_layer.find_kept(self.viewer, found, shown)

    def undo_accept(self, accepted: Accepted) -> bool:
        """Take accepted objects out again; returns whether their layer is there."""
        with self.mark_changes():
            return accepted_layer.erase_accepted(self.viewer, accepted)

    def redo_accept(self, accepted: Accepted) -> bool:
        """Put accepted objects back; returns whether their layer is there."""
        with self.mark_changes():
            return accepted_layer.write_accepted(self.viewer, accepted)

    def find_earlier(self) -> tuple[Preview, ...]:
        """Return the previews that an earlier session has left in the viewer, the latest last."""
        there = (one for layer, one in _SHOWN.items() if layer in self.viewer.layers)
        return tuple(one for one in there if self.is_current(one.target))

    def edits(
        self, layer: Layer | None = None, box: Sequence[slice] | None = None
    ) -> tuple[tuple[Preview, Preview], ...]:
        """Return the previews that the user has changed the pixels of, before and after.

        Parameters
        ----------
        layer : Layer, optional
            The only layer to look at.
        box : sequence of slice, optional
            The only part of it to look at.
        """
        changed = []
        for shown, before in list(_SHOWN.items()):
            if shown not in self.viewer.layers or (layer is not None and layer is not shown):
                continue
            if not self.is_current(before.target):
                continue
            image = self.image_of(before.target)
            with self.mark_changes():
                after = preview_layers.find_edit(self.viewer, image, shown, before, box)
            if after is not None:
                _SHOWN[shown] = after
                changed.append((before, after))
        return tuple(changed)

    def pixels(self, preview: Preview) -> Pixels:
        """Return a preview as it is on show."""
        return preview_layers.read_pixels(self.viewer, self.image_of(preview.target), preview)

    def raw_plane(self, preview: Preview | FileBackedLabels) -> RawPlane:
        """Return the pixels below a result."""
        return raw_plane(self.image_of(preview.target), preview.target)

    def add_features(
        self,
        preview: Preview | FileBackedLabels,
        ids: Sequence[int],
        columns: Mapping[str, Sequence[object]],
    ) -> None:
        """Add columns to the features of a result's layer, if it is still there."""
        if isinstance(preview, FileBackedLabels):
            layer = self._stored.find(preview)
        else:
            layer = in_slot(self.viewer.layers, Role.PREVIEW_LABELS, preview.slot)
            layer = layer if layer is not None and _SHOWN.get(layer) is preview else None
        if layer is not None:
            layer.features = add_columns(layer.features, ids, columns)

    def keep(self, preview: Preview) -> str:
        """Keep the preview as a saved labels layer; returns its name."""
        return preview_layers.keep_preview(self.viewer, preview)

    # -- labels in files ------------------------------------------------------------------

    def plane_axes(self, target: PlaneTarget) -> Axes:
        """Return what a file can say of the place of a whole plane of an image."""
        return file_axes(self.image_of(target), (target.axes.y, target.axes.x), ("y", "x"))

    def show_stored(self, stored: FileBackedLabels) -> str:
        """Show labels that are in a file; returns the name of their layer, empty for none."""
        if not self.is_current(stored.target):
            return ""
        with self.mark_changes():
            return self._stored.show(self.image_of(stored.target), stored)

    def refresh_stored(self, stored: FileBackedLabels, changed: Region | None) -> None:
        """Take note that labels in a file changed in a region; None for anywhere."""
        self._stored.refresh(stored, changed)

    def remove_stored(self, stored: FileBackedLabels) -> None:
        """Remove the layer of labels in a file; the file stays."""
        with self.mark_changes():
            self._stored.remove(stored)


# What the propagated labels belong to: who closes the dock and opens it again finds them.
_TARGETS: WeakKeyDictionary[Labels, StackTarget] = WeakKeyDictionary()
_TIMES = {"t", "time", "frame", "frames"}


class StacksAdapter:
    """The stacks of a viewer, prompts on all of their slices, and labels that fill up."""

    def __init__(self, adapter: ViewerAdapter) -> None:
        self._adapter = adapter
        self._viewer = adapter.viewer
        self._written: set[int] = set()

    # -- what there is ----------------------------------------------------------------------

    def frame_axes(self, image: str) -> tuple[FrameAxis, ...]:
        """Return the axes of an image that objects can be followed along."""
        try:
            layer = self._adapter.image(image)
            axes = self._adapter.axes(layer)
        except Sam3AssistantError:
            # No image, or no plane of it: a run says why.
            return ()
        shape = shape_of(layer)
        return tuple(
            FrameAxis(axis, axis_name(layer, axis), shape[axis])
            for axis in axes.leading
            if shape[axis] > 1
        )

    def take_snapshot(self, image: str, kind: PromptKind, axis: int) -> StackSnapshot:
        """Freeze a stack and the prompts of one kind on all of its slices."""
        displayed = self._adapter.displayed(image)
        frames = FrameSource(self._adapter.view_of(image, displayed), axis)
        layers = self._adapter.layers_of(key_of(displayed.layer), kind, every_slice=True)
        found = read_prompts(layers, displayed, kind, axis).frames
        frame = displayed.plane.leading[displayed.axes.leading.index(axis)]
        return StackSnapshot(
            StackTarget(displayed.target, axis), frame, frames, found, self._adapter.paths()
        )

    def arm_points(self, image: str, object_id: int) -> None:
        """Let the next click of an image be on an object, and number the clicks."""
        layer = self._own_points(image)
        if layer is not None:
            with self._adapter.mark_changes():
                point_features.ensure(layer, object_id)
                point_features.show_numbers(layer, shown=True)

    def clicked_objects(self, image: str) -> set[int]:
        """Return the objects that clicks of an image are on."""
        layer = self._adapter.points_layer(image)
        return (
            {one for one in point_features.read_ids(layer) if one} if layer is not None else set()
        )

    def hide_numbers(self, image: str) -> None:
        """Do not write beside each click which object it is on."""
        layer = self._own_points(image)
        if layer is not None:
            point_features.show_numbers(layer, shown=False)

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

    def show(self, stack: StackTarget, result: FrameResult) -> None:
        """Write a frame into the propagated labels, which the first frame makes."""
        image, layer = self._adapter.image_of(stack.target), self._layer(stack)
        with self._adapter.mark_changes():
            if layer is None:
                if self._written:
                    raise propagated.missing_error()
                layer = propagated.make_propagated(self._viewer, image, stack, result)
                _TARGETS[layer] = stack
            fresh = result.frame not in self._written
            self._written.add(result.frame)
            propagated.write_frame(layer, self._window(stack), result, fresh=fresh)

    def plane(self, stack: StackTarget, frame: int) -> npt.NDArray[np.uint32]:
        """Return a copy of the labels of a frame, shape (H, W)."""
        layer = self._require_layer(stack)
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
        layer, displayed = self._layer(stack), self._adapter.displayed(stack.target.image)
        if layer is None or StackTarget(displayed.target, stack.axis).at(0) != stack.at(0):
            return [None] * len(chosen)
        window = self._window(stack)

        def under(frame: int, y: int, x: int) -> int:
            key = window.key(frame, (slice(y, y + 1), slice(x, x + 1)))
            return int(np.asarray(layer.data[key]).item())

        found = prompt_layers.find_pixels(points, chosen, displayed, stack.axis)
        return [None if place is None else under(*place) for place in found]

    def erase(self, stack: StackTarget, object_id: int, where: Mapping[int, Region]) -> None:
        """Take an object out of the labels, given its bounding box on each frame."""
        layer = self._layer(stack)
        if layer is None:
            return
        window = self._window(stack)
        for frame, region in where.items():
            propagated.erase_object(layer, window, frame, region, object_id)

    def remove(self) -> None:
        """Remove the propagated labels."""
        self._written.clear()
        with self._adapter.mark_changes():
            for layer in list(with_role(self._viewer.layers, Role.PROPAGATED)):
                self._viewer.layers.remove(layer)

    def frames_in(self, stack: StackTarget, layer: Labels, box: Sequence[slice]) -> range:
        """Return the frames that lie in a box of a layer; none if it is not the propagated labels.

        Parameters
        ----------
        stack : StackTarget
            What was propagated.
        layer : Labels
            The layer.
        box : sequence of slice
            A slice with start and stop for each of its axes.
        """
        there = layer is self._layer(stack)
        return self._window(stack).frames_in(box) if there else range(0)

    def finish(self) -> None:
        """Draw what was put off while frames came in: the volume in 3-D, and the thumbnail."""
        with self._adapter.mark_changes():
            for layer in with_role(self._viewer.layers, Role.PROPAGATED):
                layer.refresh(extent=False)

    def pixels(self, stack: StackTarget) -> StackPixels:
        """Return the propagated labels as they are on show."""
        layer = self._require_layer(stack)
        window = self._window(stack)
        rows, columns, frames = window.y, window.x, window.axis
        shape, data = layer.data.shape, layer.data

        def read(frame: int) -> npt.NDArray[np.uint32]:
            return window.upright(np.asarray(data[window.key(frame)]))

        named = str(layer.axis_labels[frames]).strip().lower()
        image, axes = self._adapter.find(stack.target.image), stack.target.axes
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
        source = self._require_layer(stack)
        window = self._window(stack)
        kept = propagated.empty_copy(source)

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
            propagated.make_saved(layer)
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
            raise propagated.missing_error()
        return layer

    @staticmethod
    def _window(stack: StackTarget) -> FrameWindow:
        return FrameWindow(stack.target.axes, stack.target.plane, stack.axis)


_MOST_AXES = 4
"""A Tracks layer holds no more: time, z, y, x."""
_LONGEST_TAIL = 300
"""What napari's own slider goes up to."""


class TracksAdapter:
    """The Tracks layer of a viewer."""

    def __init__(self, adapter: ViewerAdapter) -> None:
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
        data = make_track_data(table, stack)
        layer = topmost(self._viewer.layers, Role.TRACKS, key_of(image))
        with self._adapter.mark_changes():
            if len(data) == 0:
                self._remove()
            elif isinstance(layer, Tracks) and layer.ndim == data.shape[1] - 1:
                layer.data = data
            else:
                self._remove()
                self._add(image, stack, data)

    def remove(self) -> None:
        """Remove the layer."""
        with self._adapter.mark_changes():
            self._remove()

    def scale(self, stack: StackTarget) -> TrackScale:
        """Return the size of a pixel of the image."""
        image, axes = self._adapter.image(stack.target.image), stack.target.axes
        (frames,) = file_axes(image, (stack.axis,), ("t",))
        pixel = pixel_size(image, axes.y, axes.x)
        return TrackScale(
            abs(frames.scale), pixel.height, pixel.width, frames.unit, pixel.unit, pixel.sine
        )

    def _remove(self) -> None:
        for layer in list(with_role(self._viewer.layers, Role.TRACKS)):
            self._viewer.layers.remove(layer)

    def _add(self, image: Image, stack: StackTarget, data: npt.NDArray[np.float64]) -> None:
        axes = stack.target.axes
        # napari fades tracks along their first axis alone. Where the frames lie along another one,
        # it has no tail: tracks are drawn at their own time, and at no later one.
        fades = result_axes(axes)[0] == stack.axis
        layer = Tracks(
            data,
            name=NAMES[Role.TRACKS],
            metadata=role_metadata(Role.TRACKS, key_of(image)),
            tail_length=_LONGEST_TAIL if fades else 1,
            **layer_transform(image, axes, World.of(self._viewer)),
        )
        add_below_prompts(self._viewer, layer)


def make_track_data(table: TrackTable, stack: StackTarget) -> npt.NDArray[np.float64]:
    """Return the tracks of objects on two frames or more, with the axes of the image's labels.

    Returns
    -------
    ndarray, shape (N, 1 + D), dtype float64
        Object id, and the position in pixels along each axis; 0 on the channel's, if there is one.
    """
    axes = stack.target.axes
    found = table.tracks(stack.target.plane.leading, axes.leading.index(stack.axis), least=2)
    kept = result_axes(axes)
    # Column by column from leading axes, y, x to the order in which the layer has them.
    order = [kept.index(axis) for axis in (*axes.leading, axes.y, axes.x)]
    placed = np.zeros((len(found), 1 + len(kept)))
    placed[:, 0] = found[:, 0]
    placed[:, [1 + place for place in order]] = found[:, 1:]
    return placed
