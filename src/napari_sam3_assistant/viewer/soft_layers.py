"""Soft masks as image layers: there with every result, empty and hidden until asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image

from napari_sam3_assistant.core.soft_masks import gives_soft_masks
from napari_sam3_assistant.viewer.geometry import World, place, to_layer_axes
from napari_sam3_assistant.viewer.placing import metadata_of, move_to
from napari_sam3_assistant.viewer.roles import Role, in_slot, name_of, slot_of, with_role

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_sam3_assistant.session.model import Preview
    from napari_sam3_assistant.session.soft_masks import SoftImage


def hold_place(viewer: ViewerModel, image: Layer, preview: Preview, labels: Layer) -> None:
    """Have a layer for the soft masks of a preview, if the engine gave some.

    It stands below the preview labels, at their place, and holds nothing until :func:`show_soft`.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    image : Layer
        The image layer that was segmented.
    preview : Preview
        The result.
    labels : Layer
        Its preview labels.
    """
    layer = in_slot(viewer.layers, Role.PREVIEW_MASKS, preview.slot)
    segmentation, axes = preview.segmentation, preview.target.axes
    # One number that is repeated: it takes no memory.
    nothing = np.broadcast_to(np.float32(0), segmentation.region.shape)
    data = to_layer_axes(nothing, axes)
    given = gives_soft_masks(segmentation.objects)
    if layer is not None and (not given or layer.data.shape != data.shape):
        viewer.layers.remove(layer)
        layer = None
    if not given:
        return
    placed = place(image, axes, World.of(viewer), preview.target.plane, segmentation.region)
    if layer is None:
        layer = Image(
            data,
            name=name_of(Role.PREVIEW_MASKS, preview.label),
            metadata=metadata_of(Role.PREVIEW_MASKS, preview),
            contrast_limits=(0, 1),
            colormap="magma",
            blending="additive",
            visible=False,
            **placed,
        )
        viewer.layers.insert(viewer.layers.index(labels), layer)
        return
    move_to(layer, placed)
    layer.metadata.update(metadata_of(Role.PREVIEW_MASKS, preview))


def show_soft(viewer: ViewerModel, soft: SoftImage) -> None:
    """Fill the layer of a preview's soft masks and show it; nothing, if the user deleted it.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    soft : SoftImage
        The picture.
    """
    layer = in_slot(viewer.layers, Role.PREVIEW_MASKS, soft.preview.slot)
    if layer is None:
        return
    layer.data = to_layer_axes(soft.pixels, soft.preview.target.axes)
    layer.visible = True


def hide_soft(layers: Iterable[Layer]) -> None:
    """Hide all soft masks, and let go of their pixels."""
    for layer in with_role(layers, Role.PREVIEW_MASKS):
        layer.visible = False
        if layer.data.strides != (0,) * layer.ndim:
            layer.data = np.broadcast_to(np.float32(0), layer.data.shape)


def remove_soft(viewer: ViewerModel, kept: Collection[tuple[str, str]]) -> None:
    """Remove soft masks, but those of some images and labels."""
    for layer in list(with_role(viewer.layers, Role.PREVIEW_MASKS)):
        if slot_of(layer) not in kept:
            viewer.layers.remove(layer)
