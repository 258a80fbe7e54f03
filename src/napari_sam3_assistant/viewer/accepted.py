"""The labels of accepted objects."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from scipy import ndimage
from skimage.segmentation import relabel_sequential

from napari_sam3_assistant.core.masks.labels import localise_box, union_box
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.session.label_storage import (
    delete_with,
    empty_levels,
    find_highest,
    write_box,
)
from napari_sam3_assistant.session.messages import format_prompts
from napari_sam3_assistant.session.snapshots import Accepted, KeptPixels
from napari_sam3_assistant.viewer.geometry import (
    World,
    array_of,
    layer_transform,
    result_axes,
    result_shape,
    to_layer_axes,
)
from napari_sam3_assistant.viewer.images import shape_of
from napari_sam3_assistant.viewer.label_pixels import kept_colours
from napari_sam3_assistant.viewer.label_places import locate_labels
from napari_sam3_assistant.viewer.roles import (
    NAMES,
    Role,
    add_below_prompts,
    key_of,
    role_metadata,
    topmost,
    with_role,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_sam3_assistant.core.masks.labels import Box
    from napari_sam3_assistant.session.model import Preview


if TYPE_CHECKING:
    LabelPixels = npt.NDArray[np.integer[Any]]


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
    layer = _accepted_layer(viewer, image, preview)
    labels = array_of(layer)
    found = _find_objects(preview, shown, labels.shape)
    if not found:
        raise PromptError("The preview is empty; nothing was accepted.", "Add a prompt first.")
    box = union_box(where for where, _, _ in found)
    before = np.asarray(labels[box])
    free = [
        (where, mask & (before[localise_box(where, box)] == 0), number)
        for where, mask, number in found
    ]
    kept = [one for one in free if one[1].any()]
    if not kept:
        raise PromptError(
            "All of these pixels are accepted already; nothing was added.",
            "Erase the accepted object first, or click on another one.",
        )
    first = find_highest(labels) + 1
    ids = tuple(range(first, first + len(kept)))
    accepted = Accepted(
        ids,
        preview.target.image,
        labels.shape,
        tuple((where, mask) for where, mask, _ in kept),
        _describe(preview, ids, [(mask, number) for _, mask, number in kept]),
        on_disk=not isinstance(labels, np.ndarray),
    )
    write_accepted(viewer, accepted)
    return accepted


def _describe(
    preview: Preview, ids: Sequence[int], kept: Sequence[tuple[npt.NDArray[np.bool_], int]]
) -> dict[str, list[Any]]:
    """Return the features of accepted objects, given their masks and the ids that they had."""
    made = "" if preview.provenance is None else format_prompts(preview.provenance.prompts)
    found = {record.id: record for record in preview.segmentation.objects}
    known = [found.get(number) for _, number in kept]
    return {
        "index": list(ids),
        "score": [math.nan if one is None or one.score is None else one.score for one in known],
        "area": [int(np.count_nonzero(mask)) for mask, _ in kept],
        "prompt": [(one.text if one else "") or made or "-" for one in known],
        "engine": [preview.segmentation.engine.title] * len(kept),
    }


def count_kept(viewer: ViewerModel, image: Layer) -> int:
    """Return how many objects of an image were accepted."""
    layer = topmost(viewer.layers, Role.ACCEPTED, key_of(image))
    return 0 if layer is None else len(layer.features)


def find_kept(
    viewer: ViewerModel,
    image: Layer,
    previews: Sequence[tuple[Preview, npt.NDArray[np.integer[Any]]]],
) -> KeptPixels | None:
    """Return the accepted labels of an image, and the objects of previews that would join them.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    image : Layer
        The image layer.
    previews : sequence of (Preview, ndarray of int)
        Results of the image, and their labels as they are on show.

    Returns
    -------
    KeptPixels or None
        None where nothing was accepted.
    """
    layer = topmost(viewer.layers, Role.ACCEPTED, key_of(image))
    if layer is None or count_kept(viewer, image) == 0:
        return None
    labels = array_of(layer)
    parts = [
        (where, mask)
        for preview, shown in previews
        if result_shape(shape_of(image), preview.target.axes) == labels.shape
        for where, mask, _ in _find_objects(preview, shown, labels.shape)
    ]
    _, axes = locate_labels(viewer, layer)
    return KeptPixels(labels, axes, tuple(parts))


def _find_objects(
    preview: Preview, shown: npt.NDArray[np.integer[Any]], shape: tuple[int, ...]
) -> list[tuple[Box, npt.NDArray[np.bool_], int]]:
    """Return where objects lie in accepted labels of a shape, their masks there and their ids."""
    axes = preview.target.axes
    kept = result_axes(axes)
    found = []
    for part, pixels, number in _iter_objects(preview, shown):
        where = [slice(0, size) for size in shape]
        for axis, index in zip(axes.leading, preview.target.plane.leading, strict=True):
            where[kept.index(axis)] = slice(index, index + 1)
        where[kept.index(axes.y)], where[kept.index(axes.x)] = part
        found.append((tuple(where), to_layer_axes(pixels, axes), number))
    return found


def _iter_objects(
    preview: Preview, shown: npt.NDArray[np.integer[Any]]
) -> Iterator[tuple[tuple[slice, slice], npt.NDArray[np.bool_], int]]:
    """Yield rows and columns of each object, its mask there and its id."""
    found = preview.segmentation
    if shown.shape != found.labels.shape or np.array_equal(shown, found.labels):
        # Masks may overlap where labels can't.
        yield from ((record.region.slices, record.mask, record.id) for record in found.objects)
        return
    # Room for each number up to the highest one is taken.
    numbers, _, ids = relabel_sequential(shown)
    top, left = found.region.y0, found.region.x0
    for number, place in enumerate(ndimage.find_objects(numbers), 1):
        if place is not None:
            rows, columns = place
            part = (
                slice(rows.start + top, rows.stop + top),
                slice(columns.start + left, columns.stop + left),
            )
            yield part, numbers[place] == number, int(ids[number])


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
        colormap=kept_colours(),
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

    return _change(viewer, accepted, write, listed=True)


def erase_accepted(viewer: ViewerModel, accepted: Accepted) -> bool:
    """Take accepted objects out again, where they have not been painted over.

    Returns whether their layer is still there.
    """

    def erase(part: LabelPixels, mask: npt.NDArray[np.bool_], value: int) -> None:
        part[mask & (part == value)] = 0

    return _change(viewer, accepted, erase, listed=False)


def _change(
    viewer: ViewerModel,
    accepted: Accepted,
    change: Callable[[LabelPixels, npt.NDArray[np.bool_], int], None],
    *,
    listed: bool,
) -> bool:
    """Change the pixels of accepted objects; what is on disk is read and written once.

    ``listed`` says whether the layer's features have a row for each of them then.
    """
    layer = _find(viewer, accepted.image, accepted.shape)
    if layer is None:
        return False
    labels, box = array_of(layer), union_box(where for where, _ in accepted.parts)
    in_memory = isinstance(labels, np.ndarray)
    piece = labels[box] if in_memory else np.array(labels[box])
    for value, (where, mask) in zip(accepted.ids, accepted.parts, strict=True):
        change(piece[localise_box(where, box)], mask, value)
    if not in_memory:
        write_box(layer.data if layer.multiscale else [labels], box, piece)
    layer.refresh(extent=False)
    _list_objects(layer, accepted, listed=listed)
    return True


def _list_objects(layer: Labels, accepted: Accepted, *, listed: bool) -> None:
    """Give accepted objects their rows in a layer's features, or take them away."""
    rows = layer.features
    others = rows[~rows["index"].isin(accepted.ids)] if "index" in rows else rows
    columns: dict[str, list[Any]] = others.to_dict("list")
    if listed:
        before, more = len(others), len(accepted.ids)
        for name in {**columns, **accepted.features}:
            come = accepted.features.get(name, [math.nan] * more)
            columns[name] = [*columns.get(name, [math.nan] * before), *come]
    layer.features = columns
