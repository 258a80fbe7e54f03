"""Pointing at an object of a labels layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Labels
    from napari.utils.events import Event


def pick_once(layer: Labels, picked: Callable[[int], None]) -> None:
    """Call ``picked`` with the value of the next object of a layer that is clicked.

    Clicks on the background are passed over. Asking again replaces what was asked before.

    Parameters
    ----------
    layer : Labels
        The layer, which must be the active one to hear of clicks.
    picked : callable
        Takes the object's value.
    """
    layer.mode = "pan_zoom"
    for callback in [each for each in layer.mouse_drag_callbacks if isinstance(each, _Pick)]:
        layer.mouse_drag_callbacks.remove(callback)
    layer.mouse_drag_callbacks.append(_Pick(picked))


class _Pick:
    """A mouse callback that takes itself away when it has done its work."""

    def __init__(self, picked: Callable[[int], None]) -> None:
        self._picked = picked

    def __call__(self, layer: Labels, event: Event) -> None:
        value = layer.get_value(
            event.position,
            view_direction=event.view_direction,
            dims_displayed=event.dims_displayed,
            world=True,
        )
        if value:
            layer.mouse_drag_callbacks.remove(self)
            self._picked(int(value))
