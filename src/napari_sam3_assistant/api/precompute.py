"""Encode images ahead, so that clicks on them later need no encoder."""

from __future__ import annotations

import glob
from typing import TYPE_CHECKING

from napari_sam3_assistant.api.segment import use_engine
from napari_sam3_assistant.core.paths import expand_user
from napari_sam3_assistant.core.progress import NullReporter, Reporter
from napari_sam3_assistant.engines.precision import AUTO
from napari_sam3_assistant.io.ome_zarr_labels import is_zarr
from napari_sam3_assistant.io.zarr_images import list_fields
from napari_sam3_assistant.workflows.precompute import PrecomputedRow, PrecomputeRequest
from napari_sam3_assistant.workflows.precompute import precompute as _precompute

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_sam3_assistant.compute.connection import Compute
    from napari_sam3_assistant.engines.caching_engine import CachingEngine


def precompute(
    source: str | Path,
    output: str | Path,
    *,
    pattern: str = "*",
    engine: str | CachingEngine | None = None,
    compute: Compute | None = None,
    model_folder: str | Path | None = None,
    device: str = "auto",
    precision: str = AUTO,
    contrast: tuple[float, float] | None = None,
    channel_axis: int | None = None,
    channel: int | None = None,
    series: int | None = None,
    reporter: Reporter | None = None,
    on_row: Callable[[PrecomputedRow], None] | None = None,
) -> tuple[PrecomputedRow, ...]:
    """Encode every plane of images into a folder that :func:`open_engine` takes.

    A click with ``open_engine(..., encodings_folder=output)`` on the same plane, seen with the same
    contrast, then needs no encoding. The folder may be moved to another machine that has the same
    weights, release of their package and precision. What is there is skipped by a second start.

    Parameters
    ----------
    source : str or Path
        A folder of images, an OME-Zarr plate, or one image.
    output : str or Path
        The folder of the encodings; nothing is removed from it to make room.
    pattern : str
        Which files of a folder, as ``*.tif``; ``**/*`` for all folders below.
    engine, compute, model_folder, device, precision, contrast, channel_axis, channel
        As :func:`segment` takes them. All workers of a server encode.
    series : int, optional
        Which image of files that hold several, from 0; by default the largest.
    reporter : Reporter, optional
        Is told of the progress, and may stop the work.
    on_row : callable, optional
        Is called with each :class:`PrecomputedRow`.

    Returns
    -------
    tuple of PrecomputedRow
        For each image ``status`` (``done``, ``skipped``, ``failed``), ``planes`` and ``message``;
        and for each file that is ``left out`` why.

    Raises
    ------
    EngineError
        If the engine can't be loaded, or makes no encodings that can be kept.
    ImageError
        If there is no image.
    ExportError
        If the encodings can't be written.
    """
    folder = expand_user(source)
    if folder.is_file() or (is_zarr(folder) and not list_fields(folder)):
        folder, pattern = folder.parent, glob.escape(folder.name)
    request = PrecomputeRequest(
        folder,
        expand_user(output),
        pattern,
        {"channel_axis": channel_axis, "channel": channel, "contrast": contrast},
        series,
    )
    rows = []
    with use_engine(engine, compute, model_folder, device, precision) as ready:
        for row in _precompute(ready, request, reporter or NullReporter()):
            rows.append(row)
            if on_row is not None:
                on_row(row)
    return tuple(rows)
