"""Save what :func:`track` found as a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.track_table import COLUMNS, TrackScale, TrackTable
from napari_sam3_assistant.io.tables import write_table

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari_sam3_assistant.core.tracks import FrameResult


def save_tracks(
    results: TrackTable | Iterable[FrameResult],
    path: str | Path,
    scale: TrackScale | None = None,
) -> Path:
    """Write one row for each frame and object to a CSV file, completely or not at all.

    Parameters
    ----------
    results : TrackTable or iterable of FrameResult
        What :func:`track` gives; all of it is gone through. A :class:`TrackTable` collects the
        rows where the labels are used, too.
    path : str or Path
        The file; replaced if it exists.
    scale : TrackScale, optional
        The size of a pixel; by default 1.

    Returns
    -------
    Path
        The file, with the columns frame, object, area_px, y_px, x_px (area and centroid in
        pixels), position (of the frame), y, x, area (in units), position_unit, unit, score and
        text.

    Raises
    ------
    ExportError
        If it can't be written.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_sam3_assistant import api
    >>> y, x = np.ogrid[:40, :40]
    >>> disc = np.where((y - 20) ** 2 + (x - 20) ** 2 < 100, 200, 20).astype(np.uint8)
    >>> table = api.TrackTable()
    >>> for result in api.track(np.stack([disc, disc]), points=[(20, 20)]):
    ...     table.add(result)
    >>> api.save_tracks(table, "tracks.csv", api.TrackScale(y=0.2, x=0.2)).name
    'tracks.csv'
    """
    if isinstance(results, TrackTable):
        table = results
    else:
        table = TrackTable()
        for result in results:
            table.add(result)
    file = Path(path).expanduser()
    write_table(file, COLUMNS, table.cells(scale))
    return file
