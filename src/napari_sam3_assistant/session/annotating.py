"""Annotate the images of a folder one after the other: what was done is saved at each step."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.axes import guess_axes
from napari_sam3_assistant.core.images import ImageSource
from napari_sam3_assistant.core.masks.edits import LabelEdit, changes_between
from napari_sam3_assistant.core.masks.labels import whole_box
from napari_sam3_assistant.core.plurals import part_of, pluralize
from napari_sam3_assistant.core.prompts import Task
from napari_sam3_assistant.errors import (
    ImageError,
    NothingNew,
    PromptError,
    Sam3AssistantError,
)
from napari_sam3_assistant.io.outputs import stamp_of, typed_folder
from napari_sam3_assistant.jobs import Job, JobState
from napari_sam3_assistant.session.availability import NO_SOURCE
from napari_sam3_assistant.session.layer_files import entries_of, features_of
from napari_sam3_assistant.session.model import REMEMBERED_OF_ANNOTATION, AnnotationModel
from napari_sam3_assistant.session.proposing import Proposals
from napari_sam3_assistant.session.saving import describe_accepted
from napari_sam3_assistant.session.settings import restore
from napari_sam3_assistant.session.snapshots import LeftImage
from napari_sam3_assistant.session.values import Level, Message
from napari_sam3_assistant.workflows.annotate_folder import (
    DEFAULT_OUTPUT,
    AnnotatedFolder,
    ImageState,
    LabelsToSave,
    OpenedImage,
    SavedImage,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import numpy.typing as npt

    from napari_sam3_assistant.core.classes import ClassList
    from napari_sam3_assistant.core.display import ImageView
    from napari_sam3_assistant.core.progress import Deliver, Reporter
    from napari_sam3_assistant.session.engine import EmbeddingPrefetch
    from napari_sam3_assistant.session.jobs import Services
    from napari_sam3_assistant.session.settings import SettingsStore
    from napari_sam3_assistant.session.snapshots import AcceptedState
    from napari_sam3_assistant.workflows.annotate_folder import AnnotatedImage, FolderExport


_NO_OTHER = "There is no other image. Press Finish for the files of all."
STATES = tuple((state, state.value.capitalize()) for state in ImageState)
"""The states of an image, and what the user reads."""


@dataclass(frozen=True, slots=True, eq=False)
class ReadImage:
    """An image that was read for the window, or why it could not be.

    ``opened``: the image with its labels; None where it can't be read.
    ``name``: the image, as seen from the folder.
    ``problem``: why it, or its labels, can't be read; empty where all is well.
    ``edit``: its labels as a change of empty ones; None for none.
    ``features``: what is known of their objects.
    ``contrast``: the contrast limits of pixels that are read piece by piece.
    """

    opened: OpenedImage | None
    name: str
    problem: str = ""
    edit: LabelEdit | None = None
    features: Mapping[str, list[Any]] = field(default_factory=dict)
    contrast: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LeftFolder:
    """A folder that was open when its session ended: the next one on the viewer goes on with it.

    ``name`` and ``key``: the image on show, and its layer's key.
    ``stamp``: the stamp of its labels.
    """

    folder: AnnotatedFolder
    name: str
    key: str
    stamp: str | None


class FolderAnnotation:
    """The verbs for a folder that is annotated. All are called on the GUI thread.

    ``services``: the state, the viewer and the job that is going.

    ``model``: the state of the folder.
    ``proposals``: what is proposed on an image that is opened, and the examples for it.
    """

    def __init__(
        self,
        services: Services,
        accept: Callable[[], None],
        prefetch: EmbeddingPrefetch,
        deliver: Deliver,
        settings: SettingsStore,
    ) -> None:
        self.model = AnnotationModel()
        restore(self.model, settings, REMEMBERED_OF_ANNOTATION)
        self._model, self._adapter = services.model, services.adapter
        self._scan_model, self._jobs, self._undo = services.scan_model, services.jobs, services.undo
        self._annotation, self._accept, self._prefetch = self.model, accept, prefetch
        self._folder: AnnotatedFolder | None = None
        self._key = ""  # of the layer of the image on show
        self._stamp: str | None = None  # of its labels
        self.proposals = Proposals(services, self.model, deliver)
        self._reader: ThreadPoolExecutor | None = None
        self._ahead: tuple[str, Future[ReadImage]] | None = None
        self._deliver = deliver
        self._model.events.kept.connect(self._list_images, max_args=0)
        prefetch.find_upcoming = self._view_ahead

    # -- what the user asks for -------------------------------------------------------------

    def start(self, source: str = "", output: str = "") -> None:
        """Open a folder, at the next image of it that is left from where the work ended on.

        ``source``: folder of the images; by default the one that was chosen for a folder batch.
        ``output``: folder of the labels; by default one in that of the images.
        Raises PromptError if no folder is chosen, or a run is going on.
        """
        scan_model = self._scan_model
        if not source:
            source = scan_model.folder_source
            output = output or scan_model.folder_output
        if not source.strip():
            raise PromptError(NO_SOURCE)
        images = typed_folder(source)
        labels = typed_folder(output) if output.strip() else images / DEFAULT_OUTPUT
        pattern = scan_model.folder_pattern.strip() or "*"
        if self._folder is None:
            self._check_idle()
            self._open(images, labels, pattern)
        else:
            self._leave("", done=False, on_done=partial(self._open, images, labels, pattern))

    def _open(self, images: Path, labels: Path, pattern: str) -> None:
        def work(reporter: Reporter) -> Iterator[tuple[AnnotatedFolder, ReadImage]]:
            folder = AnnotatedFolder(images, labels, pattern)
            reporter.check()
            yield folder, _read(folder, folder.first())

        def show(opened: tuple[AnnotatedFolder, ReadImage]) -> None:
            folder, read = opened
            self._folder, self._annotation.name = folder, ""
            self._model.class_list = folder.classes or self._model.class_list
            self._annotation.source, self._annotation.output = str(images), str(labels)
            self._show(read, f"Labels go to {labels}.")

        job = Job("Opening the folder", work)
        job.yielded.connect(show)
        self._jobs.start(job)

    def go(self, step: int) -> None:
        """Save what is accepted and on show, and go to the next image, or to the one before.

        Going on marks the image as done, unless it is flagged.

        ``step``: 1 or -1.
        """
        folder, annotation = self._require_folder(), self._annotation
        name = folder.find_next(annotation.name, step, skip_done=annotation.skip_done)
        self._leave(name, done=step > 0, said="" if name else _NO_OTHER)

    def holds(self, image: str) -> bool:
        """Return whether the image of a key is the one of the folder that is on show."""
        return bool(self._key) and image == self._key

    def save(self) -> None:
        """Save what is accepted and on show where the labels of the folder are; stay there."""
        self._require_folder()
        self._leave("", done=False)

    def go_to(self, name: str) -> None:
        """Save what is accepted and on show, and go to an image."""
        self._require_folder().place_of(name)
        if name != self._annotation.name:
            self._leave(name, done=False)

    def set_state(self, state: ImageState) -> Job:
        """Give the image on show a state."""
        folder, name = self._require_folder(), self._require_name()

        def work(reporter: Reporter) -> Iterator[ImageState]:
            reporter.check()
            folder.set_state(name, state)
            yield state

        def show(_: ImageState) -> None:
            self._list_images()
            self._say(f"{name} is {state}.", Level.SUCCESS)

        return self.proposals.start_beside(Job("The state", work, writes=True), show)

    def finish(self) -> None:
        """Save the image on show, write the files of all images, and close the folder."""
        self._require_folder()
        self._leave("", done=False, on_done=self._export)

    def resume(self) -> None:
        """Go on with the folder that an earlier session on this viewer has left open."""
        opened, annotation = self._adapter.opened, self._annotation
        left, opened.left = opened.left, None
        if not isinstance(left, LeftFolder):
            return
        folder = left.folder
        if self._adapter.find(left.key) is None:
            self.start(str(folder.source), str(folder.output))
            return
        self._folder, self._key, self._stamp = folder, left.key, left.stamp
        annotation.source, annotation.output = str(folder.source), str(folder.output)
        annotation.images, annotation.name = folder.images, left.name
        self._read_ahead()

    @property
    def left(self) -> LeftImage | None:
        """The image on show, for a session that is saved; None where no folder is open."""
        annotation = self._annotation
        if self._folder is None or not annotation.name:
            return None
        source, output = annotation.source, annotation.output
        return LeftImage(source, output, annotation.name, self._key, self._stamp)

    def leave(self) -> None:
        """Close the folder as it is: another session is opened."""
        if self._folder is not None:
            self._end()

    def go_on(self, left: LeftImage) -> None:
        """Open the folder of a session, at the image that it was saved with."""
        images, labels = typed_folder(left.source), typed_folder(left.output)
        pattern = self._scan_model.folder_pattern.strip() or "*"

        def work(reporter: Reporter) -> Iterator[AnnotatedFolder]:
            reporter.check()
            folder = AnnotatedFolder(images, labels, pattern)
            folder.place_of(left.name)
            yield folder

        def show(folder: AnnotatedFolder) -> None:
            name = folder.get(left.name).name
            self._adapter.opened.left = LeftFolder(folder, name, left.key, left.stamp)
            self.resume()

        job = Job("Opening the folder", work)
        job.yielded.connect(show)
        self._jobs.start(job)

    def close(self) -> None:
        """Leave the folder to the next session, and let what is being written be written."""
        if self._folder is not None:
            name, opened = self._annotation.name, self._adapter.opened
            opened.left = LeftFolder(self._folder, name, self._key, self._stamp)
        self._stop()

    def _stop(self) -> None:
        """Read nothing ahead any more, and let the states that are being written be written."""
        self.proposals.close()
        self._forget_ahead()
        if self._reader is not None:
            self._reader.shutdown(wait=False, cancel_futures=True)
            self._reader = None

    # -- leaving an image -------------------------------------------------------------------

    def _leave(
        self,
        name: str,
        *,
        done: bool,
        on_done: Callable[[], None] | None = None,
        said: str = "",
        accepted: bool = False,
    ) -> None:
        """Accept and save, then go to an image; with an empty name stay, or do what comes then."""
        go_on = partial(self._leave, name, done=done, on_done=on_done, said=said)
        if self._is_busy():
            # Once: if it fails or is cancelled, the user decides anew.
            self._wait(partial(go_on, accepted=accepted))
            return
        if not accepted and self._has_objects():
            with suppress(NothingNew):
                self._accept()
            if self._is_busy():
                self._wait(partial(go_on, accepted=True))
                return
        self._save(name, done=done, on_done=on_done, said=said)

    def _is_busy(self) -> bool:
        return self._jobs.current is not None

    def _wait(self, go_on: Callable[[], None]) -> None:
        job = self._jobs.current
        assert job is not None

        def end(state: JobState) -> None:
            if state is JobState.DONE:
                try:
                    go_on()
                except Sam3AssistantError as error:
                    self._say(str(error), Level.ERROR)

        job.finished.connect(end)
        self._say("Going on when the run is done …")

    def _has_objects(self) -> bool:
        model = self._model
        stack = model.propagated is not None and model.task is Task.VIDEO
        return stack or any(preview.segmentation.objects for preview in model.previews)

    def _save(
        self, name: str, *, done: bool, on_done: Callable[[], None] | None, said: str
    ) -> None:
        folder, annotation = self._require_folder(), self._annotation
        left, shown = annotation.name, folder.get(annotation.name)
        is_open = bool(self._key)  # else it can't be read: it stays in the state that it has
        kept = self._adapter.opened.accepted(self._key) if is_open else None
        to_save = None if kept is None else self._to_save(kept)
        state = _next_state(shown, done=done, has_objects=kept is not None)
        moment = self._user_state()
        prompts = self._adapter.opened.prompts_as_json(self._key) if is_open else []

        def save(reporter: Reporter) -> SavedImage:
            folder.keep_prompts(left, prompts)
            return folder.save(left, state, to_save, reporter)

        work = partial(
            _save_and_read,
            folder,
            self._model.class_list,
            save if is_open else None,
            name,
            self._ahead,
        )

        sentences: list[str] = []

        def show(answer: SavedImage | ReadImage) -> None:
            if isinstance(answer, SavedImage):
                sentences.append(_format_saved(left, answer, state))
                if prompts:
                    sentences.append("Its prompts that were not run will be there again.")
                self._stamp = answer.stamp
                self._list_images()
            elif moment != self._user_state():
                sentences.append("You went on working meanwhile: press Next again.")
            else:
                self._show(answer, " ".join(sentences))
                sentences.clear()

        def end() -> None:
            if on_done is not None:
                on_done()
            elif sentences or said:
                self._say(" ".join([*sentences, said]).strip(), Level.SUCCESS)

        self._write(Job("Saving", work, writes=True), show, end)

    def _to_save(self, kept: AcceptedState) -> LabelsToSave:
        objects = tuple(entries_of(kept.features))
        run = describe_accepted(self._adapter, self._key, kept.axes)
        return LabelsToSave(kept.labels, kept.axes, objects, run, self._stamp)

    def _user_state(self) -> tuple[object, ...]:
        """Return what changes when the user does something to the image."""
        return self._undo.step, self._model.prompts, self._adapter.accepted.changes

    def _write(
        self, job: Job, show: Callable[[Any], None], done: Callable[[], None] = lambda: None
    ) -> Job:
        """Start a job that writes, and say where it fails: nothing is lost then."""

        def end(state: JobState) -> None:
            if state is JobState.DONE:
                done()
            elif state is JobState.FAILED:
                self._say(f"{job.error} The image stays open.", Level.ERROR)
            else:
                self._say("Cancelled; the image stays open.")

        job.yielded.connect(show)
        job.finished.connect(end)
        return self._jobs.start(job)

    # -- showing an image -------------------------------------------------------------------

    def _show(self, read: ReadImage, message: str) -> None:
        annotation, folder = self._annotation, self._require_folder()
        before, self._key, self._stamp = self._key, "", None  # until it is there
        annotation.images, annotation.name = folder.images, read.name
        place = f"{part_of(annotation.place + 1, len(annotation.images))}: {read.name}."
        opened = read.opened
        if opened is None:
            self._close_image(before)
            self._say(f"{message} {place} {read.problem} Press Next to go on.", Level.ERROR)
            self._read_ahead()
            return
        self._key = self._adapter.opened.open(opened.image, opened.path, read.contrast, before)
        self._model.image = self._key
        self._close_image(before)
        self._stamp, problem = opened.stamp, read.problem
        if read.edit is not None:
            try:
                self._adapter.opened.put_accepted(self._key, read.edit, read.features)
            except Sam3AssistantError as error:
                self._stamp, problem = None, str(error)
        self._list_images()
        problem = self._put_prompts(folder.prompts_of(read.name)) or problem
        level = Level.WARNING if problem else Level.SUCCESS
        self._say(" ".join(filter(None, (message, place, *opened.image.notes, problem))), level)
        self._read_ahead()
        if self._adapter.opened.accepted(self._key) is None:
            self.proposals.propose(self._key)
        self._prefetch.start()

    def _put_prompts(self, kept: list[Any]) -> str:
        """Put prompts that were not run back: a step of its own, and no run. Say what fails."""
        try:
            if kept:
                self._adapter.opened.put_prompts(self._key, kept)
                self._undo.note_prompts()
        except ImageError as error:
            return str(error)
        return ""

    def _close_image(self, key: str) -> None:
        if key:
            model = self._model
            model.previews = tuple(
                preview for preview in model.previews if preview.target.image != key
            )
            self._undo.forget(key, self._adapter.opened.close(key))

    def _read_ahead(self) -> None:
        """Read the image that comes next on a thread that waits for nobody."""
        folder, annotation = self._require_folder(), self._annotation
        name = folder.find_next(annotation.name, 1, skip_done=annotation.skip_done)
        self._forget_ahead()
        if not name:
            return
        self._reader = self._reader or ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        future = self._reader.submit(_read, folder, name)
        self._ahead = (name, future)
        future.add_done_callback(lambda _: self._deliver(self._prefetch.start_upcoming))

    def _view_ahead(self) -> ImageView | None:
        """Return what the model would see of the image that was read ahead; None for none."""
        future = None if self._ahead is None else self._ahead[1]
        if future is None or not future.done() or future.cancelled() or future.exception():
            return None
        read = future.result()
        if read.opened is None:
            return None
        image, path = read.opened.image, read.opened.path
        return self._adapter.opened.view_ahead(image, path, read.contrast, self._key)

    def _forget_ahead(self) -> None:
        if self._ahead is not None:
            self._ahead = None
            self._adapter.opened.forget_ahead()

    def _export(self) -> None:
        folder = self._require_folder()

        def work(reporter: Reporter) -> Iterator[FolderExport]:
            yield folder.export(reporter)

        def show(export: FolderExport) -> None:
            count = pluralize(export.images, "image")
            message = (
                f"{pluralize(export.objects, 'object')} on {count}: {export.table}, {export.coco}."
            )
            failed = f" {export.failed[0][0]}: {export.failed[0][1]}" if export.failed else ""
            more = len(export.failed) - 1
            failed += (
                f" {pluralize(more, 'other image')} could not be read, too." if more > 0 else ""
            )
            self._end()
            self._say(message + failed, Level.WARNING if failed else Level.SUCCESS)

        job = Job("The files of all images", work)
        job.yielded.connect(show)
        self._jobs.start(job)

    def _end(self) -> None:
        """Close the folder; the image stays open as any other."""
        self._stop()
        self._folder, self._key = None, ""
        annotation = self._annotation
        annotation.images, annotation.name = (), ""
        annotation.source = annotation.output = ""

    # -- inside -----------------------------------------------------------------------------

    def _list_images(self) -> None:
        """List the images; the one on show as it is now, and not as it was saved last."""
        if self._folder is None:
            return
        images, name = list(self._folder.images), self._annotation.name
        at = next((at for at, image in enumerate(images) if image.name == name), -1)
        if self._key and at >= 0 and self._adapter.opened.accepted(self._key) is not None:
            objects = self._adapter.accepted.count(self._key)
            state = _next_state(images[at], done=False, has_objects=objects > 0)
            images[at] = replace(images[at], state=state, objects=objects)
        self._annotation.images = tuple(images)

    def _require_folder(self) -> AnnotatedFolder:
        if self._folder is None:
            raise PromptError("No folder is being annotated.", "Press Annotate Folder first.")
        return self._folder

    def _require_name(self) -> str:
        if not self._annotation.name:
            raise PromptError("No image is on show.", "Press Next.")
        return self._annotation.name

    def _check_idle(self) -> None:
        if self._model.running:
            raise PromptError("A run is going on.", "Wait for its end, or cancel it first.")

    def _say(self, text: str, level: Level = Level.INFO) -> None:
        self._model.message = Message(text, level)


def _next_state(shown: AnnotatedImage, *, done: bool, has_objects: bool) -> ImageState:
    before = shown.state
    if before is ImageState.FLAGGED or before is ImageState.DONE:
        return before
    if done:
        return ImageState.DONE
    return ImageState.BEGUN if has_objects else before


def _save_and_read(
    folder: AnnotatedFolder,
    classes: ClassList,
    save: Callable[[Reporter], SavedImage] | None,
    name: str,
    ahead: tuple[str, Future[ReadImage]] | None,
    reporter: Reporter,
) -> Iterator[SavedImage | ReadImage]:
    """Save an image, then read another one, unless that was read ahead; an empty name for none."""
    folder.save_classes(classes)
    if save is not None:
        yield save(reporter)
    if name:
        known = ahead[1].result() if ahead is not None and ahead[0] == name else None
        fresh = known is not None and _is_fresh(folder, known)
        yield known if known is not None and fresh else _read(folder, name)


def _format_saved(name: str, saved: SavedImage, state: ImageState) -> str:
    if saved.path is None:
        return f"{name}: no objects, {state}."
    message = f"Saved {pluralize(saved.objects, 'object')} in {saved.path.name}."
    if saved.beside is not None:
        message += f" Somebody else has written {saved.beside.name} meanwhile: it stays as it is."
    return message


def _read(folder: AnnotatedFolder, name: str) -> ReadImage:
    """Read an image and its labels; any thread may call it."""
    try:
        opened = folder.open(name)
        image = opened.image
        layout = guess_axes(image.data.shape, rgb=image.rgb, axis_labels=image.axis_labels)
        contrast = None
        if not isinstance(image.data, np.ndarray) and not layout.rgb:
            channel = None if layout.channel is None else 0
            contrast = ImageSource(image.levels, layout).contrast(channel)
    except Sam3AssistantError as error:
        folder.note_problem(name, str(error))
        return ReadImage(None, name, str(error))
    folder.note_problem(opened.name, "")
    read = ReadImage(opened, opened.name, opened.problem, contrast=contrast)
    if opened.labels is None:
        return read
    features: Mapping[str, list[Any]] = {}
    if opened.note is not None:
        try:
            features = features_of(opened.note)
        except Sam3AssistantError as error:
            read = replace(read, problem=str(error))
    return replace(read, edit=_edit_of(opened.labels), features=features)


def _edit_of(labels: npt.NDArray[Any]) -> LabelEdit:
    whole, shape = whole_box(labels.shape), tuple(labels.shape)
    wide = labels.astype(np.uint32, copy=False)
    changes = changes_between([(whole, np.zeros_like(wide), wide)], shape)
    return LabelEdit.pack("open labels", shape, changes, np.uint32)


def _is_fresh(folder: AnnotatedFolder, read: ReadImage) -> bool:
    """Return whether what was read ahead is as it is now."""
    if read.opened is None:
        return False
    folder.refresh()
    image = folder.get(read.name)
    known = stamp_of(folder.output / image.labels) if image.labels else None
    return known == read.opened.stamp
