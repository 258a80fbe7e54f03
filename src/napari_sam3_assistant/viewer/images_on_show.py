"""The images of a viewer, and the planes of them that are on show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.axes import FIND_OUT
from napari_sam3_assistant.core.views import ImageView
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.session.choices import ImageChoice
from napari_sam3_assistant.viewer import prompt_layers
from napari_sam3_assistant.viewer.geometry import World, lie_together
from napari_sam3_assistant.viewer.image_layers import (
    axes_on_show,
    channel_of_layer,
    choice,
    find_image,
    image_layers,
    plane_on_show,
    shape_of,
)
from napari_sam3_assistant.viewer.roles import key_of
from napari_sam3_assistant.viewer.sources import Sources

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_sam3_assistant.core.images import ImageAxes
    from napari_sam3_assistant.session.model import Target

ALL_IMAGES = "all visible images"


class ImagesOnShow:
    """The images that a user can choose from.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer itself, not the proxy that napari hands to dock widgets.

    Attributes
    ----------
    channel_axis : int
        Number of the images' channel axis; -1 to find it out.
    sources : Sources
        The pixels of the images that have been looked at.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self.viewer = viewer
        self.channel_axis = FIND_OUT
        self.sources = Sources()

    def choices(self) -> tuple[ImageChoice, ...]:
        """Return the images that can be chosen, the topmost first."""
        images = image_layers(self.viewer)
        listed = [choice(self.viewer, layer, self.channel_axis) for layer in reversed(images)]
        if sum(layer.visible for layer in images) > 1:
            first, *others = [
                choice(self.viewer, layer, self.channel_axis) for layer in self._visible()
            ]
            why_not = next((one.why_not for one in (first, *others) if one.why_not), "")
            summary = ". ".join(filter(None, ("as one coloured picture", first.note)))
            listed.append(
                ImageChoice(
                    ALL_IMAGES,
                    "All visible images",
                    why_not or summary,
                    first.shape,
                    first.note,
                    why_not,
                )
            )
        return tuple(listed)

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

    def image_of(self, target: Target) -> Image:
        """Return the layer of the image that a result is of.

        Raises
        ------
        ImageError
            If it is gone, or has another shape now.
        """
        layer = find_image(self.viewer, target.image)
        if shape_of(layer) != target.shape:
            raise ImageError(
                f"“{layer.name}” has another shape now; earlier results do not fit it.",
                "Run again.",
            )
        return layer

    def holds(self, target: Target) -> bool:
        """Return whether a result still fits its image."""
        try:
            self.image_of(target)
        except ImageError:
            return False
        return True

    def axes(self, layer: Image) -> ImageAxes:
        """Return the axes of an image, its plane being the one that the viewer displays.

        Raises
        ------
        ImageError
            If the viewer displays no plane of it.
        """
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
        axes = self.axes(layer)
        shape = shape_of(layer)
        return prompt_layers.Stage(
            layer,
            axes,
            plane_on_show(self.viewer, layer, axes),
            (shape[axes.y], shape[axes.x]),
            World.of(self.viewer),
        )

    def take_view(self, image: str) -> ImageView:
        """Return what the model would see of the plane on show."""
        stage = self.stage(image)
        layers = self._visible() if image == ALL_IMAGES else [stage.layer]
        self._check_aligned(layers)
        channels = []
        for layer in layers:
            axes = self.axes(layer)
            plane = plane_on_show(self.viewer, layer, axes)
            source = self.sources.source(layer, axes, plane)
            channels.append(channel_of_layer(layer, source, plane, coloured=len(layers) > 1))
        return ImageView(tuple(channels))

    def paths(self) -> dict[int, Path]:
        """Return the files of the images that have been looked at, by the token of the source."""
        files = {
            key_of(layer): Path(layer.source.path)
            for layer in image_layers(self.viewer)
            if layer.source.path
        }
        return self.sources.files(files)

    def file_of(self, image: str) -> Path | None:
        """Return the file that an image was read from; None if there is none."""
        layer = self.find(image)
        return Path(layer.source.path) if layer is not None and layer.source.path else None

    def _check_aligned(self, layers: list[Image]) -> None:
        """Raise unless the layers lie on top of each other, pixel on pixel."""
        first = layers[0]
        for layer in layers[1:]:
            if not lie_together(first, layer, World.of(self.viewer)):
                raise ImageError(
                    f"“{layer.name}” and “{first.name}” don't lie on top of each other.",
                    "Hide one of them, or choose a single image.",
                )
