"""The labels of accepted objects: made, written, changed and locked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import compress
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from napari.layers import Labels
from scipy import ndimage

from napari_sam3_assistant.core.axes import axis_kind
from napari_sam3_assistant.core.masks.edits import Changes, LabelEdit
from napari_sam3_assistant.core.masks.labels import (
    box_shape,
    is_writable,
    localise_box,
    number_objects,
    unfiltered,
    union_box,
    write_smaller,
)
from napari_sam3_assistant.core.masks.merge import AcceptRequest
from napari_sam3_assistant.core.objects_by_slice import Known
from napari_sam3_assistant.errors import ImageError, PromptError
from napari_sam3_assistant.session.label_storage import (
    IN_MEMORY,
    delete_with,
    empty_levels,
    find_highest,
    fits_memory,
    is_temporary,
    label_folder,
)
from napari_sam3_assistant.session.layer_files import entry_of
from napari_sam3_assistant.session.messages import (
    CLASS,
    NOTHING,
    PARENT,
    format_prompts,
    number_column,
    stability_column,
)
from napari_sam3_assistant.session.snapshots import Accepted, KeptPixels
from napari_sam3_assistant.session.values import FramePlace, KeptPlace
from napari_sam3_assistant.viewer.accepted_objects import (
    begin_list,
    describe_changed,
    follow_changes,
    highest_number,
    know_again,
    objects_on,
    recount,
    regions_on,
    rows_of,
    update_list,
)
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
    Role,
    add_below_prompts,
    key_of,
    role_metadata,
    topmost,
    with_role,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_sam3_assistant.core.axes import Axes, ImageAxes
    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.core.masks.labels import Box, PlaneOfLabels
    from napari_sam3_assistant.core.masks.merge import AcceptedObjects, ObjectMask
    from napari_sam3_assistant.core.prompts import MaskPrompt
    from napari_sam3_assistant.core.regions import Region
    from napari_sam3_assistant.core.stitching import StitchedObject
    from napari_sam3_assistant.session.snapshots import OtherLabels
    from napari_sam3_assistant.session.values import PlaneTarget, Preview
    from napari_sam3_assistant.viewer.prompts import ViewerPrompts


PlacedObject: TypeAlias = "tuple[Box, ObjectMask, int]"
"""An object: the slices of accepted labels that it lies in, its mask there, and its number."""


@dataclass(frozen=True, slots=True, eq=False)
class AcceptedResult:
    """A result that is to be accepted.

    ``target``: the image, and a plane of it.
    ``objects``: for each object the slices of the accepted labels, its mask there, and its number.
    ``known``: what is known of objects, by their numbers.
    ``prompt``: what named those without a phrase; empty where that is not known.
    ``engine``: title of the engine.
    ``replaces``: the accepted object that the one of that number takes the place of; 0 for none.
    """

    target: PlaneTarget
    objects: Sequence[tuple[Box, ObjectMask, int]]
    known: Mapping[int, Known]
    prompt: str
    engine: str
    replaces: int = 0

    def entries(self) -> tuple[dict[str, Any], ...]:
        """Return what a note says of each object."""
        return tuple(
            entry_of(number, self.known.get(number, Known()), self.prompt, self.engine)
            for *_, number in self.objects
        )


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


class AcceptedLayers:
    """The labels of accepted objects in a viewer. GUI thread only.

    Edits of propagated labels that a user corrects take the same way.

    ``in_memory``: accepted labels up to this size are in memory, larger ones on the disk.
    ``changes``: how often accepted labels were changed so far, by whom ever.
    """

    def __init__(self, adapter: ViewerPrompts) -> None:
        self._adapter, self._viewer = adapter, adapter.viewer
        self.in_memory = IN_MEMORY
        self.changes = 0

    # -- what is there --------------------------------------------------------------------

    def count(self, image: str) -> int:
        """Return how many accepted objects an image has."""
        found = self._adapter.find(image)
        layer = None if found is None else topmost(self._viewer.layers, Role.ACCEPTED, image)
        return 0 if layer is None else len(layer.features)

    def find(self, place: KeptPlace) -> Labels | None:
        """Return the layer of the accepted labels that a plane is of."""
        target = place.target
        shape = result_shape(target.shape, target.axes)
        return _find(self._viewer, target.image, shape, Role.ACCEPTED)

    def are_in_memory(self, place: KeptPlace) -> bool:
        """Return whether accepted labels are in memory, or will be when there are some."""
        layer, target = self.find(place), place.target
        if layer is not None:
            return label_folder(array_of(layer)) is None
        return fits_memory(result_shape(target.shape, target.axes), self.in_memory)

    def objects(self, place: KeptPlace) -> dict[int, StitchedObject]:
        """Return the accepted objects of a plane, by their ids; none where nothing was accepted."""
        layer = self.find(place)
        return {} if layer is None else objects_on(layer, place.target)

    def regions(self, place: KeptPlace) -> dict[int, Region]:
        """Return the accepted objects that may lie on a plane, and where; no pixel is read."""
        layer = self.find(place)
        return {} if layer is None else regions_on(layer, place.target)

    def highest_number(self, place: KeptPlace) -> int:
        """Return the highest number of an object in the labels that a plane is of; 0 for none."""
        layer = self.find(place)
        return 0 if layer is None else highest_number(layer)

    def plane(self, place: KeptPlace) -> PlaneOfLabels:
        """Return a plane of accepted labels; pixels are read when asked for.

        Raises ImageError if they are gone.
        """
        layer = self.find(place)
        if layer is None:
            raise ImageError("The accepted labels are gone.", "Press Undo to go back.")
        return plane_of(array_of(layer), place.target)

    def pixels(
        self,
        image: Layer,
        previews: Sequence[tuple[Preview, npt.NDArray[np.integer[Any]]]],
    ) -> KeptPixels | None:
        """Return the accepted labels of an image, and the objects of previews that would join them.

        ``previews``: results of the image, and their labels as they are on show.
        Returns None where nothing was accepted.
        """
        layer = topmost(self._viewer.layers, Role.ACCEPTED, key_of(image))
        if layer is None or len(layer.features) == 0:
            return None
        labels, (_, axes) = array_of(layer), locate_labels(self._viewer, layer)
        shape = shape_of(image)
        shown = [
            pair for pair in previews if result_shape(shape, pair[0].target.axes) == labels.shape
        ]
        parts, of_parts = _join(shown)
        return KeptPixels(labels, axes, parts, layer.features.to_dict("list"), of_parts)

    # -- accepting ------------------------------------------------------------------------

    def begin(self, result: AcceptedResult, lasting: Path | None) -> Acceptance:
        """Return what is to be written to add a result to the accepted labels; see Acceptance."""
        image = self._adapter.image_of(result.target)
        with self._adapter.mark_changes():
            return Acceptance(self, image, result, lasting)

    def begin_other(
        self, other_labels: OtherLabels, objects: Sequence[PlacedObject], lasting: Path | None
    ) -> Acceptance:
        """Return what is to be written to add objects of labels of another tool."""
        target, name = other_labels.target, f"“{other_labels.name}”"
        result = AcceptedResult(target, objects, other_labels.known, "labels", name)
        return self.begin(result, lasting)

    @staticmethod
    def place(target: PlaneTarget, masks: Sequence[MaskPrompt]) -> list[PlacedObject]:
        """Return masks on a plane as objects of accepted labels."""
        shape = result_shape(target.shape, target.axes)
        # Only where the plane lies counts.
        place = plane_of(np.broadcast_to(np.uint8(0), shape), target)
        return [
            (
                place.box(mask.region.slices),
                to_layer_axes(mask.mask, target.axes),
                mask.object_id or 0,
            )
            for mask in masks
        ]

    def find_or_make(self, image: Layer, target: PlaneTarget, lasting: Path | None) -> Labels:
        """Return the layer of the accepted labels of an image; see Acceptance for ``lasting``."""
        axes = target.axes
        kept, shape = result_axes(axes), result_shape(shape_of(image), axes)
        layer = _find(self._viewer, target.image, shape, Role.ACCEPTED)
        plane = (kept.index(axes.y), kept.index(axes.x))
        layer = layer or self._lengthen(target.image, shape, plane)
        if layer is not None:
            know_again(layer, target)
            return layer
        stays = None if lasting is None else (lasting, _result_axes(image, axes))
        levels = empty_levels(shape, plane, stays, in_memory=self.in_memory)
        layer = Labels(
            levels if len(levels) > 1 else levels[0],
            multiscale=len(levels) > 1,
            name=NAMES[Role.ACCEPTED],
            metadata=role_metadata(Role.ACCEPTED, target.image),
            colormap=kept_colours(),
            **layer_transform(image, axes, World.of(self._viewer)),
        )
        delete_with(layer, levels[0])
        begin_list(layer, target)
        add_below_prompts(self._viewer, layer)
        return layer

    def _lengthen(
        self, image: str, shape: tuple[int, ...], plane: tuple[int, int]
    ) -> Labels | None:
        """Return accepted labels of an image that has got more slices since, with as many as it.

        Microscopes record while the first times are looked at. None where there are none, and
        where they are in a file.

        ``shape``: that of results of the whole image.
        ``plane``: which of its axes are rows and columns.
        """
        layer = topmost(self._viewer.layers, Role.ACCEPTED, image)
        labels = None if layer is None or layer.multiscale else array_of(layer)
        if layer is None or not isinstance(labels, np.ndarray) or labels.ndim != len(shape):
            return None
        more = [now - before for now, before in zip(shape, labels.shape, strict=True)]
        if min(more) < 0 or any(more[axis] for axis in plane) or is_locked(layer):
            return None
        layer.data = np.pad(labels, [(0, count) for count in more])
        return layer

    def put_back(
        self,
        image: Layer,
        target: PlaneTarget,
        edit: LabelEdit,
        features: Mapping[str, list[Any]],
    ) -> None:
        """Write saved labels into the empty accepted labels of an image, with what was known.

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
        layer = self.find_or_make(image, target, None)
        written = edit.write(array_of(layer))
        write_smaller(array_of(layer), _smaller_levels(layer), written.box)
        put = Accepted(target.image, shape, edit=written, features=features)
        self.show_written(put, written, listed=True)

    # -- changes --------------------------------------------------------------------------

    def begin_change(self, place: KeptPlace | FramePlace, edit: LabelEdit) -> Accepted:
        """Return what is to be written of an edit of accepted labels, or of propagated ones.

        Objects whose pixels change lose what was measured of them; new ones get what is known
        of those that gave them most of their pixels.

        Raises Sam3AssistantError while something else is written to the labels, or they are gone.
        """
        image, role = place.target.image, Role.ACCEPTED
        if isinstance(place, FramePlace):
            role = Role.PROPAGATED
        layer = _find(self._viewer, image, edit.shape, role)
        if layer is None:
            raise ImageError("These labels are gone.", "Press Undo to go back.")
        _check_free(layer)
        accepted = Accepted(image, edit.shape, edit=edit, propagated=role is Role.PROPAGATED)
        if role is Role.ACCEPTED:
            accepted.folder = label_folder(array_of(layer))
            accepted.features = describe_changed(layer, edit.changes())
            accepted.ids = tuple(accepted.features["index"])
            accepted.gone = rows_of(layer, accepted.ids)
        return accepted

    def begin_class_change(self, place: KeptPlace, ids: Sequence[int], class_name: str) -> Accepted:
        """Return what is to be noted of accepted objects of another class: an edit of no pixel.

        What was measured of them stays.

        Raises Sam3AssistantError while something else is written to the labels, or they are gone.
        """
        layer = self.find(place)
        if layer is None:
            raise ImageError("These labels are gone.", "Press Undo to go back.")
        _check_free(layer)
        labels = array_of(layer)
        gone = rows_of(layer, ids)
        known = gone.get("index", [])
        changed = {**gone, CLASS: [class_name or NOTHING] * len(known)}
        folder = label_folder(labels)
        image, edit = place.target.image, _edit_of_classes(labels)
        return Accepted(image, labels.shape, tuple(known), edit, changed, folder, gone=gone)

    def begin_track_class_change(
        self, image: str, before: Mapping[int, str], class_name: str
    ) -> Accepted | None:
        """Return what is to be noted of propagated objects of another class: an edit of no pixel.

        ``before``: the class of each object; empty for none.
        ``class_name``: their class from then on.
        Returns None where their labels are gone.
        """
        layer = topmost(self._viewer.layers, Role.PROPAGATED, image)
        if layer is None:
            return None
        labels, ids = unfiltered(array_of(layer)), list(before)
        now: dict[str, list[Any]] = {"index": ids, CLASS: [class_name or NOTHING] * len(ids)}
        gone = now | {CLASS: [name or NOTHING for name in before.values()]}
        edit = _edit_of_classes(labels)
        return Accepted(image, labels.shape, tuple(ids), edit, now, gone=gone, propagated=True)

    def find_written(
        self, accepted: Iterable[Accepted]
    ) -> list[tuple[Accepted, tuple[AcceptRequest, LabelEdit]]]:
        """Return of accepted objects those whose layers are there, and what was written where."""
        found = []
        for accepted_ in accepted:
            layer = _find_written(self._viewer, accepted_)
            labels = None if layer is None else unfiltered(array_of(layer))
            if layer is not None and accepted_.edit is not None and is_writable(labels):
                levels = _smaller_levels(layer)
                found.append(
                    (accepted_, (AcceptRequest(labels, levels, (), find_highest), accepted_.edit))
                )
        return found

    def lock(self, accepted: Iterable[Accepted]) -> Callable[[], None]:
        """Keep all others from writing to accepted labels until what is returned is called."""
        layers = [_find_written(self._viewer, accepted_) for accepted_ in accepted]
        unlocks = [lock(layer) for layer in layers if layer is not None and not is_locked(layer)]

        def unlock() -> None:
            for unlock in unlocks:
                unlock()

        return unlock

    def note_written(self, written: Iterable[tuple[Accepted, LabelEdit]], *, listed: bool) -> None:
        """Show what was written to labels, or taken out, and what is known of the objects.

        ``written``: what was to be written, and what really was.
        ``listed``: whether it was written, and not taken out.
        """
        self.changes += 1
        with self._adapter.mark_changes():
            for accepted, edit in written:
                self.show_written(accepted, edit, listed=listed)

    def show_written(self, accepted: Accepted, written: LabelEdit, *, listed: bool) -> None:
        """Do what :meth:`note_written` does, of one edit."""
        layer = _find_written(self._viewer, accepted)
        if layer is None:
            return
        if written.pixels:
            redraw(layer, written.box)
        if accepted.propagated:
            if written.pixels:
                edits_of(self._viewer).edited.emit(layer, written.box)
            return
        come, gone = accepted.features, accepted.gone
        changes = written.changes()
        rows, others = (come, gone) if listed else (gone, come)
        dropped = {*rows.get("index", ()), *others.get("index", ())}
        update_list(layer, changes if listed else changes.reverse(), rows, dropped)

    def follow(self, layer: Labels, changes: Changes) -> None:
        """Record that somebody has changed pixels of accepted labels."""
        self.changes += 1
        follow_changes(layer, changes)

    def recount(self, layer: Labels) -> None:
        """Record that somebody has replaced accepted labels; see :func:`recount`."""
        self.changes += 1
        recount(layer)


def _check_free(layer: Labels) -> None:
    """Raise PromptError unless labels can be written to now."""
    if is_locked(layer):
        raise PromptError(f"“{layer.name}” is still being written.", "Wait a moment.")
    if not is_writable(unfiltered(array_of(layer))):
        raise PromptError(
            f"“{layer.name}” was given labels that can only be read.",
            "Remove the layer, or give it labels in memory: layer.data = numpy.array(layer.data).",
        )


def _edit_of_classes(labels: AnyArray) -> LabelEdit:
    """Return an edit that changes no pixel."""
    none = np.zeros(0, np.int64)
    return LabelEdit.pack("class", labels.shape, Changes(none, none, none, none), labels.dtype)


class Acceptance:
    """A result that is being accepted: what to write, and what to say of it in its layer then.

    ``lasting``: where to put labels that don't fit into memory so that they stay, if there is such
    a place.

    ``request``: what to write.
    ``accepted``: what came of it; without ids until :meth:`finish`.
    Raises PromptError if there are no objects, or the labels are being written to.
    Raises ExportError if there is no room on the disk for labels that don't fit into memory.
    """

    def __init__(
        self,
        layers: AcceptedLayers,
        image: Layer,
        result: AcceptedResult,
        lasting: Path | None,
    ) -> None:
        self._layers, self._result = layers, result
        if not result.objects:
            raise PromptError("The preview is empty; nothing was accepted.", "Add a prompt first.")
        self._layer = layers.find_or_make(image, result.target, lasting)
        _check_free(self._layer)
        labels = array_of(self._layer)
        objects, own = self._find_own(labels)
        self.request = AcceptRequest(
            labels, _smaller_levels(self._layer), objects, find_highest, own
        )
        self.accepted = Accepted(result.target.image, labels.shape)
        self.accepted.gone = rows_of(self._layer, own.values())
        self.accepted.folder = label_folder(labels)
        self.accepted.lasts = self.accepted.folder is not None and not is_temporary(labels)

    def finish(self, objects: AcceptedObjects) -> None:
        """Record what was written, and show it."""
        self.accepted.edit, self.accepted.ids = objects.edit, objects.ids
        self.accepted.known = len(self._result.objects) - len(objects.places)
        self.accepted.features = self._describe(objects)
        self._layers.show_written(self.accepted, objects.edit, listed=True)

    def _describe(self, added: AcceptedObjects) -> dict[str, list[Any]]:
        """Return the features of accepted objects."""
        result = self._result
        numbers = [result.objects[place][2] for place in added.places]
        known = [result.known.get(number, Known()) for number in numbers]
        ids = dict(zip(numbers, added.ids, strict=True))
        parents = [ids.get(record.parent, 0) for record in known]
        classes = [record.class_name or NOTHING for record in known]
        return {
            "index": list(added.ids),
            "score": number_column([record.score for record in known]),
            "area": list(added.areas),
            "prompt": [record.text or result.prompt or NOTHING for record in known],
            "engine": [result.engine or self._engine_before()] * len(known),
            **({CLASS: classes} if any(record.class_name for record in known) else {}),
            **({PARENT: parents} if any(parents) else {}),
            **stability_column([record.stability for record in known]),
        }

    def _find_own(
        self, labels: AnyArray
    ) -> tuple[tuple[tuple[Box, ObjectMask], ...], dict[int, int]]:
        """Return the objects, and the place and value of the one that was accepted before."""
        result = self._result
        objects = [record[:2] for record in result.objects]
        kept = self._layers.objects(KeptPlace(result.target)).get(result.replaces)
        for place, (part_box, mask, number) in enumerate(result.objects):
            if kept is not None and number == kept.id and isinstance(mask, np.ndarray):
                before = plane_of(labels, result.target).box(kept.region.slices)
                objects[place] = _reach(part_box, mask, before)
                return tuple(objects), {place: kept.id}
        return tuple(objects), {}

    def _engine_before(self) -> str:
        """Return the engine of an object that was accepted before, and not changed by a run."""
        return str(next(iter(self.accepted.gone.get("engine", ())), "-"))


def _reach(box: Box, mask: npt.NDArray[np.bool_], other: Box) -> tuple[Box, npt.NDArray[np.bool_]]:
    """Return a box that holds another one, too, and a mask in it."""
    whole = union_box((box, other))
    larger = np.zeros(box_shape(whole), bool)
    larger[localise_box(box, whole)] = mask
    return whole, larger


def _smaller_levels(layer: Labels) -> tuple[Any, ...]:
    return tuple(layer.data)[1:] if layer.multiscale else ()


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
        parts += [record[:2] for record in compress(found, keep)]
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
    cuts = {(preview.target.axes, preview.target.shape) for preview, _ in previews}
    if len(cuts) > 1:
        return None
    axes = target.axes
    if len({preview.target.plane.leading for preview, _ in previews}) == 1:
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
    numbers, of_number = number_objects(shown)
    top, left = found.region.y0, found.region.x0
    for number, place in enumerate(ndimage.find_objects(numbers), 1):
        if place is not None:
            rows, columns = place
            part = (
                slice(rows.start + top, rows.stop + top),
                slice(columns.start + left, columns.stop + left),
            )
            yield part, numbers[place] == number, int(of_number[number])


def _find(viewer: ViewerModel, image: str, shape: tuple[int, ...], role: Role) -> Labels | None:
    """Return the topmost labels of a role and a shape; the image may have had other pixels."""
    layers = list(with_role(viewer.layers, role, image))
    return next((layer for layer in reversed(layers) if array_of(layer).shape == shape), None)


def _find_written(viewer: ViewerModel, accepted: Accepted) -> Labels | None:
    role = Role.PROPAGATED if accepted.propagated else Role.ACCEPTED
    return _find(viewer, accepted.image, accepted.shape, role)


def locate(viewer: ViewerModel, accepted: Accepted) -> None:
    """Note in what was accepted in which folder its labels are now; none where in memory."""
    layer = _find_written(viewer, accepted)
    labels = None if layer is None else unfiltered(array_of(layer))
    accepted.folder = label_folder(labels)
    accepted.lasts = accepted.folder is not None and not is_temporary(labels)
