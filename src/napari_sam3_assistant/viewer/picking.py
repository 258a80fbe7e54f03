"""Pointing at an object of a labels layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.viewer.geometry import show_at

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari.components import ViewerModel
    from napari.layers import Labels, Layer
    from napari.utils.events import Event

    from napari_sam3_assistant.core.results import ObjectRecord
    from napari_sam3_assistant.core.stitching import StitchedObject
    from napari_sam3_assistant.session.model import Target
    from napari_sam3_assistant.session.stacks.values import FrameObject


def pick_once(layers: Sequence[Labels], picked: Callable[[Labels, int], None]) -> None:
    """Call ``picked`` with the next object that is clicked, while one of its layers is active.

    Clicks on the background are passed over. Asking again replaces what was asked before.

    Parameters
    ----------
    layers : sequence of Labels
        Where the object may lie, the lowest first.
    picked : callable
        Takes the layer and the object's value.
    """
    pick = _Pick(layers, picked)
    for layer in layers:
        layer.mode = "pan_zoom"
        forget_pick(layer)
        # Of the layers and not of the viewer: a prompt layer that ``picked`` makes the active one
        # must not hear of the same click.
        layer.mouse_drag_callbacks.append(pick)


def forget_pick(layer: Layer) -> None:
    """Wait no longer for an object of a layer to be clicked."""
    for callback in [one for one in layer.mouse_drag_callbacks if isinstance(one, _Pick)]:
        layer.mouse_drag_callbacks.remove(callback)


def select_on_click(layer: Labels, event: Event) -> None:
    """Make the clicked object the layer's selected label: a mouse callback.

    Only where a click does nothing else, so not while the user paints or places prompts.
    """
    if layer.mode == "pan_zoom" and (value := _value_at(layer, event)):
        layer.selected_label = value


def show_object(
    viewer: ViewerModel,
    labels: Labels,
    target: Target,
    record: ObjectRecord | FrameObject | StitchedObject,
    image: Layer,
) -> None:
    """Bring an object to the middle of the canvas, on its slice, and select it.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    labels : Labels
        The layer that shows the object.
    target : Target
        The plane that the object lies on.
    record : ObjectRecord, FrameObject or StitchedObject
        The object.
    image : Layer
        The image layer of the plane.
    """
    axes, region = target.axes, record.region
    position = np.zeros(image.ndim)
    for axis, index in zip(axes.leading, target.plane.leading, strict=True):
        position[axis] = index
    if axes.channel is not None and target.plane.channel is not None:
        position[axes.channel] = target.plane.channel
    position[axes.y] = (region.y0 + region.y1 - 1) / 2
    position[axes.x] = (region.x0 + region.x1 - 1) / 2
    show_at(viewer, image, position)
    viewer.layers.selection.active = labels
    labels.selected_label = record.id


def _value_at(layer: Labels, event: Event) -> int:
    value = layer.get_value(
        event.position,
        view_direction=event.view_direction,
        dims_displayed=event.dims_displayed,
        world=True,
    )
    # Of labels in several sizes napari tells the level, too.
    return int((value[1] if isinstance(value, tuple) else value) or 0)


class _Pick:
    """A mouse callback that takes itself away when it has done its work."""

    def __init__(self, layers: Sequence[Labels], picked: Callable[[Labels, int], None]) -> None:
        self._layers = layers
        self._picked = picked

    def __call__(self, active: Labels, event: Event) -> None:
        for layer in reversed(self._layers):
            if layer.visible and (value := _value_at(layer, event)):
                for each in self._layers:
                    forget_pick(each)
                self._picked(layer, value)
                return
