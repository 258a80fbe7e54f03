"""Labels of other tools on an image: what they hold on the plane on show, and in all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels

from napari_sam3_assistant.core.masks.labels import unfiltered
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.stitching import Known
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.session.snapshots import OtherLabels
from napari_sam3_assistant.viewer.accepted import as_number, read_parents
from napari_sam3_assistant.viewer.classes import class_names
from napari_sam3_assistant.viewer.geometry import (
    DataMap,
    array_of,
    is_aligned,
    layer_transform,
    result_shape,
    result_transform,
    to_layer_axes,
)
from napari_sam3_assistant.viewer.images import plane_position, shape_of
from napari_sam3_assistant.viewer.prompts import read_plane
from napari_sam3_assistant.viewer.roles import add_below_prompts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari.components import ViewerModel

    from napari_sam3_assistant.core.images import AnyArray, Untyped
    from napari_sam3_assistant.viewer.images import DisplayedPlane


def read_labels(layer: Labels, displayed: DisplayedPlane) -> OtherLabels:
    """Return what a layer of labels holds of an image: on its plane on show, and in all of it.

    Raises
    ------
    ImageError
        If it has nothing there, or no whole numbers.
    """
    way = DataMap.between(displayed.layer, layer, displayed.world)
    first = way(plane_position(displayed, 0, 0))[0]
    plane = read_plane(layer, displayed, way, first)
    if plane is None:
        raise ImageError(
            f"“{layer.name}” does not lie on this plane of “{displayed.layer.name}”.",
            "Go to a slice that it is on, or choose another layer.",
        )
    return OtherLabels(
        displayed.target,
        np.asarray(plane).astype(np.int64),
        str(layer.name),
        _known(layer),
        _find_whole(layer, displayed),
    )


def _known(layer: Labels) -> dict[int, Known]:
    """Return what the features of a layer say of its objects."""
    told, names, parents = layer.features, class_names(layer), read_parents(layer)
    if "index" not in told:
        return {id_: Known(parent=parent) for id_, parent in parents.items()}
    nothing = [None] * len(told)
    numbers = told.get("score", nothing), told.get("stability", nothing)
    return {
        int(id_): Known(
            as_number(score),
            class_name=names.get(int(id_), ""),
            parent=parents.get(int(id_), 0),
            stability=as_number(stability),
        )
        for id_, score, stability in zip(told["index"], *numbers, strict=True)
    }


def _find_whole(layer: Labels, displayed: DisplayedPlane) -> AnyArray | None:
    """Return all of a layer's labels where they lie on the image pixel on pixel; else None."""
    axes, labels = displayed.axes, unfiltered(array_of(layer))
    shape = result_shape(shape_of(displayed.layer), axes)
    if tuple(labels.shape) != shape:
        return None
    placed = layer_transform(displayed.layer, axes, displayed.world)
    # napari tells where a layer lies of layers alone.
    there = Labels(np.zeros((1,) * len(shape), np.uint8), **placed)
    return labels if is_aligned(there, layer, displayed.world) else None


def add_labels(
    viewer: ViewerModel,
    displayed: DisplayedPlane,
    name: str,
    data: Untyped,
    features: Mapping[str, Any],
) -> Labels:
    """Add labels of a file as a layer that lies on an image, or on its plane on show.

    Raises
    ------
    ImageError
        If they have another size.
    """
    axes, world, image = displayed.axes, displayed.world, displayed.layer
    whole = result_shape(shape_of(image), axes)
    if tuple(data.shape) not in (whole, displayed.shape) and 1 in data.shape:
        # ilastik writes a channel of length 1, ImageJ a slice.
        data = data[tuple(0 if size == 1 else slice(None) for size in data.shape)]
    placed: dict[str, Any]
    if tuple(data.shape) == whole:
        placed = layer_transform(image, axes, world)
    elif tuple(data.shape) == displayed.shape:
        data = to_layer_axes(np.asarray(data), axes)
        placed = result_transform(image, axes, world, displayed.plane, Region(0, 0, 0, 0))
    else:
        raise ImageError(
            f"The labels are {' x '.join(map(str, data.shape))} pixels, “{image.name}” "
            f"{' x '.join(map(str, whole))}.",
            "Choose the image that they were made of, or their file.",
        )
    layer = Labels(data, name=name, features=dict(features), **placed)
    add_below_prompts(viewer, layer)
    return layer
