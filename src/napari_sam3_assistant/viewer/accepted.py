"""The labels of accepted objects."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import compress
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
import zarr
from napari.layers import Labels
from scipy import ndimage
from skimage.segmentation import relabel_sequential

from napari_sam3_assistant.core.axes import axis_kind
from napari_sam3_assistant.core.masks.edits import Changes, LabelEdit, changes_between
from napari_sam3_assistant.core.masks.labels import (
    box_shape,
    localise_box,
    unfiltered,
    union_box,
    whole_box,
    write_smaller,
)
from napari_sam3_assistant.core.masks.merge import AcceptRequest
from napari_sam3_assistant.core.stitching import Known, ObjectsBySlice
from napari_sam3_assistant.errors import ImageError, PromptError
from napari_sam3_assistant.session.label_storage import (
    delete_with,
    empty_levels,
    find_highest,
    is_temporary,
    label_folder,
)
from napari_sam3_assistant.session.layer_files import entry_of
from napari_sam3_assistant.session.messages import (
    CLASS,
    NOTHING,
    PARENT,
    format_prompts,
    is_measured,
    number_column,
    stability_column,
)
from napari_sam3_assistant.session.model import KeptPlace
from napari_sam3_assistant.session.snapshots import Accepted, KeptPixels
from napari_sam3_assistant.viewer.geometry import (
    World,
    array_of,
    file_axes,
    layer_transform,
    plane_of,
    result_axes,
    result_shape,
    to_layer_axes,
)
from napari_sam3_assistant.viewer.images import shape_of
from napari_sam3_assistant.viewer.label_pixels import (
    edits_of,
    is_locked,
    kept_colours,
    lock,
    redraw,
)
from napari_sam3_assistant.viewer.label_places import locate_labels
from napari_sam3_assistant.viewer.roles import (
    NAMES,
    PARENTS,
    Role,
    add_below_prompts,
    key_of,
    role_metadata,
    topmost,
    with_role,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_sam3_assistant.core.axes import Axes, ImageAxes
    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.core.masks.labels import Box, PlaneOfLabels
    from napari_sam3_assistant.core.masks.merge import AcceptedObjects, ObjectMask
    from napari_sam3_assistant.core.prompts import MaskPrompt
    from napari_sam3_assistant.core.stitching import StitchedObject
    from napari_sam3_assistant.session.model import PlaneTarget, Preview
    from napari_sam3_assistant.session.snapshots import OtherLabels


PlacedObject: TypeAlias = "tuple[Box, ObjectMask, int]"
"""An object: the slices of accepted labels that it lies in, its mask there, and its number."""


@dataclass(frozen=True, slots=True, eq=False)
class AcceptedResult:
    """A result that is to be accepted.

    Parameters
    ----------
    target : PlaneTarget
        The image, and a plane of it.
    objects : sequence of tuple
        For each object the slices of the accepted labels, its mask there, and its number.
    told : mapping of int to Known
        What is known of objects, by their numbers.
    prompt : str
        What named those without a phrase; empty where that is not known.
    engine : str
        Title of the engine.
    replaces : int
        The accepted object that the one of that number takes the place of; 0 for none.
    """

    target: PlaneTarget
    objects: Sequence[tuple[Box, ObjectMask, int]]
    told: Mapping[int, Known]
    prompt: str
    engine: str
    replaces: int = 0

    def entries(self) -> tuple[dict[str, Any], ...]:
        """Return what a note says of each object."""
        return tuple(
            entry_of(number, self.told.get(number, Known()), self.prompt, self.engine)
            for *_, number in self.objects
        )


def of_other(other_labels: OtherLabels, objects: Sequence[PlacedObject]) -> AcceptedResult:
    """Return objects of labels of another tool."""
    return AcceptedResult(
        other_labels.target, objects, other_labels.known, "labels", f"“{other_labels.name}”"
    )


def place_masks(target: PlaneTarget, masks: Sequence[MaskPrompt]) -> list[PlacedObject]:
    """Return masks on a plane as objects of accepted labels."""
    shape = result_shape(target.shape, target.axes)
    # Only where the plane lies counts.
    place = plane_of(np.broadcast_to(np.uint8(0), shape), target)
    return [
        (
            place.box(one.region.slices),
            to_layer_axes(one.mask, target.axes),
            one.object_id or 0,
        )
        for one in masks
    ]


def of_preview(preview: Preview, shown: npt.NDArray[np.integer[Any]]) -> AcceptedResult:
    """Return the objects of a preview, given its labels as they are on show."""
    target, found = preview.target, preview.segmentation
    provenance = preview.provenance
    return AcceptedResult(
        target,
        _find_objects(preview, shown),
        {
            record.id: Known(
                record.score, record.text, record.class_name, stability=record.stability
            )
            for record in found.objects
        },
        "" if provenance is None else format_prompts(provenance.prompts),
        found.engine.title,
        preview.replaces,
    )


class Acceptance:
    """A result that is being accepted: what to write, and what to say of it in its layer then.

    ``lasting``: where to put labels that don't fit into memory so that they stay, if there is such
    a place.
    ``in_memory`` (bytes): so much fits.

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
        objects, own = self._find_own(labels)
        self.request = AcceptRequest(labels, _smaller(self._layer), objects, find_highest, own)
        self.accepted = Accepted(result.target.image, labels.shape)
        self.accepted.gone = _rows_of(self._layer, own.values())
        if isinstance(labels, zarr.Array):
            self.accepted.folder = label_folder(labels)
            self.accepted.lasts = not is_temporary(labels)

    def finish(self, objects: AcceptedObjects) -> None:
        """Take note of what was written, and show it."""
        self.accepted.edit, self.accepted.ids = objects.edit, objects.ids
        self.accepted.known = len(self._result.objects) - len(objects.places)
        self.accepted.features = self._describe(objects)
        note_written(self._viewer, self.accepted, objects.edit, listed=True)

    def _describe(self, added: AcceptedObjects) -> dict[str, list[Any]]:
        """Return the features of accepted objects."""
        result = self._result
        numbers = [result.objects[place][2] for place in added.places]
        known = [result.told.get(number, Known()) for number in numbers]
        ids = dict(zip(numbers, added.ids, strict=True))
        parents = [ids.get(one.parent, 0) for one in known]
        classes = [one.class_name or NOTHING for one in known]
        return {
            "index": list(added.ids),
            "score": number_column([one.score for one in known]),
            "area": list(added.areas),
            "prompt": [one.text or result.prompt or NOTHING for one in known],
            "engine": [result.engine or self._engine_before()] * len(known),
            **({CLASS: classes} if any(one.class_name for one in known) else {}),
            **({PARENT: parents} if any(parents) else {}),
            **stability_column([one.stability for one in known]),
        }

    def _find_own(
        self, labels: AnyArray
    ) -> tuple[tuple[tuple[Box, ObjectMask], ...], dict[int, int]]:
        """Return the objects, and the place and value of the one that was accepted before."""
        result = self._result
        objects = [one[:2] for one in result.objects]
        kept = kept_objects(self._viewer, KeptPlace(result.target)).get(result.replaces)
        for place, (where, mask, number) in enumerate(result.objects):
            if kept is not None and number == kept.id and isinstance(mask, np.ndarray):
                before = plane_of(labels, result.target).box(kept.region.slices)
                objects[place] = _reach(where, mask, before)
                return tuple(objects), {place: kept.id}
        return tuple(objects), {}

    def _engine_before(self) -> str:
        """Return the engine of an object that was accepted before, and not changed by a run."""
        return str(next(iter(self.accepted.gone.get("engine", ())), "-"))


def _reach(
    where: Box, mask: npt.NDArray[np.bool_], other: Box
) -> tuple[Box, npt.NDArray[np.bool_]]:
    """Return a box that holds another one, too, and a mask in it."""
    whole = union_box((where, other))
    larger = np.zeros(box_shape(whole), bool)
    larger[localise_box(where, whole)] = mask
    return whole, larger


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

    ``previews``: results of the image, and their labels as they are on show.
    Returns None where nothing was accepted.
    """
    layer = topmost(viewer.layers, Role.ACCEPTED, key_of(image))
    if layer is None or count_kept(viewer, image) == 0:
        return None
    labels, (_, axes) = array_of(layer), locate_labels(viewer, layer)
    shown = [
        one for one in previews if result_shape(shape_of(image), one[0].target.axes) == labels.shape
    ]
    parts, of_parts = _join(shown)
    return KeptPixels(labels, axes, parts, layer.features.to_dict("list"), of_parts)


def _join(
    previews: Sequence[tuple[Preview, npt.NDArray[np.integer[Any]]]], *, on_plane: bool = False
) -> tuple[tuple[tuple[Box, ObjectMask], ...], tuple[dict[str, Any], ...]]:
    """Return the objects of previews, and what a note says of each.

    ``on_plane``: where they lie on their plane, and not in accepted labels.
    """
    parts: list[tuple[Box, ObjectMask]] = []
    of_parts: list[dict[str, Any]] = []
    for preview, shown in previews:
        result = of_preview(preview, shown)
        found = _iter_objects(preview, shown) if on_plane else result.objects
        # What is being corrected is as it was until it is accepted again.
        keep = [number != preview.replaces for *_, number in result.objects]
        parts += [one[:2] for one in compress(found, keep)]
        of_parts += compress(result.entries(), keep)
    return tuple(parts), tuple(of_parts)


def find_together(
    image: Layer, previews: Sequence[tuple[Preview, npt.NDArray[np.integer[Any]]]]
) -> KeptPixels | None:
    """Return the objects of several previews for one file, where nothing was accepted.

    Of one plane that is the plane, of several the whole image, empty but for them. None where they
    lie in no common plane or image.

    ``previews``: results of the image, and their labels as they are on show.
    """
    target = previews[0][0].target
    cuts = {(one.target.axes, one.target.shape) for one, _ in previews}
    if len(cuts) > 1:
        return None
    axes = target.axes
    if len({one.target.plane.leading for one, _ in previews}) == 1:
        shape: tuple[int, ...] = (target.shape[axes.y], target.shape[axes.x])
        placed = file_axes(image, (axes.y, axes.x), ("y", "x"))
        parts, of_parts = _join(previews, on_plane=True)
    else:
        shape, placed = result_shape(shape_of(image), axes), _result_axes(image, axes)
        parts, of_parts = _join(previews)
    # One number that is repeated: it takes no memory.
    return KeptPixels(np.broadcast_to(np.uint32(0), shape), placed, parts, of_parts=of_parts)


def _result_axes(image: Layer, axes: ImageAxes) -> Axes:
    """Return what a file can say of the place of results of a whole image."""
    kept, shape = result_axes(axes), result_shape(shape_of(image), axes)
    # Without a name, the one row of a flat image would count for an axis that there is none of.
    plane = {axes.y: "y", axes.x: "x"}
    names = [axis_kind(image.axis_labels[axis]) or plane.get(axis, "") for axis in kept]
    found = zip(file_axes(image, kept, names), shape, strict=True)
    # Of the channels of the image the labels are of none.
    return tuple(replace(axis, length=length) for axis, length in found)


def _find_objects(
    preview: Preview, shown: npt.NDArray[np.integer[Any]]
) -> list[tuple[Box, npt.NDArray[np.bool_], int]]:
    """Return where objects lie in accepted labels, their masks there and their ids."""
    place = plane_of(shown, preview.target)  # only where the plane lies counts
    return [
        (place.box(part), to_layer_axes(pixels, preview.target.axes), number)
        for part, pixels, number in _iter_objects(preview, shown)
    ]


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
    layer = _find(viewer, target.image, shape, Role.ACCEPTED)
    if layer is not None:
        return layer
    plane = (kept.index(axes.y), kept.index(axes.x))
    stays = None if lasting is None else (lasting, _result_axes(image, axes))
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
    _OBJECTS[layer] = (target, ObjectsBySlice(shape, plane))
    add_below_prompts(viewer, layer)
    return layer


def put_back(
    viewer: ViewerModel,
    image: Layer,
    target: PlaneTarget,
    edit: LabelEdit,
    features: Mapping[str, list[Any]],
    in_memory: int,
) -> None:
    """Write saved labels into the empty accepted labels of an image, with what is known of them.

    Raises ImageError if they don't fit the image.
    """
    shape = result_shape(shape_of(image), target.axes)
    if tuple(length for length in edit.shape if length > 1) != tuple(
        length for length in shape if length > 1
    ):
        raise ImageError(
            f"The saved labels of the shape {edit.shape} don't fit the image of {shape}.",
            "They stay as they are; new labels get another name.",
        )
    edit = LabelEdit.pack(edit.action, shape, edit.changes(), np.uint32)
    layer = _accepted_layer(viewer, image, target, None, in_memory)
    written = edit.write(array_of(layer))
    write_smaller(array_of(layer), _smaller(layer), written.box)
    put = Accepted(target.image, shape, edit=written, features=features)
    note_written(viewer, put, written, listed=True)


def _find(viewer: ViewerModel, image: str, shape: tuple[int, ...], role: Role) -> Labels | None:
    """Return the topmost labels of a role and a shape; the image may have had other pixels."""
    layers = list(with_role(viewer.layers, role, image))
    return next((layer for layer in reversed(layers) if array_of(layer).shape == shape), None)


# The objects of accepted labels: who closes the dock and opens it again finds them.
_OBJECTS: WeakKeyDictionary[Labels, tuple[PlaneTarget, ObjectsBySlice]] = WeakKeyDictionary()


def objects_of(
    layer: Layer,
) -> tuple[PlaneTarget, Mapping[tuple[int, ...], Mapping[int, StitchedObject]]] | None:
    """Return of accepted labels a plane of their image, and the objects by slice and id."""
    known = _OBJECTS.get(layer)
    return None if known is None else (known[0], known[1].slices)


def restore_objects(
    layer: Labels,
    target: PlaneTarget,
    slices: Mapping[tuple[int, ...], Mapping[int, StitchedObject]],
) -> None:
    """Take labels for accepted ones with these objects, as :func:`objects_of` has told them.

    Raises ValueError if they do not fit the labels.
    """
    shape, kept = array_of(layer).shape, result_axes(target.axes)
    plane = (kept.index(target.axes.y), kept.index(target.axes.x))
    if result_shape(target.shape, target.axes) != shape:
        raise ValueError("accepted labels have another shape than their image")
    objects = ObjectsBySlice(shape, plane)
    others = [side for axis, side in enumerate(shape) if axis not in plane]
    for place, there in slices.items():
        if len(place) != len(others) or not all(map(_is_within, place, others)):
            raise ValueError("accepted objects lie beside their labels")
        objects.slices[place] = dict(there)
    _OBJECTS[layer] = (target, objects)


def _is_within(at: int, side: int) -> bool:
    return 0 <= at < side


def kept_objects(viewer: ViewerModel, place: KeptPlace) -> dict[int, StitchedObject]:
    """Return the accepted objects of a plane, by their ids; none where nothing was accepted."""
    layer = find_layer(viewer, place)
    if layer is None or layer not in _OBJECTS:
        return {}
    first, objects = _OBJECTS[layer]
    if (first.axes.y, first.axes.x) != (place.target.axes.y, place.target.axes.x):
        return {}  # the viewer shows another cut through the volume
    fixed = plane_of(array_of(layer), place.target).fixed
    return objects.slices.get(tuple(at for _, at in sorted(fixed.items())), {})


def highest_kept(viewer: ViewerModel, place: KeptPlace) -> int:
    """Return the highest number of an object in the labels that a plane is of; 0 for none."""
    layer = find_layer(viewer, place)
    known = {} if layer is None or layer not in _OBJECTS else _OBJECTS[layer][1].areas()
    return max(known, default=0)


def list_kept(layer: Labels) -> Iterator[tuple[KeptPlace, StitchedObject]]:
    """Yield the objects of accepted labels, plane by plane, and where each one lies."""
    if layer not in _OBJECTS:
        return
    first, objects = _OBJECTS[layer]
    kept = result_axes(first.axes)
    others = [axis for axis in kept if axis not in (first.axes.y, first.axes.x)]
    for place, there in sorted(objects.slices.items()):
        at = dict(zip(others, place, strict=True))
        leading = tuple(at[axis] for axis in first.axes.leading)
        target = replace(first, plane=replace(first.plane, leading=leading))
        for one in there.values():
            yield KeptPlace(target), one


def plane_labels(viewer: ViewerModel, place: KeptPlace) -> PlaneOfLabels:
    """Return a plane of accepted labels.

    Raises ImageError if they are gone.
    """
    layer = find_layer(viewer, place)
    if layer is None:
        raise ImageError("The accepted labels are gone.", "Press Undo to go back.")
    return plane_of(array_of(layer), place.target)


def find_layer(viewer: ViewerModel, place: KeptPlace) -> Labels | None:
    """Return the layer of accepted labels."""
    target = place.target
    return _find(viewer, target.image, result_shape(target.shape, target.axes), Role.ACCEPTED)


def begin_change(viewer: ViewerModel, image: str, role: Role, edit: LabelEdit) -> Accepted:
    """Return what is to be written of an edit of accepted labels, or of propagated ones.

    Objects whose pixels change lose what was measured of them; new ones are told what is known of
    those that gave them most of their pixels.

    Raises PromptError while something else is written to the labels.
    """
    layer = _find(viewer, image, edit.shape, role)
    if layer is None or is_locked(layer):
        raise PromptError("These labels are still being written.", "Wait a moment.")
    accepted = Accepted(image, edit.shape, edit=edit, propagated=role is Role.PROPAGATED)
    if role is Role.ACCEPTED:
        if isinstance(array_of(layer), zarr.Array):
            accepted.folder = label_folder(array_of(layer))
        accepted.features = _describe_changed(layer, edit.changes())
        accepted.ids = tuple(accepted.features["index"])
        accepted.gone = _rows_of(layer, accepted.ids)
    return accepted


def begin_class_change(
    viewer: ViewerModel, place: KeptPlace, ids: Sequence[int], class_name: str
) -> Accepted:
    """Return what is to be noted of accepted objects of another class: an edit of no pixel.

    What was measured of them stays.

    Raises PromptError while something else is written to the labels.
    """
    layer = find_layer(viewer, place)
    if layer is None or is_locked(layer):
        raise PromptError("These labels are still being written.", "Wait a moment.")
    labels = array_of(layer)
    none = np.zeros(0, np.int64)
    edit = LabelEdit.pack("class", labels.shape, Changes(none, none, none, none), labels.dtype)
    gone = _rows_of(layer, ids)
    known = gone.get("index", [])
    changed = {**gone, CLASS: [class_name or NOTHING] * len(known)}
    folder = label_folder(labels) if isinstance(labels, zarr.Array) else None
    image = place.target.image
    return Accepted(image, labels.shape, tuple(known), edit, changed, folder, gone=gone)


def begin_track_class_change(
    viewer: ViewerModel, image: str, before: Mapping[int, str], class_name: str
) -> Accepted | None:
    """Return what is to be noted of propagated objects of another class: an edit of no pixel.

    ``before``: the class of each object; empty for none.
    ``class_name``: their class from then on.
    Returns None where their labels are gone.
    """
    layer = topmost(viewer.layers, Role.PROPAGATED, image)
    if layer is None:
        return None
    labels = unfiltered(array_of(layer))
    ids, none = list(before), np.zeros(0, np.int64)
    edit = LabelEdit.pack("class", labels.shape, Changes(none, none, none, none), labels.dtype)
    now: dict[str, list[Any]] = {"index": ids, CLASS: [class_name or NOTHING] * len(ids)}
    gone = now | {CLASS: [name or NOTHING for name in before.values()]}
    return Accepted(image, labels.shape, tuple(ids), edit, now, gone=gone, propagated=True)


def _describe_changed(layer: Labels, changes: Changes) -> dict[str, list[Any]]:
    """Return what is known of objects after their pixels have changed, by column."""
    givers = find_givers(changes)
    rows = {row["index"]: row for row in layer.features.to_dict("records")}
    known = [rows.get(id_) or rows.get(giver) or {} for id_, giver in givers.items()]
    columns = [name for name in layer.features.columns if not is_measured(name)]
    told = {name: [row.get(name, _nothing(name)) for row in known] for name in columns}
    return told | {"index": list(givers)}


def find_givers(changes: Changes) -> dict[int, int]:
    """Return the labels that changes give or take pixels, and who gave each of them most."""
    pairs, pair = np.unique(
        np.stack([changes.after, changes.before]).astype(np.int64), axis=1, return_inverse=True
    )
    given = np.bincount(pair.reshape(-1), weights=changes.lengths)
    found = {int(id_): 0 for id_ in np.unique(pairs) if id_}
    for at in np.argsort(given, kind="stable"):  # the one that gave most comes last, and stays
        after, before = map(int, pairs[:, at])
        if after and before:
            found[after] = before
    return found


def _rows_of(layer: Labels, ids: Iterable[int]) -> dict[str, list[Any]]:
    """Return what a layer's features say of some objects, by column."""
    rows, wanted = layer.features, list(ids)
    columns: dict[str, list[Any]] = (
        rows[rows["index"].isin(wanted)].to_dict("list") if wanted and "index" in rows else {}
    )
    return columns


def find_written(viewer: ViewerModel, accepted: Accepted) -> tuple[AcceptRequest, LabelEdit] | None:
    """Return where accepted objects were written, and what; None if their layer is gone."""
    layer = _find_written(viewer, accepted)
    if layer is None or accepted.edit is None:
        return None
    labels = unfiltered(array_of(layer))
    return AcceptRequest(labels, _smaller(layer), (), find_highest), accepted.edit


def _find_written(viewer: ViewerModel, accepted: Accepted) -> Labels | None:
    role = Role.PROPAGATED if accepted.propagated else Role.ACCEPTED
    return _find(viewer, accepted.image, accepted.shape, role)


def locate(viewer: ViewerModel, accepted: Accepted) -> None:
    """Note in what was accepted in which folder its labels are now; none where in memory."""
    layer = _find_written(viewer, accepted)
    labels = None if layer is None else unfiltered(array_of(layer))
    on_disk = isinstance(labels, zarr.Array)
    accepted.folder = label_folder(labels) if on_disk else None
    accepted.lasts = on_disk and not is_temporary(labels)


def lock_written(viewer: ViewerModel, accepted: Accepted) -> Callable[[], None]:
    """Keep all others from writing to accepted labels until what is returned is called."""
    layer = _find_written(viewer, accepted)
    return _do_nothing if layer is None or is_locked(layer) else lock(layer)


def _do_nothing() -> None:
    """Do nothing more."""


def note_written(
    viewer: ViewerModel, accepted: Accepted, written: LabelEdit, *, listed: bool
) -> None:
    """Show what was written to labels, or taken out, with what is known of the objects.

    ``written``: what really was.
    ``listed``: whether it was written, and not taken out.
    """
    layer = _find_written(viewer, accepted)
    if layer is None:
        return
    if written.pixels:
        redraw(layer, written.box)
    if accepted.propagated:
        if written.pixels:
            edits_of(viewer).edited.emit(layer, written.box)
        return
    come, gone = accepted.features, accepted.gone
    changes = written.changes()
    rows, others = (come, gone) if listed else (gone, come)
    dropped = {*rows.get("index", ()), *others.get("index", ())}
    _follow(layer, changes if listed else changes.reverse(), rows, dropped)


def follow_changes(layer: Labels, changes: Changes) -> None:
    """Take note that somebody has changed pixels of accepted labels."""
    if layer in _OBJECTS:
        told = _describe_changed(layer, changes)
        _follow(layer, changes, told, told["index"])


def recount(layer: Labels) -> None:
    """Take note that somebody has replaced accepted labels; those in files are not looked at."""
    labels = array_of(layer)
    if layer not in _OBJECTS or not isinstance(labels, np.ndarray):
        return
    first, objects = _OBJECTS[layer]
    if labels.shape != objects.shape:
        del _OBJECTS[layer]
        return
    _OBJECTS[layer] = (first, ObjectsBySlice(objects.shape, objects.plane))
    whole = whole_box(labels.shape)
    follow_changes(layer, changes_between([(whole, np.zeros_like(labels), labels)], labels.shape))


def _follow(
    layer: Labels, changes: Changes, rows: Mapping[str, list[Any]], dropped: Collection[int]
) -> None:
    """Bring the objects of accepted labels, and their features, up to date with their pixels.

    ``rows``: what is known of some objects, by column.
    ``dropped``: the objects of which what was known does not hold any more.
    """
    features = layer.features
    others = features[~features["index"].isin(dropped)] if "index" in features else features
    columns: dict[str, list[Any]] = others.to_dict("list")
    _extend(columns, rows)
    told = dict(zip(columns.get("index", ()), _told(columns), strict=True))
    _, objects = _OBJECTS[layer]
    objects.update(array_of(layer), changes, told)
    objects.set_classes(told)
    areas = objects.areas()
    # An object that somebody has painted is known by its pixels alone.
    _extend(columns, {"index": [id_ for id_ in areas if id_ not in told]})
    order = {id_: at for at, id_ in enumerate(columns["index"])}
    kept = [order[id_] for id_ in areas]
    columns = {name: [values[at] for at in kept] for name, values in columns.items()}
    layer.features = columns | {"area": list(areas.values())}


def _extend(columns: dict[str, list[Any]], more: Mapping[str, list[Any]]) -> None:
    """Add rows to columns, of which either may lack some."""
    before, count = len(columns.get("index", ())), len(more.get("index", ()))
    for name in {**columns, **more}:
        nothing = _nothing(name)
        come = more.get(name, [nothing] * count)
        columns[name] = [*columns.get(name, [nothing] * before), *come]


def _nothing(column: str) -> str | float:
    """Return what stands in a column of features where nothing is known."""
    if column == PARENT:
        return 0
    return NOTHING if column in ("prompt", "engine", CLASS) else math.nan


def _told(columns: Mapping[str, list[Any]]) -> Iterator[Known]:
    """Yield what columns of features say of each object."""
    count = len(columns.get("index", ()))
    names = ("score", "stability", PARENT, "prompt", CLASS)
    told = (columns.get(name, [None] * count) for name in names)
    for score, stability, parent, *words in zip(*told, strict=True):
        prompt, class_name = ("" if word in (None, NOTHING) else str(word) for word in words)
        yield Known(
            as_number(score), prompt, class_name, _number(parent), stability=as_number(stability)
        )


def as_number(value: object) -> float | None:
    """Return a number of a column of features; None for whatever else stands there."""
    numbers = (int, float, np.integer, np.floating)
    return float(value) if isinstance(value, numbers) and math.isfinite(value) else None


def _number(value: object) -> int:
    """Return a number of an object; 0 for whatever else somebody wrote there."""
    return int(as_number(value) or 0)


def read_parents(layer: Labels) -> dict[int, int]:
    """Return which label of a layer came of which one's division, where that is known."""
    told = layer.features
    if PARENT not in told or "index" not in told:
        return dict(layer.metadata.get(PARENTS, {}))
    pairs = zip(map(_number, told["index"]), map(_number, told[PARENT]), strict=True)
    known = dict(pairs)
    return {id_: parent for id_, parent in known.items() if parent in known and parent != id_}
