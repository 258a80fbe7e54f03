"""The viewer as the session's scene: what is on show, the prompts on it, and what came out."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from psygnal import Signal

from napari_sam3_assistant.core.axes import FIND_OUT
from napari_sam3_assistant.core.images import ImageSource
from napari_sam3_assistant.core.tasks import Tool
from napari_sam3_assistant.core.views import ImageView
from napari_sam3_assistant.errors import ImageError, PromptError, Sam3AssistantError
from napari_sam3_assistant.session.model import ImageChoice, LayerChoice, PromptCounts, Target
from napari_sam3_assistant.session.scene import Shot
from napari_sam3_assistant.viewer import polarity, prompt_layers, prompt_states, result_layers
from napari_sam3_assistant.viewer.image_layers import (
    axes_on_show,
    channel_of_layer,
    choice,
    find_image,
    image_layers,
    plane_on_show,
    shape_of,
)
from napari_sam3_assistant.viewer.picking import show_object
from napari_sam3_assistant.viewer.roi_layer import hide_roi, show_roi
from napari_sam3_assistant.viewer.roles import IMAGE, Role, in_slot, key_of, topmost

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari.components import ViewerModel
    from napari.layers import Image, Layer, Points

    from napari_sam3_assistant.core.images import ImageAxes
    from napari_sam3_assistant.core.prompts import PromptKind
    from napari_sam3_assistant.session.model import ActiveRoi, Preview, ResultRow
    from napari_sam3_assistant.session.scene import Pixels

ALL_IMAGES = "all visible images"
_ROLE_OF_TOOL = {Tool.POINTS: Role.POINTS, Tool.BOX: Role.BOXES, Tool.MASK: Role.MASK}
_TOOL_OF_ROLE = {role: tool for tool, role in _ROLE_OF_TOOL.items()}


class ViewerScene:
    """A napari viewer as a scene; see :class:`napari_sam3_assistant.session.scene.Scene`.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer itself, not the proxy that napari hands to dock widgets.

    Attributes
    ----------
    busy : bool
        Whether the layers are being changed by us and not by the user.
    channel_axis : int
        Number of the images' channel axis; -1 to find it out.
    chosen : dict of Tool to str
        Keys of the layers that prompts are taken from, where it is not the session's own.
    """

    restored = Signal()

    def __init__(self, viewer: ViewerModel) -> None:
        self.viewer = viewer
        self.busy = False
        self.channel_axis = FIND_OUT
        self.chosen: dict[Tool, str] = {}
        # What each layer of preview labels shows: it is not written again.
        self._shown: WeakKeyDictionary[Layer, Preview] = WeakKeyDictionary()
        self._sources: dict[tuple[str, ImageAxes], ImageSource] = {}

    # -- images ---------------------------------------------------------------------------

    def choices(self) -> tuple[ImageChoice, ...]:
        """Return the images that can be chosen, the topmost first."""
        images = image_layers(self.viewer)
        listed = [choice(self.viewer, layer, self.channel_axis) for layer in reversed(images)]
        if sum(layer.visible for layer in images) > 1:
            listed.append(ImageChoice(ALL_IMAGES, "All visible images", "as one coloured picture"))
        return tuple(listed)

    def forget_pixels(self, layer: Layer) -> None:
        """Take note that an image has other pixels now."""
        key = key_of(layer)
        self._sources = {kept: source for kept, source in self._sources.items() if kept[0] != key}

    def image(self, key: str) -> Image:
        """Return the layer of an image key: of several images the lowest.

        Raises
        ------
        ImageError
            If it is gone.
        """
        if key == ALL_IMAGES:
            return self._visible()[0]
        return find_image(self.viewer, key)

    def find(self, key: str) -> Image | None:
        """Return the layer of an image key, or None if it is gone."""
        try:
            return self.image(key)
        except ImageError:
            return None

    def _axes(self, layer: Image) -> ImageAxes:
        return axes_on_show(self.viewer, layer, self.channel_axis)

    def _visible(self) -> list[Image]:
        images = [layer for layer in image_layers(self.viewer) if layer.visible]
        if not images:
            raise ImageError("No image is visible.", "Show one in the layer list.")
        return images

    def stage(self, key: str) -> prompt_layers.Stage:
        """Return the plane of an image that is on show.

        Raises
        ------
        ImageError
            If the image is gone, or the viewer shows no plane of it.
        """
        layer = self.image(key)
        axes = self._axes(layer)
        shape = shape_of(layer)
        return prompt_layers.Stage(
            layer,
            axes,
            plane_on_show(self.viewer, layer, axes),
            (shape[axes.y], shape[axes.x]),
            tuple(self.viewer.dims.point),
        )

    def take_shot(self, image: str, kind: PromptKind) -> Shot:
        """Freeze the plane on show and the prompts of one kind on it."""
        stage = self.stage(image)
        target = Target(key_of(stage.layer), stage.layer.name, stage.axes, stage.plane)
        prompts = prompt_layers.collect(self._prompts_of(stage, kind), stage, kind)
        return Shot(target, self.take_view(image), prompts, self._paths())

    def take_shots(
        self, image: str, kind: PromptKind, *, every_image: bool
    ) -> tuple[tuple[Shot, ...], tuple[str, ...]]:
        """Freeze one image or every image, with the prompts of the chosen one on each."""
        if not every_image:
            return (self.take_shot(image, kind),), ()
        role = prompt_layers.ROLE_OF_KIND.get(kind)
        layer = None if role is None else self.prompt_layer(key_of(self.image(image)), role)
        shots, failed = [], []
        for one in image_layers(self.viewer):
            try:
                stage, view = self.stage(key_of(one)), self.take_view(key_of(one))
            except ImageError as error:
                failed.append(f"“{one.name}”: {error}")
                continue
            target = Target(key_of(one), one.name, stage.axes, stage.plane)
            prompts = prompt_layers.collect(layer, stage, kind)
            shots.append(Shot(target, view, prompts, self._paths()))
        return tuple(shots), tuple(failed)

    def take_view(self, image: str) -> ImageView:
        """Return what the model would see of the plane on show."""
        stage = self.stage(image)
        layers = self._visible() if image == ALL_IMAGES else [stage.layer]
        self._check_aligned(layers)
        channels = tuple(
            channel_of_layer(
                layer,
                source,
                plane_on_show(self.viewer, layer, source.axes),
                coloured=len(layers) > 1,
            )
            for layer in layers
            if (source := self._source(layer))
        )
        return ImageView(channels)

    def _paths(self) -> dict[int, Path]:
        """Return the files of the images that have been looked at, by the token of the source."""
        files = {
            key_of(layer): Path(layer.source.path)
            for layer in image_layers(self.viewer)
            if layer.source.path
        }
        return {
            source.token: files[key] for (key, _), source in self._sources.items() if key in files
        }

    def _source(self, layer: Image) -> ImageSource:
        axes = self._axes(layer)
        key = (key_of(layer), axes)
        if key not in self._sources:
            data = list(layer.data) if layer.multiscale else layer.data
            self._sources[key] = ImageSource(data, axes)
        return self._sources[key]

    def _check_aligned(self, layers: list[Image]) -> None:
        """Raise unless the layers lie on top of each other, pixel on pixel."""
        first = layers[0]
        for layer in layers[1:]:
            same = layer.ndim == first.ndim and all(
                layer.data_to_world(corner) == first.data_to_world(corner)
                for corner in ([0] * layer.ndim, [1] * layer.ndim)
            )
            if not same:
                raise ImageError(
                    f"“{layer.name}” and “{first.name}” don't lie on top of each other.",
                    "Hide one of them, or choose a single image.",
                )

    # -- prompts --------------------------------------------------------------------------

    def arm(self, image: str, tool: Tool) -> str:
        """Make the prompt layer of a tool ready to use; returns its name.

        Raises
        ------
        ImageError
            If the image is gone, or the viewer shows no plane of it.
        """
        stage = self.stage(image)
        return str(prompt_layers.ensure(self.viewer, stage, _ROLE_OF_TOOL[tool]).name)

    def count(self, image: str, kind: PromptKind) -> PromptCounts:
        """Return how many prompts of one kind a run would take now."""
        try:
            stage = self.stage(image)
        except Sam3AssistantError:
            # No image, or no plane of it: no prompts on it either; the run says why.
            return PromptCounts()
        return prompt_layers.count(self._prompts_of(stage, kind), stage, kind)

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

    def _prompts_of(self, stage: prompt_layers.Stage, kind: PromptKind) -> Layer | None:
        role = prompt_layers.ROLE_OF_KIND.get(kind)
        return None if role is None else self.prompt_layer(key_of(stage.layer), role)

    def points_layer(self, image: str) -> Points | None:
        """Return the points layer of an image, or None."""
        layer = self.find(image)
        return None if layer is None else self.prompt_layer(key_of(layer), Role.POINTS)

    def set_next_positive(self, image: str, *, positive: bool) -> None:
        """Choose the polarity of the next click."""
        layer = self.points_layer(image)
        if layer is not None:
            polarity.set_next(layer, positive=positive)

    def flip_points(self, image: str) -> int:
        """Flip the selected points, or the latest one; returns how many."""
        layer = self.points_layer(image)
        return 0 if layer is None else polarity.flip(layer)

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
        polarity.set_polarity(layer, chosen, dict.fromkeys(chosen, positive))
        return len(chosen)

    def prompt_state(self) -> object:
        """Return all prompts as a value that :meth:`set_prompt_state` takes."""
        return prompt_states.states(self.viewer.layers)

    def set_prompt_state(self, state: object) -> None:
        """Put all prompts back as they were."""
        kept: dict[str, Any] = state if isinstance(state, dict) else {}
        with self.at_work():
            prompt_states.put_back(self.viewer.layers, kept)
        self.restored.emit()

    def clear_prompts(self, image: str) -> None:
        """Remove the prompts of an image."""
        mine = [layer for layer in self.viewer.layers if layer.metadata.get(IMAGE) == image]
        with self.at_work():
            prompt_states.put_back(mine, {})
        self.restored.emit()

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Mark the changes that follow as ours, not the user's."""
        before, self.busy = self.busy, True
        try:
            yield
        finally:
            self.busy = before

    # -- results --------------------------------------------------------------------------

    def show(self, previews: Sequence[Preview]) -> None:
        """Show previews and no others; of those for the same place, the later one.

        Raises
        ------
        ImageError
            If the image of one is gone; the others are shown.
        """
        found = {one.slot: one for one in previews if one.segmentation.objects}
        gone = [slot for slot in found if self.find(slot[0]) is None]
        wanted = {slot: one for slot, one in found.items() if slot not in gone}
        with self.at_work():
            result_layers.remove_previews(self.viewer, wanted)
            for slot, one in wanted.items():
                layer = in_slot(self.viewer.layers, Role.PREVIEW_LABELS, slot)
                if layer is None or self._shown.get(layer) is not one:
                    image = self.image(slot[0])
                    self._shown[result_layers.show_preview(self.viewer, image, one)] = one
        for slot in gone:
            self.image(slot[0])

    def show_roi(self, roi: ActiveRoi | None) -> None:
        """Frame the region that the last run worked on, or none."""
        image = None if roi is None else self.find(roi.target.image)
        with self.at_work():
            if roi is None or image is None:
                hide_roi(self.viewer)
            else:
                show_roi(self.viewer, image, roi)

    def reveal(self, row: ResultRow) -> None:
        """Bring an object of a preview to the middle of the canvas, and select it.

        Raises
        ------
        ImageError
            If its image or its preview layer is gone.
        """
        target = row.preview.target
        labels = in_slot(self.viewer.layers, Role.PREVIEW_LABELS, row.preview.slot)
        if labels is None:
            raise ImageError("The preview layer is gone.", "Press Run Preview again.")
        image = self.image(target.image)
        show_object(self.viewer, labels, target, row.record, image)

    def accept(self, preview: Preview) -> object:
        """Add the preview's objects to the accepted labels; returns what undoes it."""
        return result_layers.accept(self.viewer, self.image(preview.target.image), preview)

    def undo_accept(self, accepted: object) -> None:
        """Take accepted objects out again."""
        if isinstance(accepted, result_layers.Accepted):
            result_layers.erase_accepted(self.viewer, accepted)

    def redo_accept(self, accepted: object) -> None:
        """Put accepted objects back."""
        if isinstance(accepted, result_layers.Accepted):
            result_layers.write_accepted(self.viewer, accepted)

    def pixels(self, preview: Preview) -> Pixels:
        """Return a preview as it is on show."""
        return result_layers.pixels(self.viewer, self.image(preview.target.image), preview)

    def keep(self, preview: Preview) -> str:
        """Keep the preview as a saved labels layer; returns its name."""
        return result_layers.keep(self.viewer, preview)
