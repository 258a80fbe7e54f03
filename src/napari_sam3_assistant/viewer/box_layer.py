"""The boxes round a preview's objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Shapes
from napari.layers.base import ActionType

from napari_sam3_assistant.viewer.geometry import World, kept_axes, layer_transform
from napari_sam3_assistant.viewer.placing import add_below_prompts, metadata_of, move_to
from napari_sam3_assistant.viewer.roles import (
    NAMES,
    ROLE,
    Role,
    in_slot,
    name_of,
    role_of,
    slot_of,
    tag,
    with_role,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    import numpy.typing as npt
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_sam3_assistant.core.regions import Region
    from napari_sam3_assistant.session.model import Preview, Target

MOST_BOXES = 500
"""Of more objects no boxes are shown: 2 000 take napari a second, and cover the image."""
_EDGE = "#f2c744"
_ON_SCREEN = 2.0  # pixels
_NOTICED = 1.25


def show_boxes(viewer: ViewerModel, image: Layer, preview: Preview) -> None:
    """Write the boxes of a preview's objects into their layer, which is made if it is missing."""
    segmentation, axes = preview.segmentation, preview.target.axes
    layer, kept = in_slot(viewer.layers, Role.PREVIEW_BOXES, preview.slot), kept_axes(axes)
    many = len(segmentation.objects) > MOST_BOXES
    if layer is not None and (many or layer.ndim != len(kept)):
        put_away(viewer, layer)
        layer = None
    if many:
        return
    base = np.zeros(len(kept))
    for axis, index in zip(axes.leading, preview.target.plane.leading, strict=True):
        base[kept.index(axis)] = index
    ends = ends_of(preview.target)
    outlines = [
        outline_of(record.region, ends, base, (kept.index(axes.y), kept.index(axes.x)))
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
        layer = free_shapes(viewer, Role.PREVIEW_BOXES, transform)
        layer.name = name_of(Role.PREVIEW_BOXES, preview.label)
        layer.metadata.update(tag(Role.PREVIEW_BOXES, *preview.slot))
    else:
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
            edge_width=edge_width(viewer, layer),
        )
    layer.features = features
    layer.metadata.update(metadata_of(Role.PREVIEW_BOXES, preview))


def free_shapes(viewer: ViewerModel, role: Role, transform: dict[str, Any]) -> Shapes:
    """Return a layer of shapes that was put away, on show again at a place, or a new one."""
    ndim = len(transform["scale"])
    for layer in with_role(viewer.layers, role):
        if layer.ndim == ndim and not layer.nshapes:
            move_to(layer, transform)
            return layer
    layer = Shapes(ndim=ndim, name=NAMES[role], metadata=tag(role, ""), **transform)
    add_below_prompts(viewer, layer)
    return layer


def put_away(viewer: ViewerModel, layer: Shapes) -> None:
    """Empty a layer of shapes, to be used again.

    Once napari has drawn a Shapes layer and deleted it, OpenGL may read what is gone when it draws
    the rest (napari/napari#8471); Mesa's software renderer ends the process then, and does so, too,
    where the layer was hidden while another one went. It goes all the same where it would leave
    the viewer with sliders that no image has.
    """
    layer.selected_data = set()
    layer.data = []
    layer.metadata.update(tag(Role(layer.metadata[ROLE]), ""))
    if layer.ndim > max((one.ndim for one in viewer.layers if role_of(one) is None), default=0):
        viewer.layers.remove(layer)


def edge_width(viewer: ViewerModel, layer: Shapes) -> float:
    """Return how wide, in a layer's data, an edge is that has a constant width on the screen."""
    world = World.of(viewer)
    shown = world.shown_axes(layer)
    pixel = np.sqrt(abs(np.linalg.det(world.matrix(layer)[np.ix_(shown, shown)])))
    zoom = getattr(viewer, "scene", viewer).camera.zoom  # moved in napari 0.9
    return float(_ON_SCREEN / (zoom * pixel))


def follow_zoom(viewer: ViewerModel) -> None:
    """Give boxes and frames their width on the screen again, if the zoom has changed it."""
    for layer in viewer.layers:
        if role_of(layer) not in (Role.PREVIEW_BOXES, Role.ACTIVE_ROI) or not layer.nshapes:
            continue
        width = edge_width(viewer, layer)
        if not 1 / _NOTICED < width / layer.edge_width[0] < _NOTICED:
            layer.edge_width = [width] * layer.nshapes
            layer.refresh(extent=False, thumbnail=False)


def ends_of(target: Target) -> tuple[int, int] | None:
    """Return height and width of a plane that outlines must stay in; None where they need not.

    napari's sliders reach as far as all layers do. Those of rows and columns, when axes are
    rolled, would begin between two pixels. A plane alone has no sliders.
    """
    axes = target.axes
    alone = axes.ndim - axes.rgb == 2
    return None if alone else (target.shape[axes.y], target.shape[axes.x])


def outline_of(
    region: Region,
    ends: tuple[int, int] | None,
    base: npt.NDArray[np.float64],
    plane: tuple[int, int],
) -> npt.NDArray[np.float64]:
    """Return the corners of a region, shape (4, D).

    Parameters
    ----------
    region : Region
        The region.
    ends : tuple of int or None
        Height and width of the plane, if they stay within the centres of its outermost pixels.
    base : ndarray, shape (D,), dtype float
        The position on the other axes.
    plane : tuple of int
        Which axes are rows and columns.
    """
    corners = np.repeat(base[None], 4, axis=0)
    top, left, bottom, right = np.asarray(region.box) - 0.5
    if ends is not None:
        top, bottom = max(top, 0.0), min(bottom, ends[0] - 1.0)
        left, right = max(left, 0.0), min(right, ends[1] - 1.0)
    corners[:, plane[0]] = (top, top, bottom, bottom)
    corners[:, plane[1]] = (left, right, right, left)
    return corners


def empty_boxes(viewer: ViewerModel, kept: Collection[tuple[str, str]]) -> None:
    """Put away the boxes of all previews but some.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    kept : collection of (str, str)
        Images and labels of the previews that stay.
    """
    for layer in list(with_role(viewer.layers, Role.PREVIEW_BOXES)):
        if slot_of(layer) not in kept:
            put_away(viewer, layer)
