"""The results table and its rows of every frame, and the soft masks."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from psygnal import Signal

from napari_sam3_assistant.core.measurements import VOLUME, combine_planes
from napari_sam3_assistant.core.objects_by_slice import update_objects
from napari_sam3_assistant.core.plurals import pluralize
from napari_sam3_assistant.core.results import ObjectRecord, has_soft_masks, max_probability
from napari_sam3_assistant.core.stitching import StitchedObject
from napari_sam3_assistant.io.outputs import add_ending
from napari_sam3_assistant.jobs import Job, JobRunner, JobState
from napari_sam3_assistant.session.availability import no_preview
from napari_sam3_assistant.session.messages import COLUMNS, SAID, column_titles, format_values
from napari_sam3_assistant.session.values import (
    FileBackedLabels,
    FramePlace,
    KeptPlace,
    Level,
    Message,
    ResultRow,
    SoftImage,
)
from napari_sam3_assistant.workflows.save import export_table

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from napari_sam3_assistant.core.masks.edits import Changes
    from napari_sam3_assistant.core.measurements import Measurement
    from napari_sam3_assistant.core.progress import Deliver, Reporter
    from napari_sam3_assistant.core.tracks import TrackRow
    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.session.values import Preview


_SHOWN, _WRITTEN = 4, 8
"""Significant digits of measurements in the table, and in files."""


def format_row(row: ResultRow, titles: Sequence[str] = (), digits: int = _SHOWN) -> tuple[str, ...]:
    """Return a row as text, ``-`` where there is nothing to say.

    ``titles``: the columns after ``COLUMNS``, see :func:`.messages.column_titles`.
    ``digits``: significant digits of the measurements.
    """
    measured = [title for title in titles if title not in SAID]
    values = format_values(row.measured, measured, digits)
    texts = (SAID[title](row) for title in titles if title in SAID)
    return (*describe_row(row), str(row.area), *values, *texts)


def describe_row(row: ResultRow) -> tuple[str, ...]:
    """Return a row as text without the area, for which pixels have to be counted."""
    record, target = row.record, row.preview.target
    score = "-" if record.score is None else f"{record.score:.3f}"
    planes = [part.preview.target.plane.leading for part in row.parts]
    frame = ", ".join(map(_describe_indices, zip(*planes, strict=True))) or "-"
    return (target.name, record.text or "-", frame, str(record.id), score)


def _describe_indices(indices: tuple[int, ...]) -> str:
    """Return on which slices along an axis an object lies, such as ``2 to 7``."""
    low, high, count = min(indices), max(indices), len(set(indices))
    if low == high:
        return str(low)
    return f"{low} to {high}" + (f" ({count} of them)" if count <= high - low else "")


def join_slices(rows: Iterable[ResultRow]) -> Iterator[ResultRow]:
    """Yield one row an object, given one for each plane that it lies on; in the order of the first.

    What was measured of it on all planes is shown once it is known of all of them.
    """
    found: dict[tuple[tuple[str, str], int], list[ResultRow]] = {}
    for row in rows:
        found.setdefault((row.preview.slot, row.record.id), []).append(row)
    for parts in found.values():
        if len(parts) == 1:
            yield parts[0]
            continue
        parts.sort(key=lambda row: row.preview.target.plane.leading)
        largest = max(parts, key=lambda row: row.record.area)
        measured = [part.measured for part in parts if part.measured is not None]
        whole = combine_planes(measured) if len(measured) == len(parts) else None
        yield replace(largest, measured=whole, slices=tuple(parts))


class Results:
    """The verbs about the results table. All are called on the GUI thread.

    ``kept_changed``: tells that accepted objects, or their pixels or classes, have changed.
    """

    kept_changed = Signal()

    def __init__(self, model: SessionModel, start: Callable[[Job], Job]) -> None:
        self._model = model
        self._start = start
        self._found: tuple[ResultRow, ...] = ()
        self._hidden: tuple[ResultRow, ...] = ()
        self._kept: dict[str, tuple[ResultRow, ...]] = {}
        self._joined: dict[str, tuple[tuple[ResultRow, ...], tuple[ResultRow, ...]]] = {}
        self._stored: dict[tuple[str, str], tuple[ResultRow, ...]] = {}
        self._scans: dict[tuple[str, str], FileBackedLabels] = {}
        self._left_out: dict[tuple[str, str], frozenset[int]] = {}
        self._frames = FrameRows()
        model.events.previews.connect(self._follow, max_args=0)

    @property
    def found(self) -> tuple[ResultRow, ...]:
        """The objects of previews, also those that are not on show."""
        return (*self._found, *self._hidden)

    @property
    def scans(self) -> dict[FileBackedLabels, tuple[ResultRow, ...]]:
        """The objects of scans, also those that are not on show."""
        return {self._scans[slot]: rows for slot, rows in self._stored.items()}

    @property
    def everything(self) -> tuple[ResultRow, ...]:
        """The objects of previews and scans, also those that are not on show."""
        return (*self.found, *itertools.chain.from_iterable(self._stored.values()))

    @property
    def hidden(self) -> tuple[ResultRow, ...]:
        """The objects of previews and scans that filters hide."""
        stored = (
            row
            for slot, rows in self._stored.items()
            for row in rows
            if row.record.id in self.left_out(slot)
        )
        return (*self._hidden, *stored)

    @property
    def hidden_tracks(self) -> frozenset[int]:
        """The objects of a propagation that filters hide."""
        return self._frames.hidden

    def left_out(self, slot: tuple[str, str]) -> frozenset[int]:
        """Return which objects of a scan are not on show."""
        return self._left_out.get(slot, frozenset())

    def hide_stored(self, slot: tuple[str, str], hidden: frozenset[int]) -> None:
        """Take objects of a scan out of the table, and put all others in."""
        self._left_out[slot] = hidden
        self._list_again()

    @property
    def measured(self) -> dict[int, Measurement]:
        """What was measured, by the identity of the objects' records."""
        rows = (*self.everything, *self.kept, *self._frames)
        return {id(row.record): row.measured for row in rows if row.measured is not None}

    @property
    def kept(self) -> tuple[ResultRow, ...]:
        """The accepted objects, plane by plane."""
        return tuple(itertools.chain.from_iterable(self._kept.values()))

    def clear(self) -> None:
        """Empty the table; the previews, accepted labels and the labels of scans stay."""
        self._kept.clear()
        self._stored.clear()
        self._scans.clear()
        self.forget_found()

    def forget_found(self) -> None:
        """Take previews and frames out of the table; the objects of scans stay."""
        self._found = self._hidden = ()
        self._frames.clear()
        self._model.picked = None
        self._list()

    def add_stored(self, stored: FileBackedLabels, rows: tuple[ResultRow, ...]) -> None:
        """List the objects of a scan, in the place of those of an earlier one of the same name."""
        self._scans[stored.slot] = stored
        self._stored[stored.slot] = rows
        self._left_out.pop(stored.slot, None)
        self._list()

    def list_kept(
        self, layer: str, objects: Iterable[tuple[KeptPlace, StitchedObject]] = ()
    ) -> None:
        """List the accepted objects that are in a layer, given its key; without any, none."""
        known = {id(row.record): row for row in self._kept.pop(layer, ())}
        # Of which the class alone is another, what was measured holds.
        alike = {(row.preview, row.record.id): row for row in known.values()}
        rows = []
        for place, record in objects:
            before = alike.get((place, record.id))
            if before is not None and _is_same(before.record, record):
                known.pop(id(before.record))
                rows.append(ResultRow(place, record, before.measured))
            else:
                rows.append(ResultRow(place, record))
        # Of objects with another slice, or with one less, the volumes have to be measured anew.
        changed = {row.record.id for row in (*known.values(), *rows) if row.measured is None}
        changed |= {row.record.id for row in known.values()}
        gone: dict[int, dict[str, float]] = {
            id(row.record): {} for row in rows if row.record.id in changed
        }
        if rows:
            self._kept[layer] = with_volumes(tuple(rows), gone)
        self._list_again()
        self.kept_changed.emit()

    def forget_file_backed(self, image: str, label: str | None = None) -> None:
        """Take the objects of an image's scans out of the table, or of the one with a label."""
        gone = [slot for slot in self._stored if slot == (image, label or slot[1])]
        for slot in gone:
            del self._stored[slot], self._scans[slot]
        if gone:
            self._model.picked = None
            self._list()

    def find_scan(self, slot: tuple[str, str]) -> FileBackedLabels | None:
        """Return the scan whose objects are listed, by its place; None if they are not."""
        return self._scans.get(slot)

    def update_file_backed(
        self,
        slot: tuple[str, str],
        changes: Changes,
        shape: tuple[int, ...],
        plane: tuple[int, int],
    ) -> None:
        """Record that pixels of a scan's labels were changed, see :func:`update_objects`."""
        stored = self._scans[slot]
        rows = {row.record.id: row for row in self._stored[slot]}
        objects = {
            id_: row.record for id_, row in rows.items() if isinstance(row.record, StitchedObject)
        }
        for id_, record in update_objects(objects, changes, shape, plane).items():
            rows.pop(id_, None)
            if record is not None:
                rows[id_] = ResultRow(stored, record)
        self._stored[slot] = tuple(row for _, row in sorted(rows.items()))
        self._list_again()

    def set_scan_classes(self, slot: tuple[str, str], classes: Mapping[int, str]) -> dict[int, str]:
        """Give objects of a scan other classes; returns those of all, or nothing for no change."""
        rows = self._stored[slot]
        changed = tuple(
            replace(row, record=replace(row.record, class_name=name))
            if (name := classes.get(row.record.id, row.record.class_name)) != row.record.class_name
            else row
            for row in rows
        )
        if all(row is other for row, other in zip(changed, rows, strict=True)):
            return {}
        self._stored[slot] = changed
        self._list_again()
        return {row.record.id: row.record.class_name for row in changed}

    def add_measurements(self, measurements: Mapping[int, Measurement]) -> None:
        """Record measurements, by the identity of the objects' records."""

        def with_answer(row: ResultRow) -> ResultRow:
            answer = measurements.get(id(row.record))
            return row if answer is None else ResultRow(row.preview, row.record, answer)

        self._found = tuple(map(with_answer, self._found))
        self._hidden = tuple(map(with_answer, self._hidden))
        self._kept = {layer: tuple(map(with_answer, rows)) for layer, rows in self._kept.items()}
        self._stored = {slot: tuple(map(with_answer, rows)) for slot, rows in self._stored.items()}
        self._list_again()

    def add_to_frame(self, place: FramePlace, measurements: Mapping[int, Measurement]) -> None:
        """Record measurements on a frame, which are listed now, or with the next ones."""
        self._frames.measure(place, measurements)
        if self._frames.is_due:
            self._list_again()

    @property
    def of_slices(self) -> tuple[ResultRow, ...]:
        """The objects that may go through slices: the accepted ones, and those of frames."""
        return (*self.kept, *self._frames)

    def add_volumes(self, volumes: Mapping[int, Mapping[str, float]]) -> None:
        """Record what objects measure on all slices, by the identity of their records."""
        self._frames.add_volumes(volumes)
        self._kept = {layer: with_volumes(rows, volumes) for layer, rows in self._kept.items()}
        if volumes or self.has_frames:
            self._list_again()

    @property
    def of_frames(self) -> tuple[ResultRow, ...]:
        """The objects of a propagation, frame by frame."""
        return tuple(self._frames)

    @property
    def has_frames(self) -> bool:
        """Whether frames of a propagation are listed."""
        return len(self._frames) > 0

    def add_frame(self, place: FramePlace, objects: Sequence[TrackRow]) -> None:
        """Take the objects of a frame; they are listed now, or with one of the next frames."""
        self._frames.add(place, objects)
        if self._frames.is_due:
            self.list_frames()

    def hide_tracked(self, hidden: frozenset[int]) -> None:
        """Take objects of the propagation out of the table when it is listed next."""
        self._frames.hidden = hidden

    @property
    def followed(self) -> Iterable[ResultRow]:
        """The objects of the propagation frame by frame, also those that are not on show."""
        return self._frames

    def list_frames(self) -> None:
        """List all frames that have come in."""
        self._list()

    def remove(self, *ids: int) -> None:
        """Take objects of the propagation out of the table."""
        self._frames.remove(ids)
        self._model.picked = None
        self._list()

    def _list(self) -> None:
        # What is added while the user looks on comes last.
        stored = (
            row
            for slot, rows in self._stored.items()
            for row in rows
            if row.record.id not in self.left_out(slot)
        )
        # The same rows where nothing has changed: a view stays where it is then.
        self._joined = {
            layer: known
            if (known := self._joined.get(layer)) is not None and known[0] is rows
            else (rows, tuple(join_slices(rows)))
            for layer, rows in self._kept.items()
        }
        kept = itertools.chain.from_iterable(joined for _, joined in self._joined.values())
        self._model.results = (*self._found, *kept, *stored, *self._frames.rows())

    def _list_again(self) -> None:
        """List the rows anew, with the one picked that is of the same object."""
        picked = self._model.picked
        self._list()
        if picked is None:
            return
        same = (
            row
            for row in self._model.results
            if picked.preview.slot == row.preview.slot
            and any(_is_same(picked.record, part.record) for part in row.parts)
        )
        self._model.picked = next(same, None)

    def copy_text(self, rows: Sequence[ResultRow]) -> str:
        """Return rows as tab-separated text with a header, and say so.

        Raises PromptError if there are none.
        """
        text = "\n".join("\t".join(map(_join_lines, row)) for row in self._format_all(rows))
        message = f"Copied {pluralize(len(rows), 'result row')} to the clipboard."
        self._model.message = Message(message, Level.SUCCESS)
        return text

    def export(self, rows: Sequence[ResultRow], path: Path) -> Job:
        """Write rows to a CSV file.

        ``path``: replaced if it exists. A name without an ending gets ``.csv``, and then a number,
        if that exists.
        Raises PromptError if there are none.
        """
        header, *table = self._format_all(rows)
        if not path.suffix:
            path = add_ending(path, ".csv")
        message = f"Exported {pluralize(len(rows), 'result row')} to {path}."
        job = Job("The export", lambda reporter: export_table(header, table, path, reporter))
        job.yielded.connect(
            lambda _: setattr(self._model, "message", Message(message, Level.SUCCESS))
        )
        return self._start(job)

    def _format_all(self, rows: Sequence[ResultRow]) -> list[tuple[str, ...]]:
        if not rows:
            raise no_preview(self._model, "There are no results yet.")
        titles = column_titles(rows, self._model.columns.split(", "))
        return [(*COLUMNS, *titles), *(format_row(row, titles, _WRITTEN) for row in rows)]

    def _follow(self) -> None:
        # An object whose class is another has the same mask.
        kept = {
            id(row.record.mask): row.measured
            for row in self.found
            if row.measured is not None and isinstance(row.record, ObjectRecord)
        }
        previews = self._model.previews
        self._frames.clear()

        def rows_of(preview: Preview, records: Sequence[ObjectRecord]) -> list[ResultRow]:
            return [ResultRow(preview, record, kept.get(id(record.mask))) for record in records]

        self._found = tuple(
            row for preview in previews for row in rows_of(preview, preview.segmentation.objects)
        )
        self._hidden = tuple(
            row for preview in previews for row in rows_of(preview, preview.hidden)
        )
        self._list_again()


def _is_same(before: ObjectRecord | StitchedObject, after: ObjectRecord | StitchedObject) -> bool:
    """Return whether an object has the pixels that it had, as one does whose class changes."""
    if isinstance(before, ObjectRecord) and isinstance(after, ObjectRecord):
        return before.mask is after.mask
    # Equal boxes and areas say nothing of pixels, but an edit changes no class.
    return before is after or (
        isinstance(before, StitchedObject)
        and isinstance(after, StitchedObject)
        and before.class_name != after.class_name
        and replace(after, class_name=before.class_name) == before
    )


def _join_lines(cell: str) -> str:
    return " ".join(cell.split())


def as_object(row: TrackRow) -> StitchedObject:
    """Return an object of a frame as those of other labels."""
    return StitchedObject(
        row.object_id,
        row.area,
        row.region,
        row.score,
        row.text,
        row.class_name,
        row.parent,
        row.stability,
    )


_PAUSE_S = 0.3
"""The table takes new rows so often: with each of many frames would slow them down."""


class FrameRows:
    """One row a frame and object, in the order in which frames came first.

    ``hidden``: objects that are known, with what was measured of them, and are not listed.
    """

    def __init__(self) -> None:
        self.hidden: frozenset[int] = frozenset()
        self._rows: dict[FramePlace, tuple[ResultRow, ...]] = {}
        self._listed = 0.0
        self._has_volumes = False

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[ResultRow]:
        return itertools.chain.from_iterable(self._rows.values())

    @property
    def is_due(self) -> bool:
        """Whether it is time to list the rows again."""
        return time.monotonic() - self._listed >= _PAUSE_S

    def add(self, place: FramePlace, objects: Sequence[TrackRow]) -> None:
        """Take a frame, in the place of what it was before; volumes have to be measured anew."""
        fresh = tuple(ResultRow(place, as_object(row)) for row in objects)
        changed = {row.record.id for row in (*self._rows.get(place, ()), *fresh)}
        self._rows[place] = fresh
        if self._has_volumes:
            self.add_volumes({id(row.record): {} for row in self if row.record.id in changed})

    def measure(self, place: FramePlace, measurements: Mapping[int, Measurement]) -> None:
        """Record measurements on a frame, by the identity of the objects' records."""
        self._rows[place] = tuple(
            replace(row, measured=measurements.get(id(row.record), row.measured))
            for row in self._rows.get(place, ())
        )

    def add_volumes(self, volumes: Mapping[int, Mapping[str, float]]) -> None:
        """Put what objects measure on all frames into their rows, or take it out."""
        self._rows = {place: with_volumes(rows, volumes) for place, rows in self._rows.items()}
        self._has_volumes |= bool(volumes)

    def rows(self) -> tuple[ResultRow, ...]:
        """Return the rows to list, which counts as listing them."""
        self._listed = time.monotonic()
        return tuple(row for row in self if row.record.id not in self.hidden)

    def remove(self, ids: Collection[int]) -> None:
        """Forget objects."""
        for place, rows in self._rows.items():
            self._rows[place] = tuple(row for row in rows if row.record.id not in ids)

    def clear(self) -> None:
        """Forget all frames."""
        self._rows.clear()
        self._listed = 0.0
        self._has_volumes = False


class SoftMasks:
    """Keeps ``soft_images`` of the model what the user wants to see of the results on show.

    It has a worker of its own, so that a run waits for no picture.
    """

    def __init__(self, model: SessionModel, deliver: Deliver) -> None:
        self._model = model
        self._runner = JobRunner(deliver)
        self._job: Job | None = None
        for field in ("soft_masks", "previews"):
            getattr(model.events, field).connect(self._follow, max_args=0)

    def close(self) -> None:
        """Stop the work."""
        self._runner.close()

    def _follow(self) -> None:
        if self._job is not None:
            self._job.cancel()
            self._job = None
        images = self._find_asked()
        ready = tuple(image for image in self._model.soft_images if image.preview in images)
        self._model.soft_images = ready
        there = {image.preview for image in ready}
        missing = [preview for preview in images if preview not in there]
        if missing:
            self._start(missing)

    def _find_asked(self) -> list[Preview]:
        """Return the results whose soft masks the user wants to see, the latest first."""
        if not self._model.soft_masks:
            return []
        previews = reversed(self._model.previews)
        return [preview for preview in previews if has_soft_masks(preview.segmentation.objects)]

    def _start(self, previews: list[Preview]) -> None:
        def work(reporter: Reporter) -> Iterator[SoftImage]:
            for preview in previews:
                found = preview.segmentation
                pixels = max_probability(found.objects, found.region, reporter.check)
                yield SoftImage(preview, pixels)

        def show(image: SoftImage) -> None:
            self._model.soft_images = (*self._model.soft_images, image)

        def end(state: JobState) -> None:
            if state is JobState.FAILED:
                self._model.soft_masks = False
                self._model.message = Message(str(job.error), Level.ERROR)

        self._job = job = Job("Showing soft masks", work)
        job.yielded.connect(show)
        job.finished.connect(end)
        self._runner.start(job)


def with_volumes(
    rows: Sequence[ResultRow], volumes: Mapping[int, Mapping[str, float]]
) -> tuple[ResultRow, ...]:
    """Return measured rows with the volumes of their records, and no other ones."""
    return tuple(
        replace(row, measured=_with_volume(row.measured, volumes[id(row.record)]))
        if row.measured is not None and id(row.record) in volumes
        else row
        for row in rows
    )


def _with_volume(measured: Measurement, volume: Mapping[str, float]) -> Measurement:
    of_slice = {
        title: value for title, value in measured.more.items() if not title.startswith(VOLUME)
    }
    return replace(measured, more={**of_slice, **volume})
