"""Write results to files."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.io.labels import save_labels
from napari_sam3_assistant.io.outputs import make_folder
from napari_sam3_assistant.io.tables import write_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.progress import Reporter


def export_labels(
    labels: npt.NDArray[np.integer], path: Path, reporter: Reporter, axes: Axes | None = None
) -> Iterator[Path]:
    """Write labels and yield the path.

    Parameters
    ----------
    labels : ndarray of int
        Object ids.
    path : Path
        The file; its ending chooses the format.
    reporter : Reporter
        Is told of the progress, and stops the work.
    axes : tuple of Axis, optional
        Names of the axes and the size of a pixel, for formats that hold it.

    Yields
    ------
    Path
        The file that was written.
    """
    reporter.report(Progress(0, 1, f"Saving {path.name}"))
    make_folder(path)
    save_labels(labels, path, axes, reporter=reporter)
    yield path


def export_table(
    header: Sequence[str], rows: Iterable[Sequence[object]], path: Path, reporter: Reporter
) -> Iterator[Path]:
    """Write a table as comma-separated values and yield the path.

    Parameters
    ----------
    header : sequence of str
        Names of the columns.
    rows : iterable of sequence
        The cells.
    path : Path
        The file; replaced if it exists.
    reporter : Reporter
        Is told of the progress, and stops the work.

    Yields
    ------
    Path
        The file that was written.

    Raises
    ------
    ExportError
        If it can't be written; nothing is left behind then.
    """
    reporter.report(Progress(0, 1, f"Saving {path.name}"))
    make_folder(path)
    write_table(path, header, rows)
    yield path
