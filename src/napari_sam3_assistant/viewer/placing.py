"""Where a result's layer stands: in the layer list, and in the world."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.viewer.roles import PROMPT_ROLES, Role, role_of, tag

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_sam3_assistant.session.model import Preview

ENGINE = "sam3_engine"
_ON_TOP = PROMPT_ROLES | {Role.PREVIEW_BOXES, Role.ACTIVE_ROI}


def metadata_of(role: Role, preview: Preview) -> dict[str, Any]:
    """Return what a layer of a preview says of itself: its role, and what made it."""
    segmentation = preview.segmentation
    return {
        **tag(role, *preview.slot),
        ENGINE: asdict(segmentation.engine),
        "source_image_layer": preview.target.name,
    }


def move_to(layer: Layer, place_: dict[str, Any]) -> None:
    """Give a layer its place in the world, if it is another one than it has."""
    if not np.allclose(layer.affine.affine_matrix, place_["affine"]):
        layer.affine = place_["affine"]
    for name in ("scale", "translate", "rotate", "shear"):
        if not np.allclose(getattr(layer, name), place_[name]):
            setattr(layer, name, place_[name])
    for name in ("units", "axis_labels"):
        if getattr(layer, name) != place_[name]:
            setattr(layer, name, place_[name])


def add_below_prompts(viewer: ViewerModel, layer: Layer) -> None:
    """Add a layer under the prompts and the boxes, so that these stay visible."""
    index = len(viewer.layers)
    while index and role_of(viewer.layers[index - 1]) in _ON_TOP:
        index -= 1
    viewer.layers.insert(index, layer)
