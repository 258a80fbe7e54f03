"""Image layers as the session sees them: choices, planes on show, and what the model shall see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image

from napari_sam3_assistant.core.axes import FIND_OUT
from napari_sam3_assistant.core.images import ImageAxes, ImageSource, PlaneRef, guess_axes
from napari_sam3_assistant.core.rgb import Display
from napari_sam3_assistant.core.views import ViewChannel, shown_contrast
from napari_sam3_assistant.errors import ImageError, Sam3AssistantError
from napari_sam3_assistant.session.choices import ImageChoice
from napari_sam3_assistant.viewer.geometry import World, array_of
from napari_sam3_assistant.viewer.roles import key_of, role_of

if TYPE_CHECKING:
    import numpy.typing as npt
    from napari.components import ViewerModel
    from napari.layers import Layer


def image_layers(viewer: ViewerModel) -> list[Image]:
    """Return the image layers that can be segmented, the lowest first."""
    return [layer for layer in viewer.layers if isinstance(layer, Image) and role_of(layer) is None]


def find_image(viewer: ViewerModel, key: str) -> Image:
    """Return the image layer of a key.

    Raises
    ------
    ImageError
        If it is gone.
    """
    for layer in image_layers(viewer):
        if key_of(layer) == key:
            return layer
    raise ImageError("The image is no longer open.", "Choose another image.")


def axes_on_show(viewer: ViewerModel, layer: Layer, channel_axis: int = FIND_OUT) -> ImageAxes:
    """Return the axes of an image, its plane being the one that the viewer displays.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    layer : Layer
        The image layer.
    channel_axis : int
        Number of its channel axis; -1 to find it out.

    Raises
    ------
    ImageError
        If the viewer displays no plane of the image.
    """
    missing = viewer.dims.ndim - layer.ndim
    rows, columns = sorted(axis - missing for axis in viewer.dims.order[-2:])
    if rows < 0:
        raise ImageError(
            f"The viewer does not show rows and columns of “{layer.name}”.",
            "Roll the axes back with the buttons below the canvas.",
        )
    return guess_axes(
        shape_of(layer),
        channel_axis=channel_axis,
        rgb=layer.rgb,
        axis_labels=layer.axis_labels,
        plane_axes=(rows, columns),
    )


def shape_of(layer: Image) -> tuple[int, ...]:
    """Return the shape of an image layer's array, of the largest level if it has several."""
    return tuple(int(size) for size in array_of(layer).shape)


def plane_on_show(viewer: ViewerModel, layer: Layer, axes: ImageAxes) -> PlaneRef:
    """Return the plane of an image that the viewer shows, by its point in the world.

    Raises
    ------
    ImageError
        If the sliders are where the image has no plane, and napari draws none.
    """
    position = World.of(viewer).slice_of(layer)
    shape = shape_of(layer)

    def index(axis: int) -> int:
        at = round(float(position[axis]))
        if not 0 <= at < shape[axis]:
            raise ImageError(
                f"The sliders are beyond the image, at {axis_name(layer, axis)} = {at}.",
                f"Go to 0 to {shape[axis] - 1}.",
            )
        return at

    channel = None if axes.channel is None or axes.rgb else index(axes.channel)
    return PlaneRef(tuple(index(axis) for axis in axes.leading), channel)


def channel_of_layer(
    layer: Image, source: ImageSource, plane: PlaneRef, *, coloured: bool = False
) -> ViewChannel:
    """Return how a layer's plane is seen: as the user sees it.

    Parameters
    ----------
    layer : Image
        The layer.
    source : ImageSource
        Its image.
    plane : PlaneRef
        The plane.
    coloured : bool
        Whether its colormap counts: only where several images are added up.
    """
    if source.axes.rgb:
        return ViewChannel(source, plane, Display())
    limits = shown_contrast(
        tuple(layer.contrast_limits), tuple(layer.contrast_limits_range), source, plane.channel
    )
    colormap = _colours(layer) if coloured else None
    return ViewChannel(source, plane, Display(limits, float(layer.gamma), colormap))


def _colours(layer: Image) -> npt.NDArray[np.float64]:
    return np.asarray(layer.colormap.map(np.linspace(0, 1, 256)), float)[:, :3]


def choice(viewer: ViewerModel, layer: Image, channel_axis: int = FIND_OUT) -> ImageChoice:
    """Return an image as the user chooses it."""
    key, name = key_of(layer), layer.name
    try:
        axes = axes_on_show(viewer, layer, channel_axis)
        plane = plane_on_show(viewer, layer, axes)
    except Sam3AssistantError as error:
        return ImageChoice(key, name, str(error), why_not=str(error))
    shape, note = shape_of(layer), _note(viewer, layer, axes, plane)
    summary = ". ".join(filter(None, (_summary(layer, axes, plane), note)))
    return ImageChoice(key, name, summary, (shape[axes.y], shape[axes.x]), note)


def _named(layer: Layer, axes: ImageAxes, plane: PlaneRef) -> list[str]:
    """Return where a plane lies, axis by axis."""
    return [
        f"{axis_name(layer, axis)} = {index}"
        for axis, index in zip(axes.leading, plane.leading, strict=True)
    ]


def _note(viewer: ViewerModel, layer: Image, axes: ImageAxes, plane: PlaneRef) -> str:
    """Return which plane is segmented, where what napari draws is made of several."""
    dims, missing = viewer.dims, viewer.dims.ndim - layer.ndim
    where = ", ".join(_named(layer, axes, plane))
    if dims.ndisplay > 2 and {axis + missing for axis in axes.leading} & set(dims.displayed):
        return f"3-D display: the plane {where} is segmented; choose another one in 2-D."
    margins = zip(dims.margin_left, dims.margin_right, strict=True)
    thick = {axis for axis, sides in enumerate(margins) if any(sides)} - set(dims.displayed)
    if str(layer.projection_mode) != "none" and {axis + missing for axis in axes.leading} & thick:
        return f"Thick slice: of its planes the one at {where} is segmented."
    return ""


def _summary(layer: Image, axes: ImageAxes, plane: PlaneRef) -> str:
    shape = shape_of(layer)
    parts = [f"{shape[axes.y]} x {shape[axes.x]}", *_named(layer, axes, plane)]
    if axes.rgb:
        parts.append("RGB")
    elif plane.channel is not None:
        parts.append(f"channel {plane.channel} ({axes.reason})")
    return ", ".join(parts)


def axis_name(layer: Layer, axis: int) -> str:
    """Return the label of an image's axis, or its number where it has none."""
    # napari's own names count from the end: "-3", or "axis -3" before 0.9.
    label = str(layer.axis_labels[axis]).strip()
    unnamed = label.removeprefix("axis").strip().lstrip("-").isdigit()
    return f"axis {axis}" if unnamed or not label else label
