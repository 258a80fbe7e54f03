"""Keep results: as layers and as files."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.masks.objects import explain_lost, explain_lost_place, format_of
from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.core.prompts import Task
from napari_sam3_assistant.errors import ImageError, PromptError
from napari_sam3_assistant.io.outputs import (
    free_name,
    numbered_name,
    propose_path,
    safe_name,
    split_ending,
    typed_folder,
)
from napari_sam3_assistant.jobs import Job, JobState
from napari_sam3_assistant.session.filtering import explain_hidden
from napari_sam3_assistant.session.model import Level, Message
from napari_sam3_assistant.workflows.provenance import object_entry, track_entries
from napari_sam3_assistant.workflows.save import (
    SaveRequest,
    StackSaveRequest,
    check_stack_format,
    export_labels,
    save_results,
    save_stack,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.core.tracks import TrackTable
    from napari_sam3_assistant.session.model import PlaneTarget, Preview, StackTarget
    from napari_sam3_assistant.session.propagation import Propagation
    from napari_sam3_assistant.session.services import Services
    from napari_sam3_assistant.session.snapshots import StackCopy, StackPixels
    from napari_sam3_assistant.workflows.provenance import StackProvenance


LABEL_ENDINGS = (".tif", ".npy", ".png", ".ome.zarr")
"""The endings of the files that labels can be saved as."""


class Saving:
    """The verbs that keep results. All are called on the GUI thread."""

    def __init__(self, services: Services, propagation: Propagation) -> None:
        self._model, self._adapter = services.model, services.adapter
        self._start = services.jobs.start
        self._propagation = propagation

    def propose_path(self, what: str, ending: str) -> Path:
        """Return a free name for a file that the user may save.

        It is beside the file of the image, or in the folder that was used last.

        Parameters
        ----------
        what : str
            What it will hold, such as ``labels``; comes after the name of the image.
        ending : str
            Its ending.
        """
        target = self._target()
        chosen = self._model.chosen_image
        name = target.name if target else chosen.name if chosen else "sam3"
        image = self._adapter.file_of(target.image if target else self._model.image)
        return propose_path(f"{name}_{what}", ending, image, self._model.save_folder)

    @property
    def endings(self) -> tuple[str, ...]:
        """The endings of the files that can hold what would be saved."""
        stack = self._model.propagated is not None
        return tuple(one for one in LABEL_ENDINGS if not (stack and one == ".png"))

    def explain_lost(self, ending: str) -> str:
        """Return what a file of an ending will not hold of what would be saved; or nothing."""
        target = self._target()
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
        found = [one for one in model.previews if one.segmentation.objects]
        stack = model.propagated
        if stack is not None and (model.task is Task.VIDEO or not found):
            return stack.target
        return found[-1].target if found else None

    def keep(self) -> str:
        """Keep each preview as a saved labels layer; returns the name of the latest.

        Raises
        ------
        PromptError
            If there is no preview.
        """
        names = [self._adapter.keep(preview) for preview in self._find_saved()]
        said = ", ".join(f"“{name}”" for name in names)
        self._say(f"Saved as layer{'s' * (len(names) > 1)} {said}.")
        return names[-1]

    def keep_all(self) -> None:
        """Keep each preview, and what was propagated, as saved layers.

        Raises
        ------
        PromptError
            If there is neither.
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

        Parameters
        ----------
        path : Path
            The file. A name without an ending of ours gets one, and then a number, if that
            exists: nobody has been asked about it.
        ending : str
            The ending that it gets.

        Raises
        ------
        PromptError
            If there is no preview.
        ImageError
            If its layer is gone.
        """
        if not split_ending(path.name)[1]:
            path = free_name(path.with_name(f"{path.name}{ending}"))
        stack = self._model.propagated
        found = self._find_saved(or_stack=stack is not None)
        if stack is not None and (self._model.task is Task.VIDEO or not found):
            return self._export_stack(stack, path)
        pixels = self._adapter.pixels(found[-1])
        job = Job("Saving", partial(export_labels, pixels.labels, path, axes=pixels.axes))
        job.yielded.connect(
            lambda saved: self._say(f"Saved {saved}.", _explain_lost_place(saved, pixels.axes))
        )
        return self._start(job)

    def _check_idle(self) -> None:
        if self._model.running:
            raise PromptError("The run is not done yet.", "Wait for its end, or cancel it first.")

    def _export_stack(self, stack: StackTarget, path: Path) -> Job:
        self._check_idle()
        pixels, propagation = self._adapter.stacks.pixels(stack), self._propagation
        request = make_request(pixels, path, propagation.provenance, propagation.tracks)
        job = Job("Saving", lambda reporter: save_stack(request, reporter, overwrite=True))
        job.yielded.connect(
            lambda saved: self._say(f"Saved {saved}.", _explain_lost_place(saved, pixels.axes))
        )
        return self._start(job)

    def _find_saved(self, *, or_stack: bool = False) -> list[Preview]:
        found = [one for one in self._model.previews if one.segmentation.objects]
        if not (found or or_stack):
            raise PromptError("There is no preview yet.", "Press Run Preview first.")
        return found

    def _say(self, text: str, note: str = "") -> None:
        level = Level.WARNING if note else Level.SUCCESS
        self._model.message = Message(f"{text} {note}".strip(), level)


def _explain_lost_place(path: Path, axes: Axes | None) -> str:
    """Return what a saved file can't say of the place of its labels."""
    return "" if axes is None else explain_lost_place(format_of(path.suffix), axes)


class SaveAndClean:
    """Saves every preview as a layer and a file, then frees the memory."""

    def __init__(
        self, services: Services, propagation: Propagation, cleaned: Callable[[str], None]
    ) -> None:
        self._model, self._adapter = services.model, services.adapter
        self._start = services.jobs.start
        self._propagation = propagation
        # Called with what is to be said when every preview is safe: removes them and the model.
        self._cleaned = cleaned

    def save(self) -> Job:
        """Save every preview in the chosen folder and format; nothing is overwritten.

        The previews stay until all of them are safe.

        Raises
        ------
        PromptError
            If there is no preview, or no folder is chosen.
        """
        previews = [one for one in self._model.previews if one.segmentation.objects]
        stack = self._model.propagated
        if not previews and stack is None:
            raise PromptError("There is no preview yet.", "Press Run Preview first.")
        if not self._model.output_folder.strip():
            raise PromptError("No output folder is chosen.", "Press Choose.")
        taken: set[str] = set()
        requests = [self._request(preview, len(previews) > 1, taken) for preview in previews]
        whole = None if stack is None else self._stack_request(stack, taken, bool(previews))
        notes = {_explain_lost_place(one.path, one.axes) for one in requests}
        notes |= set() if whole is None else {_explain_lost_place(whole.path, whole.axes)}

        def work(reporter: Reporter) -> Iterator[Path]:
            yield from save_results(requests, reporter)
            if whole is not None:
                yield from save_stack(whole, reporter)

        job = Job("Saving", work)
        saved: list[str] = []
        job.yielded.connect(lambda path: saved.append(str(path)))

        def end(state: JobState) -> None:
            self._model.saved = tuple(saved) or self._model.saved
            if state is JobState.DONE:
                for preview in previews:
                    self._adapter.keep(preview)
                if stack is not None:
                    self._adapter.stacks.hand_over(stack)
                names = ", ".join(Path(one).name for one in saved)
                said = f"Saved {names}. The previews are removed, the model is unloaded."
                self._cleaned(" ".join([said, *filter(None, notes)]))

        job.finished.connect(end)
        return self._start(job)

    def _stack_request(
        self, stack: StackTarget, taken: set[str], several: bool
    ) -> StackSaveRequest:
        model, folder = self._model, typed_folder(self._model.output_folder)
        image = safe_name(stack.target.name)
        typed = split_ending(model.output_name.strip())[0]
        if typed:
            stem = f"{safe_name(typed)}_propagated" if several else safe_name(typed)
            wanted = folder / f"{stem}{model.output_format}"
        else:
            wanted = numbered_name(folder, f"{image}_propagated_mask", model.output_format)
        pixels, propagation = self._adapter.stacks.pixels(stack), self._propagation
        path = free_name(wanted, taken)
        return make_request(pixels, path, propagation.provenance, propagation.tracks)

    def _request(self, preview: Preview, several: bool, taken: set[str]) -> SaveRequest:
        model, folder = self._model, typed_folder(self._model.output_folder)
        pixels = self._adapter.pixels(preview)
        shown = safe_name(preview.label or preview.target.name)
        typed = split_ending(model.output_name.strip())[0]
        if typed:
            stem = f"{safe_name(typed)}_{shown}" if several else safe_name(typed)
            wanted = folder / f"{stem}{model.output_format}"
        else:
            local = preview.provenance is not None and preview.provenance.region is not None
            image = safe_name(preview.target.name) if local else shown
            stem = f"{image}_roi_mask" if local else f"{image}_mask"
            wanted = numbered_name(folder, stem, model.output_format)
        path = free_name(wanted, taken)
        taken.add(path.name.lower())
        objects = tuple(map(object_entry, preview.segmentation.objects))
        provenance = preview.provenance
        if provenance is not None:
            left_out = explain_hidden(preview)
            provenance = replace(
                provenance,
                axes=pixels.axes,
                notes=(*provenance.notes, *([left_out] if left_out else ())),
            )
        return SaveRequest(pixels.labels, path, pixels.axes, provenance, objects)


def copy_stack(copy: StackCopy, reporter: Reporter) -> Iterator[StackCopy]:
    """Copy propagated labels frame by frame, and yield the copy when it is whole."""
    for done, frame in enumerate(copy.frames):
        reporter.report(Progress(done, len(copy.frames), f"Copying frame {frame}"))
        copy.copy(frame)
    yield copy


def make_request(
    pixels: StackPixels, path: Path, provenance: StackProvenance | None, table: TrackTable
) -> StackSaveRequest:
    """Return what is to be saved.

    Parameters
    ----------
    pixels : StackPixels
        The labels.
    path : Path
        The file.
    provenance : StackProvenance or None
        What made them; None for no note beside the file.
    table : TrackTable
        The objects by frame.

    Raises
    ------
    ExportError
        If the format holds no stack.
    """
    check_stack_format(path)
    return StackSaveRequest(
        pixels.shape,
        pixels.read,
        pixels.labels,
        path,
        pixels.axes,
        None if provenance is None else provenance.to_run(pixels.axes),
        track_entries(table),
        {} if provenance is None else provenance.extra(),
    )
