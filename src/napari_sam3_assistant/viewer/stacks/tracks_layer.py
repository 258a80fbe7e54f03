"""The objects of a propagation as a Tracks layer: one track an object, through its centroids."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Tracks

from napari_sam3_assistant.core.track_table import TrackScale
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.viewer.geometry import (
    World,
    file_axes,
    kept_axes,
    layer_transform,
    pixel_size,
)
from napari_sam3_assistant.viewer.placing import add_below_prompts
from napari_sam3_assistant.viewer.roles import NAMES, Role, key_of, tag, topmost, with_role

if TYPE_CHECKING:
    import numpy.typing as npt
    from napari.layers import Image

    from napari_sam3_assistant.core.track_table import TrackTable
    from napari_sam3_assistant.session.stacks.values import StackTarget
    from napari_sam3_assistant.viewer.scene import ViewerScene

_MOST_AXES = 4
"""A Tracks layer holds no more: time, z, y, x."""
_LONGEST_TAIL = 300
"""What napari's own slider goes up to."""


class ViewerTracks:
    """The Tracks layer of a scene; see :class:`.session.stacks.track_tables.TracksOnShow`.

    Parameters
    ----------
    scene : ViewerScene
        The viewer as a scene.
    """

    def __init__(self, scene: ViewerScene) -> None:
        self._scene = scene
        self._viewer = scene.viewer

    def show(self, stack: StackTarget, table: TrackTable) -> None:
        """Show the tracks of a propagation; there is no layer where nothing is on two frames."""
        image = self._scene.image_of(stack.target)
        axes = stack.target.axes
        if len(kept_axes(axes)) > _MOST_AXES:
            raise ImageError(
                f"A Tracks layer has up to {_MOST_AXES} axes, “{image.name}” has more.",
                "Export the tracks as CSV, or propagate through a part of the image.",
            )
        data = track_data(table, stack)
        layer = topmost(self._viewer.layers, Role.TRACKS, key_of(image))
        with self._scene.at_work():
            if len(data) == 0:
                self._remove()
            elif isinstance(layer, Tracks) and layer.ndim == data.shape[1] - 1:
                layer.data = data
            else:
                self._remove()
                self._add(image, stack, data)

    def remove(self) -> None:
        """Remove the layer."""
        with self._scene.at_work():
            self._remove()

    def scale(self, stack: StackTarget) -> TrackScale:
        """Return the size of a pixel of the image."""
        image, axes = self._scene.image(stack.target.image), stack.target.axes
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
        fades = kept_axes(axes)[0] == stack.axis
        layer = Tracks(
            data,
            name=NAMES[Role.TRACKS],
            metadata=tag(Role.TRACKS, key_of(image)),
            tail_length=_LONGEST_TAIL if fades else 1,
            **layer_transform(image, axes, World.of(self._viewer)),
        )
        add_below_prompts(self._viewer, layer)


def track_data(table: TrackTable, stack: StackTarget) -> npt.NDArray[np.float64]:
    """Return the tracks of objects on two frames or more, with the axes of the image's labels.

    Parameters
    ----------
    table : TrackTable
        The objects by frame.
    stack : StackTarget
        What was propagated.

    Returns
    -------
    ndarray, shape (N, 1 + D), dtype float64
        Object id, and the position in pixels along each axis; 0 on the channel's, if there is one.
    """
    axes = stack.target.axes
    found = table.tracks(stack.target.plane.leading, axes.leading.index(stack.axis), least=2)
    kept = kept_axes(axes)
    # Column by column from leading axes, y, x to the order in which the layer has them.
    order = [kept.index(axis) for axis in (*axes.leading, axes.y, axes.x)]
    placed = np.zeros((len(found), 1 + len(kept)))
    placed[:, 0] = found[:, 0]
    placed[:, [1 + place for place in order]] = found[:, 1:]
    return placed
