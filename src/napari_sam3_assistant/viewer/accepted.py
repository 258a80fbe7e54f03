"""The labels of accepted objects."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from napari.layers import Labels
from scipy import ndimage
from skimage.segmentation import relabel_sequential

from napari_sam3_assistant.core.axes import axis_kind
from napari_sam3_assistant.core.masks.accept import AcceptRequest
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.session.label_storage import (
    delete_with,
    empty_levels,
    find_highest,
    is_temporary,
    label_folder,
)
from napari_sam3_assistant.session.messages import format_prompts
from napari_sam3_assistant.session.snapshots import Accepted, KeptPixels
from napari_sam3_assistant.viewer.edits import is_locked, lock
from napari_sam3_assistant.viewer.geometry import (
    World,
    array_of,
    file_axes,
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
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_sam3_assistant.core.masks.accept import AcceptedObjects, ObjectMask
    from napari_sam3_assistant.core.masks.edits import LabelEdit
    from napari_sam3_assistant.core.masks.labels import Box
    from napari_sam3_assistant.session.model import PlaneTarget, Preview


@dataclass(frozen=True, slots=True, eq=False)
class AcceptedResult:
    """A result that is to be accepted.

    Parameters
    ----------
    target : PlaneTarget
        The image, and a plane of it.
    objects : sequence of tuple
        For each object the slices of the accepted labels, its mask there, and its number.
    told : mapping of int to (float or None, str)
        Score and phrase of objects, by their numbers.
    prompt : str
        What named those without a phrase; empty where that is not known.
    engine : str
        Title of the engine.
    """

    target: PlaneTarget
    objects: Sequence[tuple[Box, ObjectMask, int]]
    told: Mapping[int, tuple[float | None, str]]
    prompt: str
    engine: str


def of_preview(
    image: Layer, preview: Preview, shown: npt.NDArray[np.integer[Any]]
) -> AcceptedResult:
    """Return the objects of a preview, given its labels as they are on show."""
    target, found = preview.target, preview.segmentation
    provenance = preview.provenance
    return AcceptedResult(
        target,
        _find_objects(preview, shown, result_shape(shape_of(image), target.axes)),
        {record.id: (record.score, record.text) for record in found.objects},
        "" if provenance is None else format_prompts(provenance.prompts),
        found.engine.title,
    )


class Acceptance:
    """A result that is being accepted: what to write, and what to say of it in its layer then.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    image : Layer
        The image layer.
    result : AcceptedResult
        The result.
    lasting : Path or None
        Where to put labels that don't fit into memory so that they stay, if there is such a place.
    in_memory : int, bytes
        So much fits.

    Attributes
    ----------
    request : AcceptRequest
        What to write.
    accepted : Accepted
        What came of it; without ids until :meth:`finish`.

    Raises
    ------
    PromptError
        If there are no objects, or the labels are being written to.
    ExportError
        If there is no room on the disk for labels that don't fit into memory.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        image: Layer,
        result: AcceptedResult,
        lasting: Path | None,
        in_memory: int,
    ) -> None:
        self._viewer, self._result = viewer, result
        if not result.objects:
            raise PromptError("The preview is empty; nothing was accepted.", "Add a prompt first.")
        self._layer = _accepted_layer(viewer, image, result.target, lasting, in_memory)
        if is_locked(self._layer):
            raise PromptError(f"“{self._layer.name}” is still being written.", "Wait a moment.")
        labels = array_of(self._layer)
        objects = tuple(one[:2] for one in result.objects)
        self.request = AcceptRequest(labels, _smaller(self._layer), objects, find_highest)
        self.accepted = Accepted(result.target.image, labels.shape)
        if isinstance(labels, zarr.Array):
            self.accepted.folder = label_folder(labels)
            self.accepted.lasts = not is_temporary(labels)

    def finish(self, found: AcceptedObjects) -> None:
        """Take note of what was written, and show it."""
        self.accepted.edit, self.accepted.ids = found.edit, found.ids
        self.accepted.known = len(self._result.objects) - len(found.places)
        self.accepted.features = self._describe(found)
        note_written(self._viewer, self.accepted, listed=True)

    def _describe(self, added: AcceptedObjects) -> dict[str, list[Any]]:
        """Return the features of accepted objects."""
        result = self._result
        numbers = (result.objects[place][2] for place in added.places)
        known = [result.told.get(number, (None, "")) for number in numbers]
        return {
            "index": list(added.ids),
            "score": [math.nan if score is None else score for score, _ in known],
            "area": list(added.areas),
            "prompt": [text or result.prompt or "-" for _, text in known],
            "engine": [result.engine] * len(known),
        }


def _smaller(layer: Labels) -> tuple[Any, ...]:
    return tuple(layer.data)[1:] if layer.multiscale else ()


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


def _accepted_layer(
    viewer: ViewerModel, image: Layer, target: PlaneTarget, lasting: Path | None, in_memory: int
) -> Labels:
    axes = target.axes
    kept, shape = result_axes(axes), result_shape(shape_of(image), axes)
    layer = _find(viewer, target.image, shape)
    if layer is not None:
        return layer
    names = [axis_kind(image.axis_labels[axis]) for axis in kept]
    found = zip(file_axes(image, kept, names), shape, strict=True)
    # Of the channels of the image the labels are of none.
    placed = tuple(replace(axis, length=length) for axis, length in found)
    plane = (kept.index(axes.y), kept.index(axes.x))
    stays = None if lasting is None else (lasting, placed)
    levels = empty_levels(shape, plane, stays, in_memory=in_memory)
    layer = Labels(
        levels if len(levels) > 1 else levels[0],
        multiscale=len(levels) > 1,
        name=NAMES[Role.ACCEPTED],
        metadata=role_metadata(Role.ACCEPTED, target.image),
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


def find_written(viewer: ViewerModel, accepted: Accepted) -> tuple[AcceptRequest, LabelEdit] | None:
    """Return where accepted objects were written, and what; None if their layer is gone."""
    layer = _find(viewer, accepted.image, accepted.shape)
    if layer is None or accepted.edit is None:
        return None
    return AcceptRequest(array_of(layer), _smaller(layer), (), find_highest), accepted.edit


def lock_written(viewer: ViewerModel, accepted: Accepted) -> Callable[[], None]:
    """Keep all others from writing to accepted labels until what is returned is called."""
    layer = _find(viewer, accepted.image, accepted.shape)
    return _do_nothing if layer is None or is_locked(layer) else lock(layer)


def _do_nothing() -> None:
    """Do nothing more."""


def note_written(viewer: ViewerModel, accepted: Accepted, *, listed: bool) -> None:
    """Show accepted objects that were written, or taken out, with or without rows of features."""
    layer = _find(viewer, accepted.image, accepted.shape)
    if layer is not None:
        layer.refresh(extent=False)
        _list_objects(layer, accepted, listed=listed)


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
