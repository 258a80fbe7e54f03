"""Every image of a folder: segmented by the same prompts or encoded; labels made again by notes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam3_assistant.api.inputs import make_options, make_prompts
from napari_sam3_assistant.api.segment import use_engine
from napari_sam3_assistant.core.measurements import MORE
from napari_sam3_assistant.core.options import DEFAULT_THRESHOLD, TileOptions
from napari_sam3_assistant.core.paths import expand_user
from napari_sam3_assistant.core.phrases import parse_phrases
from napari_sam3_assistant.core.progress import NullReporter, Reporter
from napari_sam3_assistant.engines.device import AUTO
from napari_sam3_assistant.errors import CheckpointNotFound, ExportError, MaskError
from napari_sam3_assistant.io.image_folder import split_source
from napari_sam3_assistant.io.json_values import explain_guess
from napari_sam3_assistant.io.labels import check_ending, save_labels
from napari_sam3_assistant.io.loaded import parse_series
from napari_sam3_assistant.io.outputs import check_output, free_name, save_under_free_name
from napari_sam3_assistant.io.provenance import read_provenance
from napari_sam3_assistant.io.untrusted import is_on_a_share
from napari_sam3_assistant.workflows.annotate_folder import (
    DEFAULT_OUTPUT,
    STATES_FILE,
    AnnotatedFolder,
    FolderExport,
)
from napari_sam3_assistant.workflows.batch import FolderRequest, FolderRow
from napari_sam3_assistant.workflows.batch import segment_folder as _segment_folder
from napari_sam3_assistant.workflows.precompute import PrecomputedRow, PrecomputeRequest
from napari_sam3_assistant.workflows.precompute import precompute as _precompute
from napari_sam3_assistant.workflows.provenance import ACCEPTED
from napari_sam3_assistant.workflows.rerun import RerunRequest, differences
from napari_sam3_assistant.workflows.rerun import rerun as _rerun
from napari_sam3_assistant.workflows.scan import ScanResult

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_sam3_assistant.compute.connection import Compute
    from napari_sam3_assistant.core.prompts import Everything
    from napari_sam3_assistant.engines.caching_engine import CachingEngine


def segment_folder(
    source: str | Path,
    output: str | Path,
    *,
    texts: Sequence[str] = (),
    points: Sequence[Sequence[float]] = (),
    boxes: Sequence[Sequence[float]] = (),
    exemplars: Sequence[Sequence[float]] = (),
    everything: bool | Everything = False,
    pattern: str = "*",
    ending: str | None = None,
    tile: int | None = None,
    overlap: float = 0.15,
    engine: str | CachingEngine | None = None,
    compute: Compute | None = None,
    model_folder: str | Path | None = None,
    device: str = "auto",
    precision: str = AUTO,
    threshold: float = DEFAULT_THRESHOLD,
    diameter: float | str | None = None,
    contrast: tuple[float, float] | None = None,
    channel_axis: int | None = None,
    channel: int | None = None,
    series: int | str | Sequence[int | str] | None = None,
    reporter: Reporter | None = None,
    on_row: Callable[[FolderRow], None] | None = None,
) -> tuple[FolderRow, ...]:
    """Segment every image of a folder, or every field of an OME-Zarr plate.

    Of stacks every plane is run. Beside each labels file lies a note (``.json``) from which
    :func:`rerun` makes it again, and ``sam3_summary.csv`` lists what was done. An image that
    fails is reported there and the rest goes on. What is finished is skipped by a second start.

    Parameters
    ----------
    source : str or Path
        Folder of the images, a plate, one image, or a pattern as ``images/*.tif``.
    output : str or Path
        Folder of the labels. Files are never overwritten.
    texts : sequence of str
        Phrases; each runs on each image, which is encoded once for all of them.
    points, boxes, exemplars
        Prompts in pixels of each image, as :func:`segment` takes them.
    everything : bool or Everything
        Find all objects, without any other prompt; as :func:`segment` takes it.
    pattern : str
        Which files, as ``*.tif`` (or ``.TIF``); ``**/*`` for all folders below.
    ending : str, optional
        Format of the labels: ``.tif`` (the default), ``.png``, ``.npy`` or ``.zarr``; with ``tile``
        it is ``.zarr``.
    tile : int, optional
        Scan every plane in tiles of this side, as :func:`scan` does, for slides and stacks that the
        memory does not hold; for phrases, examples or everything. By default each plane is looked
        at as a whole.
    overlap : float
        Share of a tile that the next one sees as well, 0 to 0.5.
    engine, compute, model_folder, device, precision, threshold, diameter, contrast, channel_axis,
    channel
        As :func:`segment` takes them. All workers of a server segment.
    series : int, str or sequence of these, optional
        Which images of files that hold several, such as positions: numbers from 0, names or
        patterns as ``Pos*``, ``"0,3-5"``, or ``"all"``. Each has its row and its labels, named
        by it. By default the largest of each file; the message says which.
    reporter : Reporter, optional
        Receives the progress; may cancel the work.
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
        If there is no prompt, or it can't be used, or the tiles can't.
    ImageError
        If there is no image in the folder.
    EngineError
        If the engine can't be loaded.
    ExportError
        If the output folder can't be made, or the format does not hold what is scanned.
    """
    tiles = None if tile is None else TileOptions(tile, overlap)
    ending = ending or (".tif" if tiles is None else ".zarr")
    check_ending(Path(f"labels{ending}"))
    folder, pattern = split_source(expand_user(source), pattern)
    request = FolderRequest(
        folder,
        expand_user(output),
        make_prompts(points, boxes, exemplars, None, None, (0, 0), everything),
        make_options(threshold, diameter),
        parse_phrases(texts if isinstance(texts, str) else "\n".join(texts)),
        pattern,
        ending,
        look={"channel_axis": channel_axis, "channel": channel, "contrast": contrast},
        tiles=tiles,
        series=parse_series(series),
    )
    rows = []
    with use_engine(engine, compute, model_folder, device, precision) as ready:
        request = replace(request, model_folder=ready.model_folder)
        for row in _segment_folder(ready, request, reporter or NullReporter()):
            rows.append(row)
            if on_row is not None:
                on_row(row)
    return tuple(rows)


def export_series(
    source: str | Path,
    output: str | Path | None = None,
    *,
    pattern: str = "*",
    more: Sequence[str] = (),
    reporter: Reporter | None = None,
) -> FolderExport:
    """Write a table of all objects of an annotated folder, and one COCO file of its images.

    It is what Finish does in the window, and may be done at any time. Images are read one by one.

    Parameters
    ----------
    source : str or Path
        The folder of the images.
    output : str or Path, optional
        The folder of the labels; by default ``sam3_labels`` in that of the images.
    pattern : str
        Which images, as in the window.
    more : sequence of str
        What to measure besides, see :func:`measure`.
    reporter : Reporter, optional
        Receives the progress; may cancel the work.

    Returns
    -------
    FolderExport
        ``table`` and ``coco`` (paths), ``images``, ``objects``, and ``failed``.

    Raises
    ------
    ImageError
        If there is no image in the folder.
    ExportError
        If nothing was annotated there, or a file can't be written.
    MaskError
        If there is no such measurement.
    """
    unknown = [title for title in more if title not in MORE]
    if unknown:
        raise MaskError(f"There is no measurement “{unknown[0]}”.", f"Use {', '.join(MORE)}.")
    images = expand_user(source)
    labels = images / DEFAULT_OUTPUT if output is None else expand_user(output)
    if not (labels / STATES_FILE).is_file():
        raise ExportError(
            f"{labels} holds no annotation of a folder.",
            "Give the folder of the labels that Annotate Folder has written.",
        )
    folder = AnnotatedFolder(images, labels, pattern)
    return folder.export(reporter or NullReporter(), tuple(more))


@dataclass(frozen=True, slots=True)
class Rerun:
    """What a rerun made.

    Parameters
    ----------
    path : Path
        The labels.
    objects : int
        Number of objects.
    notes : tuple of str
        What is not as it was, so that the labels may differ.
    """

    path: Path
    objects: int
    notes: tuple[str, ...] = ()


def rerun(
    sidecar: str | Path,
    *,
    output: str | Path | None = None,
    image: str | Path | None = None,
    engine: CachingEngine | None = None,
    compute: Compute | None = None,
    model_folder: str | Path | None = None,
    device: str = "auto",
    precision: str | None = None,
    reporter: Reporter | None = None,
) -> Rerun:
    """Make labels again.

    Parameters
    ----------
    sidecar : str or Path
        The ``.json`` file beside labels.
    output : str or Path, optional
        The new labels; by default a free name beside the old ones.
    image : str or Path, optional
        The image, where it is not at its old place.
    engine : CachingEngine, optional
        What :func:`open_engine` returned; by default the engine that the note names.
    compute : str, Path or Client, optional
        A server that does the work, as :func:`open_engine` takes it; it must run that engine.
    model_folder : str or Path, optional
        Folder of the weights, where it is not at its old place.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    precision : str, optional
        The number format of SAM's image encoder; by default the one that the note names.
    reporter : Reporter, optional
        Receives the progress; may cancel the work.

    Raises
    ------
    ExportError
        If the note is of accepted objects or can't be used, or the labels can't be written.
    ImageError
        If the image is gone or another one.
    EngineError
        If the engine can't do it.
    """
    path = expand_user(sidecar)
    record = read_provenance(path)
    if record.engine.engine == ACCEPTED.engine:
        raise ExportError(
            f"{path} is of objects that were accepted one by one, maybe of several runs and by "
            "hand: no run makes them again.",
            "Open it in napari to have them with what is known of each.",
        )
    if model_folder is None and is_on_a_share(record.model_folder, path.parent):
        raise CheckpointNotFound(
            f"The note names the model folder {record.model_folder} on another computer, which is "
            "not opened unasked.",
            "If you trust it, give the model folder by its path.",
        )
    folder = model_folder or (record.model_folder if record.engine.weights else "")
    weights = expand_user(folder) if folder else None
    old = path.with_name(path.name.removesuffix(".json"))
    target = free_name(old) if output is None else expand_user(output)
    request = RerunRequest(
        record, path.parent, None if image is None else expand_user(image), target
    )
    check_output(target, replaces=False)
    if record.tiles is None:
        check_ending(target)
    if compute is None and engine is None:
        model_folder, precision = weights, precision or record.engine.precision
    with use_engine(
        engine or record.engine.engine, compute, model_folder, device, precision or AUTO
    ) as ready:
        weights = ready.model_folder
        result = next(_rerun(ready, request, reporter or NullReporter()))
    if isinstance(result, ScanResult):
        target = result.path
    else:
        lengths = tuple(axis.length for axis in record.axes or ())
        axes = record.axes if lengths == result.labels.shape else None

        def save(name: Path) -> None:
            save_labels(result.labels, name, axes, overwrite=False)

        if output is None:
            target = save_under_free_name(old, save)
        else:
            save(target)
    notes = explain_guess(record.channels, path.parent, request.image)
    notes += differences(record, result.engine, weights)
    return Rerun(target, len(result.objects), notes)


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
    series: int | str | Sequence[int | str] | None = None,
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
        A folder of images, an OME-Zarr plate, one image, or a pattern as ``images/*.tif``.
    output : str or Path
        The folder of the encodings; nothing is removed from it to make room.
    pattern : str
        Which files of a folder, as ``*.tif``; ``**/*`` for all folders below.
    engine, compute, model_folder, device, precision, contrast, channel_axis, channel
        As :func:`segment` takes them. All workers of a server encode.
    series : int, str or sequence of these, optional
        Which images of files that hold several, as :func:`segment_folder` takes it.
    reporter : Reporter, optional
        Receives the progress; may cancel the work.
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
    folder, pattern = split_source(expand_user(source), pattern)
    request = PrecomputeRequest(
        folder,
        expand_user(output),
        pattern,
        {"channel_axis": channel_axis, "channel": channel, "contrast": contrast},
        parse_series(series),
    )
    rows = []
    with use_engine(engine, compute, model_folder, device, precision) as ready:
        for row in _precompute(ready, request, reporter or NullReporter()):
            rows.append(row)
            if on_row is not None:
                on_row(row)
    return tuple(rows)
