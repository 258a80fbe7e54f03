"""The labels of accepted objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from scipy import ndimage
from skimage.segmentation import relabel_sequential

from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.session.label_storage import (
    delete_with,
    empty_levels,
    find_highest,
    write_box,
)
from napari_sam3_assistant.session.snapshots import Accepted
from napari_sam3_assistant.viewer.geometry import (
    World,
    array_of,
    layer_transform,
    result_axes,
    result_shape,
    to_layer_axes,
)
from napari_sam3_assistant.viewer.images import shape_of
from napari_sam3_assistant.viewer.label_pixels import default_colours
from napari_sam3_assistant.viewer.placing import add_below_prompts
from napari_sam3_assistant.viewer.roles import NAMES, Role, role_metadata, with_role

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    import numpy.typing as npt
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_sam3_assistant.core.masks.labels import Box
    from napari_sam3_assistant.session.model import Preview


if TYPE_CHECKING:
    LabelPixels = npt.NDArray[np.integer[Any]]
    Part = tuple[Box, npt.NDArray[np.bool_]]


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
    ExportError
        If there is no room on the disk for labels that don't fit into memory.
    """
    axes = preview.target.axes
    layer = _accepted_layer(viewer, image, preview)
    labels = array_of(layer)
    kept = result_axes(axes)
    found: list[Part] = []
    for part, pixels in _iter_objects(preview, shown):
        where = [slice(0, size) for size in labels.shape]
        for axis, index in zip(axes.leading, preview.target.plane.leading, strict=True):
            where[kept.index(axis)] = slice(index, index + 1)
        where[kept.index(axes.y)], where[kept.index(axes.x)] = part
        found.append((tuple(where), to_layer_axes(pixels, axes)))
    if not found:
        raise PromptError("The preview is empty; nothing was accepted.", "Add a prompt first.")
    box = _union_box(where for where, _ in found)
    before = np.asarray(labels[box])
    free = [(where, mask & (before[_localise(where, box)] == 0)) for where, mask in found]
    parts = tuple(part for part in free if part[1].any())
    if not parts:
        raise PromptError(
            "All of these pixels are accepted already; nothing was added.",
            "Erase the accepted object first, or click on another one.",
        )
    first = find_highest(labels) + 1
    ids = tuple(range(first, first + len(parts)))
    on_disk = not isinstance(labels, np.ndarray)
    accepted = Accepted(ids, preview.target.image, labels.shape, parts, on_disk=on_disk)
    write_accepted(viewer, accepted)
    return accepted


def _iter_objects(
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
    axes = preview.target.axes
    kept, shape = result_axes(axes), result_shape(shape_of(image), axes)
    layer = _find(viewer, preview.target.image, shape)
    if layer is not None:
        return layer
    levels = empty_levels(shape, (kept.index(axes.y), kept.index(axes.x)))
    layer = Labels(
        levels if len(levels) > 1 else levels[0],
        multiscale=len(levels) > 1,
        name=NAMES[Role.ACCEPTED],
        metadata=role_metadata(Role.ACCEPTED, preview.target.image),
        colormap=default_colours(),
        **layer_transform(image, axes, World.of(viewer)),
    )
    delete_with(layer, levels[0])
    add_below_prompts(viewer, layer)
    return layer


def _find(viewer: ViewerModel, image: str, shape: tuple[int, ...]) -> Labels | None:
    """Return the topmost accepted labels of a shape; the image may have had other pixels."""
    layers = list(with_role(viewer.layers, Role.ACCEPTED, image))
    return next((layer for layer in reversed(layers) if array_of(layer).shape == shape), None)


def write_accepted(viewer: ViewerModel, accepted: Accepted) -> bool:
    """Write accepted objects; returns whether their layer is still there."""

    def write(part: LabelPixels, mask: npt.NDArray[np.bool_], value: int) -> None:
        part[mask] = value

    return _change(viewer, accepted, write)


def erase_accepted(viewer: ViewerModel, accepted: Accepted) -> bool:
    """Take accepted objects out again, where they have not been painted over.

    Returns whether their layer is still there.
    """

    def erase(part: LabelPixels, mask: npt.NDArray[np.bool_], value: int) -> None:
        part[mask & (part == value)] = 0

    return _change(viewer, accepted, erase)


def _change(
    viewer: ViewerModel,
    accepted: Accepted,
    change: Callable[[LabelPixels, npt.NDArray[np.bool_], int], None],
) -> bool:
    """Change the pixels of accepted objects; what is on disk is read and written once."""
    layer = _find(viewer, accepted.image, accepted.shape)
    if layer is None:
        return False
    labels, box = array_of(layer), _union_box(where for where, _ in accepted.parts)
    in_memory = isinstance(labels, np.ndarray)
    piece = labels[box] if in_memory else np.array(labels[box])
    for value, (where, mask) in zip(accepted.ids, accepted.parts, strict=True):
        change(piece[_localise(where, box)], mask, value)
    if not in_memory:
        write_box(layer.data if layer.multiscale else [labels], box, piece)
    layer.refresh(extent=False)
    return True


def _union_box(places: Iterable[Box]) -> Box:
    """Return the smallest box that holds others."""
    each = zip(*places, strict=True)
    return tuple(
        slice(min(side.start for side in sides), max(side.stop for side in sides)) for sides in each
    )


def _localise(where: Box, box: Box) -> Box:
    """Return a place as counted from the first pixel of a box that holds it."""
    return tuple(
        slice(side.start - whole.start, side.stop - whole.start)
        for side, whole in zip(where, box, strict=True)
    )
