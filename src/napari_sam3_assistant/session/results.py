"""The results table: one row an object of what is on show."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.jobs.job import Job
from napari_sam3_assistant.session.model import Level, Message, ResultRow
from napari_sam3_assistant.session.wording import counted
from napari_sam3_assistant.workflows.export import export_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from napari_sam3_assistant.session.model import SessionModel

COLUMNS = ("Layer", "Prompt", "Frame", "Object ID", "Score", "Area")


def cells(row: ResultRow) -> tuple[str, ...]:
    """Return a row as text, in the order of ``COLUMNS``; ``-`` where there is nothing to say."""
    return (*named(row), str(row.record.area))


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
        model.events.preview.connect(self._follow, max_args=0)
        model.events.beside.connect(self._follow, max_args=0)

    def clear(self) -> None:
        """Empty the table; the previews stay."""
        self._model.results = ()
        self._model.picked = None

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
        return [COLUMNS, *map(cells, rows)]

    def _follow(self) -> None:
        self._model.picked = None
        self._model.results = tuple(
            ResultRow(preview, record)
            for preview in self._model.previews
            for record in preview.segmentation.objects
        )


def _in_one_line(cell: str) -> str:
    return " ".join(cell.split())
