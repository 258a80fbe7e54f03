"""Run phrases or other prompts on every image of a folder."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.errors import JobCancelled, PromptError, Sam3AssistantError
from napari_sam3_assistant.io.atomic import explained
from napari_sam3_assistant.io.free_name import safe_name, save_under_free_name
from napari_sam3_assistant.io.image_folder import find_images, finished_outputs
from napari_sam3_assistant.io.images import read_image
from napari_sam3_assistant.io.labels import save_labels
from napari_sam3_assistant.io.prompt_json import prompts_to_json
from napari_sam3_assistant.io.sidecar import write_sidecar
from napari_sam3_assistant.io.tables import write_table
from napari_sam3_assistant.workflows.pace import Pace, Quiet, duration
from napari_sam3_assistant.workflows.planes import first_view, segment_planes
from napari_sam3_assistant.workflows.recipe import Recipe, described, sidecar_for
from napari_sam3_assistant.workflows.segment import SegmentRequest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.options import PredictOptions
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.prompts import PromptSet
    from napari_sam3_assistant.core.views import ImageView
    from napari_sam3_assistant.engines.embeddings import EncodingEngine
    from napari_sam3_assistant.io.image_folder import FolderImage
    from napari_sam3_assistant.io.loaded import LoadedImage
    from napari_sam3_assistant.io.sidecar import Sidecar

_LONGEST_PHRASE = 60  # letters of a phrase that become part of a file name
NO_MEMORY = "The computer has not enough free memory. Close other programs, or use a smaller image."
SUMMARY = "sam3_summary.csv"
_HEADER = ("image", "phrase", "status", "objects", "seconds", "labels", "message")


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
    skip_finished : bool
        Whether images that an earlier start has finished with the same prompts are left out.
    series : int or None
        Which image of files that hold several; None for the largest.
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
    skip_finished: bool = True
    series: int | None = None


@dataclass(frozen=True, slots=True)
class FolderRow:
    """What became of one image and one phrase.

    Parameters
    ----------
    image : str
        The image, as seen from the folder.
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


def segment_folder(
    engine: EncodingEngine, request: FolderRequest, reporter: Reporter
) -> Iterator[FolderRow]:
    """Run on each image of a folder; one that fails is reported and the rest goes on.

    What an earlier start has finished with the same prompts on the same file is skipped. A file
    that exists is never overwritten, but for the summary, ``sam3_summary.csv``.

    Parameters
    ----------
    engine : EncodingEngine
        The engine to run; it is loaded if it is not.
    request : FolderRequest
        What to do.
    reporter : Reporter
        Is told of the progress, and stops the work.

    Yields
    ------
    FolderRow
        For each image, for each phrase; at the end one for each file that is left out.

    Raises
    ------
    ImageError
        If there is no image in the folder.
    PromptError
        If there is no prompt.
    ExportError
        If the output folder can't be made or is the source.
    """
    if not (request.phrases or request.prompts.kinds):
        raise PromptError("No prompts found.", "Give a phrase, points, boxes or example boxes.")
    content = find_images(request.source, request.output, request.pattern)
    left_out = [FolderRow(name, "", "left out", message=why) for name, why in content.left_out]
    finished = finished_outputs(request.output) if request.skip_finished else {}
    phrases = request.phrases or (request.prompts.text,)
    total = len(content.images) * len(phrases)
    runs = [
        [_Run(engine, request, image, phrase, reporter) for phrase in phrases]
        for image in content.images
    ]
    pace = Pace(sum(run.skipped(finished) is None for of_image in runs for run in of_image))
    left: float | None = None
    reporter.report(Progress(0, total, f"Loading {engine.spec.title}"))
    engine.load(reporter)
    rows: list[FolderRow] = []
    try:
        for of_image in runs:
            loaded: tuple[LoadedImage, ImageView] | None = None
            for run in of_image:
                name, place = run.image.relative, len(rows) + 1
                soon = "" if left is None else f", {duration(left)} left"
                said = f"{name} ({place} of {total}{soon})"
                reporter.report(Progress(len(rows), total, said, left))
                row = run.skipped(finished)
                if row is None:
                    try:
                        loaded = loaded or run.load()
                        row = run.done(*loaded)
                    except JobCancelled:
                        raise
                    except Sam3AssistantError as error:
                        row = FolderRow(name, run.phrase, "failed", message=str(error))
                    except MemoryError:
                        row = FolderRow(name, run.phrase, "failed", message=NO_MEMORY)
                    left = pace.step()
                rows.append(row)
                yield row
    finally:
        write_table(
            request.output / SUMMARY,
            _HEADER,
            (
                (one.image, one.phrase, one.status, one.objects, f"{one.seconds:.2f}", one.labels,
                 one.message)
                for one in [*rows, *left_out]
            ),
        )  # fmt: skip
    yield from left_out


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """One image and one phrase."""

    engine: EncodingEngine
    request: FolderRequest
    image: FolderImage
    phrase: str
    reporter: Reporter

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same for finished labels to count."""
        look = {**self.request.look, "series": self.request.series}
        return {
            "source": self.image.relative,
            "state": self.image.state,
            "phrase": self.phrase,
            "look": {key: value for key, value in look.items() if value is not None},
            "engine": self.engine.spec.name,
        }

    @property
    def prompts(self) -> PromptSet:
        """The prompts with the phrase."""
        return replace(self.request.prompts, text=self.phrase)

    def skipped(self, finished: dict[str, list[tuple[Path, Sidecar]]]) -> FolderRow | None:
        """Return the row of labels that are finished, or None."""
        for labels, note in finished.get(self.image.relative, ()):
            same = (
                note.extra == _plain(self.identity)
                and note.threshold == self.request.options.threshold
                and labels.suffix == self.request.ending
                and prompts_to_json(note.prompts) == prompts_to_json(self.prompts)
            )
            if same and labels.exists():
                name = labels.relative_to(self.request.output).as_posix()
                return FolderRow(
                    self.image.relative, self.phrase, "skipped", len(tuple(note.objects)), 0.0, name
                )
        return None

    def load(self) -> tuple[LoadedImage, ImageView]:
        """Open the image; its pixels are read when they are needed."""
        loaded = read_image(self.image.path, self.request.series)
        return loaded, first_view(loaded, **self.request.look)

    def done(self, loaded: LoadedImage, view: ImageView) -> FolderRow:
        """Run, write labels and note, and return the row."""
        began = time.monotonic()
        request = self.request
        wanted = SegmentRequest(view, self.prompts, request.options)
        result = next(segment_planes(self.engine, wanted, Quiet(self.reporter)))
        label = f"_{safe_name(self.phrase)[:_LONGEST_PHRASE]}" if self.phrase else ""
        folder = request.output / self.image.folder
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
        axes = _axes(loaded, view)
        notes = (*loaded.notes, *result.notes)
        recipe = Recipe(
            view,
            self.prompts,
            request.options,
            result.engine,
            request.model_folder,
            {view.channels[0].source.token: self.image.path},
            axes=axes,
            all_planes=True,
            notes=notes,
            series=loaded.series,
        )
        objects = [described(record, plane) for plane, record in result.objects]
        note = sidecar_for(recipe, folder, objects, _plain(self.identity))
        path = save_under_free_name(
            folder / f"{self.image.stem}{label}_mask{request.ending}",
            lambda name: save_labels(result.labels, name, axes, overwrite=False),
        )
        # The note comes last: labels without one are not finished, and are made again.
        write_sidecar(path, note)
        return FolderRow(
            self.image.relative,
            self.phrase,
            "done",
            len(result.objects),
            time.monotonic() - began,
            path.relative_to(request.output).as_posix(),
            " ".join(notes),
        )


def _plain(identity: dict[str, Any]) -> Any:  # noqa: ANN401 - as JSON gives it back
    return json.loads(json.dumps(identity))


def _axes(loaded: LoadedImage, view: ImageView) -> Axes:
    """Return the axes of the labels: those of the image without its channels."""
    found = view.channels[0].source.axes
    return loaded.along((*found.leading, found.y, found.x))
