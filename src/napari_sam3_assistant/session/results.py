"""The results table: one row an object of what is on show."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.stitching import StitchedObject, after_edit
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.jobs.job import Job
from napari_sam3_assistant.session.measured_columns import channels_of, texts, titles
from napari_sam3_assistant.session.model import Level, Message, ResultRow
from napari_sam3_assistant.session.stacks.frame_rows import FrameRows
from napari_sam3_assistant.session.wording import counted
from napari_sam3_assistant.workflows.export import export_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from napari_sam3_assistant.core.masks.edits import Changes
    from napari_sam3_assistant.core.measurements import Measurement
    from napari_sam3_assistant.core.tracks import FrameResult
    from napari_sam3_assistant.session.disk.stored import StoredLabels
    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.session.stacks.values import StackTarget

COLUMNS = ("Layer", "Prompt", "Frame", "Object ID", "Score", "Area")


def cells(row: ResultRow, channels: int = 0) -> tuple[str, ...]:
    """Return a row as text, ``-`` where there is nothing to say.

    Parameters
    ----------
    row : ResultRow
        The row.
    channels : int
        Of how many channels there are columns of measurements; 0 for ``COLUMNS`` alone.
    """
    return (*named(row), str(row.record.area), *texts(row.measured, channels))


def named(row: ResultRow) -> tuple[str, ...]:
    """Return a row as text without the area, for which pixels have to be counted."""
    record, target = row.record, row.preview.target
    score = "-" if record.score is None else f"{record.score:.3f}"
    frame = ", ".join(map(str, target.plane.leading)) or "-"
    return (target.name, record.text or "-", frame, str(record.id), score)


class Results:
    """The verbs about the results table. All are called on the GUI thread.

    Parameters
    ----------
    model : SessionModel
        The state.
    start : callable
        Starts a job in the place of a run.
    """

    def __init__(self, model: SessionModel, start: Callable[[Job], Job]) -> None:
        self._model = model
        self._start = start
        self._found: tuple[ResultRow, ...] = ()
        self._stored: dict[tuple[str, str], tuple[ResultRow, ...]] = {}
        self._scans: dict[tuple[str, str], StoredLabels] = {}
        self._frames = FrameRows()
        model.events.preview.connect(self._follow, max_args=0)
        model.events.beside.connect(self._follow, max_args=0)

    def clear(self) -> None:
        """Empty the table; the previews and the labels of scans stay."""
        self._stored.clear()
        self._scans.clear()
        self.forget_found()

    def forget_found(self) -> None:
        """Take previews and frames out of the table; the objects of scans stay."""
        self._found = ()
        self._frames.clear()
        self._model.picked = None
        self._list()

    def add_stored(self, stored: StoredLabels, rows: tuple[ResultRow, ...]) -> None:
        """List the objects of a scan, in the place of those of an earlier one of the same name."""
        self._scans[stored.slot] = stored
        self._stored[stored.slot] = rows
        self._list()

    def forget_stored(self, image: str, label: str | None = None) -> None:
        """Take the objects of an image's scans out of the table, or of the one with a label."""
        gone = [slot for slot in self._stored if slot == (image, label or slot[1])]
        for slot in gone:
            del self._stored[slot], self._scans[slot]
        if gone:
            self._model.picked = None
            self._list()

    def scan(self, slot: tuple[str, str]) -> StoredLabels | None:
        """Return the scan whose objects are listed, by its place; None if they are not."""
        return self._scans.get(slot)

    def stored_edited(
        self,
        slot: tuple[str, str],
        changes: Changes,
        shape: tuple[int, ...],
        plane: tuple[int, int],
    ) -> None:
        """Take note that pixels of a scan's labels were changed, see :func:`after_edit`."""
        stored = self._scans[slot]
        rows = {row.record.id: row for row in self._stored[slot]}
        objects = {
            id_: row.record for id_, row in rows.items() if isinstance(row.record, StitchedObject)
        }
        for id_, record in after_edit(objects, changes, shape, plane).items():
            rows.pop(id_, None)
            if record is not None:
                rows[id_] = ResultRow(stored, record)
        self._stored[slot] = tuple(row for _, row in sorted(rows.items()))
        picked = self._model.picked
        self._model.picked = None
        self._list()
        if picked is not None:
            self._pick_again(picked)

    def measured(self, found: Mapping[int, Measurement]) -> None:
        """Take note of measurements, by the identity of the objects' records."""

        def with_answer(row: ResultRow) -> ResultRow:
            answer = found.get(id(row.record))
            return row if answer is None else ResultRow(row.preview, row.record, answer)

        picked = self._model.picked
        self._found = tuple(map(with_answer, self._found))
        self._stored = {slot: tuple(map(with_answer, rows)) for slot, rows in self._stored.items()}
        self._list()
        if picked is not None:
            self._pick_again(picked)

    def add_frame(self, stack: StackTarget, result: FrameResult) -> None:
        """Take the objects of a frame; they are listed now, or with one of the next frames."""
        self._frames.add(stack, result)
        if self._frames.is_due:
            self.list_frames()

    def list_frames(self) -> None:
        """List all frames that have come in."""
        self._list()

    def remove(self, object_id: int) -> None:
        """Take an object of the propagation out of the table."""
        self._frames.remove(object_id)
        self._model.picked = None
        self._list()

    def _list(self) -> None:
        # What is added while the user looks on comes last.
        stored = itertools.chain.from_iterable(self._stored.values())
        self._model.results = (*self._found, *stored, *self._frames.rows())

    def _pick_again(self, picked: ResultRow) -> None:
        same = (row for row in self._model.results if row.record is picked.record)
        self._model.picked = next(same, None)

    def copied(self, rows: Sequence[ResultRow]) -> str:
        """Return rows as tab-separated text with a header, and say so.

        Parameters
        ----------
        rows : sequence of ResultRow
            What the table shows.

        Raises
        ------
        PromptError
            If there are none.
        """
        text = "\n".join("\t".join(map(_in_one_line, row)) for row in self._all(rows))
        said = f"Copied {counted(len(rows), 'result row')} to the clipboard."
        self._model.message = Message(said, Level.SUCCESS)
        return text

    def export(self, rows: Sequence[ResultRow], path: Path) -> Job:
        """Write rows to a CSV file.

        Parameters
        ----------
        rows : sequence of ResultRow
            What the table shows.
        path : Path
            The file; replaced if it exists.

        Raises
        ------
        PromptError
            If there are none.
        """
        header, *table = self._all(rows)
        said = f"Exported {counted(len(rows), 'result row')} to {path}."
        job = Job("The export", lambda reporter: export_table(header, table, path, reporter))
        job.yielded.connect(lambda _: setattr(self._model, "message", Message(said, Level.SUCCESS)))
        return self._start(job)

    def _all(self, rows: Sequence[ResultRow]) -> list[tuple[str, ...]]:
        if not rows:
            raise PromptError("There are no results yet.", "Press Run Preview first.")
        channels = channels_of(rows)
        return [(*COLUMNS, *titles(channels)), *(cells(row, channels) for row in rows)]

    def _follow(self) -> None:
        kept = {id(row.record): row.measured for row in self._found}
        picked = self._model.picked
        self._frames.clear()
        self._model.picked = None
        self._found = tuple(
            ResultRow(preview, record, kept.get(id(record)))
            for preview in self._model.previews
            for record in preview.segmentation.objects
        )
        self._list()
        if picked is not None:
            self._pick_again(picked)


def _in_one_line(cell: str) -> str:
    return " ".join(cell.split())
