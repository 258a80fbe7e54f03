"""Tables as CSV files."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from napari_sam3_assistant.io.atomic import atomic_write

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


def write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file, completely or not at all.

    Parameters
    ----------
    path : Path
        The file; replaced if it exists.
    header : sequence of str
        Names of the columns.
    rows : iterable of sequence
        Values; None becomes an empty field.

    Raises
    ------
    ExportError
        If it can't be written.
    """
    with (
        atomic_write(path) as draft,
        # Names that are no text to the system are written with \.
        draft.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)
