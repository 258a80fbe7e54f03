"""What lies on an image goes with it when the user moves, scales or turns it, or names its axes.

Who finds out the size of a pixel, or that slices are times, after the first objects are found sets
it on the image alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.viewer.geometry import PLACE, Place, World, layer_transform
from napari_sam3_assistant.viewer.roles import (
    IMAGE,
    follow_units,
    key_of,
    move_to,
    preserve_choices,
    role_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel
    from napari.layers import Image
    from napari.utils.events import Event

    from napari_sam3_assistant.core.axes import ImageAxes

_PLACED = (*PLACE, "units", "axis_labels")


class Followers:
    """Keeps prompts and results on the pixels of their images.

    ``axes_of``: returns the axes of an image on show, or raises ImageError.
    """

    def __init__(self, viewer: ViewerModel, axes_of: Callable[[Image], ImageAxes]) -> None:
        self._viewer, self._axes_of = viewer, axes_of
        self._places: WeakKeyDictionary[Image, Place] = WeakKeyDictionary()

    def watch(self, image: Image) -> None:
        """Listen to where an image lies."""
        self._places[image] = Place.of(image)
        for name in _PLACED:
            # After napari: what the world counts in may change with the image.
            getattr(image.events, name).connect(self._on_moved, position="last")

    def forget(self, image: Image) -> None:
        """Listen to it no longer."""
        if self._places.pop(image, None) is not None:
            for name in _PLACED:
                getattr(image.events, name).disconnect(self._on_moved)

    def _on_moved(self, event: Event) -> None:
        image = event.source
        before, self._places[image] = self._places[image], Place.of(image)
        try:
            axes = self._axes_of(image)
        except ImageError:
            return  # the viewer shows no plane of it
        of_image = [
            layer
            for layer in self._viewer.layers
            if role_of(layer) is not None and layer.metadata.get(IMAGE) == key_of(image)
        ]
        world = World.of(self._viewer)
        with preserve_choices(self._viewer):
            for layer in of_image:
                first = before.first_of(layer, axes)
                if first is not None:
                    move_to(layer, layer_transform(image, axes, world, first))
        follow_units(self._viewer)
