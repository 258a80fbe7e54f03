"""Measure the objects of the results: what the user asks for, and small ones at once."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.measurements import MORE, VOLUME_MORE, measure_volume
from napari_sam3_assistant.core.plurals import pluralize
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.jobs import Job, JobRunner, JobState
from napari_sam3_assistant.session.availability import no_preview, why_not_measure
from napari_sam3_assistant.session.messages import measurement_features, volume_features
from napari_sam3_assistant.session.values import (
    FileBackedLabels,
    FramePlace,
    KeptPlace,
    Level,
    Message,
    ResultRow,
)
from napari_sam3_assistant.workflows.measure import (
    MeasureRequest,
    ShapeRequest,
    measure,
    measure_shapes,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from napari_sam3_assistant.core.images import LazyArray
    from napari_sam3_assistant.core.masks.labels import PlaneOfLabels
    from napari_sam3_assistant.core.measurements import Measurable, Measurement
    from napari_sam3_assistant.core.progress import Deliver, Reporter
    from napari_sam3_assistant.session.jobs import Services
    from napari_sam3_assistant.session.results import Results
    from napari_sam3_assistant.session.values import Preview

_AT_ONCE = 1000
"""So many objects are measured without being asked to, where"""
_SMALL = 2048 * 2048
"""the plane has no more pixels than this."""


@dataclass(frozen=True, slots=True, eq=False)
class Slices:
    """An object on all of its slices.

    ``rows``: its rows, by the number of the slice.
    ``spacing``: how far slices, rows and columns lie apart, in the unit of the measurements.
    """

    rows: dict[int, ResultRow]
    spacing: tuple[float, float, float]

    @property
    def records(self) -> frozenset[int]:
        """The identities of its records: another one where it has changed."""
        return frozenset(id(row.record) for row in self.rows.values())

    def measure(self) -> dict[str, float]:
        """Return its volume; nothing while it is not measured on all slices."""
        parts = [row.measured for row in self.rows.values()]
        known = [part for part in parts if part is not None]
        return measure_volume(known, self.spacing[0]) if len(known) == len(parts) else {}


class Measuring:
    """The verbs that measure. Called on the GUI thread."""

    def __init__(self, services: Services, results: Results, deliver: Deliver) -> None:
        self._model, self._adapter = services.model, services.adapter
        self._start = services.jobs.start
        self._results = results
        self._quiet = JobRunner(deliver)

    def close(self) -> None:
        """Stop the work that nobody has asked for."""
        self._quiet.close()

    def measure(self) -> Job:
        """Measure every object of the results table, into the table and the layers' features.

        Raises PromptError if there are no results; ImageError if an image is gone.
        """
        if why_not := why_not_measure(self._model):
            raise no_preview(self._model, f"{why_not}.")
        rows = self._model.results
        parts = [part for row in rows for part in row.parts]
        job = self._make_job(parts, self._find_slices())

        def end(state: JobState) -> None:
            if state is JobState.DONE:
                message = f"Measured {pluralize(len(rows), 'object')}."
                self._model.message = Message(message, Level.SUCCESS)

        job.finished.connect(end)
        return self._start(job)

    def measure_at_once(self) -> None:
        """Measure what has not been measured yet of previews, beside a run, where that is little.

        What can't be measured so is left to :meth:`measure`, which says why.
        """
        asked = self._asked_columns()
        known = (*self._results.found, *self._results.kept)
        lacking = (row for row in known if _is_unmeasured(row, asked))
        rows = list(itertools.islice(lacking, _AT_ONCE + 1))
        targets = {id(row.preview): row.preview.target for row in rows}
        planes = [
            target.shape[target.axes.y] * target.shape[target.axes.x] for target in targets.values()
        ]
        if not rows or len(rows) > _AT_ONCE or max(planes) > _SMALL or self._model.running:
            return
        try:
            self._quiet.start(self._make_job(rows))
        except ImageError:
            return

    def _asked_columns(self) -> tuple[str, ...]:
        return tuple(title for title in self._model.columns.split(", ") if title in MORE)

    def _make_job(self, rows: Sequence[ResultRow], wholes: Sequence[Slices] = ()) -> Job:
        found: dict[Preview | FramePlace | KeptPlace | FileBackedLabels, list[Measurable]] = {}
        for row in rows:
            found.setdefault(row.preview, []).append(row.record)
        requests = [
            MeasureRequest(
                self._adapter.raw_plane(preview),
                tuple(objects),
                self._adapter.stored_labels(preview),
                self._asked_columns(),
            )
            for preview, objects in found.items()
        ]
        shapes = self._shape_requests(wholes)
        waiting, volumes = iter(found.items()), dict[frozenset[int], dict[str, float]]()
        parts = iter(wholes)
        slices = Counter((row.preview.slot, row.record.id) for row in self._results.kept)

        def work(
            reporter: Reporter,
        ) -> Iterator[tuple[Measurement | None, ...] | dict[str, float]]:
            yield from measure(requests, reporter)
            yield from measure_shapes(shapes, reporter)

        def show(answer: tuple[Measurement | None, ...] | dict[str, float]) -> None:
            if isinstance(answer, dict):
                volumes[next(parts).records] = answer
            else:
                self._show(*next(waiting), answer, slices)

        job = Job("Measuring", work)
        job.yielded.connect(show)

        def end(state: JobState) -> None:
            # The next one adds them where this one is cancelled for it: what is added is listed
            # anew, which may start one more.
            if state is JobState.DONE:
                self._add_volumes(volumes)

        job.finished.connect(end)
        return job

    def _find_slices(self) -> list[Slices]:
        """Return the objects that go through slices that lie apart by a length."""
        known: dict[tuple[type, str, int, int], tuple[int, tuple[float, float, float]] | None] = {}
        found: dict[tuple[Any, ...], Slices] = {}
        for row in self._results.of_slices:
            place = row.preview
            axes, leading = place.target.axes, place.target.plane.leading
            kind = (type(place), place.target.image, axes.y, axes.x)
            if kind not in known:
                known[kind] = self._find_spacing(place)
            if (known_spacing := known[kind]) is None:
                continue
            axis, spacing = known_spacing
            at = axes.leading.index(axis)
            key = (kind, leading[:at], leading[at + 1 :], row.record.id)
            found.setdefault(key, Slices({}, spacing)).rows[leading[at]] = row
        return list(found.values())

    def _find_spacing(
        self, place: Preview | FramePlace | KeptPlace | FileBackedLabels
    ) -> tuple[int, tuple[float, float, float]] | None:
        """Return the axis of the slices, and how far slices, rows and columns lie apart."""
        target, stack = place.target, self._model.propagated
        try:
            if isinstance(place, FramePlace):
                axis = None if stack is None else stack.axis
            else:
                axis = self._adapter.depth_axis(target)
            depth = None if axis is None else self._adapter.depth(target, axis)
            if axis is None or depth is None:
                return None
            pixel = self._adapter.raw_plane(place).pixel
        except ImageError:  # it is gone meanwhile
            return None
        return axis, (depth, pixel.height, pixel.width)

    def _shape_requests(self, wholes: Sequence[Slices]) -> list[ShapeRequest]:
        """Return what to measure of the shapes of objects, as far as the user wants it."""
        more = tuple(title for title in self._model.columns.split(", ") if title in VOLUME_MORE)
        if not more:
            return []
        labels: dict[object, LazyArray | PlaneOfLabels] = {}
        for row in itertools.chain.from_iterable(whole.rows.values() for whole in wholes):
            if row.preview not in labels:
                stored = self._adapter.stored_labels(row.preview)
                assert stored is not None  # only previews have none
                labels[row.preview] = stored
        return [
            ShapeRequest(
                {at: (row.record, labels[row.preview]) for at, row in whole.rows.items()},
                whole.spacing,
                more,
            )
            for whole in wholes
        ]

    def _add_volumes(self, shapes: Mapping[frozenset[int], Mapping[str, float]]) -> None:
        """List the volumes of what is measured on all of its slices, and what its shape is."""
        volumes: dict[int, dict[str, float]] = {}
        kept: dict[KeptPlace, dict[int, tuple[dict[str, float], str]]] = {}
        for whole in self._find_slices():
            if not (volume := whole.measure()):
                continue
            row = next(iter(whole.rows.values()))
            assert row.measured is not None
            before = row.measured.more
            volume |= {title: before[title] for title in VOLUME_MORE if title in before}
            volume |= shapes.get(whole.records, {})
            volumes |= dict.fromkeys(whole.records, volume)
            if isinstance(row.preview, KeptPlace):
                own = kept.setdefault(row.preview, {})
                own[row.record.id] = (volume, row.measured.unit)
        self._results.add_volumes(volumes)
        for place, objects in kept.items():
            columns = volume_features(objects.values())
            self._adapter.add_features(place, list(objects), columns)

    def _show(
        self,
        preview: Preview | FramePlace | KeptPlace | FileBackedLabels,
        objects: list[Measurable],
        answers: tuple[Measurement | None, ...],
        slices: Mapping[tuple[tuple[str, str], int], int],
    ) -> None:
        # Of what the user has erased meanwhile there is nothing to tell.
        still_there = [pair for pair in zip(objects, answers, strict=True) if pair[1] is not None]
        measured = {id(record): answer for record, answer in still_there if answer is not None}
        if isinstance(preview, FramePlace):
            self._results.add_to_frame(preview, measured)
            return
        self._results.add_measurements(measured)
        if isinstance(preview, KeptPlace):
            # The layer has one row an object: what is measured of one of its slices is none of it.
            still_there = [pair for pair in still_there if slices[preview.slot, pair[0].id] <= 1]
            measured = {id(record): measured[id(record)] for record, _ in still_there}
            if not still_there:
                return
        self._adapter.add_features(
            preview,
            [record.id for record, _ in still_there],
            measurement_features(measured.values()),
        )


def _is_unmeasured(row: ResultRow, columns: Iterable[str]) -> bool:
    """Return whether something has still to be measured of an object."""
    if row.measured is None:
        return True
    known = {title.rstrip(" 0123456789") for title in row.measured.more}
    return not known.issuperset(columns)
