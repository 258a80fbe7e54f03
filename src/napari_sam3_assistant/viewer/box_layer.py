"""The boxes round a preview's objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Shapes
from napari.layers.base import ActionType

from napari_sam3_assistant.viewer.geometry import World, kept_axes, layer_transform
from napari_sam3_assistant.viewer.placing import add_below_prompts, metadata_of, move_to
from napari_sam3_assistant.viewer.roles import Role, in_slot, name_of, slot_of, tag, with_role

if TYPE_CHECKING:
    from collections.abc import Collection

    import numpy.typing as npt
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_sam3_assistant.core.regions import Region
    from napari_sam3_assistant.session.model import Preview

_EDGE = "#f2c744"


def show_boxes(viewer: ViewerModel, image: Layer, preview: Preview) -> None:
    """Write the boxes of a preview's objects into their layer, which is made if it is missing."""
    segmentation, axes = preview.segmentation, preview.target.axes
    layer = in_slot(viewer.layers, Role.PREVIEW_BOXES, preview.slot)
    kept = kept_axes(axes)
    base = np.zeros(len(kept))
    for axis, index in zip(axes.leading, preview.target.plane.leading, strict=True):
        base[kept.index(axis)] = index
    whole = (preview.target.shape[axes.y], preview.target.shape[axes.x])
    outlines = [
        outline_of(record.region, whole, base, (kept.index(axes.y), kept.index(axes.x)))
        for record in segmentation.objects
    ]
    features = {
        "object_id": [record.id for record in segmentation.objects],
        "score": [
            np.nan if record.score is None else record.score for record in segmentation.objects
        ],
    }
    transform = layer_transform(image, axes, World.of(viewer))
    if layer is None:
        name = name_of(Role.PREVIEW_BOXES, preview.label)
        layer = _empty_boxes(viewer, len(kept), name, transform)
        layer.metadata.update(tag(Role.PREVIEW_BOXES, *preview.slot))
    move_to(layer, transform)
    layer.selected_data = set()
    if outlines and len(layer.data) == len(outlines):
        # They keep their colours; an update after a click takes half the time so, and a third
        # where the viewer looks at all layers once and not before and after.
        with layer.events.data.blocker():
            layer.data = outlines
        layer.events.data(
            value=layer.data,
            action=ActionType.CHANGED,
            data_indices=tuple(range(len(outlines))),
            vertex_indices=((),),
        )
    else:
        layer.data = []
        layer.add(
            outlines,
            shape_type="rectangle",
            edge_color=_EDGE,
            face_color="transparent",
            edge_width=max(1, min(segmentation.labels.shape) / 400),
        )
    layer.features = features
    layer.metadata.update(metadata_of(Role.PREVIEW_BOXES, preview))


def _empty_boxes(viewer: ViewerModel, ndim: int, name: str, transform: dict[str, Any]) -> Shapes:
    """Return boxes that an earlier preview has left empty, or new ones."""
    for layer in with_role(viewer.layers, Role.PREVIEW_BOXES):
        if layer.ndim == ndim and len(layer.data) == 0:
            layer.name = name
            return layer
    layer = Shapes(ndim=ndim, name=name, metadata=tag(Role.PREVIEW_BOXES, ""), **transform)
    add_below_prompts(viewer, layer)
    return layer


def outline_of(
    region: Region,
    whole: tuple[int, int],
    base: npt.NDArray[np.float64],
    plane: tuple[int, int],
) -> npt.NDArray[np.float64]:
    """Return the corners of a region, shape (4, D).

    They stay within the centres of the outermost pixels: napari's sliders reach as far as all
    layers do, and stay as they are.

    Parameters
    ----------
    region : Region
        The region.
    whole : tuple of int
        Height and width of the plane.
    base : ndarray, shape (D,), dtype float
        The position on the other axes.
    plane : tuple of int
        Which axes are rows and columns.
    """
    corners = np.repeat(base[None], 4, axis=0)
    height, width = whole
    top, left, bottom, right = np.asarray(region.box) - 0.5
    top, bottom = max(top, 0.0), min(bottom, height - 1.0)
    left, right = max(left, 0.0), min(right, width - 1.0)
    corners[:, plane[0]] = (top, top, bottom, bottom)
    corners[:, plane[1]] = (left, right, right, left)
    return corners


def empty_boxes(viewer: ViewerModel, kept: Collection[tuple[str, str]]) -> None:
    """Empty the boxes of all previews but some.

    The layers stay: once napari has drawn a Shapes layer and deleted it, OpenGL may read what is
    gone when it draws the rest (napari/napari#8471). Mesa's software renderer ends the process
    then.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    kept : collection of (str, str)
        Images and labels of the previews that stay.
    """
    for layer in with_role(viewer.layers, Role.PREVIEW_BOXES):
        if slot_of(layer) not in kept:
            layer.selected_data = set()
            layer.data = []
