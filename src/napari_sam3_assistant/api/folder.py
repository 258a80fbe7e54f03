"""Run the same prompts on every image of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam3_assistant.api.inputs import opened
from napari_sam3_assistant.api.prompt_arguments import prompt_set
from napari_sam3_assistant.core.options import DEFAULT_THRESHOLD, PredictOptions
from napari_sam3_assistant.core.phrase_list import parse_phrases
from napari_sam3_assistant.core.progress import NullReporter, Reporter
from napari_sam3_assistant.io.labels import check_ending
from napari_sam3_assistant.workflows.folder import FolderRequest, FolderRow
from napari_sam3_assistant.workflows.folder import segment_folder as _segment_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_sam3_assistant.engines.embeddings import EncodingEngine


def segment_folder(
    source: str | Path,
    output: str | Path,
    *,
    texts: Sequence[str] = (),
    points: Sequence[Sequence[float]] = (),
    boxes: Sequence[Sequence[float]] = (),
    exemplars: Sequence[Sequence[float]] = (),
    pattern: str = "*",
    ending: str = ".tif",
    engine: str | EncodingEngine | None = None,
    model_folder: str | Path | None = None,
    device: str = "auto",
    threshold: float = DEFAULT_THRESHOLD,
    contrast: tuple[float, float] | None = None,
    channel_axis: int | None = None,
    channel: int | None = None,
    series: int | None = None,
    reporter: Reporter | None = None,
    on_row: Callable[[FolderRow], None] | None = None,
) -> tuple[FolderRow, ...]:
    """Segment every TIFF, PNG, JPEG and OME-Zarr image of a folder.

    Of stacks every plane is run. Beside each labels file lies a note (``.json``) from which
    :func:`rerun` makes it again, and ``sam3_summary.csv`` lists what was done. An image that
    fails is reported there and the rest goes on. What is finished is skipped by a second start.

    Parameters
    ----------
    source, output : str or Path
        Folder of the images, and folder of the labels. Files are never overwritten.
    texts : sequence of str
        Phrases; each runs on each image, which is encoded once for all of them.
    points, boxes, exemplars
        Prompts in pixels of each image, as :func:`segment` takes them.
    pattern : str
        Which files, as ``*.tif``; ``**/*`` for all folders below.
    ending : str
        Format of the labels: ``.tif``, ``.png``, ``.npy`` or ``.zarr``.
    engine, model_folder, device, threshold, contrast, channel_axis, channel
        As :func:`segment` takes them.
    series : int, optional
        Which image of files that hold several, from 0. By default the largest; the message says
        which.
    reporter : Reporter, optional
        Is told of the progress, and may stop the work.
    on_row : callable, optional
        Is called with each :class:`FolderRow`.

    Returns
    -------
    tuple of FolderRow
        For each image, for each phrase: ``status`` (``done``, ``skipped``, ``failed``),
        ``objects``, ``labels``, ``message``; and for each file that is ``left out`` why.

    Raises
    ------
    PromptError
        If there is no prompt, or it can't be used.
    ImageError
        If there is no image in the folder.
    EngineError
        If the engine can't be loaded.
    ExportError
        If the output folder can't be made.
    """
    check_ending(Path(f"labels{ending}"))
    request = FolderRequest(
        Path(source).expanduser(),
        Path(output).expanduser(),
        prompt_set(points, boxes, exemplars, None, None, (0, 0)),
        PredictOptions(threshold),
        parse_phrases(texts if isinstance(texts, str) else "\n".join(texts)),
        pattern,
        ending,
        None if model_folder is None else Path(model_folder).expanduser(),
        {"channel_axis": channel_axis, "channel": channel, "contrast": contrast},
        series=series,
    )
    rows = []
    with opened(engine, model_folder, device) as ready:
        for row in _segment_folder(ready, request, reporter or NullReporter()):
            rows.append(row)
            if on_row is not None:
                on_row(row)
    return tuple(rows)
