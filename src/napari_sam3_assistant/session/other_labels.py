"""Labels of other tools: accepted as they are, refined one by one, or followed through a stack."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.core.images import map_read_errors
from napari_sam3_assistant.core.masks.labels import (
    Box,
    find_boxes,
    split_blocks,
    whole_box,
)
from napari_sam3_assistant.core.masks.merge import LabelMask
from napari_sam3_assistant.core.plurals import pluralize
from napari_sam3_assistant.core.prompts import MaskPrompt, Task
from napari_sam3_assistant.errors import ImageError, MaskError, PromptError, Sam3AssistantError
from napari_sam3_assistant.io.annotations import is_annotations, paint_annotations
from napari_sam3_assistant.io.images import image_name
from napari_sam3_assistant.io.label_files import read_labels
from napari_sam3_assistant.jobs import Job, JobState
from napari_sam3_assistant.session.messages import CLASS, NOTHING
from napari_sam3_assistant.session.values import Level, Message

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.classes import ClassList
    from napari_sam3_assistant.core.images import Untyped
    from napari_sam3_assistant.core.objects_by_slice import Known
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.io.areas import ImportedLabels
    from napari_sam3_assistant.session.accepting import Accepting
    from napari_sam3_assistant.session.class_list import ClassFile
    from napari_sam3_assistant.session.jobs import Services
    from napari_sam3_assistant.session.propagation import Propagation
    from napari_sam3_assistant.session.runs import SegmentRun
    from napari_sam3_assistant.session.snapshots import OtherLabels


class UseLabels:
    """The verbs about labels of other tools. All are called on the GUI thread."""

    def __init__(
        self,
        services: Services,
        accepting: Accepting,
        run: SegmentRun,
        propagation: Propagation,
        class_file: ClassFile,
    ) -> None:
        self._model, self._adapter = services.model, services.adapter
        self._jobs = services.jobs
        self._accepting, self._run, self._propagation = accepting, run, propagation
        self._class_file = class_file

    def open_file(self, path: Path) -> Job:
        """Add the labels of a file as a layer on the chosen image, or on its plane on show.

        Annotations (COCO, GeoJSON of QuPath, regions of ImageJ) are labels of that plane, with
        classes and what was measured as features; the class list gets those of their classes that
        it has not.

        Raises PromptError if there is no image. What is wrong with the file the job says.
        """
        if not self._model.image:
            raise PromptError("There is no image.", "Open the image of the labels first.")

        plane = self._adapter.named_plane(self._model.image) if is_annotations(path) else None

        def work(
            reporter: Reporter,
        ) -> Iterator[tuple[Untyped, Axes, ImportedLabels | None, tuple[str, ...]]]:
            reporter.check()
            if plane is not None:
                painted = paint_annotations(path, *plane)
                yield painted.labels, make_axes(painted.labels.shape), painted, painted.notes
                return
            found = read_labels(path)
            if np.dtype(found.data.dtype).kind not in "iu":
                raise ImageError(f"{path.name} holds no labels.", "Choose a file of labels.")
            notes = (_MAY_BE_CLASSES,) if _has_no_background(found.data, reporter) else ()
            yield found.data, found.axes, None, notes

        def add(
            loaded: tuple[Untyped, Axes, ImportedLabels | None, tuple[str, ...]],
        ) -> None:
            data, axes, annotated, notes = loaded
            features = {} if annotated is None else _features_of(annotated, self._model.class_list)
            image, named = self._model.image, image_name(path)
            try:
                name = self._adapter.add_labels(image, named, data, axes, features)
            except ImageError as error:
                self._say(str(error), Level.ERROR)
                return
            sentences = [f"“{name}” lies on the image. Press Use Labels for what to do with it."]
            if annotated is not None:
                sentences += self._extend_list(annotated)
            self._say(" ".join((*sentences, *notes)), Level.WARNING if notes else Level.INFO)

        job = Job("Reading the labels", work)
        job.yielded.connect(add)
        return self._jobs.start(job)

    def layers(self) -> list[tuple[str, str]]:
        """Return key and name of the layers that can be taken, the topmost first."""
        return self._adapter.other_labels()

    def read(self, layer: str) -> OtherLabels:
        """Return what a layer holds, given its key.

        Raises ImageError if it has nothing on the plane on show.
        """
        return self._adapter.read_labels(self._model.image, layer)

    def lies_elsewhere(self, layer: str) -> bool:
        """Return whether a layer has the pixels of the chosen image, but another place."""
        image = self._model.image
        return bool(image) and self._adapter.labels_lie_elsewhere(image, layer)

    def lay_on_image(self, layer: str) -> None:
        """Give a layer the pixel size and the place of the chosen image.

        Raises ImageError if it is gone.
        """
        self._adapter.lay_labels_on_image(self._model.image, layer)

    def accept(self, layer: str) -> Job | None:
        """Add all objects of a layer to the accepted labels: a step that can be taken back.

        Where the layer does not lie on the image pixel on pixel, those of the plane on show.

        Raises Sam3AssistantError if that can't be done; nothing has changed then.
        """
        self._accepting.check_idle()
        found = self.read(layer)
        if found.whole is None:
            masks = MaskPrompt.of_labels(found.plane)
            objects = self._adapter.accepted.place(found.target, masks)
            self._accepting.accept_other(found, objects, _note_pieces(found, len(masks)))
            return None
        labels, boxes = found.whole, dict[int, Box]()

        def work(reporter: Reporter) -> Iterator[dict[int, Box]]:
            yield find_boxes(labels, reporter)

        job = Job("Reading the labels", work)
        job.yielded.connect(lambda read: boxes.update(read))

        def accept(state: JobState) -> None:
            if state is not JobState.DONE:
                return
            whole = [(box, LabelMask(labels, box, id_), id_) for id_, box in sorted(boxes.items())]
            try:
                self._accepting.accept_other(found, whole, _note_pieces(found, len(whole)))
            except Sam3AssistantError as error:
                self._say(str(error), Level.ERROR)

        job.finished.connect(accept)
        return self._jobs.start(job)

    def refine(self, layer: str, below: float | None = None) -> Job:
        """Ask for each object of a layer on the plane on show by its mask; the result is a preview.

        ``below``: only those with a lower score; the others stay as they are, in the preview, too.
        Raises Sam3AssistantError if it can't start; nothing has changed then.
        """
        found = self.read(layer)
        masks = MaskPrompt.of_labels(found.plane)
        asked = [
            mask for mask in masks if below is None or is_below(found.known.get(_id(mask)), below)
        ]
        if not asked:
            raise PromptError(
                f"All of the {pluralize(len(masks), 'object')} have a score of {below:g} or more.",
                "Give a higher score, or accept them as they are.",
            )
        return self._run.refine_labels(found, asked, [mask for mask in masks if mask not in asked])

    def follow(self, layer: str) -> Job:
        """Follow the objects of a layer on the slice on show through the stack, with their numbers.

        Raises Sam3AssistantError if it can't start; nothing has changed then.
        """
        found = self.read(layer)
        masks = MaskPrompt.of_labels(found.plane)
        if self._model.frame_axis < 0:
            raise PromptError("This image is not a stack.", "Refine the labels, or accept them.")
        if self._model.running:
            raise PromptError("A run is going on.", "Wait for its end, or cancel it first.")
        job = self._propagation.follow_labels(found, masks)
        self._model.task = Task.VIDEO
        return job

    def _extend_list(self, annotated: ImportedLabels) -> list[str]:
        """Add the classes of objects to the class list; returns messages about it."""
        names = set(annotated.names.values())
        try:
            added = self._class_file.extend(
                entry for entry in annotated.classes if entry.name in names
            )
        except MaskError as error:
            return [f"Their classes are not in the class list: {error}"]
        if not added:
            return []
        many = pluralize(added, "class was", "classes were")
        return [f"{many} added to the class list; the menu Edit beside Class takes that back."]

    def _say(self, text: str, level: Level = Level.INFO) -> None:
        self._model.message = Message(text, level)


_MAY_BE_CLASSES = (
    "No pixel of it is 0, so each value counts for an object, the background as well. Of ilastik "
    "export Object Identities: in a Simple Segmentation the values are classes. Or give the "
    "background the value 0: Merge Label Values in Mask Operations."
)
_MOST_BLOCKS = 8


def _note_pieces(found: OtherLabels, count: int) -> str:
    """Return what to say where all labels are one object in pieces, as a mask of cells is."""
    if count != 1:
        return ""
    _, pieces = ndi.label(found.plane, np.ones((3, 3)))
    if pieces < 2:
        return ""
    return (
        f"All of “{found.name}” has one number, {pieces} pieces here are one object. If they are "
        "several, press Undo, and in SAM3 Mask Operations renumber “each component” first."
    )


def _has_no_background(labels: Untyped, reporter: Reporter) -> bool:
    """Return whether no pixel is 0; of large ones by the first blocks."""
    with map_read_errors("The labels could not be read", "Check that their file opens elsewhere."):
        for block in split_blocks(labels, whole_box(labels.shape))[:_MOST_BLOCKS]:
            reporter.check()
            if not np.asarray(labels[block]).all():
                return False
    return True


def _features_of(imported: ImportedLabels, listed: ClassList) -> dict[str, list[Any]]:
    """Return what a layer of annotations says of its objects, with the names of the class list."""
    ids = list(imported.object_classes)
    names = dict.fromkeys(name for values in imported.measurements.values() for name in values)
    measured = [imported.measurements.get(id_, {}) for id_ in ids]
    return {
        "index": ids,
        CLASS: [listed.resolve(imported.names[id_]) or NOTHING for id_ in ids],
        **{name: [values.get(name, math.nan) for values in measured] for name in [*names][:_MOST]},
    }


_MOST = 200
"""So many measurements of annotations become columns."""


def is_below(known: Known | None, below: float) -> bool:
    """Return whether an object has a lower score; one without any has."""
    return known is None or known.score is None or known.score < below


def _id(mask: MaskPrompt) -> int:
    assert mask.object_id is not None
    return mask.object_id
