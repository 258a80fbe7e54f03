"""Where labels lie in the image that they were made of, and what a file can say of that."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.core.axes import axis_kind
from napari_sam3_assistant.core.masks.labels import ImagePlace, plane_names
from napari_sam3_assistant.viewer.geometry import DataMap, World, array_of, file_axes, unit_name
from napari_sam3_assistant.viewer.images import file_of, image_layers, shape_of
from napari_sam3_assistant.viewer.roles import IMAGE, key_of

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels

    from napari_sam3_assistant.core.axes import Axes


SOURCE = "source_image_layer"
_NEAR = 0.05
"""By so many pixels labels may miss the pixels of their image."""


def image_of(viewer: ViewerModel, layer: Labels) -> Image | None:
    """Return the image that labels were made of.

    Of labels that do not say, it is the lowest one whose pixels they lie on.
    """
    candidates = _images_of(viewer, layer)
    fits = (
        candidate for candidate in candidates if _first_pixel(viewer, layer, candidate) is not None
    )
    known = candidates if layer.metadata.get(SOURCE) else []
    return next(fits, None) or next(iter(known), None)


def locate_labels(viewer: ViewerModel, layer: Labels) -> tuple[ImagePlace, Axes]:
    """Return where labels lie in their image, and what a file can say of their place in the world.

    Returns
    -------
    ImagePlace
        The pixels of the image.
    tuple of Axis
        The axes of the labels, in the units of the image, which are also those of labels that
        lie on its pixels by their numbers alone.
    """
    known = str(layer.metadata.get(SOURCE, ""))
    image = image_of(viewer, layer)
    first = None if image is None else _first_pixel(viewer, layer, image)
    if image is not None and first is not None:
        place = _make_place(layer, image, first)
        missing = image.ndim - layer.ndim
        units = [
            layer.units[axis] if axis + missing < 0 else image.units[axis + missing]
            for axis in range(layer.ndim)
        ]
        every, names = range(layer.ndim), _name_axes(layer, place)
        if World.of(viewer).units is not None:
            return place, file_axes(layer, every, names, units)
        known_axes = zip(file_axes(layer, every, names), map(unit_name, units), strict=True)
        return place, tuple(
            replace(axis, unit=unit or axis.unit) if axis.aligned else axis
            for axis, unit in known_axes
        )
    why = "belongs to an image that is gone," if image is None else "does not lie on the pixels of"
    note = (
        f"“{layer.name}” {why} “{known}”: its coordinates count from its own first pixel, and it "
        "is named as the image."
    )
    names = _name_leading(layer, layer.ndim - 2)
    place = ImagePlace.alone(str(layer.name), _shape(layer), names, note if known else "")
    return place, file_axes(layer, range(layer.ndim), _name_axes(layer, place))


def _name_axes(layer: Labels, place: ImagePlace) -> tuple[str, ...]:
    """Return what a file calls the axes of labels; empty for one that it shall not have."""
    own = [axis_kind(label) for label in layer.axis_labels]
    names = own if _is_named(layer) else [*place.names, "y", "x"]
    kept = (*place.names, "y", "x")
    return tuple(name if keep else "" for name, keep in zip(names, kept, strict=True))


def _is_named(layer: Labels) -> bool:
    """Return whether labels name all of their axes themselves."""
    own = [axis_kind(label) for label in layer.axis_labels]
    return "" not in own and len(set(own)) == len(own) and {"y", "x"} <= set(own)


def _images_of(viewer: ViewerModel, layer: Labels) -> list[Image]:
    images, known = image_layers(viewer), layer.metadata.get(SOURCE)
    made_of = layer.metadata.get(IMAGE)
    same = [image for image in images if key_of(image) == made_of]
    named = [image for image in images if image.name == known]
    return same or named or ([] if known else images)


def _first_pixel(viewer: ViewerModel, layer: Labels, image: Image) -> list[int | None] | None:
    """Return the pixel of an image that the first pixel of labels lies on, by the labels' axes.

    None stands for an axis on which the labels have no place of their own: the image has none
    such, or they are stretched over all of it, as over the channels. There is no answer where
    the labels are not on the pixels of the image, or not within it.
    """
    missing = image.ndim - layer.ndim
    shape, whole = _shape(layer), shape_of(image)
    data_map = DataMap.between(layer, image, World.of(viewer))
    found: list[int | None] = []
    for axis, length in enumerate(shape):
        own = axis + missing
        if own < 0:
            found.append(None)
            continue
        spread = np.abs(data_map.matrix[own]) * shape
        step, first = float(data_map.matrix[own, axis]), float(data_map.offset[own])
        turned = float(spread.sum() - spread[axis])
        centred = abs(first - (whole[own] - 1) / 2) < _NEAR
        if length == 1 and step > max(1 + _NEAR, whole[own] - _NEAR) and centred and not turned:
            found.append(None)
            continue
        if max(abs(step - 1) * length, turned, abs(first - round(first))) > _NEAR:
            return None
        if not 0 <= round(first) <= whole[own] - length:
            return None
        found.append(round(first))
    return found


def _make_place(layer: Labels, image: Image, first: list[int | None]) -> ImagePlace:
    *planes, y, x = first
    file = file_of(image)
    names = _name_leading(layer, len(planes), image)
    whole = shape_of(image)[: image.ndim]
    missing = image.ndim - layer.ndim
    # Stretched over the channels of the image, the labels are of none of them.
    gone = [at is None and axis + missing >= 0 for axis, at in enumerate(planes)]
    return ImagePlace(
        str(image.name),
        (whole[-2], whole[-1]),
        y or 0,
        x or 0,
        tuple(at or 0 for at in planes),
        tuple("" if no else name for name, no in zip(names, gone, strict=True)),
        file="" if file is None else file.name,
    )


def name_leading(viewer: ViewerModel, layer: Labels) -> tuple[tuple[str, ...], str]:
    """Return what the axes of labels before rows and columns are, and what of it is a guess.

    The second one is for the user: what is taken for what, and how to name it; or empty.
    """
    shape = _shape(layer)[:-2]
    if _is_named(layer):
        return _name_leading(layer, len(shape)), ""
    image = image_of(viewer, layer)
    known = _known_leading(layer, len(shape), image)
    names = plane_names(len(shape), known)
    guessed = [
        f"{_KINDS[name]} ({name})"
        for name, was, length in zip(names, known, shape, strict=True)
        if length > 1 and not was and name
    ]
    if not guessed:
        return names, ""
    remedy = "choose Times in 3D/Video, which names them in the image"
    if image is None:
        remedy = "name them by the layer's axis_labels in napari's console"
    return names, (
        f"The planes have no name and are taken for {' and '.join(guessed)}: where that is wrong, "
        f"{remedy}."
    )


_KINDS = {"z": "slices of a volume", "t": "times", "c": "channels"}


def _name_leading(layer: Labels, count: int, image: Image | None = None) -> tuple[str, ...]:
    """Return what the axes before rows and columns are, named or not."""
    return plane_names(count, _known_leading(layer, count, image))


def _known_leading(layer: Labels, count: int, image: Image | None) -> list[str]:
    """Return what the labels or the image name the axes before rows and columns; or empty."""
    names = [""] * count
    for source in (layer, image):
        kinds = [] if source is None else [axis_kind(label) for label in source.axis_labels][:-2]
        for axis, kind in zip(range(-1, -1 - count, -1), reversed(kinds), strict=False):
            if not names[axis] and kind in ("t", "c", "z") and kind not in names:
                names[axis] = kind
    return names


def _shape(layer: Labels) -> tuple[int, ...]:
    return tuple(int(size) for size in array_of(layer).shape)
