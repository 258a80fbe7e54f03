"""The labels of accepted objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels

from napari_sam3_assistant.errors import ImageError, PromptError
from napari_sam3_assistant.viewer.geometry import layer_transform, to_layer_axes
from napari_sam3_assistant.viewer.label_pixels import default_colours
from napari_sam3_assistant.viewer.placing import add_below_prompts
from napari_sam3_assistant.viewer.roles import NAMES, Role, tag, topmost

if TYPE_CHECKING:
    import numpy.typing as npt
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_sam3_assistant.session.model import Preview

_LIMIT = 2**31


@dataclass(frozen=True, slots=True, eq=False)
class Accepted:
    """What accepting a preview wrote, so that it can be taken back.

    Parameters
    ----------
    ids : tuple of int
        The objects' values in the accepted labels.
    image : str
        Key of the image.
    parts : tuple
        For each object the slices and the pixels that it took, as a mask.
    """

    ids: tuple[int, ...]
    image: str
    parts: tuple[tuple[tuple[slice, ...], npt.NDArray[np.bool_]], ...]

    def __str__(self) -> str:
        ids = ", ".join(map(str, self.ids))
        return f"object {ids}" if len(self.ids) == 1 else f"objects {ids}"


def accept(viewer: ViewerModel, image: Layer, preview: Preview) -> Accepted:
    """Add a preview's objects to the accepted labels as the next ids, on empty pixels only.

    Raises
    ------
    PromptError
        If there is no empty pixel under them.
    ImageError
        If the image is too large for one labels layer.
    """
    axes = preview.target.axes
    layer = _accepted_layer(viewer, image, preview)
    following = int(layer.data.max()) + 1
    ids, parts = [], []
    kept = [axis for axis in range(image.ndim) if axis != axes.channel]
    for record in preview.segmentation.objects:
        where: list[slice] = [slice(None)] * len(kept)
        for axis, index in zip(axes.leading, preview.target.plane.leading, strict=True):
            where[kept.index(axis)] = slice(index, index + 1)
        where[kept.index(axes.y)], where[kept.index(axes.x)] = record.region.slices
        place_ = tuple(where)
        mask = to_layer_axes(record.mask, image, axes)
        free = mask & (layer.data[place_] == 0)
        if free.any():
            parts.append((place_, free))
            ids.append(following)
            following += 1
    if not parts:
        raise PromptError(
            "All of these pixels are accepted already; nothing was added.",
            "Erase the accepted object first, or click on another one.",
        )
    accepted = Accepted(tuple(ids), preview.target.image, tuple(parts))
    write_accepted(viewer, accepted)
    return accepted


def _accepted_layer(viewer: ViewerModel, image: Layer, preview: Preview) -> Labels:
    axes = preview.target.axes
    layer = topmost(viewer.layers, Role.ACCEPTED, preview.target.image)
    if layer is not None:
        return layer
    data = image.data[0] if image.multiscale else image.data
    shape = tuple(data.shape[axis] for axis in range(image.ndim) if axis != axes.channel)
    if 4 * np.prod(shape, dtype=float) > _LIMIT:
        raise ImageError(
            f"A labels layer of shape {shape} needs more than 2 GB.",
            "Use Save to keep this object in a layer of its own.",
        )
    active = viewer.layers.selection.active
    layer = Labels(
        # Zeros take no memory until they are written.
        np.zeros(shape, np.uint32),
        name=NAMES[Role.ACCEPTED],
        metadata=tag(Role.ACCEPTED, preview.target.image),
        colormap=default_colours(),
        **layer_transform(image, axes),
    )
    add_below_prompts(viewer, layer)
    viewer.layers.selection.active = active
    return layer


def write_accepted(viewer: ViewerModel, accepted: Accepted) -> None:
    """Write accepted objects, if their layer is still there."""
    layer = topmost(viewer.layers, Role.ACCEPTED, accepted.image)
    if layer is None:
        return
    for value, (where, mask) in zip(accepted.ids, accepted.parts, strict=True):
        layer.data[where][mask] = value
    layer.refresh(extent=False)


def erase_accepted(viewer: ViewerModel, accepted: Accepted) -> None:
    """Take accepted objects out again, where they have not been painted over."""
    layer = topmost(viewer.layers, Role.ACCEPTED, accepted.image)
    if layer is None:
        return
    for value, (where, mask) in zip(accepted.ids, accepted.parts, strict=True):
        part = layer.data[where]
        part[mask & (part == value)] = 0
    layer.refresh(extent=False)
