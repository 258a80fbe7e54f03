"""The verbs that accept, merge and export masks."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.masks.labels import check_fits, read, whole_box
from napari_sam3_assistant.core.masks.merge import (
    MergeMode,
    MergeResult,
    MergeSource,
    OverlapRule,
    count_overlap,
    merge,
    merge_by_class,
    overlap_map,
    shared_value,
)
from napari_sam3_assistant.core.masks.objects import (
    ANY_CLASS,
    ExportFormat,
    explain_lost,
    explain_lost_place,
    with_suffix,
)
from napari_sam3_assistant.core.masks.pieces import Apart
from napari_sam3_assistant.core.paths import expand_user
from napari_sam3_assistant.core.plurals import pluralize
from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.errors import MaskError, Sam3AssistantError
from napari_sam3_assistant.io.annotations import paint_annotations
from napari_sam3_assistant.io.outputs import free_name, propose_path, stamp_of
from napari_sam3_assistant.mask_operations.edits import do_nothing
from napari_sam3_assistant.mask_operations.model import CLASS_COLOURS, NewLabels, SaveMode
from napari_sam3_assistant.session.class_list import ClassFile
from napari_sam3_assistant.session.values import Level
from napari_sam3_assistant.workflows.edit_masks import overlay, pick_label
from napari_sam3_assistant.workflows.save import MaskExport, export_masks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.masks.edits import LabelEdit
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.io.areas import ImportedLabels
    from napari_sam3_assistant.mask_operations.edits import MaskEdits, MaskJobs
    from napari_sam3_assistant.mask_operations.layers import LabelsAdapter
    from napari_sam3_assistant.mask_operations.model import LabelsChoice, MaskModel, PlaneChoice


ACCEPTED = "accepted_object"
WORKING = "class_working_mask"
FINAL = "final_training_mask"
OVERLAP = "overlap_map"
OVERLAP_NAME = "SAM3 overlap map"
DEFAULT_WORKING = "class_working_mask"
DEFAULT_FINAL = "final_training_mask"
DEFAULT_CLASS = "class"


class MaskCollection:
    """What a user can do with several labels layers. All methods are called on the GUI thread.

    ``class_file``: the verbs about the class list of the project.
    """

    def __init__(
        self, model: MaskModel, adapter: LabelsAdapter, jobs: MaskJobs, edits: MaskEdits
    ) -> None:
        self.model = model
        self._adapter = adapter
        self._jobs = jobs
        self._edits = edits
        self._outputs = MaskOutputs(adapter, jobs, edits)
        self._counted: frozenset[str] = frozenset()
        self._asked = ""
        self._written: dict[Path, str | None] = {}
        for field in (model.events.merge_chosen, model.events.class_filter):
            field.connect(self._forget_overlap)
        self.class_file = ClassFile(model, jobs.say)
        for field in (model.events.class_name, model.events.class_list):
            field.connect(self._follow_class, max_args=0)

    def undo(self) -> None:
        """Take the latest step back on a layer that was made or changed here.

        Raises MaskError if there is none.
        """
        self._edits.step_collected(forward=False)

    def redo(self) -> None:
        """Do the step again that was taken back; raises MaskError if there is none."""
        self._edits.step_collected(forward=True)

    # -- the classes of the project --------------------------------------------------------

    def _follow_class(self) -> None:
        """Set the class value to that of the class in the list."""
        names = self.model.class_list.names
        class_name = self.model.class_name.strip()
        value = next((value for value, name in names.items() if name == class_name), None)
        if value is not None:
            self.model.class_value = value

    # -- accepted objects -----------------------------------------------------------------

    def save_accepted(self) -> None:
        """Save the source, or one label of it, as an accepted object.

        Raises MaskError if no source, or no target where one is needed, is chosen.
        """
        model = self.model
        if model.choice(model.source) is None:
            raise MaskError("Select a source preview labels layer.")
        if model.save_mode is SaveMode.NEW:
            self._save_new()
            return
        target = model.choice(model.accepted_target)
        if target is None or not target.accepted:
            raise MaskError("Select an accepted target layer for append or replace.")
        self._adapter.check_aligned([target.key, model.source])
        source = self._adapter.take_snapshot(model.source)
        snapshot = self._adapter.take_snapshot(target.key, editable=True)
        work = partial(
            overlay,
            source.array,
            snapshot.array,
            model.label,
            replace=model.save_mode is SaveMode.REPLACE,
        )

        def write(edit: LabelEdit) -> None:
            done = f"Updated accepted object layer: {target.name}."
            self._edits.commit(target.key, edit, done, partial(self._edits.follow, target.key))

        self._jobs.start("Saving the object", work, write)

    def _save_new(self) -> None:
        model, key = self.model, self.model.source
        snapshot, known = self._adapter.take_snapshot(key), self._adapter.metadata(key)
        object_name = model.object_name.strip() or snapshot.name
        class_name = model.class_name.strip() or DEFAULT_CLASS
        if model.class_list:
            model.class_value = model.class_list.value(class_name)
        value = model.class_value or 1  # 0 is background
        check_fits(value, np.uint32)  # the type of merged masks
        metadata = {
            "object_name": object_name,
            "class_name": class_name,
            "class_value": value,
            "instance_kind": "object",
            "source_image_layer": snapshot.image_name,
            "source_preview_layer": snapshot.name,
            "source_task": known.get("source_task", ""),
            "created_from": "Mask Operations",
        }
        label = model.label

        def copy(reporter: Reporter) -> Iterator[npt.NDArray[Any]]:
            reporter.check()
            labels = pick_label(read(snapshot.array, whole_box(snapshot.array.shape)), label)
            if not labels.any():
                raise MaskError(
                    f"“{snapshot.name}” has no pixel of label {label}."
                    if label
                    else f"“{snapshot.name}” is empty; there is no object to save.",
                    "Choose another label, or another layer.",
                )
            yield labels.copy()

        def add(labels: npt.NDArray[Any]) -> None:
            fresh = NewLabels(f"{class_name}_{object_name}", ACCEPTED, labels, key, metadata)

            def tell(name: str) -> None:
                self._jobs.say(f"Saved accepted object layer: {name}.", Level.SUCCESS)

            self._outputs.add(fresh, "save accepted object", tell)

        self._jobs.start("Saving the object", copy, add)

    def import_annotations(self, path: Path) -> None:
        """Make an accepted layer of each class of a file's annotations of the plane on show.

        Raises MaskError if no image is chosen. With a class list, classes have its numbers.
        """
        plane, listed = self._adapter.plane_on_show(), self.model.class_list

        def work(reporter: Reporter) -> Iterator[ImportedLabels]:
            reporter.report(Progress(0, 0, f"Reading {path.name}"))
            found = paint_annotations(path, plane.shape, plane.files, plane.index)
            for value in sorted(set(found.object_classes.values())) if listed else ():
                listed.value(found.classes.names[value])
            yield found

        def add(imported: ImportedLabels) -> None:
            fresh = [
                self._make_imported(imported, value, plane, path)
                for value in sorted(set(imported.object_classes.values()))
            ]
            objects = pluralize(len(imported.object_classes), "object")
            message = f"Imported {objects} of {pluralize(len(fresh), 'class', 'classes')}"
            done = " ".join((f"{message} from {path.name}.", *imported.notes))

            def add_next(_: str = "") -> None:
                if fresh:
                    self._outputs.add(fresh.pop(0), "import", add_next)
                else:
                    self._jobs.say(done, Level.WARNING if imported.notes else Level.SUCCESS)

            add_next()

        self._jobs.start("The import", work, add)

    def _make_imported(
        self, imported: ImportedLabels, value: int, plane: PlaneChoice, path: Path
    ) -> NewLabels:
        """Return the objects of one class as a layer on the plane that they were imported for."""
        mine = [label for label, of in imported.object_classes.items() if of == value]
        kept = np.zeros(len(imported.object_classes) + 1, np.uint32)
        kept[mine] = mine
        name, listed = imported.classes.names[value], self.model.class_list
        stem = Path(imported.image or plane.name).stem
        metadata = {
            "object_name": stem,
            "class_name": name,
            "class_value": listed.value(name) if listed else value,
            "instance_kind": "object",
            "source_task": "import",
            "created_from": path.name,
        }
        labels = kept[imported.labels][(np.newaxis,) * len(plane.leading)]
        first = (*plane.leading, 0, 0) if plane.leading else ()
        title = f"{name}_{stem}"
        return NewLabels(title, ACCEPTED, labels, plane.key, metadata, first)

    # -- class merge ----------------------------------------------------------------------

    def count_overlap(self) -> None:
        """Count the pixels that the ticked accepted layers share."""
        keys = self._merge_keys()
        self._forget_overlap()
        if len(keys) < 2:
            return
        sources = self._sources(keys)
        counted = self._counted = frozenset(keys)

        def count(reporter: Reporter) -> Iterator[int]:
            yield count_overlap(sources, reporter)

        def show(pixels: int) -> None:
            if self._counted is counted:
                self.model.merge_overlap = pixels

        self._jobs.start("Counting the overlap", count, show, dropped=do_nothing)

    def note_changed(self, key: str) -> None:
        """Record that pixels of a layer have changed: what was counted of it holds no more."""
        if key in self._counted:
            self._forget_overlap()

    def merge_accepted(self) -> None:
        """Merge the ticked accepted objects into a class working mask.

        Raises MaskError if none is ticked, or they don't fit each other.
        """
        keys = self._merge_keys()
        if not keys:
            raise MaskError("Select at least one accepted-object layer.")
        sources = self._number(self._sources(keys))

        def work(reporter: Reporter) -> Iterator[MergeResult]:
            yield merge_by_class(sources, reporter)

        def put(merged: MergeResult) -> None:
            values = sorted(merged.classes)
            metadata = {
                "class_name": ", ".join(merged.classes[value] for value in values),
                "class_value": values[0] if len(values) == 1 else values,
                "class_names": merged.classes,
                "source_accepted_layers": [source.name for source in sources],
                **self._image_of(keys[0]),
                **self._colours(merged.classes),
            }
            name = self._working()
            shared = pluralize(merged.overlap, "pixel")

            def tell(made: str) -> None:
                if made != name == self._working():
                    self.model.merge_output = made  # merged again, it is this layer that is filled
                done = (
                    f"Merged {pluralize(len(keys), 'accepted object layer')} into class mask: "
                    f"{made} ({shared} shared; the layer further up won)."
                )
                self._say_merged(done, sources, _without_class(sources))

            fresh = NewLabels(name, WORKING, merged.labels, keys[0], metadata)
            self._outputs.add_or_fill(fresh, "class merge", tell)

        self._jobs.start("The merge", work, put)

    # -- final merge ----------------------------------------------------------------------

    def merge_final(self, *, on_done: Callable[[str], None] | None = None) -> None:
        """Merge the ticked layers into the final mask; then pass its name on.

        Raises MaskError if none is ticked, or they don't fit each other.
        """
        model = self.model
        keys = self._final_keys()
        if not keys:
            raise MaskError("Select at least one class mask layer.")
        mode, rule, connectivity = model.merge_mode, model.rule, model.connectivity
        sources = self._sources(keys)
        if mode is not MergeMode.BINARY:
            sources = self._number(sources, by_value=mode is MergeMode.SEMANTIC)
        name = self._output()
        apart = Apart.FRAMES.axes(self._adapter.plane_names(keys[0]))

        def work(reporter: Reporter) -> Iterator[MergeResult]:
            yield merge(sources, mode, rule, connectivity, reporter, apart=apart)

        def put(merged: MergeResult) -> None:
            metadata = {
                "merge_mode": str(mode),
                "overlap_rule": str(rule),
                "source_class_masks": [source.name for source in sources],
                "class_names": merged.classes,
                "object_classes": merged.class_of,
                **self._image_of(keys[0]),
                **(self._colours(merged.classes) if mode is MergeMode.SEMANTIC else {}),
            }
            many = pluralize(len(merged.class_of), "object")
            of = f", {many}" if mode is MergeMode.INSTANCE else ""

            def tell(made: str) -> None:
                if made != name == self._output():
                    model.output = made  # the name was another layer's: this is what is exported
                done = (
                    f"Merged {pluralize(len(keys), 'class mask layer')} into final mask: {made} "
                    f"({pluralize(merged.overlap, 'pixel')} overlapped{of})."
                )
                classed = () if mode is MergeMode.BINARY else sources
                by_value = sources if mode is MergeMode.SEMANTIC else ()
                self._say_merged(done, classed, _without_class(by_value))
                if on_done is not None:
                    on_done(made)

            fresh = NewLabels(name, FINAL, merged.labels, keys[0], metadata)
            self._outputs.add_or_fill(fresh, "final merge", tell)

        self._jobs.start("The merge", work, put)

    def show_overlap(self) -> None:
        """Make a layer that shows where the ticked layers overlap.

        Raises MaskError if fewer than two are ticked, or they don't fit each other.
        """
        keys = self._final_keys()
        if len(keys) < 2:
            raise MaskError("Select at least two label layers to show overlap.")
        sources = self._sources(keys)

        def work(reporter: Reporter) -> Iterator[npt.NDArray[np.uint16]]:
            yield overlap_map(sources, reporter)

        def put(labels: npt.NDArray[np.uint16]) -> None:
            metadata = {"source_layers": [source.name for source in sources]}
            many = pluralize(len(keys), "layer")

            def tell(name: str) -> None:
                self._jobs.say(f"Created overlap map “{name}” from {many}.", Level.SUCCESS)

            fresh = NewLabels(OVERLAP_NAME, OVERLAP, labels, keys[0], metadata)
            self._outputs.add_or_fill(fresh, "overlap map", tell)

        self._jobs.start("The overlap map", work, put)

    def choose_path(self, path: str) -> None:
        """Take the file for the export of a dialog, which has asked whether to replace it."""
        self.model.path = path
        self._asked = path

    def _may_replace(self, path: Path) -> bool:
        """Return whether a dialog has asked, or the file is as the export has written it."""
        return str(path) == self._asked or (
            path in self._written and stamp_of(path) == self._written[path]
        )

    def export(self) -> None:
        """Write the output layer to the file, under a free name where that is somebody's.

        What the dialog of Browse has asked about is replaced, and what was exported here before; a
        name that was typed, or gets another ending by the format, gets a number if it is taken.

        Raises MaskError if there is no such layer, or no file is chosen.
        """
        self._export(self._output())

    def _export(self, name: str) -> None:
        model = self.model
        if not model.path.strip():
            raise MaskError("Choose an export path first.", "Press Browse.")
        layer = next((layer for layer in model.layers if layer.name == name), None)
        if layer is None:
            raise MaskError(
                f"The output layer “{name}” was not found.",
                "Merge first, or type the name of an existing layer.",
            )
        snapshot = self._adapter.take_snapshot(layer.key)
        try:
            wanted = with_suffix(expand_user(model.path.strip()), model.export_format)
        except (Sam3AssistantError, ValueError) as error:  # nobody's home, or no name at all
            raise MaskError(f"{model.path} is not a file name.", "Press Browse.") from error
        path = wanted
        if not self._may_replace(wanted):
            path = free_name(wanted, ending=model.export_format.suffix)
        model.path = str(path)  # once more, it is this file that is written anew
        place, axes = self._adapter.place(layer.key)
        guess = self._explain_guess(layer.key, model.export_format)
        known = self._adapter.measured(layer.key)
        classes = snapshot.classes
        if model.export_format.has_image:
            classes = classes.number_by(model.class_list)
        parents = self._adapter.parents(layer.key)
        request = MaskExport(
            snapshot.array, path, model.export_format, place, axes, classes, known, parents
        )

        def tell(saved: Path) -> None:
            self._written[saved] = stamp_of(saved)
            stays = f"{wanted.name} was there before, and stays." if path != wanted else ""
            of_image = place.note if request.format.has_image else ""
            note = of_image or explain_lost_place(request.format, axes)
            said = (f"Exported mask “{name}” to {saved}.", stays, guess, note)
            message = " ".join(filter(None, said))
            self._jobs.say(message, Level.WARNING if note else Level.SUCCESS)

        self._jobs.start("The export", partial(export_masks, request), tell)

    def can_hold(self, format_: ExportFormat) -> bool:
        """Return whether a format can hold the layer that would be exported."""
        choice = self._find_exported()
        if choice is None:
            return True
        return not (
            format_.has_tracks if math.prod(choice.shape[:-2]) == 1 else format_.has_one_plane
        )

    def explain_lost(self, format_: ExportFormat) -> str:
        """Return what a file of a format will not hold of what would be exported; or nothing."""
        choice = self._find_exported()
        if choice is None:
            return ""
        try:
            place, axes = self._adapter.place(choice.key)
        except MaskError:
            return ""  # just removed; exporting says so
        if not self.can_hold(format_) and format_.has_tracks:
            return (
                f"Tracks go through frames; “{choice.name}” has one plane. Choose another format."
            )
        if not self.can_hold(format_):
            return f"Its files hold one plane; “{choice.name}” is a stack. Choose another format."
        of_image = place.note if format_.has_image else ""
        guess = self._explain_guess(choice.key, format_)
        return " ".join(filter(None, (guess, explain_lost(format_, axes), of_image)))

    def _explain_guess(self, key: str, format_: ExportFormat) -> str:
        return self._adapter.explain_guess(key) if format_.has_axis_names else ""

    def propose_path(self) -> Path:
        """Return a file for the export: the one that is typed, or a free name beside the image."""
        model, choice = self.model, self._find_exported()
        typed = model.path.strip()
        if typed:
            return Path(typed)
        name, file = self._adapter.image_of(choice.key) if choice else ("", None)
        return propose_path(f"{name or 'sam3'}_labels", model.export_format.suffix, file)

    def _find_exported(self) -> LabelsChoice | None:
        """Return the layer that would be exported, or one that it would be merged of."""
        named = (layer for layer in self.model.layers if layer.name == self._output())
        return next(named, None) or next(map(self.model.choice, self._final_keys()), None)

    def merge_and_export(self) -> None:
        """Merge the ticked layers, then write the result.

        Raises MaskError if either can't be done.
        """
        if not self.model.path.strip():
            raise MaskError("Choose an export path first.", "Press Browse.")
        self.merge_final(on_done=self._export)

    # -- inside ---------------------------------------------------------------------------

    def _forget_overlap(self, *_: object) -> None:
        self._counted = frozenset()
        self.model.merge_overlap = -1

    def _say_merged(
        self, done: str, sources: Sequence[MergeSource], nameless: Sequence[str] = ()
    ) -> None:
        """Say what was merged, and what can't be told apart any more."""
        shared, told = shared_value(sources), [done]
        if shared is not None:
            value, names = shared
            listed = " and ".join(f"“{name}”" for name in names)
            told.append(f"{listed} became one: both have the value {value}.")
        if len(nameless) > 1:
            listed = " and ".join(f"“{name}”" for name in nameless)
            told.append(
                f"{listed} have no class: equal values of them became one. To tell them apart, "
                "save each with a class in Accepted Objects, and merge those."
            )
        self._jobs.say(" ".join(told), Level.WARNING if told[1:] else Level.SUCCESS)

    def _image_of(self, key: str) -> dict[str, Any]:
        """Return what is known of the image that labels were made of."""
        name = self._adapter.take_snapshot(key).image_name
        return {"source_image_layer": name} if name else {}

    def _working(self) -> str:
        return self.model.merge_output.strip() or DEFAULT_WORKING

    def _output(self) -> str:
        return self.model.output.strip() or DEFAULT_FINAL

    def _merge_keys(self) -> list[str]:
        """Return the ticked accepted layers of the class, from the lowest to the topmost."""
        ticked, offered = set(self.model.merge_chosen), self.model.accepted_of_class
        return [layer.key for layer in reversed(offered) if layer.key in ticked]

    def _final_keys(self) -> list[str]:
        there = {layer.key for layer in self.model.layers}
        ticked = [key for key in self.model.final_chosen if key in there]
        if self.model.rule is OverlapRule.EARLIER:
            return ticked
        return [key for key in self.model.final_order if key in set(ticked)]

    def _sources(self, keys: Sequence[str]) -> list[MergeSource]:
        self._adapter.check_aligned(keys)
        sources = []
        for key in keys:
            snapshot = self._adapter.take_snapshot(key)
            sources.append(MergeSource(snapshot.name, snapshot.array, snapshot.classes))
        return sources

    def _number(
        self, sources: Sequence[MergeSource], *, by_value: bool = False
    ) -> list[MergeSource]:
        """Return sources with the numbers of the class list."""
        listed = self.model.class_list
        return [
            replace(source, classes=source.classes.number_by(listed, by_value=by_value))
            for source in sources
        ]

    def _colours(self, values: Iterable[int]) -> dict[str, Any]:
        """Return what is known of the colours of classes: something where a list fixes them."""
        listed = self.model.class_list
        return {CLASS_COLOURS: {value: listed.colour(value) for value in values}} if listed else {}


def _without_class(sources: Sequence[MergeSource]) -> list[str]:
    """Return the names of sources to which the user has given no class."""
    stand_ins = {DEFAULT_CLASS, ANY_CLASS}
    return [one.name for one in sources if stand_ins.issuperset(one.classes.names.values())]


class MaskOutputs:
    """Adds layers, or fills those of the same name and role anew."""

    def __init__(self, adapter: LabelsAdapter, jobs: MaskJobs, edits: MaskEdits) -> None:
        self._adapter = adapter
        self._jobs = jobs
        self._edits = edits

    def add_or_fill(self, fresh: NewLabels, action: str, tell: Callable[[str], None]) -> None:
        """Add a layer, or fill the one of that name and role anew; then pass its name on."""
        key = self._adapter.find_made(fresh)
        if not key:
            self.add(fresh, action, tell)
            return
        array = self._adapter.take_snapshot(key).array
        if array.dtype != fresh.labels.dtype:
            self._edits.replace(key, fresh.labels, fresh.metadata, action)
            tell(fresh.name)
            return
        work = partial(overlay, fresh.labels, array, 0, replace=True, action=action)

        def write(edit: LabelEdit) -> None:
            self._edits.fill(key, edit, fresh.metadata, partial(tell, fresh.name))

        self._jobs.start("Filling the layer", work, write)

    def add(self, fresh: NewLabels, action: str, tell: Callable[[str], None]) -> None:
        """Add a layer, which is built by a job; then pass its name on."""
        build = self._adapter.builder(fresh)

        def work(reporter: Reporter) -> Iterator[object]:
            reporter.check()
            yield build()

        def add(built: object) -> None:
            tell(self._edits.make(built, action)[1])

        self._jobs.start("Making the layer", work, add)
