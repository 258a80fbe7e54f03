"""Correct objects one by one, found, accepted or propagated: delete, merge, split, refine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.core.masks.cleanup import merge_values
from napari_sam3_assistant.core.masks.edits import LabelEdit, changes_between
from napari_sam3_assistant.core.masks.labels import union_box
from napari_sam3_assistant.core.masks.splitting import split_along
from napari_sam3_assistant.core.plurals import pluralize
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import (
    ObjectRecord,
    Provenance,
    Segmentation,
    drop_objects,
    merge_objects,
    paint_labels,
    split_object,
)
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.session.values import (
    FileBackedLabels,
    FramePlace,
    KeptPlace,
    Message,
    Preview,
    ResultRow,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    import numpy.typing as npt

    from napari_sam3_assistant.core.masks.labels import Box, LabelArray
    from napari_sam3_assistant.core.stitching import StitchedObject
    from napari_sam3_assistant.session.accepting import Accepting
    from napari_sam3_assistant.session.jobs import Services
    from napari_sam3_assistant.session.propagation import Propagation

    Line = npt.NDArray[np.floating[Any]]


_NO_CUT = (
    "The line cuts no object in two.",
    "Draw it across one object, from the background on one side to the other side.",
)


def drop(preview: Preview, *ids: int) -> Preview:
    """Return a result without some of its objects: the user has changed it."""
    return preview.change(drop_objects(preview.segmentation, ids))


class Correcting:
    """The verbs that correct single objects. Called on the GUI thread.

    Each is a step that can be taken back. Of a stack they are about one slice. Only the boxes of
    the objects are read and written.
    """

    def __init__(self, services: Services, accepting: Accepting, propagation: Propagation) -> None:
        self._model, self._adapter = services.model, services.adapter
        self._undo = services.undo
        self._accepting, self._propagation = accepting, propagation

    def delete(self, *rows: ResultRow) -> None:
        """Take objects out of what they are in.

        Found ones are one step that can be taken back, and accepted ones are one.
        Raises PromptError if one of them can't be changed here, or now; none has changed then.
        """
        message = f"{pluralize(len(rows), 'object')} are taken out. Undo brings them back."
        if len(rows) == 1:
            many = len(rows[0].slices)
            on_slices = f" of {pluralize(many, 'slice')}" if many else ""
            message = f"Object {rows[0].record.id} is taken out{on_slices}. Undo brings it back."
        found: dict[Preview, list[int]] = {}
        edits = []
        for row in rows:
            place = self._current(row.preview)
            if isinstance(place, Preview):
                found.setdefault(place, []).append(row.record.id)
            else:
                edits.append((place, self._relabel(row, 0)))
        if edits:
            self._accepting.check_idle()
        if found:
            self._show([(place, drop(place, *ids)) for place, ids in found.items()], message)
        if edits:
            self._write(edits, message)

    def merge(self, row: ResultRow, other: ResultRow) -> None:
        """Give an object the pixels of another one.

        Raises PromptError if they are not of the same labels, or can't be changed now.
        """
        id_, gone = row.record.id, other.record.id
        place, giver = self._current(row.preview), self._current(other.preview)
        if (id_, row.preview) == (gone, other.preview):
            raise PromptError("This is the same object.", "Choose another one to merge it with.")
        message = f"Object {gone} is a part of object {id_} now. Undo takes that back."
        if isinstance(place, Preview) and isinstance(giver, Preview):
            self._merge_found(place, id_, giver, gone, message)
            return
        if isinstance(place, Preview) or type(place) is not type(giver) or place.slot != giver.slot:
            raise PromptError(
                "Objects of different layers can't be merged.",
                "Accept what is found first, then merge it with what was accepted before.",
            )
        self._write([(place, self._relabel(other, id_))], message)

    def split(self, places: Iterable[tuple[Preview | FramePlace | KeptPlace, Line]]) -> None:
        """Cut the objects apart that a line divides.

        ``places`` (shape (n, 2)): what lies on the plane on show, the topmost first, and rows and
        columns of the line. The first one that has objects to cut is changed.
        Raises PromptError if nothing is divided, or can't be changed now.
        """
        for place_, line in places:
            place = self._current(place_)
            parts = (
                self._split_preview(place, line)
                if isinstance(place, Preview)
                else self._split_labels(place, line)
            )
            if parts:
                return
        raise PromptError(*_NO_CUT)

    def read_accepted(self, place: KeptPlace, object_id: int) -> ObjectRecord:
        """Return an accepted object with its mask.

        Raises PromptError if it is not there any more.
        """
        now = self._adapter.accepted.objects(place).get(object_id)
        record = None
        if now is not None:
            box = now.region
            mask = np.asarray(self._adapter.plane_labels(place)[box.slices]) == now.id
            offset = (box.y0, box.x0)
            record = ObjectRecord.from_mask(
                now.id,
                mask,
                offset=offset,
                score=now.score,
                stability=now.stability,
                text=now.text,
                class_name=now.class_name,
            )
        if record is None:
            raise PromptError("This object is not there any more.", "Choose another one.")
        return record

    def reopen(self, place: KeptPlace, object_id: int) -> Preview:
        """Return an accepted object as a preview that takes its place when it is accepted again.

        It is on show, beside what was found; the object stays as it is until then.

        Raises PromptError if it is not there any more.
        """
        record, target = self.read_accepted(place, object_id), place.target
        region = Region.whole((target.shape[target.axes.y], target.shape[target.axes.x]))
        if max(region.shape) > _LARGE:
            around = max(self._model.roi_size, *record.region.shape) // 2
            region = record.region.grow(around).intersect(region)
        provenance = Provenance("", "", "", "", self._model.threshold)
        found = Segmentation(paint_labels((record,), region), (record,), region, provenance)
        return Preview(target, found, 0.0, f"object {record.id}", replaces=record.id)

    # -- inside -----------------------------------------------------------------------------

    def _merge_found(
        self, place: Preview, id_: int, giver: Preview, other_id: int, message: str
    ) -> None:
        """Give an object of a preview the pixels of another one, also of another preview."""
        other = next(record for record in giver.segmentation.objects if record.id == other_id)
        found = place.segmentation
        if not place.target.is_same_plane(giver.target):
            raise PromptError("These objects lie on different planes.", "Merge them on one slice.")
        if place is not giver and giver.replaces == other_id:
            raise PromptError(
                f"Object {other_id} is an accepted one that you refine.",
                "Press K to accept it first.",
            )
        if found.region.union(other.region).area > max(_MOST_PIXELS, found.region.area):
            raise PromptError(
                "These objects lie too far apart to be one preview.",
                "Accept both, then merge them.",
            )
        merged = merge_objects(found, id_, other)
        left = [] if place is giver else [(giver, drop(giver, other_id))]
        self._show([(place, place.change(merged)), *left], message)

    def _current(
        self, place: Preview | FramePlace | KeptPlace | FileBackedLabels
    ) -> Preview | FramePlace | KeptPlace:
        """Return what an object is in as it is now, with what the user has painted."""
        if isinstance(place, FileBackedLabels):
            raise PromptError(
                "The objects of a scan are in a file.", "Correct them in Mask Operations."
            )
        if isinstance(place, FramePlace):
            if self._model.running:
                raise PromptError("A run is going on.", "Wait for its end, or cancel it first.")
            return place
        if isinstance(place, KeptPlace):
            return place
        self._undo.note_edits(self._adapter.edits())
        now = self._model.find_preview(place.slot)
        if now is None:
            raise PromptError("This object is not there any more.", "Press Run Preview again.")
        return now

    def _show(self, changes: Sequence[tuple[Preview, Preview]], message: str) -> None:
        """Put results before and after in a step: no prompts make anew what has changed."""
        current = self._undo.current
        later = {before: self._undo.part_from_prompts(before, now) for before, now in changes}
        gone = {
            (before.slot, id_)
            for before, now in changes
            for id_ in before.changed_in(now.segmentation)
        }
        seed = current.seed
        if seed is not None and (seed.slot, seed.record.id) in gone:
            seed = None
        after = tuple(later.get(preview, preview) for preview in self._model.previews)
        after = tuple(preview for preview in after if preview.ids or len(changes) == 1)
        parted = any(later[before] is not now for before, now in changes)
        prompts = self._adapter.prompt_state() if parted else None
        self._undo.go_on(after, seed, amend=False, prompts=prompts)
        self._model.previews = after
        self._model.message = Message(message)

    def _write(
        self, edits: Sequence[tuple[FramePlace | KeptPlace, LabelEdit]], message: str
    ) -> None:
        """Write edits of labels, each of other pixels, as one step."""
        if not all(edit.pixels for _, edit in edits):
            raise PromptError("This object is not there any more.", "Choose another one.")
        self._accepting.check_idle()
        begin = self._adapter.accepted.begin_change
        self._accepting.change([begin(place, edit) for place, edit in edits], message)

    def _relabel(self, row: ResultRow, value: int) -> LabelEdit:
        """Return the edit that gives an object of labels another value."""
        assert not isinstance(row.preview, Preview | FileBackedLabels)
        plane, boxes = self._adapter.plane_labels(row.preview), []
        for part in row.parts:
            assert not isinstance(part.preview, Preview | FileBackedLabels)
            boxes.append(self._adapter.plane_labels(part.preview).box(part.record.region.slices))
        return merge_values(plane.labels, (row.record.id,), value, union_box(boxes))

    def _split_preview(self, place: Preview, line: Line) -> bool:
        found = place.segmentation
        highest = max((record.id for record in (*found.objects, *place.hidden)), default=0)
        cut = []
        for record in _near(found.objects, line):
            parts = split_along(record.mask, _localise(line, record.region), record.id, highest)
            if parts is not None:
                highest = max(highest, int(parts.max()))
                found = split_object(found, record.id, parts)
                cut.append(record.id)
        if cut:
            self._show([(place, place.change(found))], _explain_cut(cut))
        return bool(cut)

    def _split_labels(self, place: FramePlace | KeptPlace, line: Line) -> bool:
        plane = self._adapter.plane_labels(place)
        objects, highest = self._objects(place)
        edits: list[tuple[Box, LabelArray, LabelArray]] = []
        cut = []
        for record in _near(objects, line):
            box = plane.box(record.region.slices)
            pixels = plane[record.region.slices]
            mask = pixels == record.id
            parts = split_along(mask, _localise(line, record.region), record.id, highest)
            if parts is None:
                continue
            highest = max(highest, int(parts.max()))
            shape = tuple(side.stop - side.start for side in box)
            before = np.where(mask, record.id, 0)
            edits.append((box, before.reshape(shape), parts.reshape(shape)))
            cut.append(record.id)
        if cut:
            changes = changes_between(edits, plane.shape)
            edit = LabelEdit.pack("split objects", plane.shape, changes, plane.labels.dtype)
            self._write([(place, edit)], _explain_cut(cut))
        return bool(cut)

    def _objects(self, place: FramePlace | KeptPlace) -> tuple[list[StitchedObject], int]:
        """Return the objects of a plane, and the highest number of any in its labels."""
        if isinstance(place, KeptPlace):
            there = self._adapter.accepted.objects(place)
            return list(there.values()), self._adapter.accepted.highest_number(place)
        self._propagation.edited.check_done()
        numbers = (0, *self._propagation.tracks.ids, *self._model.tracked)
        return list(self._propagation.objects_on(place)), max(numbers)


_MOST_PIXELS = 1 << 26
"""Previews that are merged don't grow beyond: their labels are in memory."""
_LARGE = 4096
"""Of planes with a longer side a part round an object is enough to correct it."""


def _near(objects: Iterable[Any], line: Line) -> list[Any]:
    """Return the objects whose boxes a line may touch."""
    low, high = line.min(axis=0), line.max(axis=0)
    margin = 3 + float(np.hypot(*(high - low))) / 10
    (y0, x0), (y1, x1) = np.floor(low - margin), np.ceil(high + margin) + 1
    around = Region(int(y0), int(x0), int(y1), int(x1))
    return [record for record in objects if not record.region.intersect(around).is_empty]


def _localise(line: Line, region: Region) -> Line:
    return line - (region.y0, region.x0)


def _explain_cut(cut: Sequence[int]) -> str:
    many = pluralize(len(cut), "object")
    subject = f"Object {cut[0]} is" if len(cut) == 1 else f"{many} are"
    return f"{subject} cut apart; the largest part keeps the number. Undo takes that back."
