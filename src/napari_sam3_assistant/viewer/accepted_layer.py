"""The labels of accepted objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from scipy import ndimage
from skimage.segmentation import relabel_sequential

from napari_sam3_assistant.errors import ImageError, PromptError
from napari_sam3_assistant.viewer.geometry import kept_axes, layer_transform, to_layer_axes
from napari_sam3_assistant.viewer.image_layers import shape_of
from napari_sam3_assistant.viewer.label_pixels import default_colours
from napari_sam3_assistant.viewer.placing import add_below_prompts
from napari_sam3_assistant.viewer.roles import NAMES, Role, tag, with_role

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_sam3_assistant.session.model import Preview

_LIMIT = 2**31


@dataclass(frozen=True, slots=True, eq=False)
class Accepted:
    """What accepting a preview wrote, so that it can be taken back.

    Parameters
    ----------
    ids : tuple of int
        The objects' values in the accepted labels.
    image : str
        Key of the image.
    shape : tuple of int
        Shape of the accepted labels.
    parts : tuple
        For each object the slices and the pixels that it took, as a mask.
    """

    ids: tuple[int, ...]
    image: str
    shape: tuple[int, ...]
    parts: tuple[tuple[tuple[slice, ...], npt.NDArray[np.bool_]], ...]

    def __str__(self) -> str:
        ids = ", ".join(map(str, self.ids))
        return f"object {ids}" if len(self.ids) == 1 else f"objects {ids}"


def accept(
    viewer: ViewerModel,
    image: Layer,
    preview: Preview,
    shown: npt.NDArray[np.integer[Any]],
) -> Accepted:
    """Add a preview's objects to the accepted labels as the next ids, on empty pixels only.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    image : Layer
        The image layer.
    preview : Preview
        The result.
    shown : ndarray of int, shape (h, w)
        Its labels as they are on show, with what the user has painted.

    Raises
    ------
    PromptError
        If there is no empty pixel under them.
    ImageError
        If the image is too large for one labels layer.
    """
    axes = preview.target.axes
    layer = _accepted_layer(viewer, image, preview)
    following = int(layer.data.max()) + 1
    ids, parts = [], []
    kept = kept_axes(image, axes)
    for part, pixels in _objects(preview, shown):
        where: list[slice] = [slice(None)] * len(kept)
        for axis, index in zip(axes.leading, preview.target.plane.leading, strict=True):
            where[kept.index(axis)] = slice(index, index + 1)
        where[kept.index(axes.y)], where[kept.index(axes.x)] = part
        place_ = tuple(where)
        mask = to_layer_axes(pixels, image, axes)
        free = mask & (layer.data[place_] == 0)
        if free.any():
            parts.append((place_, free))
            ids.append(following)
            following += 1
    if not parts:
        raise PromptError(
            "All of these pixels are accepted already; nothing was added.",
            "Erase the accepted object first, or click on another one.",
        )
    accepted = Accepted(tuple(ids), preview.target.image, layer.data.shape, tuple(parts))
    write_accepted(viewer, accepted)
    return accepted


def _objects(
    preview: Preview, shown: npt.NDArray[np.integer[Any]]
) -> Iterator[tuple[tuple[slice, slice], npt.NDArray[np.bool_]]]:
    """Yield rows and columns of each object, and its mask there."""
    found = preview.segmentation
    if shown.shape != found.labels.shape or np.array_equal(shown, found.labels):
        # Masks may overlap where labels can't.
        yield from ((record.region.slices, record.mask) for record in found.objects)
        return
    # Room for each number up to the highest one is taken.
    numbers = relabel_sequential(shown)[0] if shown.max(initial=0) > shown.size else shown
    top, left = found.region.y0, found.region.x0
    for number, place in enumerate(ndimage.find_objects(numbers), 1):
        if place is not None:
            rows, columns = place
            part = (
                slice(rows.start + top, rows.stop + top),
                slice(columns.start + left, columns.stop + left),
            )
            yield part, numbers[place] == number


def _accepted_layer(viewer: ViewerModel, image: Layer, preview: Preview) -> Labels:
    axes, whole = preview.target.axes, shape_of(image)
    shape = tuple(whole[axis] for axis in kept_axes(image, axes))
    layer = _find(viewer, preview.target.image, shape)
    if layer is not None:
        return layer
    if 4 * np.prod(shape, dtype=float) > _LIMIT:
        raise ImageError(
            f"A labels layer of shape {shape} needs more than 2 GB.",
            "Use Save to keep this object in a layer of its own.",
        )
    layer = Labels(
        # Zeros take no memory until they are written.
        np.zeros(shape, np.uint32),
        name=NAMES[Role.ACCEPTED],
        metadata=tag(Role.ACCEPTED, preview.target.image),
        colormap=default_colours(),
        **layer_transform(image, axes),
    )
    add_below_prompts(viewer, layer)
    return layer


def _find(viewer: ViewerModel, image: str, shape: tuple[int, ...]) -> Labels | None:
    """Return the topmost accepted labels of a shape; the image may have had other pixels."""
    layers = list(with_role(viewer.layers, Role.ACCEPTED, image))
    return next((layer for layer in reversed(layers) if layer.data.shape == shape), None)


def write_accepted(viewer: ViewerModel, accepted: Accepted) -> None:
    """Write accepted objects, if their layer is still there."""
    layer = _find(viewer, accepted.image, accepted.shape)
    if layer is None:
        return
    for value, (where, mask) in zip(accepted.ids, accepted.parts, strict=True):
        layer.data[where][mask] = value
    layer.refresh(extent=False)


def erase_accepted(viewer: ViewerModel, accepted: Accepted) -> None:
    """Take accepted objects out again, where they have not been painted over."""
    layer = _find(viewer, accepted.image, accepted.shape)
    if layer is None:
        return
    for value, (where, mask) in zip(accepted.ids, accepted.parts, strict=True):
        part = layer.data[where]
        part[mask & (part == value)] = 0
    layer.refresh(extent=False)
