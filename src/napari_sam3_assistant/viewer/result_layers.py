"""Results as layers: previews written in place, and saved copies of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels

from napari_sam3_assistant.core.regions import bounds_of
from napari_sam3_assistant.core.results import edited
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.session.measured_columns import object_features
from napari_sam3_assistant.session.scene import Pixels
from napari_sam3_assistant.viewer.box_layer import empty_boxes, show_boxes
from napari_sam3_assistant.viewer.edits import edits_in
from napari_sam3_assistant.viewer.geometry import (
    World,
    file_axes,
    kept_axes,
    place,
    to_layer_axes,
    to_plane,
    transform_of,
)
from napari_sam3_assistant.viewer.label_pixels import default_colours, redraw
from napari_sam3_assistant.viewer.measured import with_earlier
from napari_sam3_assistant.viewer.placing import (
    add_below_prompts,
    metadata_of,
    move_to,
    undisturbed,
)
from napari_sam3_assistant.viewer.roles import (
    Role,
    in_slot,
    name_of,
    slot_of,
    tag,
    with_role,
)
from napari_sam3_assistant.viewer.soft_layers import hold_place, remove_soft

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import numpy.typing as npt
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_sam3_assistant.session.model import Preview


def show_preview(viewer: ViewerModel, image: Layer, preview: Preview) -> Layer:
    """Write a preview into its layers, which are made where they are missing.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    image : Layer
        The image layer that was segmented.
    preview : Preview
        The result.

    Returns
    -------
    Layer
        The preview labels.
    """
    with undisturbed(viewer) as chosen:
        before = in_slot(viewer.layers, Role.PREVIEW_LABELS, preview.slot)
        labels = _show_labels(viewer, image, preview)
        if before is not None:
            chosen.replace(before, labels)
        hold_place(viewer, image, preview, labels)
        show_boxes(viewer, image, preview)
    return labels


def remove_previews(viewer: ViewerModel, kept: Collection[tuple[str, str]] = ()) -> None:
    """Remove the preview labels and soft masks, and what the preview boxes hold.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    kept : collection of (str, str)
        Images and labels of the previews that stay.
    """
    for layer in list(with_role(viewer.layers, Role.PREVIEW_LABELS)):
        if slot_of(layer) not in kept:
            viewer.layers.remove(layer)
    remove_soft(viewer, kept)
    empty_boxes(viewer, kept)


def _show_labels(viewer: ViewerModel, image: Layer, preview: Preview) -> Layer:
    segmentation, axes = preview.segmentation, preview.target.axes
    layer = in_slot(viewer.layers, Role.PREVIEW_LABELS, preview.slot)
    data = to_layer_axes(segmentation.labels, axes)
    placed = place(image, axes, World.of(viewer), preview.target.plane, segmentation.region)
    if layer is None or layer.data.shape != data.shape:
        if layer is not None:
            viewer.layers.remove(layer)
        layer = Labels(
            _copied(data),
            name=name_of(Role.PREVIEW_LABELS, preview.label),
            metadata=metadata_of(Role.PREVIEW_LABELS, preview),
            colormap=default_colours(),
            # Shown below: napari would colour it twice, here and where it is added.
            visible=False,
            **placed,
        )
        add_below_prompts(viewer, layer)
    else:
        _write(viewer, layer, data)
        move_to(layer, placed)
        layer.metadata.update(metadata_of(Role.PREVIEW_LABELS, preview))
    layer.features = object_features(segmentation.objects, segmentation.engine.title)
    if not layer.visible:
        layer.visible = True
    return layer


def _copied(data: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """Return a copy of labels; what is empty round them takes no memory until it is written."""
    copy = np.zeros(data.shape, data.dtype)
    box = bounds_of(data)
    copy[box] = data[box]
    return copy


def _write(viewer: ViewerModel, layer: Labels, data: npt.NDArray[np.uint32]) -> None:
    """Write the pixels that change, and nothing else, into a layer of the same shape."""
    changed = layer.data != data
    if not changed.any():
        return
    bounds = bounds_of(changed)
    layer.data[bounds] = data[bounds]
    redraw(layer, bounds)
    edits_in(viewer).rewritten.emit(layer)


def edit_of(
    viewer: ViewerModel, image: Layer, layer: Layer, preview: Preview, box: Sequence[slice] | None
) -> Preview | None:
    """Return a preview as the user has changed it on its layer; None where nothing has changed.

    The layer's features and the boxes follow.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    image : Layer
        The image layer that was segmented.
    layer : Layer
        The preview labels.
    preview : Preview
        What they showed.
    box : sequence of slice or None
        Where they may have changed, one slice with a start and a stop for each axis; None for
        anywhere.
    """
    found, axes = preview.segmentation, preview.target.axes
    kept = kept_axes(axes)
    rows, columns = kept.index(axes.y), kept.index(axes.x)
    shown = _plane(layer.data, rows, columns)
    if shown.shape != found.labels.shape:
        return None
    height, width = shown.shape
    where = (slice(0, height), slice(0, width)) if box is None else (box[rows], box[columns])
    changed = edited(found, shown, where)
    if changed is None:
        return None
    after = replace(preview, segmentation=changed, edited=True)
    same = {record.id for record in changed.objects if record in found.objects}
    before = layer.features
    layer.features = object_features(changed.objects, changed.engine.title)
    layer.features = with_earlier(layer.features, before, same)
    with undisturbed(viewer):
        show_boxes(viewer, image, after)
    return after


def _plane(data: npt.NDArray[Any], rows: int, columns: int) -> npt.NDArray[Any]:
    """Return a view of the one plane of a preview's labels, shape (h, w)."""
    key = tuple(slice(None) if axis in (rows, columns) else 0 for axis in range(data.ndim))
    return data[key] if rows < columns else data[key].T


def pixels(viewer: ViewerModel, image: Layer, preview: Preview) -> Pixels:
    """Return the preview labels as they are now, with what a file can say of their place.

    Raises
    ------
    ImageError
        If the preview layer is gone.
    """
    source = in_slot(viewer.layers, Role.PREVIEW_LABELS, preview.slot)
    if source is None:
        raise ImageError("The preview layer is gone.", "Press Run Preview again.")
    axes = preview.target.axes
    kept = kept_axes(axes)
    rows, columns = kept.index(axes.y), kept.index(axes.x)
    units = (image.units[axes.y], image.units[axes.x])
    placed = file_axes(source, (rows, columns), ("y", "x"), units)
    return Pixels(to_plane(np.array(source.data), axes), placed)


def keep(viewer: ViewerModel, preview: Preview) -> str:
    """Copy the preview labels, as they are now, into a saved layer; returns its name.

    Raises
    ------
    ImageError
        If the preview layer is gone.
    """
    source = in_slot(viewer.layers, Role.PREVIEW_LABELS, preview.slot)
    if source is None:
        raise ImageError("The preview layer is gone.", "Press Run Preview again.")
    kept = Labels(
        np.array(source.data),
        name=name_of(Role.SAVED, preview.label),
        metadata={**source.metadata, **tag(Role.SAVED, *preview.slot)},
        features=source.features.copy(),
        colormap=default_colours(),
        **transform_of(source),
    )
    add_below_prompts(viewer, kept)
    return str(kept.name)
