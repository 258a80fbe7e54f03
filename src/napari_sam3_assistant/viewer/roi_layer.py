"""Frames around the parts of large images that the last run worked on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.viewer.box_layer import (
    edge_width,
    ends_of,
    free_shapes,
    outline_of,
    put_away,
)
from napari_sam3_assistant.viewer.geometry import World, kept_axes, layer_transform
from napari_sam3_assistant.viewer.roles import Role, tag, with_role

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_sam3_assistant.session.model import ActiveRoi

_EDGE, _FACE = "#d6a657", "#d6a65722"


def show_roi(viewer: ViewerModel, image: Layer, roi: ActiveRoi) -> None:
    """Frame a region in a layer ``SAM3 active ROI`` that is empty, or made if there is none.

    One layer a region: each lies on its image, wherever that is.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    image : Layer
        The image layer.
    roi : ActiveRoi
        The region.
    """
    axes, region = roi.target.axes, roi.region
    kept = kept_axes(axes)
    base = np.zeros(len(kept))
    for axis, index in zip(axes.leading, roi.target.plane.leading, strict=True):
        base[kept.index(axis)] = index
    outline = outline_of(
        region, ends_of(roi.target), base, (kept.index(axes.y), kept.index(axes.x))
    )
    placed = layer_transform(image, axes, World.of(viewer))
    layer = free_shapes(viewer, Role.ACTIVE_ROI, placed)
    layer.metadata.update(tag(Role.ACTIVE_ROI, roi.target.image))
    width = edge_width(viewer, layer)
    layer.add(outline, shape_type="rectangle", edge_color=_EDGE, face_color=_FACE, edge_width=width)
    layer.features = {"source": [roi.target.name]}


def hide_rois(viewer: ViewerModel) -> None:
    """Take the frames away."""
    for layer in list(with_role(viewer.layers, Role.ACTIVE_ROI)):
        put_away(viewer, layer)
