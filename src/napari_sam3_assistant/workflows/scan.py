"""Find objects in all of a large plane, or of every plane of a stack, tile by tile."""

from __future__ import annotations

import zlib
from bisect import bisect_left
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field, replace
from glob import escape
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.core.masks.objects import ExportFormat, explain_lost_place
from napari_sam3_assistant.core.options import PredictOptions, TileOptions
from napari_sam3_assistant.core.plurals import part_of, plural_of, pluralize
from napari_sam3_assistant.core.progress import (
    CancelOnlyReporter,
    Progress,
    RemainingTime,
    format_duration,
)
from napari_sam3_assistant.core.prompts import SEARCHES
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.stitching import Stitcher
from napari_sam3_assistant.core.tiling import Composite, TileGrid, compose_tile, crop_around
from napari_sam3_assistant.engines.base import Prediction
from napari_sam3_assistant.engines.piecework import work_through
from napari_sam3_assistant.errors import (
    NO_MEMORY,
    EngineError,
    ImageError,
    PromptError,
    Sam3AssistantError,
)
from napari_sam3_assistant.io.atomic import explain_os_errors
from napari_sam3_assistant.io.json_values import prompts_to_json
from napari_sam3_assistant.io.outputs import check_apart, free_name, split_ending
from napari_sam3_assistant.io.scan_folder import ScanFolder, TileResult, is_folder_of, output_path
from napari_sam3_assistant.workflows.everything import predict
from napari_sam3_assistant.workflows.folder_work import SharedView, view_checksum
from napari_sam3_assistant.workflows.provenance import RunProvenance, make_record, object_entry
from napari_sam3_assistant.workflows.segment import leading_shape, view_of_plane

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.display import ImageView
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import ExemplarPrompt, PromptSet
    from napari_sam3_assistant.core.results import ObjectRecord, Provenance
    from napari_sam3_assistant.core.stitching import StitchedObjects
    from napari_sam3_assistant.engines.caching_engine import CachingEngine


_MOST_NOTES = 5
_MOST_FAILED = 20  # tiles; then nothing else is tried
_FAST = 1.0  # seconds; of a tile that takes less the labels are told with the next tile
_PATIENCE = 0.01  # share of a slower tile's time that its labels are waited for


def scan(
    engine: CachingEngine, request: ScanRequest, reporter: Reporter
) -> Iterator[ScanStep | ScanResult]:
    """Scan a plane or all; tiles that an earlier start of the same scan has finished stay.

    Beside the labels lies a note from which they can be made again.
    """
    _check(engine, request)
    grid = TileGrid.cover(request.view.shape, request.tiles)
    reporter.report(Progress(0, len(grid), f"Loading {engine.spec.title}"))
    engine.load(reporter)
    identity = scan_identity(engine, request)
    folder = ScanFolder(request.output, identity, overwrite=request.overwrite)
    try:
        yield from _scan(engine, request, grid, folder, reporter, identity["picture"])
    finally:
        folder.leave()


def _scan(
    engine: CachingEngine,
    request: ScanRequest,
    grid: TileGrid,
    folder: ScanFolder,
    reporter: Reporter,
    picture: int,
) -> Iterator[ScanStep | ScanResult]:
    """Scan what ``folder`` lacks; ``picture`` is the checksum of the view at the begin."""
    planes, total = request.planes, len(request.planes) * len(grid)
    axes = request.axes or make_axes((*request.stack_shape, *request.view.shape))
    to_do = {number for number in range(total) if not folder.has(number)}
    kept = total - len(to_do)
    notes_seen: Counter[str] = Counter()
    made_by = _engine_provenance(engine, request)
    remaining_time = RemainingTime(len(to_do))
    with (
        folder.new_labels(axes) as labels,
        closing(_iter_results(engine, request, grid, folder, reporter)) as results,
    ):
        yield ScanStep(folder.labels_path, 0, total, 0, kept=kept)
        reporter.report(Progress(0, total, f"Looking at {pluralize(total, 'tile')}"))
        stitcher = Stitcher(labels, grid)
        last_ids: list[int] = []
        began = monotonic()
        for number, (result, workers) in enumerate(results):
            place, tile = divmod(number, len(grid))
            if place > len(last_ids):
                last_ids.append(stitcher.end_plane())
                labels.go_to(planes[place])
            stitcher.add(tile, result.records)
            notes_seen.update(result.notes)
            # Where it runs is said by the engine here: a worker knows itself alone.
            made_by = replace(result.engine, device=made_by.device) if number == 0 else made_by
            left = remaining_time.step() if number in to_do else None
            took = monotonic() - began
            step = ScanStep(
                folder.labels_path,
                number + 1,
                total,
                len(stitcher),
                labels.take_changed(_PATIENCE * took if took > _FAST else 0),
                left,
                kept,
                workers,
                remaining_time.rate,
            )
            began = monotonic()
            yield step
            reporter.report(Progress(step.done, step.total, _format_step(step), left))
    objects = stitcher.objects()
    lost = explain_lost_place(ExportFormat.OME_ZARR, axes)
    changed = _explain_changed(request, picture)
    notes = (*request.notes, *_unique_notes(notes_seen), *filter(None, [lost, changed]))
    provenance = RunProvenance(
        request.view,
        request.prompts,
        request.options,
        made_by,
        request.model_folder if made_by.weights else None,
        request.paths,
        tiles=request.tiles,
        axes=axes,
        all_planes=request.all_planes,
        notes=notes,
        series=request.series,
    )
    scanned = ScanResult(
        folder.output, axes, objects, total, made_by, notes, planes, tuple(last_ids)
    )
    entries = (object_entry(record, scanned.plane_of(record.id)) for record in objects)
    folder.finish(make_record(provenance, request.output.parent, entries, request.extra))
    yield scanned


def _explain_changed(request: ScanRequest, picture: int) -> str:
    """Return a note on pixels that somebody has written meanwhile, such as a microscope."""
    try:
        changed = _checksum(request) != picture
    except ImageError:
        return ""  # the file is gone; all tiles were read before
    found = "The image was changed while it was scanned: its tiles are of different pixels."
    return f"{found} Scan it again." if changed else ""


def _checksum(request: ScanRequest) -> int:
    """Return a checksum of pieces of the picture; of a stack of its first, middle and last one."""
    planes = request.planes
    some = dict.fromkeys(planes[place] for place in (0, len(planes) // 2, -1))
    found = [view_checksum(request.view_of(plane)) for plane in some]
    return found[0] if len(found) == 1 else zlib.crc32(str(found).encode())


def _check(engine: CachingEngine, request: ScanRequest) -> None:
    request.prompts.check(request.view.shape)
    check_apart(request.output, *request.paths.values())
    check_kinds(request.prompts)
    engine.spec.check_kinds(request.prompts.kinds)
    engine.spec.check_diameter(request.options, request.prompts.kinds)


def check_kinds(prompts: PromptSet) -> None:
    """Raise PromptError where a scan can't use the prompts."""
    kinds = prompts.kinds
    if not kinds <= SEARCHES:
        raise PromptError(
            f"A scan can't use {' and '.join(sorted(kinds - SEARCHES))}.",
            "Give a phrase or example boxes, or ask for everything; for points and boxes segment a "
            "region.",
        )


def _iter_results(
    engine: CachingEngine,
    request: ScanRequest,
    grid: TileGrid,
    folder: ScanFolder,
    reporter: Reporter,
) -> Generator[tuple[TileResult, int]]:
    """Yield the result of each tile, from its file or from the engine, and how many work.

    What can't be done on a server does not stop the other tiles: it is raised at the end.
    """
    total = len(request.planes) * len(grid)
    to_do = [number for number in range(total) if not folder.has(number)]
    work = TileWork.of(request, grid)
    quiet = CancelOnlyReporter(reporter)
    failed: dict[int, Sam3AssistantError | MemoryError] = {}
    with closing(work_through(engine, work, to_do, quiet)) as outcomes:
        waiting = set(to_do)
        for number in range(total):
            reporter.check()
            result = None if number in waiting else folder.load(number)
            workers = 1
            if result is None:
                # A damaged file of a tile is made again, which nobody was told of.
                alone = work_through(engine, work, [number], quiet)
                outcome = next(outcomes if number in waiting else alone)
                workers = outcome.workers
                if outcome.error is not None:
                    failed[number] = outcome.error
                    if engine.many is None or isinstance(outcome.error, PromptError):
                        raise outcome.error
                    if len(failed) == _MOST_FAILED:
                        break
                    continue
                result = cast("TileResult", outcome.value)
                folder.save(number, result)
            if failed:
                message = f"Tile {part_of(number + 1, total)}, {len(failed)} failed"
                reporter.report(Progress(number + 1, total, message))
            else:
                yield result, workers
    if failed:
        raise _failed_error(failed, total)


def _failed_error(
    failed: Mapping[int, Sam3AssistantError | MemoryError], tiles: int
) -> Sam3AssistantError:
    """Return one error for tiles that could not be done anywhere, of the kind of the first."""
    number, first = next(iter(failed.items()))
    kind: type[Sam3AssistantError] = EngineError
    why = NO_MEMORY
    if isinstance(first, Sam3AssistantError):
        kind, why = type(first), first.message
    return kind(
        f"{part_of(len(failed), tiles)} tiles failed, the first of them tile {number + 1}: {why}",
        "All that was found is kept; the same scan, started again, does what is missing.",
    )


@dataclass(frozen=True, slots=True, eq=False)
class TileWork:
    """What is done with each tile of a scan, see :class:`.engines.piecework.Piecework`.

    Parameters
    ----------
    picture : SharedView
        The plane, or one of the stack.
    planes : tuple of tuple of int
        The planes of the stack; one without an index for that of the picture.
    grid : TileGrid
        The tiles of each; a piece is the number of one, through all planes.
    prompts : TilePrompts
        What to look for.
    options : PredictOptions
        The choices of the run.
    """

    picture: SharedView
    planes: tuple[tuple[int, ...], ...]
    grid: TileGrid
    prompts: TilePrompts
    options: PredictOptions

    @classmethod
    def of(cls, request: ScanRequest, grid: TileGrid) -> TileWork:
        """Return the work of a scan."""
        picture = SharedView(request.view, request.paths, request.series, request.address)
        prompts = TilePrompts(request.view, request.prompts)
        return cls(picture, request.planes, grid, prompts, request.options)

    def can_read(self) -> bool:
        """Return whether the plane can be read here, and is the same."""
        return self.picture.can_read()

    def read(self, number: int) -> npt.NDArray[np.uint8]:
        """Read a tile."""
        place, tile = divmod(number, len(self.grid))
        return _plane_of(self.picture.view, self.planes[place]).rgb(self.grid[tile])

    def run(
        self,
        engine: CachingEngine,
        number: int,
        pixels: npt.NDArray[np.uint8],
        reporter: Reporter,
    ) -> TileResult:
        """Find the objects of a tile."""
        tile, whole = self.grid[number % len(self.grid)], len(self.grid) == 1
        return _run(engine, pixels, tile, self.prompts, self.options, reporter, whole=whole)


def _run(
    engine: CachingEngine,
    picture: npt.NDArray[np.uint8],
    tile: Region,
    prompts: TilePrompts,
    options: PredictOptions,
    reporter: Reporter,
    *,
    whole: bool,
) -> TileResult:
    shown = prompts.for_tile(picture, tile)
    embedding = engine.encode(shown.picture, reporter)
    prediction = predict(
        engine,
        lambda part: shown.picture[part.slices],
        embedding,
        shown.prompts,
        tile.shape,
        options,
        reporter,
    )
    records = shown.crop_to_tile(prediction.objects)
    if not whole and shown.prompts.everything is None:
        # In a tile without anything an engine may try lower thresholds, as it does for an image.
        records = tuple(
            record
            for record in records
            if record.score is None or record.score >= options.threshold
        )
    notes = (*shown.notes, *(prediction.notes if records or whole else ()))
    placed = tuple(record.shift(tile.y0, tile.x0) for record in records)
    return TileResult(placed, engine.provenance(prediction), notes)


def _engine_provenance(engine: CachingEngine, request: ScanRequest) -> Provenance:
    return engine.provenance(Prediction((), request.options.threshold))


def scan_identity(engine: CachingEngine, request: ScanRequest) -> dict[str, Any]:
    """Return what must be the same for a scan to go on; the engine must be loaded."""
    made_by, options = _engine_provenance(engine, request), request.options
    # What it would be for an engine that makes no use of it needs no size of a pixel.
    takes = engine.spec.takes_diameter
    diameter = options.diameter_in_pixels(request.prompts.text) if takes else None
    return {
        "shape": [*request.stack_shape, *request.view.shape],
        "picture": _checksum(request),
        "prompts": prompts_to_json(request.prompts),
        "threshold": request.options.threshold,
        **({} if diameter is None else {"diameter": diameter}),
        "tile": request.tiles.size,
        "overlap": request.tiles.overlap,
        "engine": [made_by.engine, made_by.version, made_by.weights, made_by.precision],
    }


def _unique_notes(counts: Counter[str]) -> tuple[str, ...]:
    notes = [
        note if count == 1 else f"{note} ({count} tiles)"
        for note, count in counts.most_common(_MOST_NOTES)
    ]
    if len(counts) > _MOST_NOTES:
        notes.append(f"{len(counts) - _MOST_NOTES} more notes of single tiles are left out.")
    return tuple(notes)


def _format_step(step: ScanStep) -> str:
    objects = f"{step.objects} {plural_of(step.objects, 'object')}"
    parts = [f"Tile {part_of(step.done, step.total)}, {objects}"]
    if step.workers > 1:
        rate = "" if step.rate is None else f" ({step.rate:.3g} tiles/s)"
        parts.append(f"{step.workers} workers{rate}")
    if step.seconds_left is not None:
        parts.append(f"{format_duration(step.seconds_left)} left")
    return ", ".join(parts)


@dataclass(frozen=True, slots=True, eq=False)
class ScanRequest:
    """What to scan, frozen before it starts.

    Parameters
    ----------
    view : ImageView
        What the model shall see.
    prompts : PromptSet
        A phrase, examples in pixels of the plane, or the wish for everything.
    output : Path
        The zarr folder of the labels; while the scan runs they are in a folder beside it.
    options : PredictOptions
        The choices of the run.
    tiles : TileOptions
        How the plane is cut.
    axes : tuple of Axis or None
        Axes of the labels, rows and columns last; None where the size of a pixel is not known.
    overwrite : bool
        Whether existing labels of that name may be replaced.
    model_folder : Path or None
        Folder of the weights, for the note beside the labels.
    paths : mapping of int to Path
        The file of each image by the token of its source, for the note.
    series : int or None
        Which image of the file it is, where that is known.
    notes : tuple of str
        What the user should know of the image.
    address : str
        Where on a web server or in a bucket the image is, so that workers read it themselves;
        empty for elsewhere.
    all_planes : bool
        Whether every plane of the view's image is scanned, and not that of the view alone.
    extra : mapping
        What the note says beside.
    """

    view: ImageView
    prompts: PromptSet
    output: Path
    options: PredictOptions = field(default_factory=PredictOptions)
    tiles: TileOptions = field(default_factory=TileOptions)
    axes: Axes | None = None
    overwrite: bool = False
    model_folder: Path | None = None
    paths: Mapping[int, Path] = field(default_factory=dict)
    series: int | None = None
    notes: tuple[str, ...] = ()
    address: str = ""
    all_planes: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stack_shape(self) -> tuple[int, ...]:
        """How many planes there are along each axis before rows and columns; empty for one."""
        return leading_shape(self.view) if self.all_planes else ()

    @property
    def planes(self) -> tuple[tuple[int, ...], ...]:
        """The index of each plane on these axes."""
        return tuple(np.ndindex(*self.stack_shape))

    def view_of(self, plane: tuple[int, ...]) -> ImageView:
        """Return the view of one of the planes."""
        return _plane_of(self.view, plane)


def _plane_of(view: ImageView, plane: tuple[int, ...]) -> ImageView:
    return view_of_plane(view, plane) if plane else view


@dataclass(frozen=True, slots=True)
class ScanStep:
    """How far a scan is; the first one comes before the first tile.

    Parameters
    ----------
    labels : Path
        Folder of the labels so far: an OME-Zarr image whose levels are being filled.
    done, total : int
        Tiles.
    objects : int
        Objects so far.
    changed : Region or None
        A box around all labels that were written since the last step: those of this tile, and
        what was joined to them, or of the one before where tiles take less time than writing.
    seconds_left : float or None
        Time left; None while it is not known.
    kept : int
        How many tiles an earlier start has finished.
    workers : int
        How many work at the same time.
    rate : float or None
        Tiles a second; None while it is not known.
    """

    labels: Path
    done: int
    total: int
    objects: int
    changed: Region | None = None
    seconds_left: float | None = None
    kept: int = 0
    workers: int = 1
    rate: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ScanResult:
    """What a scan found.

    Parameters
    ----------
    path : Path
        The OME-Zarr image of the labels.
    axes : tuple of Axis
        Axes of the labels in the order of the image, rows and columns last.
    objects : StitchedObjects
        A sequence of :class:`StitchedObject`, by id; each is made as it is asked for, and lies in
        one plane.
    tiles : int
        How many tiles there were.
    engine : Provenance
        What made it.
    notes : tuple of str
        What the user should know about how it came about.
    planes : tuple of tuple of int
        The planes of a stack by their index on the axes before rows and columns; one without an
        index where one plane was scanned.
    last_ids : tuple of int
        The highest id up to each of them, without the last.
    """

    path: Path
    axes: Axes
    objects: StitchedObjects
    tiles: int
    engine: Provenance
    notes: tuple[str, ...] = ()
    planes: tuple[tuple[int, ...], ...] = ((),)
    last_ids: tuple[int, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the labels: height and width last."""
        return tuple(axis.length for axis in self.axes)

    def plane_of(self, object_id: int) -> tuple[int, ...]:
        """Return the index of the plane in which an object lies; empty where there is one."""
        return self.planes[bisect_left(self.last_ids, object_id)]


def place_output(engine: CachingEngine, request: ScanRequest, reporter: Reporter) -> ScanRequest:
    """Return a request whose output is free, or belongs to the same scan on its way."""
    reporter.report(Progress(0, 0, f"Loading {engine.spec.title}"))
    engine.load(reporter)
    identity = scan_identity(engine, request)
    parent, (stem, ending) = request.output.parent, split_ending(request.output.name)
    with explain_os_errors(parent):
        parent.mkdir(parents=True, exist_ok=True)
        on_the_way = sorted(parent.glob(f"{escape(stem)}*{ending}.scan"))
    for folder in on_the_way:
        if is_folder_of(folder, identity) and not output_path(folder).exists():
            return replace(request, output=output_path(folder))
    taken = {output_path(folder).name.lower() for folder in on_the_way}
    return replace(request, output=free_name(request.output, taken))


EXPERIMENTAL = (
    "Experimental: the example lies in another tile and was pasted beside this one, because the "
    "engine takes examples only from the picture that it searches."
)


@dataclass(frozen=True, slots=True, eq=False)
class TilePicture:
    """A picture for the engine.

    Parameters
    ----------
    picture : ndarray, shape (H, W, 3), dtype uint8
        The tile, or the tile with examples beside it.
    prompts : PromptSet
        Prompts in pixels of the picture.
    composite : Composite or None
        Where the tile lies, if there is something beside it.
    """

    picture: npt.NDArray[np.uint8]
    prompts: PromptSet
    composite: Composite | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know."""
        return () if self.composite is None else (EXPERIMENTAL,)

    def crop_to_tile(self, records: Sequence[ObjectRecord]) -> tuple[ObjectRecord, ...]:
        """Return the objects that lie in the tile, in its pixels."""
        return tuple(records) if self.composite is None else self.composite.crop_to_tile(records)


class TilePrompts:
    """The prompts of a scan, for each of its tiles.

    Parameters
    ----------
    view : ImageView
        The image; the surroundings of the examples are read from it once.
    prompts : PromptSet
        Prompts in pixels of the plane.
    """

    def __init__(self, view: ImageView, prompts: PromptSet) -> None:
        plane = Region.whole(view.shape)
        self._prompts = prompts
        self._examples = [example.cut(plane) for example in prompts.exemplars]
        self._places = [crop_around(example.region, view.shape) for example in self._examples]
        self._pieces = [view.rgb(place) for place in self._places]

    def for_tile(self, picture: npt.NDArray[np.uint8], tile: Region) -> TilePicture:
        """Return what to show the engine for a tile.

        Parameters
        ----------
        picture : ndarray, shape (h, w, 3), dtype uint8
            The tile.
        tile : Region
            Where it lies in the plane.
        """
        if self._prompts.everything is not None:
            return TilePicture(picture, self._prompts.localise(tile))
        inside: list[ExemplarPrompt] = []
        elsewhere: list[int] = []
        for number, example in enumerate(self._examples):
            if example.region.intersect(tile) == example.region:
                inside.append(example.localise(tile))
            else:
                elsewhere.append(number)
        if not elsewhere:
            return TilePicture(picture, replace(self._prompts, exemplars=tuple(inside)))
        pasted = [
            example.localise(self._places[number])
            for number in elsewhere
            for example in (self._examples[number],)
        ]
        composite = compose_tile(
            picture, [self._pieces[number] for number in elsewhere], pasted, inside
        )
        prompts = replace(self._prompts, exemplars=composite.exemplars)
        return TilePicture(composite.picture, prompts, composite)
