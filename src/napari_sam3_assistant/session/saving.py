"""Keep results: as layers and as files."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import partial, reduce
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.core.masks.merge import find_new
from napari_sam3_assistant.core.masks.objects import explain_lost, explain_lost_place, format_of
from napari_sam3_assistant.core.options import PredictOptions
from napari_sam3_assistant.core.plurals import part_of, pluralize
from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.core.prompts import PromptSet, Task
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.errors import ImageError, PromptError
from napari_sam3_assistant.io.outputs import (
    add_ending,
    free_name,
    numbered_name,
    propose_path,
    safe_name,
    split_ending,
    stamp_of,
    typed_folder,
)
from napari_sam3_assistant.jobs import Job, JobRunner, JobState
from napari_sam3_assistant.session.availability import no_preview
from napari_sam3_assistant.session.filtering import explain_hidden
from napari_sam3_assistant.session.label_storage import find_highest
from napari_sam3_assistant.session.layer_files import entries_of
from napari_sam3_assistant.session.values import (
    FileBackedLabels,
    FramePlace,
    KeptPlace,
    Level,
    Message,
)
from napari_sam3_assistant.workflows.figure import FigureRequest, LabelsOnShow, save_figure
from napari_sam3_assistant.workflows.provenance import (
    ACCEPTED,
    RunProvenance,
    object_entry,
    track_entries,
)
from napari_sam3_assistant.workflows.save import (
    LabelsExport,
    StackSaveRequest,
    check_stack_format,
    export_labels,
    save_stack,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.display import Figure
    from napari_sam3_assistant.core.progress import Deliver, Reporter
    from napari_sam3_assistant.session.jobs import Services
    from napari_sam3_assistant.session.propagation import Propagation
    from napari_sam3_assistant.session.snapshots import KeptPixels, Pixels, StackCopy, StackPixels
    from napari_sam3_assistant.session.values import PlaneTarget, Preview, StackTarget
    from napari_sam3_assistant.viewer.adapter import ViewerAdapter


LABEL_ENDINGS = (".tif", ".npy", ".png", ".ome.zarr")
"""The endings of the files that labels can be saved as."""


class Saving:
    """The verbs that keep results. All are called on the GUI thread."""

    def __init__(self, services: Services, propagation: Propagation) -> None:
        self._model, self._adapter = services.model, services.adapter
        self._start = services.jobs.start
        self._propagation = propagation

    def propose_path(self, suffix: str, ending: str, image: str = "") -> Path:
        """Return a free name for a file that the user may save.

        It is beside the file of the image, or in the folder that was used last.

        ``suffix``: what it will hold, such as ``labels``; comes after the name of the image.
        ``ending``: its ending.
        ``image``: key of the image; by default the one of what would be saved.
        """
        target = None if image else self._target()
        key = image or (target.image if target else self._model.image)
        name = self._adapter.title_of(key) or (target.name if target else "sam3")
        file = self._adapter.file_of(key)
        return propose_path(f"{name}_{suffix}", ending, file, self._model.save_folder)

    @property
    def endings(self) -> tuple[str, ...]:
        """The endings of the files that can hold what would be saved."""
        stack = self._is_stack()
        return tuple(ending for ending in LABEL_ENDINGS if not (stack and ending == ".png"))

    def _is_stack(self) -> bool:
        """Return whether what would be saved lies on several planes."""
        kept, model = self._find_kept(on_show=False), self._model
        if kept is not None:
            return any(axis.length > 1 for axis in kept.axes[:-2])
        found = [preview.target for preview in model.previews if preview.segmentation.objects]
        if model.propagated is not None and (model.task is Task.VIDEO or not found):
            return True
        return any(
            target.image == found[-1].image and not target.is_same_plane(found[-1])
            for target in found
        )

    def explain_lost(self, ending: str) -> str:
        """Return what a file of an ending will not hold of what would be saved; or nothing."""
        target, kept = self._target(), self._find_kept(on_show=False)
        if kept is not None:
            return explain_lost(format_of(ending), kept.axes)
        if target is None:
            return ""
        try:
            axes = self._adapter.plane_axes(target)
        except ImageError:
            return ""  # saving says it
        return explain_lost(format_of(ending), axes)

    def _target(self) -> PlaneTarget | None:
        """Return the image of what would be saved."""
        model = self._model
        found = [preview for preview in model.previews if preview.segmentation.objects]
        stack = model.propagated
        if stack is not None and (model.task is Task.VIDEO or not found):
            return stack.target
        return found[-1].target if found else None

    def _find_kept(self, *, on_show: bool) -> KeptPixels | None:
        """Return the accepted labels that would be saved, with what is ``on_show`` or without."""
        model, target = self._model, self._target()
        stack = model.propagated if model.task is Task.VIDEO else None
        previews = model.previews if on_show and stack is None else ()
        kept = self._adapter.kept(target.image if target else model.image, previews)
        if stack is None or kept is None:
            return kept
        if not isinstance(kept.labels, np.ndarray):
            # They are on the disk already, and would be copied as a whole.
            return None
        if not on_show:
            return kept
        self._check_idle()
        self._propagation.edited.check_done()
        found = self._adapter.stacks.to_accept(stack, self._propagation.tracks)
        parts = tuple(record[:2] for record in found.objects)
        return replace(kept, parts=parts, of_parts=found.entries())

    def save(self) -> Job:
        """Write what was accepted and what is on show to a file with a free name.

        It is beside the file of the image, or in the folder that was used last.

        Raises PromptError if there is nothing to save.
        """
        kept = self._find_kept(on_show=False)
        in_memory = kept is None or isinstance(kept.labels, np.ndarray)
        path = self.propose_path("labels", ".tif" if in_memory else ".ome.zarr")
        return self._export(path, overwrite=False)

    def keep(self) -> str:
        """Keep each preview as a saved labels layer; returns the name of the latest.

        Raises PromptError if there is no preview.
        """
        names = [self._adapter.keep(preview) for preview in self._find_saved()]
        message = ", ".join(f"“{name}”" for name in names)
        self._say(f"Saved as layer{'s' * (len(names) > 1)} {message}.")
        return names[-1]

    def keep_left(self, previews: Iterable[Preview]) -> str:
        """Keep previews whose image is gone as saved layers; returns their names, or nothing."""
        names = []
        for preview in previews:
            with suppress(ImageError):  # the user has removed its layer, too
                names.append(f"“{self._adapter.keep(preview)}”")
        return ", ".join(names)

    def keep_all(self) -> None:
        """Keep each preview, and what was propagated, as saved layers.

        Raises PromptError if there is neither.
        """
        stack = self._model.propagated
        if self._find_saved(or_stack=stack is not None):
            self.keep()
        if stack is None:
            return
        self._check_idle()
        copy = self._adapter.stacks.copy(stack)
        job = Job("Saving", partial(copy_stack, copy))
        job.yielded.connect(lambda whole: self._say(f"Saved as layer “{whole.add()}”."))
        self._start(job)

    def export(self, path: Path, ending: str = ".tif") -> Job:
        """Write the labels of the latest preview, as they are on show, to a file.

        For the task 3D/video, or where there is no other preview: what was propagated.

        ``path``: the file. A name without an ending of ours gets one, and then a number, if that
        exists: nobody has been asked about it.
        ``ending``: the ending that it gets.
        Raises PromptError if there is no preview; ImageError if its layer is gone.
        """
        if not split_ending(path.name)[1]:
            path = add_ending(path, ending)
        return self._export(path, overwrite=True)

    def _export(self, path: Path, *, overwrite: bool) -> Job:
        kept = self._find_kept(on_show=True)
        if kept is not None:
            target = self._target()
            image = target.image if target else self._model.image
            run = describe_accepted(self._adapter, image, kept.axes)
            job = Job("Saving", partial(export_kept, kept, run, path, overwrite))
            job.yielded.connect(partial(self._say_kept, self._model.kept, kept.axes))
            return self._start(job)
        stack = self._model.propagated
        found = self._find_saved(or_stack=stack is not None)
        if stack is not None and (self._model.task is Task.VIDEO or not found):
            self._check_idle()
            whole = self._adapter.stacks.pixels(stack)
            request = make_request(whole, path, self._propagation)
            return self._write(partial(save_stack, request, overwrite=overwrite), whole.axes)
        plane = make_export(found[-1], self._adapter.pixels(found[-1]), path, overwrite=overwrite)
        return self._write(partial(export_labels, plane), plane.axes)

    def _write(self, work: Callable[[Reporter], Iterator[Path]], axes: Axes) -> Job:
        job = Job("Saving", work)
        job.yielded.connect(
            lambda saved: self._say(f"Saved {saved}.", _explain_lost_place(saved, axes))
        )
        return self._start(job)

    def _say_kept(self, kept: int, axes: Axes, saved: tuple[Path, int]) -> None:
        path, added = saved
        message = f"Saved {pluralize(kept + added, 'object')} in {path}."
        self._say(message, _explain_lost_place(path, axes))

    def _check_idle(self) -> None:
        if self._model.running:
            raise PromptError("The run is not done yet.", "Wait for its end, or cancel it first.")

    def _find_saved(self, *, or_stack: bool = False) -> list[Preview]:
        found = [preview for preview in self._model.previews if preview.segmentation.objects]
        if not (found or or_stack):
            raise no_preview(self._model)
        return found

    def save_figure(
        self,
        path: Path,
        draw: Callable[[Figure, str], bytes],
        scans: Mapping[FileBackedLabels, LabelsOnShow],
        ending: str,
    ) -> Job:
        """Write a figure of the plane on show: image, outlines, scale bar and legend.

        ``path``: the file, ``.png`` or ``.svg``; replaced if it exists. A name without one of these
        gets ``ending``, and then a number, if that exists.
        ``draw``: returns a figure as a file with an ending; called on the worker.
        ``scans``: the labels in files, with what is known of them.
        Raises ImageError if the viewer shows no plane of the image.
        """
        if path.suffix.lower() not in (".png", ".svg"):
            path = add_ending(path, ending)
        adapter = self._adapter
        target = adapter.displayed(self._model.image).target
        previews = adapter.visible_previews(target)
        labels = [
            scans[place]
            if isinstance(place, FileBackedLabels)
            else LabelsOnShow(adapter.plane_labels(place), self._names(place))
            for place in adapter.visible_labels(target, scans)
        ]
        region = Region.whole((target.shape[target.axes.y], target.shape[target.axes.x]))
        if previews and not labels:
            first, *others = [preview.segmentation.region for preview in previews]
            region = reduce(Region.union, others, first)
        request = FigureRequest(
            adapter.view_at(target),
            region,
            adapter.raw_plane(KeptPlace(target)).pixel,
            [record for preview in previews for record in preview.segmentation.objects],
            labels,
        )
        job = Job("The figure", partial(save_figure, request, path, draw))
        job.yielded.connect(lambda saved: self._say(f"Saved {saved}."))
        return self._start(job)

    def _names(self, place: KeptPlace | FramePlace) -> dict[int, str]:
        """Return what found the objects of labels on show, by their values."""
        if isinstance(place, FramePlace):
            return {record.id: record.text for record in self._propagation.objects_on(place)}
        return {id_: record.text for id_, record in self._adapter.accepted.objects(place).items()}

    def _say(self, text: str, note: str = "") -> None:
        level = Level.WARNING if note else Level.SUCCESS
        self._model.message = Message(f"{text} {note}".strip(), level)


def _explain_lost_place(path: Path, axes: Axes) -> str:
    """Return what a saved file can't say of the place of its labels."""
    return explain_lost_place(format_of(path.suffix), axes)


class SaveAtAccept:
    """Saves the accepted labels of an image whenever they change, if the user wants that.

    They go into one file for each image that has a free name at first. It is written anew as long
    as it is the one that was written before; what anybody else has written is left alone. It has a
    worker of its own, so that no run waits, or ends it. Of a folder that is annotated the labels
    have a place already, where each step saves them.

    ``services``, ``saving`` and ``deliver``: the state and the viewer, what knows free names, and
    the way back to the GUI thread.
    ``has_place``: tells whether the image of a key is one of a folder that is annotated.
    """

    def __init__(
        self,
        services: Services,
        saving: Saving,
        deliver: Deliver,
        has_place: Callable[[str], bool],
    ) -> None:
        self._model, self._adapter = services.model, services.adapter
        self._saving, self._has_place = saving, has_place
        self._runner = JobRunner(deliver)
        self._job: Job | None = None
        self._due: dict[str, None] = {}
        self._written: dict[str, tuple[Path, object]] = {}

    def note(self, images: Iterable[str]) -> None:
        """Record that the accepted labels of images have changed."""
        if self._model.save_at_accept:
            self._due.update(dict.fromkeys(key for key in images if not self._has_place(key)))
            self._start_next()

    def close(self) -> None:
        """Let the worker end when it is done."""
        self._runner.finish()

    def _start_next(self) -> None:
        if self._job is not None or not self._due:
            return
        image = next(iter(self._due))
        del self._due[image]
        kept = self._adapter.kept(image)
        if kept is None or not isinstance(kept.labels, np.ndarray):
            # Larger ones would be written for minutes.
            self._start_next()
            return
        before = self._written.get(image)
        ours = before is not None and stamp_of(before[0]) == before[1]
        path = before[0] if before and ours else self._saving.propose_path("labels", ".tif", image)
        run = describe_accepted(self._adapter, image, kept.axes)
        job = self._job = Job("Saving", partial(export_kept, kept, run, path, ours))

        def note(written: tuple[Path, int]) -> None:
            saved, _ = written
            self._written[image] = (saved, stamp_of(saved))
            message = self._model.message
            self._model.message = Message(f"{message.text} Saved in {saved}.", message.level)

        def end(state: JobState) -> None:
            self._job = None
            if state is JobState.FAILED:
                self._model.message = Message(str(job.error), Level.ERROR)
            self._start_next()

        job.yielded.connect(note)
        job.finished.connect(end)
        self._runner.start(job)


class SaveAndClean:
    """Saves what is on show and what was accepted, then frees the memory."""

    def __init__(
        self, services: Services, propagation: Propagation, cleaned: Callable[[str], None]
    ) -> None:
        self._model, self._adapter = services.model, services.adapter
        self._start = services.jobs.start
        self._propagation = propagation
        # Called with what is to be said when every preview is safe: removes them and the model.
        self._cleaned = cleaned

    def save(self) -> Job:
        """Save previews and accepted labels in the chosen folder; nothing is overwritten.

        The previews stay until all of them are safe; the accepted labels stay.

        Raises PromptError if there is no preview, or no folder is chosen.
        """
        previews = [preview for preview in self._model.previews if preview.segmentation.objects]
        stack = self._model.propagated
        if not self._model.output_folder.strip():
            raise PromptError("No output folder is chosen.", "Press Choose.")
        taken: set[str] = set()
        one_by_one = len(previews) == 1
        requests = [self._request(preview, taken, alone=one_by_one) for preview in previews]
        stacks = [self._stack_request(stack, taken, alone=not previews)] if stack else []
        accepted = self._find_accepted(taken, alone=not previews and stack is None)
        if not (requests or stacks or accepted):
            raise no_preview(self._model)
        written = [(request.path, request.axes) for request in requests]
        written += [(request.path, request.axes) for request in stacks]
        written += [(path, kept.axes) for kept, _, path in accepted]
        notes = dict.fromkeys(_explain_lost_place(path, axes) for path, axes in written)

        job = Job("Saving", partial(_save_all, requests, accepted, stacks))
        saved: list[str] = []
        job.yielded.connect(lambda path: saved.append(str(path)))

        def end(state: JobState) -> None:
            self._model.saved = tuple(saved) or self._model.saved
            if state is JobState.DONE:
                for preview in previews:
                    self._adapter.keep(preview)
                if stack is not None:
                    self._propagation.erase_hidden()
                    self._adapter.stacks.hand_over(stack)
                names = ", ".join(Path(path).name for path in saved)
                message = f"Saved {names}. The previews are removed, the model is unloaded."
                self._cleaned(" ".join([message, *filter(None, notes)]))

        job.finished.connect(end)
        return self._start(job)

    def _find_accepted(
        self, taken: set[str], *, alone: bool
    ) -> list[tuple[KeptPixels, RunProvenance | None, Path]]:
        """Return the accepted labels of all images, what they are of, and where they are to go."""
        found = [(image, self._adapter.kept(image.key)) for image in self._model.images]
        images = [(item, kept) for item, kept in found if kept is not None]
        accepted = []
        for image, kept in images:
            name = safe_name(image.name)
            only = alone and len(images) == 1
            path = self._choose_path(f"{name}_kept_mask", f"{name}_kept", taken, alone=only)
            run = describe_accepted(self._adapter, image.key, kept.axes)
            accepted.append((kept, run, path))
        return accepted

    def _choose_path(self, stem: str, part: str, taken: set[str], *, alone: bool) -> Path:
        """Return a free name in the chosen folder and format, and take it.

        It is ``stem`` and a number, or what the user typed, with ``part`` where it is not alone.
        """
        model, folder = self._model, typed_folder(self._model.output_folder)
        typed = split_ending(model.output_name.strip())[0]
        if typed:
            name = safe_name(typed) if alone else f"{safe_name(typed)}_{part}"
            proposed = folder / f"{name}{model.output_format}"
        else:
            proposed = numbered_name(folder, stem, model.output_format)
        path = free_name(proposed, taken)
        taken.add(path.name.lower())
        return path

    def _stack_request(
        self, stack: StackTarget, taken: set[str], *, alone: bool
    ) -> StackSaveRequest:
        stem = f"{safe_name(stack.target.name)}_propagated_mask"
        path = self._choose_path(stem, "propagated", taken, alone=alone)
        return make_request(self._adapter.stacks.pixels(stack), path, self._propagation)

    def _request(self, preview: Preview, taken: set[str], *, alone: bool) -> LabelsExport:
        shown = safe_name(preview.label or preview.target.name)
        local = preview.provenance is not None and preview.provenance.region is not None
        stem = f"{safe_name(preview.target.name)}_roi_mask" if local else f"{shown}_mask"
        path = self._choose_path(stem, shown, taken, alone=alone)
        return make_export(preview, self._adapter.pixels(preview), path)


def describe_accepted(adapter: ViewerAdapter, image: str, axes: Axes) -> RunProvenance | None:
    """Return what accepted labels of an image are of; None where the viewer shows none of it.

    ``axes``: those of the labels.
    """
    try:
        view = adapter.take_view(image)
    except ImageError:
        return None
    stack = sum(axis.length > 1 for axis in axes) > 2
    return RunProvenance(
        view, PromptSet(), PredictOptions(), ACCEPTED, paths=adapter.paths(), axes=axes,
        all_planes=stack,
    )  # fmt: skip


def make_export(
    preview: Preview, pixels: Pixels, path: Path, *, overwrite: bool = False
) -> LabelsExport:
    """Return a preview to be saved, with the note that says what made it."""
    run, left_out = preview.provenance, explain_hidden(preview)
    if run is not None:
        notes = (*run.notes, *([left_out] if left_out else ()))
        run = replace(run, axes=pixels.axes, notes=notes)
    objects = tuple(map(object_entry, preview.segmentation.objects))
    return LabelsExport(
        pixels.labels, path, pixels.axes, overwrite=overwrite, objects=objects, provenance=run
    )


def export_kept(
    kept: KeptPixels,
    run: RunProvenance | None,
    path: Path,
    overwrite: bool,
    reporter: Reporter,
) -> Iterator[tuple[Path, int]]:
    """Write accepted labels with what is new on show; yield the path and how many were new."""
    new = find_new(kept.labels, kept.parts, reporter)
    parts = tuple(kept.parts[place] for place in new)
    request = LabelsExport(
        kept.labels,
        path,
        kept.axes,
        parts,
        find_highest(kept.labels) + 1 if parts else 1,
        overwrite,
        objects=tuple(entries_of(kept.features)),
        of_parts=tuple(kept.of_parts[place] for place in new),
        provenance=run,
    )
    for written in export_labels(request, reporter):
        yield written, len(parts)


def _save_all(
    previews: Iterable[LabelsExport],
    accepted: Iterable[tuple[KeptPixels, RunProvenance | None, Path]],
    stacks: Iterable[StackSaveRequest],
    reporter: Reporter,
) -> Iterator[Path]:
    for preview in previews:
        yield from export_labels(preview, reporter)
    for kept, run, path in accepted:
        for saved, _ in export_kept(kept, run, path, False, reporter):
            yield saved
    for stack in stacks:
        yield from save_stack(stack, reporter)


def copy_stack(copy: StackCopy, reporter: Reporter) -> Iterator[StackCopy]:
    """Copy propagated labels frame by frame, and yield the copy when it is whole."""
    for done, frame in enumerate(copy.frames):
        reporter.report(Progress(done, len(copy.frames), f"Copying frame {frame}"))
        copy.copy(frame)
    yield copy


def make_request(pixels: StackPixels, path: Path, propagation: Propagation) -> StackSaveRequest:
    """Return what is to be saved of a propagation, with its note if it is known what made it.

    Raises ExportError if the format holds no stack; PromptError while the objects are counted that
    the user has changed.
    """
    check_stack_format(path)
    propagation.edited.check_done()
    provenance, table = propagation.provenance, propagation.tracks
    run = None if provenance is None else provenance.to_run(pixels.axes)
    if run is not None and table.hidden:
        left_out = (
            f"Only {part_of(len(table.ids - table.hidden), len(table.ids))} objects were kept."
        )
        run = replace(run, notes=(*run.notes, left_out))
    return StackSaveRequest(
        pixels.shape,
        pixels.read,
        pixels.labels,
        path,
        pixels.axes,
        run,
        track_entries(table),
        {} if provenance is None else provenance.extra(),
    )
