"""Labels of other tools on an image: what they hold on the plane on show, and in all of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels

from napari_sam3_assistant.core.axes import axis_kind, make_axes, order_as
from napari_sam3_assistant.core.images import as_lazy
from napari_sam3_assistant.core.masks.labels import unfiltered
from napari_sam3_assistant.core.objects_by_slice import Known
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.session.snapshots import OtherLabels
from napari_sam3_assistant.viewer.accepted_objects import as_label, as_number, read_parents
from napari_sam3_assistant.viewer.classes import class_names
from napari_sam3_assistant.viewer.geometry import (
    DataMap,
    array_of,
    is_aligned,
    layer_transform,
    result_axes,
    result_shape,
    result_transform,
)
from napari_sam3_assistant.viewer.images import plane_position, shape_of
from napari_sam3_assistant.viewer.prompt_reading import read_plane
from napari_sam3_assistant.viewer.roles import add_below_prompts, move_to

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari.components import ViewerModel

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.images import AnyArray, Untyped
    from napari_sam3_assistant.viewer.images import DisplayedPlane


def read_labels(layer: Labels, displayed: DisplayedPlane) -> OtherLabels:
    """Return what a layer of labels holds of an image: on its plane on show, and in all of it.

    Raises ImageError if it has nothing there, or no whole numbers.
    """
    data_map = DataMap.between(displayed.layer, layer, displayed.world)
    first = data_map(plane_position(displayed, 0, 0))[0]
    plane = read_plane(layer, displayed, data_map, first)
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
    features, names, parents = layer.features, class_names(layer), read_parents(layer)
    if "index" not in features:
        return {id_: Known(parent=parent) for id_, parent in parents.items()}
    nothing = [None] * len(features)
    numbers = features.get("score", nothing), features.get("stability", nothing)
    return {
        id_: Known(
            as_number(score),
            class_name=names.get(id_, ""),
            parent=parents.get(id_, 0),
            stability=as_number(stability),
        )
        for id_, score, stability in zip(map(as_label, features["index"]), *numbers, strict=True)
        if id_
    }


def lies_elsewhere(layer: Labels, displayed: DisplayedPlane) -> bool:
    """Return whether a layer has the pixels of an image, but another pixel size or place.

    So it is with labels that were saved without their scale, as napari itself does.
    """
    return _has_pixels_of(layer, displayed) and _find_whole(layer, displayed) is None


def lay_on_image(layer: Labels, displayed: DisplayedPlane) -> None:
    """Give a layer that has the pixels of an image the image's pixel size and place."""
    move_to(layer, layer_transform(displayed.layer, displayed.axes, displayed.world))


def _has_pixels_of(layer: Labels, displayed: DisplayedPlane) -> bool:
    """Return whether a layer has as many pixels as the labels of an image along each axis."""
    return tuple(shape_of(layer)) == result_shape(shape_of(displayed.layer), displayed.axes)


def _find_whole(layer: Labels, displayed: DisplayedPlane) -> AnyArray | None:
    """Return all of a layer's labels where they lie on the image pixel on pixel; else None."""
    if not _has_pixels_of(layer, displayed):
        return None
    placed = layer_transform(displayed.layer, displayed.axes, displayed.world)
    # napari tells where a layer lies of layers alone.
    there = Labels(np.zeros((1,) * layer.ndim, np.uint8), **placed)
    return unfiltered(array_of(layer)) if is_aligned(there, layer, displayed.world) else None


def add_labels(
    viewer: ViewerModel,
    displayed: DisplayedPlane,
    name: str,
    data: Untyped,
    label_axes: Axes,
    features: Mapping[str, Any],
) -> Labels:
    """Add labels of a file, whose axes it names, as a layer on an image, or on its plane on show.

    The labels get the image's order of axes, however the viewer shows it.

    Raises ImageError if they have another size.
    """
    axes, world, image = displayed.axes, displayed.world, displayed.layer
    whole, kept = result_shape(shape_of(image), axes), result_axes(axes)
    sides = list(zip(kept, whole, strict=True))
    flat = tuple(size if axis in (axes.y, axes.x) else 1 for axis, size in sides)
    names = _name_axes(displayed)
    placed = layer_transform(image, axes, world)
    ordered = _order(data, label_axes, whole, names)
    if ordered is None:
        ordered = _order(data, label_axes, flat, names)
        placed = result_transform(image, axes, world, displayed.plane, Region(0, 0, 0, 0))
    if ordered is None:
        raise ImageError(
            f"The labels are {' x '.join(map(str, data.shape))} pixels, “{image.name}” "
            f"{' x '.join(map(str, whole))}.",
            "Choose the image that they were made of, or their file.",
        )
    layer = Labels(ordered, name=name, features=dict(features), **placed)
    add_below_prompts(viewer, layer)
    return layer


def _name_axes(displayed: DisplayedPlane) -> list[str]:
    """Return what the axes of an image's results are, rows and columns last if it does not say."""
    axes, labels = displayed.axes, displayed.layer.axis_labels
    kept = result_axes(axes)
    names = [axis_kind(labels[axis]) for axis in kept]
    last = [place for place, axis in enumerate(kept) if axis != axes.channel][-2:]
    for place, name in zip(last, "yx", strict=True):
        if not names[place] and name not in names:
            names[place] = name
    return names


def _order(
    data: Untyped, label_axes: Axes, shape: tuple[int, ...], names: Sequence[str]
) -> Untyped:
    """Return labels with the axes and the shape of an image; None if they don't fit.

    Names count first: where sides are equally long, the shape says nothing. Axes of length 1 may
    be anywhere, or missing: ilastik writes a channel, ImageJ a slice.
    """
    own = [number for number, size in enumerate(data.shape) if size > 1]
    long = [place for place, size in enumerate(shape) if size > 1]
    sizes = [shape[place] for place in long]
    there = make_axes(sizes, names=[names[place] for place in long])
    by_name = order_as(tuple(label_axes[number] for number in own), there)
    in_place = tuple(range(len(own)))
    for order in (by_name, in_place):
        if [data.shape[own[number]] for number in order] != sizes:
            continue
        if order == in_place and tuple(data.shape) == shape:
            return data
        cut = as_lazy(data)[tuple(slice(None) if size > 1 else 0 for size in data.shape)]
        return cut.transpose(order)[tuple(slice(None) if size > 1 else None for size in shape)]
    return None
