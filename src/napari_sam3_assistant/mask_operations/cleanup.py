"""The verbs of Mask Cleanup."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.masks import cleanup
from napari_sam3_assistant.core.masks.operations import LabelsPart, Operation
from napari_sam3_assistant.core.plurals import pluralize
from napari_sam3_assistant.errors import MaskError
from napari_sam3_assistant.mask_operations.edits import do_nothing
from napari_sam3_assistant.mask_operations.model import RightClick, Scope
from napari_sam3_assistant.session.values import Level
from napari_sam3_assistant.workflows.edit_masks import (
    analyse,
    compute_edit,
    make_preview,
    preview_edit,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.masks.components import Components
    from napari_sam3_assistant.core.masks.edits import LabelEdit
    from napari_sam3_assistant.core.masks.labels import Box
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.mask_operations.edits import MaskEdits, MaskJobs
    from napari_sam3_assistant.mask_operations.layers import LabelsAdapter
    from napari_sam3_assistant.mask_operations.model import LabelsSnapshot, MaskModel


OF_ROWS = (Operation.DELETE_SELECTED, Operation.CHANGE_SELECTED)
_NO_TARGET = "Choose a target labels layer."


class MaskCleanup:
    """What a user can do to one labels layer. All methods are called on the GUI thread."""

    def __init__(
        self, model: MaskModel, adapter: LabelsAdapter, jobs: MaskJobs, edits: MaskEdits
    ) -> None:
        self.model = model
        self._adapter = adapter
        self._jobs = jobs
        self._edits = edits
        model.events.target.connect(self._on_target)

    # -- the table ------------------------------------------------------------------------

    def analyze(self) -> None:
        """Find the components of the target.

        Raises MaskError if there is no target, or no such part of it.
        """
        snapshot, box = self._target(editable=False)
        key = self.model.target

        def show(components: Components) -> None:
            if self.model.target == key:
                self._show_table(components)
                many = pluralize(len(components), "connected component")
                self._jobs.say(f"Analyzed {many} in “{snapshot.name}”.", Level.SUCCESS)

        self._jobs.start("The analysis", self._analysis(snapshot, box), show, dropped=do_nothing)

    def delete_selected(self) -> None:
        """Delete the components of the chosen rows; raises MaskError if no row is chosen."""
        edit, many, name = self._edit_of_rows(Operation.DELETE_SELECTED)
        self._commit(edit, f"Deleted {many} from “{name}”.")

    def change_selected(self) -> None:
        """Give the components of the chosen rows the new value.

        Raises MaskError if no row is chosen or the value does not fit.
        """
        edit, many, name = self._edit_of_rows(Operation.CHANGE_SELECTED)
        self._commit(edit, f"Changed {many} of “{name}” to {self.model.new_value}.")

    def go_to(self, row: int) -> None:
        """Show a component in the middle of the view.

        Raises MaskError if there is no table, or the layer is gone.
        """
        found = self.model.components
        if found is None or row >= len(found):
            raise MaskError("Analyze a target labels layer before locating a component.")
        centre = found.centroids[row].tolist()
        self._adapter.go_to(self.model.target, centre)
        at = ", ".join(f"{part:.1f}" for part in centre)
        self._jobs.say(f"Located component {row + 1}, label {found.values[row]}, at {at}.")

    def select_at(self, pixel: Sequence[int]) -> None:
        """Choose the row of the component at a pixel of the target."""
        found = self.model.components
        if found is None or self.model.components_stale:
            return
        at = int(np.ravel_multi_index(tuple(pixel), found.runs.shape))
        run = int(np.searchsorted(found.runs.starts, at, side="right")) - 1
        inside = run >= 0 and found.runs.stops[run] > at
        self.model.selected = (int(found.of_run[run]),) if inside else ()

    # -- operations -----------------------------------------------------------------------

    def apply(self, operation: Operation) -> None:
        """Do an operation on the target.

        Raises MaskError if there is no target or the choices make no sense.
        """
        key = self.model.target
        work, name = self._work(compute_edit, operation), self.model.name_of(key)

        def write(edit: LabelEdit) -> None:
            self.hide_preview()
            pixels = pluralize(edit.pixels, "pixel")
            done = f"{operation.capitalize()}: changed {pixels} of “{name}”."
            self._edits.commit(key, edit, done, self._after_edit)

        self._jobs.start(operation.capitalize(), work, write)

    def show_preview(self, operation: Operation) -> None:
        """Show what an operation would change.

        Raises MaskError if there is no target or the choices make no sense.
        """
        self._jobs.check_free()
        key = self.model.target
        self.model.previewing = operation
        try:
            work = self._preview_work(operation)
        except MaskError:
            self._adapter.hide_changes()  # until the choices make sense
            self.model.preview = None
            raise

        def show(result: tuple[LabelEdit, npt.NDArray[np.uint8] | None]) -> None:
            edit, image = result
            if self.model.previewing is not operation or self.model.target != key:
                return
            self.model.preview = edit
            if image is None or not edit.pixels:
                self._adapter.hide_changes()
            else:
                self._adapter.show_changes(key, edit, image)
            pixels = pluralize(edit.pixels, "pixel")
            hidden = " They are spread too widely to be shown." if image is None else ""
            self._jobs.say(f"{operation.capitalize()} would change {pixels}.{hidden}")

        self._jobs.start("The preview", work, show, dropped=do_nothing)

    def hide_preview(self) -> None:
        """Show no effect of an operation any more."""
        if self.model.previewing is None and self.model.preview is None:
            return
        self.model.previewing = None
        self.model.preview = None
        self._adapter.hide_changes()

    def forget_preview(self) -> None:
        """Take out of the viewer what showed effects of operations."""
        self._adapter.forget_changes()

    def delete_at(self, pixel: Sequence[int]) -> None:
        """Delete the label, or the component, at a pixel of the target.

        Raises MaskError if the target can't be changed.
        """
        mode = self.model.right_click
        if mode is RightClick.OFF:
            return
        snapshot, box = self._target()
        key, value = self.model.target, int(snapshot.array[tuple(pixel)])
        if value == 0:
            self._jobs.say("Right-clicked background; no label removed.")
            return
        component = mode is RightClick.COMPONENT
        connectivity, apart = self.model.connectivity, self._apart()

        def find(reporter: Reporter) -> Iterator[LabelEdit]:
            yield cleanup.delete_at(
                snapshot.array,
                pixel,
                connectivity,
                box,
                reporter,
                component=component,
                apart=apart,
            )

        def write(edit: LabelEdit) -> None:
            target = "a component of label" if component else "label value"
            pixels = pluralize(edit.pixels, "pixel")
            done = f"Removed {target} {value} from “{snapshot.name}” ({pixels})."
            self._edits.commit(key, edit, done, self._after_edit)

        self._jobs.start("Right-click delete", find, write)

    def finish(self) -> None:
        """Write to its end what was being done to the target when napari was killed.

        Raises MaskError if there is nothing, or something else is going on.
        """
        self._edits.end_unfinished(forward=True)

    def take_back(self) -> None:
        """Take back what was being done to the target when napari was killed.

        Raises MaskError if there is nothing, or something else is going on.
        """
        self._edits.end_unfinished(forward=False)

    def undo(self) -> None:
        """Take the last edit of the target back; raises MaskError if there is none."""
        self._step(forward=False)

    def redo(self) -> None:
        """Do the edit again that was taken back; raises MaskError if there is none."""
        self._step(forward=True)

    # -- what the viewer tells ------------------------------------------------------------

    def note_painting(self, key: str, edit: LabelEdit) -> None:
        """Record that the user painted on a layer."""
        if edit.pixels:
            self._edits.note_painting(key, edit)
            self._mark_outdated(key)

    def note_replaced(self, key: str, *, alike: bool) -> None:
        """Record that a layer got other data, perhaps of another shape or type."""
        if key == self.model.target:
            self._jobs.cancel()
        if not alike:
            self.note_removed(key)
        self._mark_outdated(key)

    def note_removed(self, key: str) -> None:
        """Forget what can be taken back on a layer that is gone."""
        self._edits.forget(key)
        if key == self.model.target:
            self._on_target()

    # -- inside ---------------------------------------------------------------------------

    def _target(self, *, editable: bool = True) -> tuple[LabelsSnapshot, Box | None]:
        if self.model.choice(self.model.target) is None:
            raise MaskError(_NO_TARGET, "Open or make a labels layer first.")
        snapshot = self._adapter.take_snapshot(self.model.target, editable=editable)
        return snapshot, self._adapter.box(self.model.target, self.model.scope)

    def _work(
        self, workflow: Callable[..., Iterator[Any]], operation: Operation
    ) -> Callable[[Reporter], Iterator[Any]]:
        """Return a workflow that is to do an operation on the target, with the choices of now."""
        snapshot, box = self._target()
        model = self.model
        if operation is Operation.RENUMBER and model.scope is not Scope.WHOLE:
            raise MaskError("Only a whole layer can be renumbered.", "Choose “whole layer”.")
        apart, spacing = self._apart(), (1.0,) * snapshot.array.ndim
        if model.physical:
            spacing = self._adapter.spacing(model.target, apart)
        part = LabelsPart(snapshot.array, spacing, box, model.connectivity, apart)
        return partial(workflow, model.chosen(operation), part)

    def _analysis(
        self, snapshot: LabelsSnapshot, box: Box | None
    ) -> Callable[[Reporter], Iterator[Components]]:
        connectivity, apart = self.model.connectivity, self._apart()
        return partial(analyse, snapshot.array, connectivity, box, apart=apart)

    def _apart(self) -> tuple[int, ...]:
        """Return the axes of the target along which each place counts for itself."""
        return self.model.apart.axes(self._adapter.plane_names(self.model.target))

    def _preview_work(self, operation: Operation) -> Callable[[Reporter], Iterator[Any]]:
        if operation in OF_ROWS:
            return partial(make_preview, self._edit_of_rows(operation)[0])
        return self._work(preview_edit, operation)

    def _edit_of_rows(self, operation: Operation) -> tuple[LabelEdit, str, str]:
        """Return what changes the chosen rows, how many these are, and the layer's name."""
        deletes = operation is Operation.DELETE_SELECTED
        found, rows = self._get_chosen("delete" if deletes else "change")
        snapshot, _ = self._target()
        dtype, value = snapshot.array.dtype, self.model.new_value
        edit = (
            cleanup.delete_components(found, rows, dtype)
            if deletes
            else cleanup.assign_components(found, rows, value, dtype)
        )
        return edit, pluralize(len(rows), "selected component"), snapshot.name

    def _get_chosen(self, verb: str) -> tuple[Components, list[int]]:
        found = self.model.components
        rows = [row for row in self.model.selected if found is not None and row < len(found)]
        if found is None or not rows:
            raise MaskError(f"Select component rows to {verb}.", "Press Analyze Layer first.")
        return found, rows

    def _commit(self, edit: LabelEdit, done: str) -> None:
        self.hide_preview()
        self._edits.commit(self.model.target, edit, done, self._after_edit)

    def _step(self, *, forward: bool) -> None:
        if self.model.choice(self.model.target) is None:
            raise MaskError(_NO_TARGET)
        self.hide_preview()
        self._edits.step(self.model.target, self._after_edit, forward=forward)

    def _after_edit(self) -> None:
        """Bring the table up to date, where that is quick."""
        if self.model.components is None:
            return
        key, message = self.model.target, self.model.message
        try:
            snapshot, box = self._target(editable=False)
        except MaskError:  # the part that was analysed is out of view, or drawn no more
            self._mark_outdated(key)
            return
        if hasattr(snapshot.array, "chunks"):
            self._mark_outdated(key)
            return

        def show(components: Components) -> None:
            if self.model.target == key:
                self._show_table(components)
                self.model.message = message

        work = self._analysis(snapshot, box)
        self._jobs.start("The analysis", work, show, dropped=partial(self._mark_outdated, key))

    def _show_table(self, components: Components) -> None:
        self.model.selected = ()
        self.model.components = components
        self.model.components_stale = False

    def _mark_outdated(self, key: str) -> None:
        if key == self.model.target and self.model.components is not None:
            self.model.components_stale = True

    def _on_target(self, *_: object) -> None:
        self._jobs.cancel()
        self.hide_preview()
        self.model.selected = ()
        self.model.components = None
        self.model.components_stale = False
        self._edits.update_history()
