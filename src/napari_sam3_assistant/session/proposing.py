"""What is proposed on the next image of a folder, and the examples that some of it is made by."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant import __version__
from napari_sam3_assistant.core.plurals import pluralize
from napari_sam3_assistant.core.prompts import MaskPrompt, PromptKind, PromptSet
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.results import (
    ObjectRecord,
    Provenance,
    Segmentation,
    paint_labels,
    set_class,
)
from napari_sam3_assistant.errors import ImageError, PromptError, Sam3AssistantError
from napari_sam3_assistant.io.label_files import read_labels
from napari_sam3_assistant.jobs import Job, JobRunner, JobState
from napari_sam3_assistant.session.model import Propose
from napari_sam3_assistant.session.values import Level, Message, Preview
from napari_sam3_assistant.workflows.examples import (
    EXAMPLES_FOLDER,
    ExampleLibrary,
    cut_example,
    propose,
)
from napari_sam3_assistant.workflows.provenance import RunProvenance
from napari_sam3_assistant.workflows.segment import SegmentRequest, segment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_sam3_assistant.core.progress import Deliver, Reporter
    from napari_sam3_assistant.session.jobs import Services
    from napari_sam3_assistant.session.model import AnnotationModel


PROPOSALS = (
    (Propose.NOTHING, "No proposals"),
    (Propose.PHRASE, "By phrase"),
    (Propose.LABELS, "By labels"),
    (Propose.EXAMPLES, "By examples"),
)


class Proposals:
    """Proposes objects on an image that was opened. All methods are called on the GUI thread."""

    def __init__(self, services: Services, annotation: AnnotationModel, deliver: Deliver) -> None:
        self._model, self._adapter = services.model, services.adapter
        self._engine, self._jobs, self._undo = services.engine, services.jobs, services.undo
        self._annotation = annotation
        self._runner = JobRunner(deliver)
        self._key = ""  # of the image that was opened

    @property
    def _library(self) -> ExampleLibrary:
        return ExampleLibrary(Path(self._annotation.output) / EXAMPLES_FOLDER)

    def close(self) -> None:
        """Let what is being written be written."""
        self._runner.finish()

    def start_beside(self, job: Job, show: Callable[[Any], None]) -> Job:
        """Start a short job that writes on a worker of its own: a run goes on."""

        def end(state: JobState) -> None:
            if state is JobState.FAILED:
                self._say(str(job.error), Level.ERROR)

        job.yielded.connect(show)
        job.finished.connect(end)
        self._runner.start(job)
        return job

    def add_example(self) -> None:
        """Keep the example boxes on the image, or else the object that is marked, as examples.

        Raises PromptError if there is neither.
        """
        model, name = self._model, self._annotation.name
        if not name:
            raise PromptError("No image of a folder is on show.", "Press Annotate Folder first.")
        snapshot = self._adapter.take_snapshot(model.image, PromptKind.EXEMPLARS)
        named = [
            (exemplar.region, exemplar.positive, model.object_class)
            for exemplar in snapshot.prompts.exemplars
        ]
        picked = model.picked
        if picked is not None and picked.preview.target == snapshot.target and not named:
            named = [(picked.record.region, True, picked.record.class_name)]
        if not named:
            raise PromptError(
                "There is no example to add.",
                "Draw a box around one in the task Exemplar, or click on an object first.",
            )
        library = self._library

        def work(reporter: Reporter) -> Iterator[int]:
            for region, is_positive, of in named:
                reporter.check()
                library.add(
                    cut_example(
                        snapshot.view, region, positive=is_positive, class_name=of, image=name
                    )
                )
            yield len(library.read())

        def show(count: int) -> None:
            added = pluralize(len(named), "example")
            self._say(f"Added {added}; the folder has {count}. (Experimental)", Level.SUCCESS)

        self.start_beside(Job("The examples", work, writes=True), show)

    def propose(self, image: str) -> None:
        """Show objects that the user may keep, correct or drop, as was chosen.

        ``image``: key of the image that was opened.
        """
        self._key, chosen = image, self._annotation.propose
        try:
            if chosen is Propose.PHRASE and self._model.text.strip():
                self._run_proposal(PromptSet(text=self._model.text.strip()))
            elif chosen is Propose.EXAMPLES:
                self._run_proposal(None)
            elif chosen is Propose.LABELS:
                self._show_others()
        except Sam3AssistantError as error:
            self._say(f"{self._model.message.text} Nothing is proposed: {error}", Level.WARNING)

    def _run_proposal(self, prompts: PromptSet | None) -> None:
        """Look for what a phrase names, or without one for what the examples show."""
        model = self._model
        engine, asked = self._engine.take(), prompts or PromptSet()
        snapshot = self._adapter.take_snapshot(self._key, PromptKind.TEXT)
        options = self._engine.options(asked.kinds, snapshot.pixel)
        library = self._library

        refused: list[PromptError] = []

        def work(reporter: Reporter) -> Iterator[Segmentation]:
            try:
                if prompts is None:
                    yield from propose(engine, snapshot.view, library.read(), options, reporter)
                else:
                    request = SegmentRequest(snapshot.view, prompts, options)
                    yield from segment(engine, request, reporter)
            except PromptError as error:  # nothing failed: there is nothing to look for yet
                refused.append(error)

        def end(_: JobState) -> None:
            for error in refused:
                self._say(f"Nothing is proposed: {error}", Level.WARNING)

        def show(segmentation: Segmentation) -> None:
            segmentation = set_class(segmentation, model.object_class)
            path = (
                Path(model.model_folder)
                if model.model_folder and segmentation.engine.weights
                else None
            )
            run = RunProvenance(
                snapshot.view,
                asked,
                options,
                segmentation.engine,
                path,
                snapshot.paths,
                notes=segmentation.notes,
            )
            self._show_proposal(Preview(snapshot.target, segmentation, 0.0, "", run))

        job = self._engine.make_job("The proposal", engine, work, show)
        self._jobs.start(job, views=(snapshot.view,))
        job.finished.connect(end)

    def _show_others(self) -> None:
        """Show the labels that another tool has put beside the image."""
        shown = self._annotation.shown
        others = None if shown is None else shown.others
        if others is None:
            return
        target = self._adapter.take_snapshot(self._key, PromptKind.TEXT).target
        whole = Region.whole((target.shape[target.axes.y], target.shape[target.axes.x]))

        def work(reporter: Reporter) -> Iterator[Segmentation]:
            reporter.check()
            yield _read_others(others, whole)

        def show(segmentation: Segmentation) -> None:
            self._show_proposal(Preview(target, segmentation, 0.0, ""))

        job = Job("The labels beside the image", work)
        job.yielded.connect(show)
        self._jobs.start(job)

    def _show_proposal(self, preview: Preview) -> None:
        if preview.target.image != self._key or self._model.previews:
            return  # the user has gone on
        notes = " ".join(preview.segmentation.notes)
        if not preview.segmentation.objects:
            self._say(f"Nothing is proposed: no object was found. {notes}".strip(), Level.WARNING)
            return
        self._undo.record((preview,), amend=False)
        count = pluralize(len(preview.segmentation.objects), "object")
        self._say(f"Proposed {count}: keep, correct or drop them. {notes}".strip(), Level.SUCCESS)
        self._model.previews = (preview,)

    def _say(self, text: str, level: Level = Level.INFO) -> None:
        self._model.message = Message(text, level)


def _read_others(path: Path, whole: Region) -> Segmentation:
    """Return labels of another tool as a result; raises ImageError if they don't fit."""
    labels = np.squeeze(read_labels(path).pixels())
    if labels.shape != whole.shape or labels.dtype.kind not in "iu":
        raise ImageError(f"{path.name} holds no labels of this plane.", "Look at the file.")
    masks = MaskPrompt.of_labels(labels)
    records = [
        ObjectRecord.from_mask(
            number, mask.mask, offset=(mask.region.y0, mask.region.x0), text=path.name
        )
        for number, mask in enumerate(masks, 1)
    ]
    objects = tuple(record for record in records if record is not None)
    engine = Provenance("labels", f"Labels of {path.name}", __version__, "cpu", 0.0)
    return Segmentation(paint_labels(objects, whole), objects, whole, engine)
