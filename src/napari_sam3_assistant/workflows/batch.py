"""Run phrases on several images, and phrases or other prompts on every image of a folder."""

from __future__ import annotations

import json
import time
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.plurals import part_of
from napari_sam3_assistant.core.progress import (
    CancelOnlyReporter,
    PartReporter,
    Progress,
    RemainingTime,
    format_duration,
)
from napari_sam3_assistant.engines.piecework import work_through
from napari_sam3_assistant.errors import (
    NO_MEMORY,
    ExportError,
    ImageError,
    JobCancelled,
    PromptError,
    Sam3AssistantError,
)
from napari_sam3_assistant.io.atomic import explain_os_errors
from napari_sam3_assistant.io.image_folder import find_images, finished_outputs, first_files
from napari_sam3_assistant.io.images import list_series
from napari_sam3_assistant.io.json_values import prompts_to_json
from napari_sam3_assistant.io.labels import save_labels
from napari_sam3_assistant.io.loaded import own_series
from napari_sam3_assistant.io.outputs import safe_name, save_under_free_name
from napari_sam3_assistant.io.provenance import write_provenance
from napari_sam3_assistant.workflows.folder_work import (
    FolderPiece,
    PhraseAnswer,
    PhraseWork,
    claim_folder,
    find_finished,
    pixel_of,
    weights_of,
)
from napari_sam3_assistant.workflows.provenance import RunProvenance, make_record, object_entry
from napari_sam3_assistant.workflows.scan import (
    ScanRequest,
    ScanResult,
    check_kinds,
    place_output,
    scan,
)
from napari_sam3_assistant.workflows.segment import (
    SegmentRequest,
    check_labels_fit,
    check_room,
    join_planes,
    leading_shape,
    segment,
)
from napari_sam3_assistant.workflows.summary import LEFT_OUT, write_summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.display import ImageView
    from napari_sam3_assistant.core.options import PredictOptions, TileOptions
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import PromptSet
    from napari_sam3_assistant.core.results import Segmentation
    from napari_sam3_assistant.engines.base import Outcome
    from napari_sam3_assistant.engines.caching_engine import CachingEngine
    from napari_sam3_assistant.io.image_folder import FinishedLabels, FolderImage
    from napari_sam3_assistant.io.loaded import LoadedImage, Series
    from napari_sam3_assistant.io.scan_folder import TileResult


@dataclass(frozen=True, slots=True, eq=False)
class BatchItem:
    """One image of a batch.

    Parameters
    ----------
    key : str
        What the caller knows the image by.
    name : str
        Its name for the user.
    request : SegmentRequest
        What to do; where the batch has phrases, these take the place of the request's text.
    """

    key: str
    name: str
    request: SegmentRequest


@dataclass(frozen=True, slots=True, eq=False)
class BatchRequest:
    """Images and phrases.

    Parameters
    ----------
    items : tuple of BatchItem
        The images.
    phrases : tuple of str
        Each runs on each image, one by one; none to run the requests as they are.
    """

    items: tuple[BatchItem, ...]
    phrases: tuple[str, ...] = ()

    @property
    def runs(self) -> int:
        """Number of results."""
        return len(self.items) * max(1, len(self.phrases))


@dataclass(frozen=True, slots=True, eq=False)
class BatchResult:
    """What came out for one image and one phrase.

    Parameters
    ----------
    key, name : str
        The image.
    phrase : str
        The phrase as it was given; empty where the batch has none.
    segmentation : Segmentation or None
        The result; object ids count from 1 in each. None if it failed.
    error : Sam3AssistantError or None
        Why it failed.
    seconds : float
        How long it took.
    """

    key: str
    name: str
    phrase: str
    segmentation: Segmentation | None
    error: Sam3AssistantError | None = None
    seconds: float = 0.0

    @property
    def scope(self) -> str:
        """The image and the phrase, as in ``Image 1 - cat``."""
        return f"{self.name} - {self.phrase}" if self.phrase else self.name


def batch(
    engine: CachingEngine, request: BatchRequest, reporter: Reporter
) -> Iterator[BatchResult]:
    """Run each phrase on each image; an image that fails is reported and the rest goes on.

    An image is encoded once for all of its phrases.
    """
    if not request.items:
        raise PromptError("There is no image to run on.", "Open an image first.")
    reporter.report(Progress(0, request.runs, f"Loading {engine.spec.title}"))
    engine.load(reporter)
    quiet = CancelOnlyReporter(reporter)
    done = 0
    for item in request.items:
        for phrase in request.phrases or ("",):
            plane_request = item.request
            if phrase:
                plane_request = replace(
                    plane_request, prompts=replace(plane_request.prompts, text=phrase)
                )
            name = f"{item.name} - {phrase}" if phrase else item.name
            reporter.report(
                Progress(done, request.runs, f"{name} ({part_of(done + 1, request.runs)})")
            )
            began = time.monotonic()
            result: Segmentation | None = None
            error: Sam3AssistantError | None = None
            try:
                result = next(segment(engine, plane_request, quiet))
            except JobCancelled:
                raise
            except Sam3AssistantError as caught:
                error = caught
            done += 1
            yield BatchResult(item.key, item.name, phrase, result, error, time.monotonic() - began)


_LONGEST_PHRASE = 60  # letters of a phrase that become part of a file name


@dataclass(frozen=True, slots=True, eq=False)
class FolderRequest:
    """What to run on which folder.

    Parameters
    ----------
    source, output : Path
        Folder of the images, and folder of the labels; the latter is made.
    prompts : PromptSet
        Prompts in pixels of each image, or none where there are phrases.
    options : PredictOptions
        The choices of the run.
    phrases : tuple of str
        Each runs on each image.
    pattern : str
        Which files, as ``*.tif`` or ``**/*`` for all folders below.
    ending : str
        Format of the labels: ``.tif``, ``.png``, ``.npy`` or ``.zarr``.
    model_folder : Path or None
        Folder of the weights, for the notes beside the labels.
    look : mapping
        ``channel_axis``, ``channel`` and ``contrast``, where they are not to be found out.
    tiles : TileOptions or None
        How every plane is scanned, see :func:`.scan.scan`; None to look at each as a whole. What is
        scanned is written as ``.zarr``.
    skip_finished : bool
        Whether images that an earlier start has finished with the same prompts are left out.
    series : tuple of int or str, or None
        Which images of files that hold several, as :func:`.loaded.parse_series` returns it; each
        gets labels of its own. None for the largest of each file.
    """

    source: Path
    output: Path
    prompts: PromptSet
    options: PredictOptions
    phrases: tuple[str, ...] = ()
    pattern: str = "*"
    ending: str = ".tif"
    model_folder: Path | None = None
    look: dict[str, Any] = field(default_factory=dict)
    tiles: TileOptions | None = None
    skip_finished: bool = True
    series: tuple[int | str, ...] | None = None

    @property
    def sought(self) -> dict[str, Any]:
        """What is looked for, as JSON holds it."""
        phrases = self.phrases or (self.prompts.text,)
        runs = [prompts_to_json(replace(self.prompts, text=phrase)) for phrase in phrases]
        return {"prompts": runs, **self.cut}

    @property
    def cut(self) -> dict[str, Any]:
        """How planes are cut, as JSON holds it; empty where they are not."""
        return {} if self.tiles is None else {"tiles": [self.tiles.size, self.tiles.overlap]}


@dataclass(frozen=True, slots=True)
class FolderRow:
    """What became of one image and one phrase.

    Parameters
    ----------
    image : str
        The image, as seen from the folder; of a file that holds several also its number and name,
        as ``cells.lif [2: Position 3]``.
    phrase : str
        The phrase; empty where there is none.
    status : str
        ``done``, ``skipped`` (finished by an earlier start), ``failed``, or ``left out`` (fits
        the pattern, and is no image of its own).
    objects : int or None
        Number of objects.
    seconds : float
        How long it took.
    labels : str
        The labels, as seen from the output folder.
    message : str
        Why it failed or was left out, or what the user should know.
    """

    image: str
    phrase: str
    status: str
    objects: int | None = None
    seconds: float = 0.0
    labels: str = ""
    message: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        """What the summary says of it, column by column."""
        objects = "" if self.objects is None else str(self.objects)
        seconds = f"{self.seconds:.2f}"
        return self.image, self.phrase, self.status, objects, seconds, self.labels, self.message


def segment_folder(
    engine: CachingEngine, request: FolderRequest, reporter: Reporter
) -> Iterator[FolderRow]:
    """Run on each image of a folder; one that fails is reported and the rest goes on.

    What an earlier start has finished with the same prompts and weights on the same file is
    skipped. A file that exists is never overwritten, but for the rows of these images and phrases
    in the summary, ``sam3_summary.csv``.
    """
    if not (request.phrases or request.prompts.kinds):
        raise PromptError("No prompts found.", "Give a phrase, points, boxes or example boxes.")
    if request.tiles is not None:
        check_kinds(request.prompts)
        if request.ending != ".zarr":
            raise ExportError(
                f"What is scanned tile by tile is written as OME-Zarr, not as {request.ending}.",
                "Choose the format zarr.",
            )
    content = find_images(request.source, request.output, request.pattern, request.series, reporter)
    left_out = [FolderRow(name, "", LEFT_OUT, message=why) for name, why in content.left_out]
    phrases = request.phrases or (request.prompts.text,)
    total = len(content.images) * len(phrases)
    reporter.report(Progress(0, total, f"Loading {engine.spec.title}"))
    engine.load(reporter)
    kinds = replace(request.prompts, text=phrases[0]).kinds
    engine.spec.check_diameter(request.options, kinds)
    finished = finished_outputs(request.output) if request.skip_finished else {}
    weights = weights_of(engine, request)
    runs = [
        [_FolderRun(engine, request, image, phrase, weights) for phrase in phrases]
        for image in content.images
    ]
    skipped = {run: run.skip(finished) for of_image in runs for run in of_image}
    remaining_time = RemainingTime(list(skipped.values()).count(None))
    left: float | None = None
    plans = [
        _ImagePlan(of_image, tuple(run.phrase for run in of_image if skipped[run] is None))
        for of_image in runs
    ]
    part = PartReporter(reporter)
    rows: list[FolderRow] = []
    try:
        with (
            claim_folder(engine, request, request.sought),
            _finding(engine, request, plans, part) as find,
        ):
            for plan in plans:
                for run in plan.runs:
                    soon = "" if left is None else f", {format_duration(left)} left"
                    message = f"{plan.image.title} ({part_of(len(rows) + 1, total)}{soon})"
                    part.begin(Progress(len(rows), total, message, left))
                    row = skipped[run]
                    if row is None:
                        row = find(plan, run)
                        left = remaining_time.step()
                    rows.append(row)
                    yield row
    finally:
        write_summary(request.output, (row.cells for row in [*rows, *left_out]))
    yield from left_out


@contextmanager
def _finding(
    engine: CachingEngine, request: FolderRequest, plans: Sequence[_ImagePlan], part: PartReporter
) -> Iterator[Callable[[_ImagePlan, _FolderRun], FolderRow]]:
    """Yield what finds the objects of one run after another, in order, and writes them."""
    work = PhraseWork(request.prompts, request.options, request.look)
    if request.tiles is not None:
        tiles = request.tiles
        yield lambda _, run: run.finish(lambda: run.scan(work, tiles, part))
        return
    if engine.many is not None:
        work.take_sample(plan.image for plan in plans if plan.phrases)
    pieces = chain.from_iterable(plan.pieces(work) for plan in plans if plan.phrases)
    answers: dict[_ImagePlan, dict[str, _Answer]] = {}
    with closing(work_through(engine, work, pieces, CancelOnlyReporter(part))) as outcomes:

        def find(plan: _ImagePlan, run: _FolderRun) -> FolderRow:
            if plan not in answers:
                answers.clear()
                answers[plan] = plan.take(outcomes)
            return run.finish(lambda: run.write(work, answers[plan][run.phrase]))

        yield find


@dataclass(slots=True, eq=False)
class _ImagePlan:
    """One image: all that is asked of it, and the phrases that are not finished."""

    runs: list[_FolderRun]
    phrases: tuple[str, ...]
    planes: tuple[tuple[int, ...], ...] = ((),)

    @property
    def image(self) -> FolderImage:
        return self.runs[0].image

    def pieces(self, work: PhraseWork) -> Iterator[FolderPiece]:
        """Yield its planes; of an image that can't be opened one piece, which says why."""
        _ = self.image.state  # noted as it was before it is read
        try:
            loaded, view = work.open(self.image)
            check_labels_fit(view)
            check_room(self.runs[0].engine, self.runs[0].prompts, view.shape)
        except (Sam3AssistantError, MemoryError) as error:
            yield FolderPiece(self.image, error=error)
            return
        self.planes = tuple(np.ndindex(*leading_shape(view)))
        pixel = pixel_of(loaded, view)
        for leading in self.planes:
            yield FolderPiece(self.image, leading, self.phrases, pixel)

    def take(self, outcomes: Iterator[Outcome]) -> dict[str, _Answer]:
        """Return what came out by phrase; how many planes there are is known with the first."""
        found = [next(outcomes)]
        found += [next(outcomes) for _ in self.planes[1:]]
        return {
            phrase: _Answer(
                self.planes,
                [result.value[place] if result.error is None else result.error for result in found],
            )
            for place, phrase in enumerate(self.phrases)
        }


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    """What came out for a phrase on all planes of an image."""

    planes: tuple[tuple[int, ...], ...]
    answers: list[PhraseAnswer | Sam3AssistantError | MemoryError]

    def get(self) -> tuple[list[tuple[tuple[int, ...], TileResult]], float]:
        """Return what was found on each plane, and the seconds; raises what failed first."""
        found, seconds = [], 0.0
        for leading, answer in zip(self.planes, self.answers, strict=True):
            if not isinstance(answer, PhraseAnswer):
                raise answer
            if answer.result is None:
                raise answer.error or RuntimeError("an answer has a result or an error")
            found.append((leading, answer.result))
            seconds += answer.seconds
        return found, seconds


@dataclass(frozen=True, slots=True, eq=False)
class _FolderRun:
    """One image and one phrase."""

    engine: CachingEngine
    request: FolderRequest
    image: FolderImage
    phrase: str
    weights: Mapping[str, str]

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same for finished labels to count."""
        look = {**self.request.look, "series": self.image.series}
        return {
            "source": self.image.relative,
            "state": self.image.state,
            "phrase": self.phrase,
            "look": {key: value for key, value in look.items() if value is not None},
            "engine": self.engine.spec.name,
            **self.request.cut,
            **self.weights,
        }

    @property
    def prompts(self) -> PromptSet:
        """The prompts with the phrase."""
        return replace(self.request.prompts, text=self.phrase)

    def skip(self, finished: Mapping[str, list[FinishedLabels]]) -> FolderRow | None:
        """Return the row of labels that are finished, or None."""
        prompts = prompts_to_json(self.prompts)
        alike = [
            labels
            for labels in finished.get(self.image.relative, ())
            if prompts_to_json(labels.note.prompts) == prompts
        ]
        if not alike:
            return None
        found = find_finished(alike, self.engine, _through_json(self.identity), self.request)
        if found is None:
            return None
        name = found.path.relative_to(self.request.output).as_posix()
        return FolderRow(self.image.title, self.phrase, "skipped", found.objects, 0.0, name)

    def finish(self, work: Callable[[], FolderRow]) -> FolderRow:
        """Do what is to be done, and return the row, also of what failed."""
        try:
            return work()
        except JobCancelled:
            raise
        except Sam3AssistantError as error:
            return FolderRow(self.image.title, self.phrase, "failed", message=str(error))
        except MemoryError:
            return FolderRow(self.image.title, self.phrase, "failed", message=NO_MEMORY)

    @property
    def _path(self) -> Path:
        """How the labels are called, if that is free."""
        label = f"_{safe_name(self.phrase)[:_LONGEST_PHRASE]}" if self.phrase else ""
        name = f"{self.image.stem}{label}_mask{self.request.ending}"
        return self.request.output / self.image.folder / name

    def _done(self, path: Path, objects: int, seconds: float, notes: tuple[str, ...]) -> FolderRow:
        name = path.relative_to(self.request.output).as_posix()
        return FolderRow(
            self.image.title, self.phrase, "done", objects, seconds, name, " ".join(notes)
        )

    def scan(self, work: PhraseWork, tiles: TileOptions, reporter: Reporter) -> FolderRow:
        """Scan every plane tile by tile, or go on with that, and return the row."""
        began = time.monotonic()
        loaded, view = work.open(self.image)
        wanted = ScanRequest(
            view,
            self.prompts,
            self._path,
            replace(self.request.options, pixel=pixel_of(loaded, view)),
            tiles,
            _labels_axes(loaded, view),
            model_folder=self.request.model_folder,
            paths={view.channels[0].source.token: self.image.path},
            series=loaded.series,
            notes=loaded.notes,
            all_planes=True,
            extra=_through_json(self.identity),
        )
        free = place_output(self.engine, wanted, reporter)
        found = scan(self.engine, free, reporter)
        result = next(step for step in found if isinstance(step, ScanResult))
        seconds = time.monotonic() - began
        return self._done(result.path, len(result.objects), seconds, result.notes)

    def write(self, work: PhraseWork, answer: _Answer) -> FolderRow:
        """Write labels and note, and return the row."""
        began = time.monotonic()
        request = self.request
        planes, seconds = answer.get()
        loaded, view = work.open(self.image)
        result = join_planes(view, planes)
        folder = self._path.parent
        with explain_os_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
        axes = _labels_axes(loaded, view)
        notes = (*loaded.notes, *result.notes)
        run = RunProvenance(
            view,
            self.prompts,
            replace(request.options, pixel=pixel_of(loaded, view)),
            # Where it runs is said by the engine here: a worker knows itself alone.
            replace(result.engine, device=self.engine.device),
            request.model_folder,
            {view.channels[0].source.token: self.image.path},
            axes=axes,
            all_planes=True,
            notes=notes,
            series=loaded.series,
        )
        objects = [object_entry(record, plane) for plane, record in result.objects]
        provenance = make_record(run, folder, objects, _through_json(self.identity))
        path = save_under_free_name(
            self._path, lambda name: save_labels(result.labels, name, axes, overwrite=False)
        )
        # The note comes last: labels without one are not finished, and are made again.
        write_provenance(path, provenance)
        return self._done(path, len(result.objects), seconds + time.monotonic() - began, notes)


def _through_json(identity: dict[str, Any]) -> dict[str, Any]:
    through: dict[str, Any] = json.loads(json.dumps(identity))
    return through


def _labels_axes(loaded: LoadedImage, view: ImageView) -> Axes:
    """Return the axes of the labels: those of the image without its channels."""
    found = view.channels[0].source.axes
    return loaded.along((*found.leading, found.y, found.x))


_MOST_FILES = 20
_SECONDS = 5.0
"""How long the folder is listed, and how long files are looked at then: disks may be far away."""


@dataclass(frozen=True, slots=True)
class FoundSeries:
    """The images of one number in several files.

    Parameters
    ----------
    number : int
        Which image of each file, from 0.
    names : tuple of str
        What the files call it, each name once; empty where it has none.
    shapes : tuple of tuple of int
        Its lengths along the axes, each once.
    files : int
        How many files have it.
    """

    number: int
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    files: int


@dataclass(frozen=True, slots=True)
class FolderSeries:
    """What there is to choose in a folder.

    Parameters
    ----------
    files : int
        How many images were looked at: files, sets of files, or zarr folders.
    unreadable : int
        How many of them can't be read.
    series : tuple of FoundSeries
        What the others hold, by number.
    problem : str
        Why nothing could be looked at; empty where it could.
    """

    files: int = 0
    unreadable: int = 0
    series: tuple[FoundSeries, ...] = ()
    problem: str = ""


def find_series(
    source: Path, output: Path | None, pattern: str, reporter: Reporter, *, most: int = 1000
) -> Iterator[FolderSeries]:
    """Yield which images, up to ``most``, the first files of a folder hold; reads no pixels."""
    files = first_files(source, output, pattern, _in_time(reporter))
    looked_at: list[tuple[Series, ...]] = []
    go_on: Callable[[], bool] | None = None
    for path in files:
        # Its time begins when the folder is listed.
        go_on = go_on or _in_time(reporter)
        try:
            looked_at.append(list_series(path))
        except ImageError:
            looked_at.append(())
        if len(looked_at) == _MOST_FILES or not go_on():
            break
    if not looked_at:
        yield FolderSeries(problem=f"No image was found in {_SECONDS:.0f} s; the folder is large.")
        return
    by_number: dict[int, list[Series]] = {}
    for found in filter(None, looked_at):
        here = own_series(found)
        # A file of a set of positions is one image, whatever its number.
        for number in here if len(here) > 1 or len(found) == 1 else ():
            by_number.setdefault(number, []).append(found[number])
    yield FolderSeries(
        len(looked_at),
        looked_at.count(()),
        tuple(
            FoundSeries(
                number,
                tuple(dict.fromkeys(series.name for series in alike if series.name)),
                tuple(dict.fromkeys(series.shape for series in alike)),
                len(alike),
            )
            for number, alike in sorted(by_number.items())[:most]
        ),
    )


def _in_time(reporter: Reporter) -> Callable[[], bool]:
    """Return what says whether there is time left; it raises JobCancelled if the work is over."""
    end = time.monotonic() + _SECONDS

    def go_on() -> bool:
        reporter.check()
        return time.monotonic() < end

    return go_on
