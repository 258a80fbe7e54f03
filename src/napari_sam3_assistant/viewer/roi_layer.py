"""Frames around the parts of large images that the last run worked on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Shapes

from napari_sam3_assistant.viewer.box_layer import outline_of
from napari_sam3_assistant.viewer.geometry import World, kept_axes, layer_transform
from napari_sam3_assistant.viewer.placing import add_below_prompts, move_to
from napari_sam3_assistant.viewer.roles import NAMES, Role, tag, with_role

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
    whole = (roi.target.shape[axes.y], roi.target.shape[axes.x])
    outline = outline_of(region, whole, base, (kept.index(axes.y), kept.index(axes.x)))
    placed = layer_transform(image, axes, World.of(viewer))
    frames = with_role(viewer.layers, Role.ACTIVE_ROI)
    layer = next((one for one in frames if one.ndim == len(kept) and not len(one.data)), None)
    if layer is None:
        layer = Shapes(ndim=len(kept), name=NAMES[Role.ACTIVE_ROI], **placed)
        layer.metadata.update(tag(Role.ACTIVE_ROI, roi.target.image))
        add_below_prompts(viewer, layer)
    move_to(layer, placed)
    width = max(1, min(region.shape) / 200)
    layer.add(outline, shape_type="rectangle", edge_color=_EDGE, face_color=_FACE, edge_width=width)
    layer.features = {"source": [roi.target.name]}


def hide_rois(viewer: ViewerModel) -> None:
    """Take the frames away; their layers stay, see :func:`.box_layer.empty_boxes`."""
    for layer in with_role(viewer.layers, Role.ACTIVE_ROI):
        layer.selected_data = set()
        layer.data = []
