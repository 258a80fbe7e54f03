"""The labels of a propagation as layers: filled in place, frame by frame."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.session.label_storage import delete_with, empty_labels
from napari_sam3_assistant.viewer.geometry import (
    World,
    layer_transform,
    result_axes,
    result_shape,
    transform_of,
)
from napari_sam3_assistant.viewer.images import shape_of
from napari_sam3_assistant.viewer.label_pixels import default_colours, redraw
from napari_sam3_assistant.viewer.placing import ENGINE, add_below_prompts
from napari_sam3_assistant.viewer.roles import NAMES, Role, key_of, role_metadata, slot_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_sam3_assistant.core.axes import ImageAxes
    from napari_sam3_assistant.core.images import PlaneRef
    from napari_sam3_assistant.core.tracks import FrameResult
    from napari_sam3_assistant.session.model import StackTarget


AXIS = "sam3_frame_axis"
POSITION = "sam3_position"
Part = tuple[slice, slice]
_ALL = (slice(None), slice(None))


def make_propagated(
    viewer: ViewerModel, image: Image, stack: StackTarget, result: FrameResult
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
    )
    add_below_prompts(viewer, layer)
    return layer


def _labels(
    shape: tuple[int, ...], role: Role, metadata: dict[str, Any], transform: dict[str, Any]
) -> Labels:
    data = empty_labels(shape)
    layer = Labels(
        data, name=NAMES[role], metadata=metadata, colormap=default_colours(), **transform
    )
    delete_with(layer, data)
    return layer


class FrameWindow:
    """Where the frames of a propagation lie in its labels.

    Parameters
    ----------
    axes : ImageAxes
        The image's axes.
    plane : PlaneRef
        The plane that it began on: the other leading axes stay there.
    axis : int
        Number of the array's axis that the frames lie along.
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
            one if isinstance(one, slice) else slice(one, one + 1) for one in self.key(frame, part)
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
            labels[key], [order.index(one) for one in (self.axis, self.y, self.x)], [0, 1, 2]
        )


def write_frame(layer: Labels, window: FrameWindow, result: FrameResult, *, fresh: bool) -> None:
    """Write what changes of a frame, and draw it if it is on show.

    Parameters
    ----------
    layer : Labels
        The propagated labels.
    window : FrameWindow
        Where the frame lies.
    result : FrameResult
        The frame. Objects that were not looked for are kept.
    fresh : bool
        Whether nothing was written to the frame before.
    """
    if fresh:
        _write_fresh(layer, window, result)
        return
    before = window.upright(np.asarray(layer.data[window.key(result.frame)]))
    wanted = result.over(before)
    part = Region.around(wanted != before)
    if not part.is_empty:
        write_part(layer, window, result.frame, part.slices, wanted[part.slices])


def _write_fresh(layer: Labels, window: FrameWindow, result: FrameResult) -> None:
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
    layer.data[window.key(frame, part)] = window.upright(pixels)
    redraw(layer, window.box(frame, part))


def erase_object(
    layer: Labels, window: FrameWindow, frame: int, region: Region, object_id: int
) -> None:
    """Take an object out of a frame, given its bounding box."""
    before = window.upright(np.asarray(layer.data[window.key(frame, region.slices)]))
    write_part(layer, window, frame, region.slices, np.where(before == object_id, 0, before))


def empty_copy(source: Labels) -> Labels:
    """Return an empty layer like the propagated labels, to be a saved one."""
    return _labels(
        source.data.shape, Role.SAVED_PROPAGATED, _saved_metadata(source), transform_of(source)
    )


def make_saved(layer: Labels) -> None:
    """Make propagated labels saved ones, which no later session touches."""
    layer.metadata = _saved_metadata(layer)
    layer.name = NAMES[Role.SAVED_PROPAGATED]


def _saved_metadata(layer: Labels) -> dict[str, Any]:
    return {**layer.metadata, **role_metadata(Role.SAVED_PROPAGATED, *slot_of(layer))}


def missing_error() -> ImageError:
    """Return what is to be said where the propagated labels are missing."""
    return ImageError("The propagated labels are gone.", "Press Start 3D Propagation again.")
