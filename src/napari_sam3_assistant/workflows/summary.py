"""The table of what became of the images of a folder, start after start."""

from __future__ import annotations

import csv
import io
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from napari_sam3_assistant.io.atomic import explain_os_errors
from napari_sam3_assistant.io.exports import write_table
from napari_sam3_assistant.io.outputs import free_name

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SUMMARY = "sam3_summary.csv"
LEFT_OUT = "left out"
_HEADER = ("image", "phrase", "status", "objects", "seconds", "labels", "message")
_ENCODINGS = ("utf-8-sig", "cp1252")
_DELIMITERS = ",;\t"
"""What spreadsheets write where somebody has looked at the table and saved it."""


def write_summary(folder: Path, table: Iterable[tuple[str, ...]]) -> None:
    """Write the table of what became of the images; what other starts say of others stays.

    What somebody has made another table of keeps its rows, under another name.
    """
    path, table = folder / SUMMARY, [tuple(map(_text_of, cells)) for cells in table]
    here = {cells[:2] for cells in table}
    earlier = _read(path)
    if earlier is None:
        with explain_os_errors(path):
            path.rename(free_name(path))
    kept = (
        cells
        for cells in earlier or ()
        # What one pattern leaves out another may take.
        if cells[2] != LEFT_OUT and cells[:2] not in here
    )
    write_table(path, _HEADER, [*kept, *table])


def _text_of(cell: str) -> str:
    """Return a cell as it is read back: names of files may be no text to the system.

    Where its locale knows ASCII or Latin-1 alone, names in UTF-8 come as other letters.
    """
    with suppress(UnicodeError):
        return os.fsencode(cell).decode("utf-8")
    return cell.encode("utf-8", "backslashreplace").decode("utf-8")


def _read(path: Path) -> list[tuple[str, ...]] | None:
    """Return the rows of a table that we wrote; None of one that is another."""
    try:
        content = path.read_bytes()
    except OSError:
        return []
    for encoding in _ENCODINGS:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        for delimiter in _DELIMITERS:
            rows = _rows(text, delimiter)
            if rows[:1] == [_HEADER]:
                return [cells for cells in rows[1:] if len(cells) == len(_HEADER)]
    return None


def _rows(text: str, delimiter: str) -> list[tuple[str, ...]]:
    try:
        return list(map(tuple, csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)))
    except csv.Error:
        return []
