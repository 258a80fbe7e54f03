"""The layers that prompts on an image are taken from: how they are found, made and changed."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from napari.layers import Layer, Points, Shapes
from psygnal import Signal

from napari_sam3_assistant.core.prompts import (
    NOT_DRAWN,
    SIGNED,
    BoxPrompt,
    ExemplarPrompt,
    MaskPrompt,
    PointPrompt,
    PromptKind,
    PromptSet,
    Tool,
)
from napari_sam3_assistant.errors import ImageError, PromptError, Sam3AssistantError
from napari_sam3_assistant.session.snapshots import ImageSnapshot
from napari_sam3_assistant.session.values import LayerChoice, PromptCounts
from napari_sam3_assistant.viewer import prompt_layers
from napari_sam3_assistant.viewer.geometry import pixel_size
from napari_sam3_assistant.viewer.images import (
    ALL_IMAGES,
    DisplayedPlane,
    ViewerImages,
    address_of,
    image_layers,
)
from napari_sam3_assistant.viewer.prompt_layers import (
    LAYER_TYPES,
    ensure,
    get_ready,
    is_on_plane,
    read_states,
    restore_states,
)
from napari_sam3_assistant.viewer.prompt_reading import count_prompts, leave_out, read_prompts
from napari_sam3_assistant.viewer.roles import (
    IMAGE,
    Role,
    key_of,
    preserve_choices,
    role_of,
    topmost,
    with_role,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from napari.components import ViewerModel
    from napari.layers import Labels

    from napari_sam3_assistant.core.results import ObjectRecord
    from napari_sam3_assistant.session.values import PlaneTarget
    from napari_sam3_assistant.viewer.roles import Choices

    Prompt = PointPrompt | BoxPrompt | ExemplarPrompt | MaskPrompt
    # Of each prompt its frame, -1 elsewhere; None for one beside the image.
    Found = Iterator[tuple[int, Prompt | None]]


ROLE_OF_KIND = {
    PromptKind.POINTS: Role.POINTS,
    PromptKind.BOXES: Role.BOXES,
    PromptKind.EXEMPLARS: Role.BOXES,
    PromptKind.MASK: Role.MASK,
}
_ROLE_OF_TOOL = {Tool.POINTS: Role.POINTS, Tool.BOX: Role.BOXES, Tool.MASK: Role.MASK}
_TOOL_OF_ROLE = {role: tool for tool, role in _ROLE_OF_TOOL.items()}


class ViewerPrompts(ViewerImages):
    """The images of a viewer, and the layers that prompts on them are taken from.

    Attributes
    ----------
    busy : bool
        Whether the layers are being changed by us and not by the user.
    chosen : dict of Tool to str
        Keys of the layers that prompts are taken from, where it is not the session's own.
    """

    restored = Signal()
    deselected = Signal()

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__(viewer)
        self.busy = False
        self.chosen: dict[Tool, str] = {}

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
        if kind in NOT_DRAWN:
            # Points and boxes say where to look.
            points, boxes = (
                read_prompts(self.layers_of(prompted, kind), displayed, kind).plane
                for kind in (PromptKind.POINTS, PromptKind.BOXES)
            )
            anchors = PromptSet(points=points.points, boxes=boxes.boxes)
        address = address_of(displayed.layer) if image != ALL_IMAGES else ""
        pixel = pixel_size(displayed.layer, displayed.axes.y, displayed.axes.x)
        return ImageSnapshot(displayed.target, view, prompts, self.paths(), anchors, address, pixel)

    def take_snapshots(
        self, image: str, kind: PromptKind, *, every_image: bool
    ) -> tuple[tuple[ImageSnapshot, ...], tuple[str, ...]]:
        """Freeze one image or every image, with the prompts of the chosen one on each."""
        if not every_image:
            return (self.take_snapshot(image, kind),), ()
        prompted = key_of(self.image(image))
        snapshots, failed = [], []
        for layer in image_layers(self.viewer):
            key = key_of(layer)
            try:
                snapshots.append(self._snapshot(key, self.displayed(key), kind, prompted))
            except ImageError as error:
                failed.append(f"“{layer.name}”: {error}")
        return tuple(snapshots), tuple(failed)

    def arm(self, image: str, tool: Tool) -> str:
        """Make the prompt layer of a tool ready to use; returns its name.

        Raises ImageError if the image is gone, or the viewer shows no plane of it.
        """
        displayed = self.displayed(image)
        with self.mark_changes() as chosen:
            layer = ensure(self.viewer, displayed, _ROLE_OF_TOOL[tool])
            chosen.select(layer)
        return str(layer.name)

    def follow_stroke(self, layer: Labels) -> str:
        """Let a stroke go where it is seen: on a painted layer of the plane on show.

        napari would raise an IndexError for one on a layer of another slice.

        ``layer``: the painted layer that the stroke begins on.
        Returns the name of the one that it goes on; empty where that is the same.
        Raises ImageError if the image is gone, or the viewer shows no plane of it.
        """
        image = str(layer.metadata[IMAGE])
        if is_on_plane(layer, self.displayed(image)):
            return ""
        tool = layer.mode, layer.brush_size, layer.selected_label
        name = self.arm(image, Tool.MASK)
        other = self.viewer.layers.selection.active
        other.mode, other.brush_size, other.selected_label = tool
        return name

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
                get_ready(layer, role)
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
        return count_prompts(layers, displayed, kind, axis)

    def prompt_choices(self) -> tuple[LayerChoice, ...]:
        """Return the layers that prompts can be taken from, the topmost first."""
        return tuple(
            LayerChoice(key_of(layer), layer.name, _TOOL_OF_ROLE[role])
            for layer in reversed(self.viewer.layers)
            for role, kind in LAYER_TYPES.items()
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

    def signed_layer(self, image: str, kind: PromptKind) -> Points | Shapes | None:
        """Return the layer of an image's points or examples; None for kinds without polarity."""
        layer = self.find(image)
        if layer is None or kind not in SIGNED:
            return None
        return self.prompt_layer(key_of(layer), ROLE_OF_KIND[kind])

    def set_next_positive(self, image: str, kind: PromptKind, *, positive: bool) -> None:
        """Choose the polarity of the next click or example."""
        layer = self.find(image)
        drawn = None if layer is None else self.prompt_layer(key_of(layer), ROLE_OF_KIND[kind])
        if isinstance(drawn, Points | Shapes):
            # What is drawn next is an object where prompts of its kind have no polarity.
            positive = positive or kind not in SIGNED
            prompt_layers.set_next_polarity(drawn, positive=positive)

    def flip_prompts(self, image: str, kind: PromptKind) -> int:
        """Flip the selected points or examples, or the latest one; returns how many."""
        layer = self.signed_layer(image, kind)
        return 0 if layer is None else prompt_layers.flip(layer)

    def mark_prompts(self, image: str, kind: PromptKind, *, positive: bool) -> int:
        """Give the selected points or examples a polarity; returns how many.

        Raises PromptError if there is no layer of them, or none is selected.
        """
        layer = self.signed_layer(image, kind)
        what = "boxes" if kind is PromptKind.EXEMPLARS else "points"
        if layer is None:
            raise PromptError(f"There is no {what} layer.", "Press Create Prompt Layer first.")
        chosen = prompt_layers.selected(layer)
        if not chosen:
            raise PromptError(
                f"Select one or more {SIGNED[kind]}s before applying the positive/negative type.",
                "Use the arrow tool of the layer.",
            )
        prompt_layers.set_polarity(layer, dict.fromkeys(chosen, positive))
        return len(chosen)

    def prompt_state(self) -> object:
        """Return all prompts as a value that :meth:`set_prompt_state` takes."""
        return read_states(self.viewer.layers)

    def set_prompt_state(self, state: object) -> None:
        """Put all prompts back as they were."""
        kept: dict[str, Any] = state if isinstance(state, dict) else {}
        with self.mark_changes():
            restore_states(self.viewer.layers, kept)
        self.restored.emit()

    def clear_prompts(self, image: str) -> None:
        """Remove the prompts of an image."""
        mine = [layer for layer in self.viewer.layers if layer.metadata.get(IMAGE) == image]
        with self.mark_changes():
            restore_states(mine, {})
        self.restored.emit()

    def drop_prompts(
        self,
        target: PlaneTarget,
        kinds: Collection[PromptKind],
        known: object,
        on: ObjectRecord | None = None,
    ) -> bool:
        """Remove prompts on a plane, if it is on show; those of layers that are not ours stay.

        ``kinds``: of which kinds.
        ``known``: a state of :meth:`prompt_state`; prompts that are newer stay.
        ``on``: the object that they lie on, without which all are removed.
        Returns whether there were any.
        """
        try:
            displayed = self.displayed(target.image)
        except ImageError:  # nothing of it is on show
            return False
        if not displayed.target.is_same_plane(target):
            return False
        roles = {ROLE_OF_KIND[kind] for kind in kinds if kind in ROLE_OF_KIND}
        image = key_of(displayed.layer)
        layers = [layer for role in roles for layer in with_role(self.viewer.layers, role, image)]
        now, before = read_states(layers), known if isinstance(known, dict) else {}
        kept = {
            (key := key_of(layer)): leave_out(layer, displayed, now[key], before.get(key, ()), on)
            for layer in layers
        }
        if kept == now:
            return False
        with self.mark_changes():
            restore_states(layers, kept)
        self.restored.emit()
        return True

    @contextmanager
    def mark_changes(self) -> Iterator[Choices]:
        """Mark the changes that follow as ours; see :func:`.roles.preserve_choices`.

        ``deselected``: the active layer was removed with them.
        """
        outermost, self.busy = not self.busy, True
        try:
            with preserve_choices(self.viewer) as chosen:
                yield chosen
        finally:
            self.busy = not outermost
        if outermost and chosen.lost:
            self.deselected.emit()
