"""Where a result's layer stands: in the layer list, and in the world."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.viewer.roles import PROMPT_ROLES, Role, role_of, tag

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
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
    if not _alike(layer.affine.affine_matrix, place_["affine"]):
        layer.affine = place_["affine"]
    for name in ("scale", "translate", "rotate", "shear"):
        if not _alike(getattr(layer, name), place_[name]):
            setattr(layer, name, place_[name])
    for name in ("units", "axis_labels"):
        if getattr(layer, name) != place_[name]:
            setattr(layer, name, place_[name])


def _alike(one: npt.ArrayLike, other: npt.ArrayLike) -> bool:
    # But for rounding: a pixel may be a millionth of the coordinates.
    return np.allclose(one, other, rtol=1e-12, atol=0)


def add_below_prompts(viewer: ViewerModel, layer: Layer) -> None:
    """Add a layer under the prompts and the boxes, so that these stay visible.

    The active layer and the sliders stay as they are.
    """
    index = len(viewer.layers)
    while index and role_of(viewer.layers[index - 1]) in _ON_TOP:
        index -= 1
    with undisturbed(viewer):
        viewer.layers.insert(index, layer)


@contextmanager
def undisturbed(viewer: ViewerModel) -> Iterator[None]:
    """Leave the active layer and the sliders as they are, whatever comes and goes."""
    active, point = viewer.layers.selection.active, viewer.dims.point
    yield
    if viewer.dims.point != point and len(point) == viewer.dims.ndim:
        # A layer that moves between units stretches the sliders for a moment; stay on the slice.
        viewer.dims.set_point(range(len(point)), point)
    if active is None or active in viewer.layers:
        viewer.layers.selection.active = active
