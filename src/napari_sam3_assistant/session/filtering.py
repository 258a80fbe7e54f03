"""Show the found objects whose values lie in ranges, and bring the others back, without a run."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.plurals import part_of
from napari_sam3_assistant.core.prompts import PromptKind, prompt_kind
from napari_sam3_assistant.core.results import paint_labels
from napari_sam3_assistant.errors import ImageError, Sam3AssistantError
from napari_sam3_assistant.session.messages import AREA, SCORE, value_of
from napari_sam3_assistant.session.values import ColumnRange, Level, Message, ResultRow

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from napari_sam3_assistant.core.results import ObjectRecord
    from napari_sam3_assistant.session.jobs import Services
    from napari_sam3_assistant.session.propagation import Propagation
    from napari_sam3_assistant.session.results import Results
    from napari_sam3_assistant.session.values import FileBackedLabels, Preview, StackTarget


_GROUNDED = frozenset({PromptKind.TEXT, PromptKind.EXEMPLARS})


def filter_preview(
    preview: Preview,
    ranges: tuple[ColumnRange, ...],
    value_of: Callable[[ObjectRecord, str], float | None],
) -> Preview:
    """Return a result with those of its objects on show whose values lie in all ranges.

    The others are kept aside. One that comes back keeps its number, unless the user has painted
    with it meanwhile: then it gets the next free one.

    ``preview``: the result; returned as it is where nothing changes.
    ``ranges``: one a column.
    ``value_of``: returns the value of an object in a column; None for none, which lies in every
    range.
    """
    shown: list[ObjectRecord] = []
    hidden: list[ObjectRecord] = []
    for record in (*preview.segmentation.objects, *preview.hidden):
        kept = all(range_.holds(value_of(record, range_.column)) for range_ in ranges)
        (shown if kept else hidden).append(record)
    before = preview.segmentation.objects
    if len(shown) == len(before) and all(
        record is other for record, other in zip(shown, before, strict=True)
    ):
        return preview if ranges == preview.ranges else replace(preview, ranges=ranges)
    objects = tuple(sorted(_number_apart(shown), key=lambda record: record.id))
    found = preview.segmentation
    found = replace(found, objects=objects, labels=paint_labels(objects, found.region))
    return replace(preview, segmentation=found, hidden=tuple(hidden), ranges=ranges)


def _number_apart(records: Iterable[ObjectRecord]) -> list[ObjectRecord]:
    """Return objects, of which later ones do not have the numbers of earlier ones."""
    kept: dict[int, ObjectRecord] = {}
    for record in records:
        free = record.id if record.id not in kept else max(kept) + 1
        kept[free] = record if free == record.id else replace(record, id=free)
    return list(kept.values())


def _change_ranges(
    before: Iterable[ColumnRange], column: str, limits: ColumnRange | None
) -> tuple[ColumnRange, ...]:
    """Return ranges with that of a column changed; without any where there are no limits."""
    if limits is None:
        return ()
    others = tuple(kept for kept in before if kept.column != column)
    return others if limits.is_endless else (*others, limits)


def explain_hidden(preview: Preview) -> str:
    """Return which of the objects that were found are not on show; empty where all are."""
    if not preview.hidden:
        return ""
    shown = len(preview.segmentation.objects)
    by = ", ".join(map(str, preview.ranges))
    return f"Only {part_of(shown, shown + len(preview.hidden))} objects were kept: {by}."


class Filtering:
    """The verbs that show and hide found objects by their values. Called on the GUI thread."""

    def __init__(
        self,
        services: Services,
        results: Results,
        propagation: Propagation,
        run: Callable[[], object],
    ) -> None:
        self._model, self._adapter = services.model, services.adapter
        self._undo, self._results = services.undo, results
        self._propagation = propagation
        self._run = run
        self._latest: tuple[str, tuple[Preview, ...]] | None = None
        # Of scans, and of the propagation (None), of which nothing is painted anew.
        self._beside: dict[FileBackedLabels | None, tuple[ColumnRange, ...]] = {}
        self._model.events.threshold.connect(self._follow_threshold)
        self._model.events.propagated.connect(self._on_propagated)

    def close(self) -> None:
        """Show all objects of layers that nobody can filter any more."""
        self._show_beside("", None, tuple(self._beside))

    def show_range(self, column: str, low: float, high: float) -> None:
        """Show the objects whose value in a column lies in a range, both ends included.

        All changes of one column in a row are one step of undo, but for scans and propagations,
        which are no steps.
        """
        for _ in self.show_range_in_parts(column, low, high):
            pass

    def show_range_in_parts(self, column: str, low: float, high: float) -> Iterator[None]:
        """As :meth:`show_range`; yields where the event loop may have its turn."""
        shown = ColumnRange(column, low, high)
        yield from self._show(column, shown)
        stack = (None,) if self._model.propagated is not None else ()
        self._show_beside(column, shown, (*self._results.scans, *stack))

    def show_all(self) -> None:
        """Show all objects again."""
        for _ in self.show_all_in_parts():
            pass

    def show_all_in_parts(self) -> Iterator[None]:
        """As :meth:`show_all`; yields where the event loop may have its turn."""
        yield from self._show("", None)
        self._show_beside("", None, tuple(self._beside))

    @property
    def ranges(self) -> tuple[ColumnRange, ...]:
        """What hides objects now."""
        found = (*(preview.ranges for preview in self._model.previews), *self._beside.values())
        return tuple(itertools.chain.from_iterable(found))

    def ranges_of(self, which: FileBackedLabels | None) -> tuple[ColumnRange, ...]:
        """Return what hides objects of a scan now, or of the propagation, which is None."""
        return self._beside.get(which, ())

    def hide_beside(self, which: FileBackedLabels | None, ranges: Iterable[ColumnRange]) -> None:
        """Show of a scan, or of the propagation, the objects whose values lie in ranges."""
        for range_ in ranges:
            self._show_beside(range_.column, range_, (which,))

    def values(self, column: str) -> list[float | None]:
        """Return the values of all that was found in a column, shown and hidden.

        An object of a propagation is one, with all its pixels, and the mean of its scores and of
        what was measured of it on its frames.
        """
        rows = [value_of(row, column) for row in self._results.everything]
        return [*rows, *(values.get(column) for values in self._followed({column}).values())]

    def count(self) -> tuple[int, int]:
        """Return how many objects are on show, and how many were found."""
        previews, scans = self._model.previews, self._results.scans
        hidden = sum(len(preview.hidden) for preview in previews)
        hidden += sum(len(self._results.left_out(scan.slot)) for scan in scans)
        hidden += len(self._propagation.tracks.hidden)
        found = sum(len(preview.segmentation.objects) + len(preview.hidden) for preview in previews)
        found += sum(map(len, scans.values())) + len(self._propagation.tracks.ids)
        return found - hidden, found

    def _followed(self, columns: Collection[str]) -> dict[int, dict[str, float | None]]:
        """Return by object of the propagation its values in columns."""
        totals = self._propagation.tracks.totals()
        followed: dict[int, dict[str, float | None]] = {
            id_: {AREA: area, SCORE: score} for id_, (area, score) in totals.items()
        }
        measured = [column for column in columns if column not in (AREA, SCORE)]
        found: dict[tuple[int, str], list[float]] = {}
        for row in self._results.followed if measured else ():
            for column in measured:
                value = value_of(row, column)
                if value is not None:
                    found.setdefault((row.record.id, column), []).append(value)
        for (id_, column), values in found.items():
            followed.setdefault(id_, {})[column] = sum(values) / len(values)
        return followed

    def _on_propagated(self, stack: StackTarget | None) -> None:
        if stack is None:
            self._beside.pop(None, None)

    def _show_beside(
        self,
        column: str,
        limits: ColumnRange | None,
        which: Iterable[FileBackedLabels | None],
    ) -> None:
        """Show and hide objects of scans, and of the propagation, which is None."""
        scans = self._results.scans
        for slot in which:
            before = self._beside.get(slot, ())
            ranges = _change_ranges(before, column, limits)
            if ranges == before:
                continue
            self._beside[slot] = ranges
            columns = {range_.column for range_ in ranges}
            if slot is None:
                by_object = self._followed(columns)
            else:
                rows = scans.get(slot, ())
                by_object = {
                    row.record.id: {name: value_of(row, name) for name in columns} for row in rows
                }
            hidden = frozenset(
                id_
                for id_, values in by_object.items()
                if not all(range_.holds(values.get(range_.column)) for range_ in ranges)
            )
            if slot is None:
                self._propagation.hide(hidden)
            else:
                self._adapter.hide_file_backed(slot, hidden)
                self._results.hide_stored(slot.slot, hidden)

    def _show(
        self,
        column: str,
        shown: ColumnRange | None,
        concerns: Callable[[Preview], bool] = lambda _: True,
    ) -> Iterator[None]:
        """Show and hide objects of the previews that this concerns; yields before it shows them."""
        model = self._model
        while True:
            self._undo.note_edits(self._adapter.edits())  # as they are now, with what is painted
            before, found = model.previews, self._filter(column, shown, concerns)
            yield
            self._undo.note_edits(self._adapter.edits())
            if model.previews is before:
                break
        if found == before:
            return
        again = self._latest is not None and self._latest == (column, self._undo.current.previews)
        kept = tuple(preview for preview in found if preview.segmentation.objects or preview.hidden)
        self._undo.record(kept, amend=again)
        self._latest = (column, kept)
        model.previews = found

    def _filter(
        self, column: str, shown: ColumnRange | None, concerns: Callable[[Preview], bool]
    ) -> tuple[Preview, ...]:
        rows = {id(row.record): row for row in self._results.found}

        def changed(preview: Preview) -> Preview:
            if not concerns(preview):
                return preview
            ranges = _change_ranges(preview.ranges, column, shown)
            # Clear Results has emptied the table, and not what it is about.
            return filter_preview(
                preview,
                ranges,
                lambda record, name: value_of(
                    rows.get(id(record)) or ResultRow(preview, record), name
                ),
            )

        return tuple(map(changed, self._model.previews))

    def _follow_threshold(self, threshold: float) -> None:
        """Show what a run with the threshold would find, if the objects were found by a score."""
        range_ = ColumnRange(SCORE, threshold, math.inf)
        provenance = self._propagation.provenance
        asked = () if provenance is None else provenance.prompts.values()
        stack = (None,) if any(prompts.kinds & _GROUNDED for prompts in asked) else ()
        # A scan looks for phrases and examples only.
        self._show_beside(SCORE, range_, (*self._results.scans, *stack))
        grounded = tuple(preview for preview in self._model.previews if _is_grounded(preview))
        if not grounded:
            return
        latest = grounded[-1]
        if threshold < latest.segmentation.engine.threshold and self._can_find_more(latest):
            # The encoding is kept, and SAM 3's answer with it: this is no long run.
            try:
                self._run()
            except Sam3AssistantError as error:
                self._model.message = Message(str(error), Level.ERROR)
            return
        for _ in self._show(SCORE, range_, _is_grounded):
            pass

    def _can_find_more(self, preview: Preview) -> bool:
        """Return whether a run with the prompts of now gives the result with more objects."""
        model = self._model
        kind = prompt_kind(model.task, model.tool)
        asked = preview.provenance
        same = asked is not None and kind in asked.prompts.kinds
        if kind is PromptKind.TEXT:
            same = same and asked is not None and asked.prompts.text.strip() == model.text.strip()
        alone = len(model.previews) == 1 and not model.is_batch
        alone = alone and not preview.edited and not preview.by_hand
        try:
            here = self._adapter.displayed(model.image).target == preview.target
        except ImageError:
            return False
        return same and alone and here and not model.running and not model.why_not.run


def _is_grounded(preview: Preview) -> bool:
    """Return whether a result was found by a phrase or examples, so that scores decided."""
    asked = preview.provenance
    # A model that is asked at points for everything has filters of its own.
    alone = {PromptKind.EVERYTHING} if not preview.segmentation.engine.weights else set()
    return asked is not None and bool(asked.prompts.kinds & (_GROUNDED | alone))
