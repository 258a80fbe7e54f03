"""Find objects in all of a large plane, tile by tile."""

from __future__ import annotations

import zlib
from collections import Counter
from contextlib import closing
from time import monotonic
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.axes import axes_of
from napari_sam3_assistant.core.masks.formats import ExportFormat, lost_place
from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.core.prompts import PromptKind
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.stitching import Stitcher
from napari_sam3_assistant.core.tiling import TileGrid
from napari_sam3_assistant.engines.base import Prediction
from napari_sam3_assistant.errors import PromptError
from napari_sam3_assistant.io.outputs import check_apart
from napari_sam3_assistant.io.prompt_json import prompts_to_json
from napari_sam3_assistant.io.scan_folder import ScanFolder, TileResult
from napari_sam3_assistant.workflows.pace import Pace, Quiet, duration
from napari_sam3_assistant.workflows.read_ahead import read_ahead
from napari_sam3_assistant.workflows.recipe import Recipe, described, sidecar_for
from napari_sam3_assistant.workflows.scan_values import ScanRequest, ScanResult, ScanStep
from napari_sam3_assistant.workflows.tile_prompts import TilePrompts

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    import numpy as np
    import numpy.typing as npt

    from napari_sam3_assistant.core.options import PredictOptions
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.results import Provenance
    from napari_sam3_assistant.core.views import ImageView
    from napari_sam3_assistant.engines.embeddings import EncodingEngine

__all__ = ["ScanRequest", "ScanResult", "ScanStep", "scan", "scan_identity"]

_KINDS = frozenset({PromptKind.TEXT, PromptKind.EXEMPLARS})
_SAMPLES = 4  # pieces of the image along each side that tell it from another one
_SAMPLE_SIDE = 64
_MOST_NOTES = 5
_FAST = 1.0  # seconds; of a tile that takes less the labels are told with the next tile
_PATIENCE = 0.01  # share of a slower tile's time that its labels are waited for


def scan(
    engine: EncodingEngine, request: ScanRequest, reporter: Reporter
) -> Iterator[ScanStep | ScanResult]:
    """Scan a plane; tiles that an earlier start of the same scan has finished are not repeated.

    Beside the labels lies a note from which they can be made again.

    Parameters
    ----------
    engine : EncodingEngine
        The engine to run; it is loaded if it is not.
    request : ScanRequest
        What to do.
    reporter : Reporter
        Is told of the progress, and stops the work. What is done then stays in the folder
        beside the output, and the same request goes on from there.

    Yields
    ------
    ScanStep or ScanResult
        A step for each tile, the result at the end.

    Raises
    ------
    PromptError
        If the prompts can't be used.
    ExportError
        If the output exists, is the image itself or can't be written.
    """
    _check(engine, request)
    grid = TileGrid.cover(request.view.shape, request.tiles)
    reporter.report(Progress(0, len(grid), f"Loading {engine.spec.title}"))
    engine.load(reporter)
    identity = scan_identity(engine, request)
    folder = ScanFolder(request.output, identity, overwrite=request.overwrite)
    try:
        yield from _scan(engine, request, grid, folder, reporter)
    finally:
        folder.leave()


def _scan(
    engine: EncodingEngine,
    request: ScanRequest,
    grid: TileGrid,
    folder: ScanFolder,
    reporter: Reporter,
) -> Iterator[ScanStep | ScanResult]:
    shape = request.view.shape
    axes = request.axes or axes_of(shape)
    to_do = {number for number in range(len(grid)) if not folder.has(number)}
    kept = len(grid) - len(to_do)
    said: Counter[str] = Counter()
    made_by = _engine_now(engine, request)
    pace = Pace(len(to_do))
    with (
        folder.new_labels(axes) as labels,
        closing(_results(engine, request, grid, folder, reporter)) as results,
    ):
        yield ScanStep(folder.labels_path, 0, len(grid), 0, kept=kept)
        stitcher = Stitcher(labels, grid)
        began = monotonic()
        for number, result in enumerate(results):
            stitcher.add(number, result.records)
            said.update(result.notes)
            made_by = result.engine if number == 0 else made_by
            left = pace.step() if number in to_do else None
            took = monotonic() - began
            step = ScanStep(
                folder.labels_path,
                number + 1,
                len(grid),
                len(stitcher),
                labels.take_changed(_PATIENCE * took if took > _FAST else 0),
                left,
                kept,
            )
            reporter.report(Progress(step.done, step.total, _message(step), left))
            began = monotonic()
            yield step
    objects = stitcher.objects()
    lost = lost_place(ExportFormat.OME_ZARR, axes)
    notes = (*request.notes, *_notes(said), *filter(None, [lost]))
    recipe = Recipe(
        request.view,
        request.prompts,
        request.options,
        made_by,
        request.model_folder if made_by.weights else None,
        request.paths,
        tiles=request.tiles,
        axes=axes,
        notes=notes,
        series=request.series,
    )
    note = sidecar_for(recipe, request.output.parent, map(described, objects))
    yield ScanResult(folder.finish(note), shape, objects, len(grid), made_by, notes)


def _check(engine: EncodingEngine, request: ScanRequest) -> None:
    request.prompts.check(request.view.shape)
    check_apart(request.output, *request.paths.values())
    kinds = request.prompts.kinds
    if not kinds <= _KINDS:
        raise PromptError(
            f"A scan can't use {' and '.join(sorted(kinds - _KINDS))}.",
            "Give a phrase or example boxes; for points and boxes segment a region.",
        )
    if not kinds <= engine.spec.accepts:
        raise PromptError(
            f"{engine.spec.title} does not take {' and '.join(sorted(kinds))}.",
            engine.spec.why_no_planes or f"It takes {', '.join(sorted(engine.spec.accepts))}.",
        )


def _results(
    engine: EncodingEngine,
    request: ScanRequest,
    grid: TileGrid,
    folder: ScanFolder,
    reporter: Reporter,
) -> Generator[TileResult]:
    """Yield the result of each tile, from its file or from the engine."""
    prompts = TilePrompts(request.view, request.prompts)
    waiting = [number for number in range(len(grid)) if not folder.has(number)]
    to_do = set(waiting)
    quiet = Quiet(reporter)
    with closing(read_ahead(lambda number: request.view.rgb(grid[number]), waiting)) as pictures:
        for number in range(len(grid)):
            reporter.check()
            result = None if number in to_do else folder.load(number)
            if result is None:
                tile = grid[number]
                # A damaged file of a tile is made again, which nobody has read ahead.
                picture = next(pictures) if number in to_do else request.view.rgb(tile)
                whole = len(grid) == 1
                result = _run(engine, picture, tile, prompts, request.options, quiet, whole=whole)
                folder.save(number, result)
            yield result


def _run(
    engine: EncodingEngine,
    picture: npt.NDArray[np.uint8],
    tile: Region,
    prompts: TilePrompts,
    options: PredictOptions,
    reporter: Reporter,
    *,
    whole: bool,
) -> TileResult:
    shown = prompts.on(picture, tile)
    embedding = engine.encode(shown.picture, reporter)
    prediction = engine.predict(embedding, shown.prompts, options, reporter)
    records = shown.in_tile(prediction.objects)
    if not whole:
        # In a tile without anything an engine may try lower thresholds, as it does for an image.
        records = tuple(
            record
            for record in records
            if record.score is None or record.score >= options.threshold
        )
    notes = (*shown.notes, *(prediction.notes if records or whole else ()))
    placed = tuple(record.shift(tile.y0, tile.x0) for record in records)
    return TileResult(placed, engine.provenance(prediction), notes)


def _engine_now(engine: EncodingEngine, request: ScanRequest) -> Provenance:
    return engine.provenance(Prediction((), request.options.threshold))


def scan_identity(engine: EncodingEngine, request: ScanRequest) -> dict[str, Any]:
    """Return what must be the same for a scan to go on; the engine must be loaded."""
    made_by = _engine_now(engine, request)
    return {
        "shape": list(request.view.shape),
        "picture": _checksum(request.view),
        "prompts": prompts_to_json(request.prompts),
        "threshold": request.options.threshold,
        "tile": request.tiles.size,
        "overlap": request.tiles.overlap,
        "engine": [made_by.engine, made_by.version, made_by.weights],
    }


def _checksum(view: ImageView) -> int:
    """Return a checksum of pieces all over the picture."""
    height, width = view.shape
    found = 0
    for row in range(_SAMPLES):
        for column in range(_SAMPLES):
            y = (height - 1) * row // (_SAMPLES - 1)
            x = (width - 1) * column // (_SAMPLES - 1)
            half = _SAMPLE_SIDE // 2
            piece = view.rgb(Region(y - half, x - half, y + half, x + half))
            found = zlib.crc32(piece.data, found)
    return found


def _notes(said: Counter[str]) -> tuple[str, ...]:
    notes = [
        note if count == 1 else f"{note} ({count} tiles)"
        for note, count in said.most_common(_MOST_NOTES)
    ]
    if len(said) > _MOST_NOTES:
        notes.append(f"{len(said) - _MOST_NOTES} more notes of single tiles are left out.")
    return tuple(notes)


def _message(step: ScanStep) -> str:
    objects = f"{step.objects} object{'' if step.objects == 1 else 's'}"
    text = f"Tile {step.done} of {step.total}, {objects}"
    return text if step.seconds_left is None else f"{text}, {duration(step.seconds_left)} left"
