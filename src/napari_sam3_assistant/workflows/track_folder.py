"""Follow objects through every stack of a folder, several at the same time on a server."""

from __future__ import annotations

import json
import math
import time
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numcodecs  # type: ignore[import-untyped]
import numpy as np

from napari_sam3_assistant.core.display import FrameSource, view_of_array
from napari_sam3_assistant.core.images import UNKNOWN_PIXEL
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.plurals import part_of
from napari_sam3_assistant.core.progress import (
    PartReporter,
    Progress,
    RemainingTime,
    format_duration,
)
from napari_sam3_assistant.core.tracks import Span, TrackTable
from napari_sam3_assistant.engines.piecework import work_through
from napari_sam3_assistant.errors import NO_MEMORY, ImageError, PromptError, Sam3AssistantError
from napari_sam3_assistant.io.atomic import explain_os_errors
from napari_sam3_assistant.io.image_folder import find_images, finished_outputs
from napari_sam3_assistant.io.json_values import prompts_to_json
from napari_sam3_assistant.io.labels import open_label_stack
from napari_sam3_assistant.io.outputs import save_under_free_name
from napari_sam3_assistant.io.provenance import write_provenance
from napari_sam3_assistant.workflows.batch import FolderRow
from napari_sam3_assistant.workflows.folder_work import (
    FolderImages,
    claim_folder,
    find_finished,
    pixel_of,
    weights_of,
)
from napari_sam3_assistant.workflows.provenance import StackProvenance, make_record, track_entries
from napari_sam3_assistant.workflows.summary import write_summary
from napari_sam3_assistant.workflows.track import TrackRequest, track

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from napari_sam3_assistant.core.images import PixelSize
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import PromptKind, PromptSet
    from napari_sam3_assistant.core.tracks import FrameResult
    from napari_sam3_assistant.engines.base import Outcome
    from napari_sam3_assistant.engines.caching_engine import CachingEngine
    from napari_sam3_assistant.io.image_folder import FinishedLabels, FolderImage
    from napari_sam3_assistant.io.loaded import LoadedImage

_MOST_SENT = 2**32  # bytes of a stack's pictures; larger ones are for workers that read the file
_CODEC = numcodecs.Zstd(level=1)  # Blosc takes no more than 2 GB


@dataclass(frozen=True, slots=True, eq=False)
class TrackFolderRequest:
    """What to follow in which folder.

    Parameters
    ----------
    source, output : Path
        Folder of the stacks, and folder of the labels; the latter is made.
    prompts : mapping of int to PromptSet
        Prompts by frame, the same in each stack.
    span : Span
        Which frames to go through.
    options : PredictOptions
        The choices of the run.
    axis : int, str or None
        Number or name of the axis along which the frames lie; None for the only one.
    pattern : str
        Which files, as ``*.tif`` or ``**/*`` for all folders below.
    ending : str
        Format of the labels: ``.tif``, ``.npy`` or ``.zarr``.
    model_folder : Path or None
        Folder of the weights, for the notes beside the labels.
    look : mapping
        ``channel_axis``, ``channel`` and ``contrast``, where they are not to be found out.
    series : tuple of int or str, or None
        Which images of files that hold several, as :func:`.loaded.parse_series` returns it; each
        gets labels of its own. None for the largest of each file.
    skip_finished : bool
        Whether stacks that an earlier start has finished with the same prompts are left out.
    """

    source: Path
    output: Path
    prompts: Mapping[int, PromptSet]
    span: Span = field(default_factory=Span)
    options: PredictOptions = field(default_factory=PredictOptions)
    axis: int | str | None = None
    pattern: str = "*"
    ending: str = ".tif"
    model_folder: Path | None = None
    look: Mapping[str, Any] = field(default_factory=dict)
    series: tuple[int | str, ...] | None = None
    skip_finished: bool = True

    @property
    def kinds(self) -> frozenset[PromptKind]:
        """The kinds of its prompts."""
        return frozenset().union(*(own.kinds for own in self.prompts.values()))

    @property
    def sought(self) -> dict[str, Any]:
        """What is followed, as JSON holds it."""
        span = self.span
        return {
            "prompts": {str(frame): prompts_to_json(own) for frame, own in self.prompts.items()},
            "span": [str(span.direction), span.first, span.last, span.stop_after_lost],
        }


@dataclass(frozen=True, slots=True, eq=False)
class FollowedStack:
    """What came of a stack.

    Parameters
    ----------
    frames : tuple of (FrameResult, bytes)
        Each frame as it was done; its labels are empty, and compressed beside it.
    steps : list of dict
        What the note says of the run.
    seconds : float
        How long it took.
    """

    frames: tuple[tuple[FrameResult, bytes], ...]
    steps: list[dict[str, Any]]
    seconds: float


class StackPictures:
    """The pictures of a stack, read when they are asked for.

    Parameters
    ----------
    frames : FrameSource
        The stack.
    """

    def __init__(self, frames: FrameSource) -> None:
        self.frames = frames

    def __iter__(self) -> Iterator[npt.NDArray[np.uint8]]:
        """Read all of them, to be sent."""
        if 3 * math.prod((len(self.frames), *self.frames.shape)) > _MOST_SENT:
            raise ImageError(
                "The stack is too large to be sent to a worker.",
                "Put it where the workers reach it under the same path, or follow it alone.",
            )
        return (self.frames.read(number) for number in range(len(self.frames)))


@dataclass(frozen=True, slots=True)
class StackPiece:
    """A stack of a folder, and the size of its pixels: where it is sent nothing else tells it."""

    image: FolderImage
    pixel: PixelSize


class FollowWork(FolderImages):
    """Follow the objects of each stack, see :class:`.engines.piecework.Piecework`.

    Parameters
    ----------
    request : TrackFolderRequest
        What to do.
    """

    def __init__(self, request: TrackFolderRequest) -> None:
        super().__init__(request.look)
        self._prompts, self._axis = dict(request.prompts), request.axis
        self._span, self._options = request.span, request.options

    def piece(self, image: FolderImage) -> StackPiece:
        """Return the piece of a stack; one that can't be opened is told of when it is read."""
        with suppress(Sam3AssistantError, MemoryError):
            return StackPiece(image, self.options(image).pixel)
        return StackPiece(image, UNKNOWN_PIXEL)

    def options(self, image: FolderImage) -> PredictOptions:
        """Return the choices of the run, with the size of a pixel of a stack."""
        return replace(self._options, pixel=pixel_of(*self.open(image)))

    def frames(self, image: FolderImage) -> FrameSource:
        """Return the frames of a stack."""
        loaded, view = self.open(image)
        axes = view.channels[0].source.axes
        axis = self._axis
        if isinstance(axis, str):
            names = [item.name.lower() for item in loaded.axes]
            if names.count(axis.lower()) != 1:
                raise ImageError(f"There is no axis '{axis}'.", f"It has {', '.join(names)}.")
            axis = names.index(axis.lower())
        longer = [leading for leading in axes.leading if loaded.data.shape[leading] > 1]
        if axis is None and not longer:
            raise ImageError(
                f"An image of the shape {tuple(loaded.data.shape)} is not a stack.",
                "Segment it as a plane.",
            )
        number = longer[0] if axis is None else axis % len(loaded.data.shape)
        if any(leading != number for leading in longer):
            raise ImageError(
                f"An image of the shape {tuple(loaded.data.shape)} is not a single stack.",
                "Follow its stacks one by one.",
            )
        return FrameSource(view, number, loaded.axes[number].name)

    def read(self, piece: StackPiece) -> StackPictures:
        """Open a stack."""
        return StackPictures(self.frames(piece.image))

    def run(
        self,
        engine: CachingEngine,
        piece: StackPiece,
        pixels: StackPictures | tuple[npt.NDArray[np.uint8], ...],
        reporter: Reporter,
    ) -> FollowedStack:
        """Follow the objects of a stack."""
        options = replace(self._options, pixel=piece.pixel)
        if isinstance(pixels, tuple):
            frames = FrameSource(view_of_array(np.stack(pixels), plane=(0,), rgb=True), 0)
        else:
            frames = pixels.frames
        began = time.monotonic()
        provenance = StackProvenance(frames, self._prompts, options, None, {})
        request = TrackRequest(frames, self._prompts, self._span, options)
        none = np.zeros((0, 0), np.uint32)
        found = tuple(
            (replace(result, labels=none), bytes(_CODEC.encode(result.labels)))
            for result in track(engine, request, reporter, provenance)
        )
        return FollowedStack(found, provenance.steps, time.monotonic() - began)


def track_folder(
    engine: CachingEngine, request: TrackFolderRequest, reporter: Reporter
) -> Iterator[FolderRow]:
    """Follow the objects of each stack of a folder; one that fails is reported, the rest goes on.

    What an earlier start has finished with the same prompts and weights on the same file is
    skipped. No file is overwritten, but for the rows of these stacks in the summary,
    ``sam3_summary.csv``.
    """
    if not request.kinds:
        raise PromptError("No prompts found.", "Give a phrase, points, boxes or example boxes.")
    content = find_images(request.source, request.output, request.pattern, request.series, reporter)
    reporter.report(Progress(0, len(content.images), f"Loading {engine.spec.title}"))
    engine.load(reporter)
    engine.spec.check_diameter(request.options, request.kinds)
    work = FollowWork(request)
    left_out = [FolderRow(name, "", "left out", message=why) for name, why in content.left_out]
    finished = finished_outputs(request.output) if request.skip_finished else {}
    weights = weights_of(engine, request)
    stacks = [_Stack(engine, request, image, weights) for image in content.images]
    skipped = {stack.image: stack.skip(finished) for stack in stacks}
    to_do = [stack.image for stack in stacks if skipped[stack.image] is None]
    if engine.many is not None:
        work.take_sample(to_do)

    def in_turn() -> Iterator[StackPiece]:
        for image in to_do:
            _ = image.state  # noted as it was before it is read
            yield work.piece(image)

    remaining = RemainingTime(len(to_do))
    left: float | None = None
    frames = PartReporter(reporter)
    rows: list[FolderRow] = []
    try:
        with (
            claim_folder(engine, request, {**request.sought, "axis": request.axis}),
            closing(work_through(engine, work, in_turn(), frames)) as outcomes,
        ):
            for number, stack in enumerate(stacks):
                soon = "" if left is None else f", {format_duration(left)} left"
                message = f"{stack.image.title} ({part_of(number + 1, len(stacks))}{soon})"
                frames.begin(Progress(number, len(stacks), message, left))
                row = skipped[stack.image]
                if row is None:
                    row = stack.finish(work, next(outcomes))
                    left = remaining.step()
                rows.append(row)
                yield row
    finally:
        write_summary(request.output, (row.cells for row in [*rows, *left_out]))
    yield from left_out


@dataclass(frozen=True, slots=True, eq=False)
class _Stack:
    """One stack of a folder."""

    engine: CachingEngine
    request: TrackFolderRequest
    image: FolderImage
    weights: Mapping[str, str]

    @property
    def _phrase(self) -> str:
        return next((own.text for own in self.request.prompts.values() if own.text), "")

    @property
    def _identity(self) -> dict[str, Any]:
        """What must be the same for finished labels to count, as JSON holds it."""
        request = self.request
        look = {**request.look, "series": self.image.series, "axis": request.axis}
        extra = {
            "source": self.image.relative,
            "state": self.image.state,
            "look": {key: value for key, value in look.items() if value is not None},
            **request.sought,
            "engine": self.engine.spec.name,
            **self.weights,
        }
        through_json: dict[str, Any] = json.loads(json.dumps(extra))
        return through_json

    def skip(self, finished: Mapping[str, list[FinishedLabels]]) -> FolderRow | None:
        """Return the row of labels that are finished, or None."""
        alike = finished.get(self.image.relative, ())
        # Its state, which may take long to find out, is in its identity.
        found = find_finished(alike, self.engine, self._identity, self.request) if alike else None
        if found is None:
            return None
        name = found.path.relative_to(self.request.output).as_posix()
        return FolderRow(self.image.title, self._phrase, "skipped", found.objects, 0.0, name)

    def finish(self, work: FollowWork, outcome: Outcome) -> FolderRow:
        """Write what was found, and return the row."""
        try:
            if outcome.error is not None:
                raise outcome.error
            return self._write(work, outcome.value)
        except Sam3AssistantError as error:
            message = str(error)
        except MemoryError:
            message = NO_MEMORY
        return FolderRow(self.image.title, self._phrase, "failed", message=message)

    def _write(self, work: FollowWork, followed: FollowedStack) -> FolderRow:
        """Write labels and note, and return the row."""
        request, began = self.request, time.monotonic()
        loaded: LoadedImage = work.open(self.image)[0]
        frames = work.frames(self.image)
        layout = frames.view.channels[0].source.axes
        axes = loaded.along((frames.axis, layout.y, layout.x))
        tokens = {channel.source.token: self.image.path for channel in frames.view.channels}
        provenance = StackProvenance(
            frames, request.prompts, work.options(self.image), request.model_folder, tokens
        )
        provenance.steps += followed.steps
        table, notes = TrackTable(), dict.fromkeys(loaded.notes)
        for result, _ in followed.frames:
            # Where it runs is said by the engine here: a worker knows itself alone.
            provenance.note_frame(replace(result.engine, device=self.engine.device))
            table.add(result)
            notes |= dict.fromkeys(result.notes)
        folder = request.output / self.image.folder
        with explain_os_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)

        def write(name: Path) -> Path:
            shape = (len(frames), *frames.shape)
            with open_label_stack(name, shape, axes, replace=False) as write_frame:
                for result, packed in followed.frames:
                    labels = np.frombuffer(_CODEC.decode(packed), np.uint32)
                    write_frame(result.frame, labels.reshape(frames.shape))
            return name

        path = save_under_free_name(folder / f"{self.image.stem}_tracks{request.ending}", write)
        run = provenance.to_run(axes)
        if run is not None:
            run = replace(run, series=loaded.series, notes=tuple(notes))
            extra = {**self._identity, **provenance.extra()}
            # The note comes last: labels without one are not finished, and are made again.
            write_provenance(path, make_record(run, folder, track_entries(table), extra))
        return FolderRow(
            self.image.title,
            self._phrase,
            "done",
            len({row.object_id for row in table.rows()}),
            followed.seconds + time.monotonic() - began,
            path.relative_to(request.output).as_posix(),
            " ".join(notes),
        )
