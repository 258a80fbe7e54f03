"""The verbs of Mask Cleanup."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.masks import cleanup
from napari_sam3_assistant.core.masks.labels import parse_values
from napari_sam3_assistant.core.masks.operations import Operation, Settings
from napari_sam3_assistant.errors import MaskError
from napari_sam3_assistant.session.mask_model import RightClick
from napari_sam3_assistant.session.mask_scene import Scope
from napari_sam3_assistant.session.model import Level
from napari_sam3_assistant.session.wording import counted
from napari_sam3_assistant.workflows.edit_masks import (
    EditRequest,
    analyse,
    compute_edit,
    preview_edit,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.masks.components import Components
    from napari_sam3_assistant.core.masks.edits import LabelEdit
    from napari_sam3_assistant.core.masks.labels import Box
    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.session.mask_jobs import MaskJobs
    from napari_sam3_assistant.session.mask_model import MaskModel
    from napari_sam3_assistant.session.mask_scene import FrozenLabels, MaskScene

_NO_TARGET = "Choose a target labels layer."


class MaskCleanup:
    """What a user can do to one labels layer. All methods are called on the GUI thread.

    Parameters
    ----------
    model : MaskModel
        The state.
    scene : MaskScene
        Where the labels live.
    jobs : MaskJobs
        Runs the work.
    """

    def __init__(self, model: MaskModel, scene: MaskScene, jobs: MaskJobs) -> None:
        self.model = model
        self._scene = scene
        self._jobs = jobs
        model.events.target.connect(self._on_target)

    # -- the table ------------------------------------------------------------------------

    def analyze(self) -> None:
        """Find the components of the target.

        Raises
        ------
        MaskError
            If there is no target, or no such part of it.
        """
        frozen, box = self._target(editable=False)
        key, connectivity = self.model.target, self.model.connectivity

        def show(found: Components) -> None:
            if self.model.target == key:
                self._show_table(found)
                many = counted(len(found), "connected component")
                self._jobs.say(f"Analyzed {many} in “{frozen.name}”.", Level.SUCCESS)

        work = partial(analyse, frozen.array, connectivity, box)
        self._jobs.start("The analysis", work, show)

    def delete_selected(self) -> None:
        """Delete the components of the chosen rows.

        Raises
        ------
        MaskError
            If no row is chosen.
        """
        found, rows = self._chosen("delete")
        frozen, _ = self._target()
        edit = cleanup.delete_components(found, rows, frozen.array.dtype)
        many = counted(len(rows), "selected component")
        self._commit(edit, f"Deleted {many} from “{frozen.name}”.")

    def change_selected(self) -> None:
        """Give the components of the chosen rows the new value.

        Raises
        ------
        MaskError
            If no row is chosen or the value does not fit.
        """
        found, rows = self._chosen("change")
        frozen, _ = self._target()
        value = self.model.new_value
        edit = cleanup.assign_components(found, rows, value, frozen.array.dtype)
        many = counted(len(rows), "selected component")
        self._commit(edit, f"Changed {many} of “{frozen.name}” to {value}.")

    def go_to(self, row: int) -> None:
        """Show a component in the middle of the view.

        Raises
        ------
        MaskError
            If there is no table, or the layer is gone.
        """
        found = self.model.components
        if found is None or row >= len(found):
            raise MaskError("Analyze a target labels layer before locating a component.")
        centre = found.centroids[row].tolist()
        self._scene.go_to(self.model.target, centre)
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

    def settings(self, operation: Operation) -> Settings:
        """Return the choices as they are now.

        Raises
        ------
        MaskError
            If values are to be replaced and the text names none.
        """
        model = self.model
        merges = operation is Operation.MERGE_VALUES
        return Settings(
            connectivity=model.connectivity,
            minimum=model.minimum,
            hole_size=model.hole_size,
            radius=model.radius,
            distance=model.distance,
            centres=model.centres,
            per_slice=model.per_slice,
            per_label=model.per_label,
            by_component=model.by_component,
            values=parse_values(model.values_text) if merges else (),
            new_value=model.new_value,
        )

    def apply(self, operation: Operation) -> None:
        """Do an operation on the target.

        Raises
        ------
        MaskError
            If there is no target or the choices make no sense.
        """
        key = self.model.target
        request, name = self._request(operation), self.model.name_of(self.model.target)

        def write(edit: LabelEdit) -> None:
            self.hide_preview()
            pixels = counted(edit.pixels, "pixel")
            done = f"{operation.capitalize()}: changed {pixels} of “{name}”."
            self._jobs.commit(key, edit, done, self._after_edit)

        self._jobs.start(operation.capitalize(), partial(compute_edit, request), write)

    def show_preview(self, operation: Operation) -> None:
        """Show what an operation would change.

        Raises
        ------
        MaskError
            If there is no target or the choices make no sense.
        """
        key = self.model.target
        self.model.previewing = operation
        request = self._request(operation)

        def show(result: tuple[LabelEdit, npt.NDArray[np.uint8] | None]) -> None:
            edit, image = result
            if self.model.previewing is not operation or self.model.target != key:
                return
            self.model.preview = edit
            if image is None or not edit.pixels:
                self._scene.hide_changes()
            else:
                self._scene.show_changes(key, edit, image)
            pixels = counted(edit.pixels, "pixel")
            hidden = " They are spread too widely to be shown." if image is None else ""
            self._jobs.say(f"{operation.capitalize()} would change {pixels}.{hidden}")

        self._jobs.start("The preview", partial(preview_edit, request), show)

    def hide_preview(self) -> None:
        """Show no effect of an operation any more."""
        if self.model.previewing is None and self.model.preview is None:
            return
        self.model.previewing = None
        self.model.preview = None
        self._scene.hide_changes()

    def delete_at(self, pixel: Sequence[int]) -> None:
        """Delete the label, or the component, at a pixel of the target.

        Raises
        ------
        MaskError
            If the target can't be changed.
        """
        mode = self.model.right_click
        if mode is RightClick.OFF:
            return
        frozen, box = self._target()
        key, value = self.model.target, int(frozen.array[tuple(pixel)])
        if value == 0:
            self._jobs.say("Right-clicked background; no label removed.")
            return
        component = mode is RightClick.COMPONENT
        connectivity = self.model.connectivity

        def find(reporter: Reporter) -> Iterator[LabelEdit]:
            yield cleanup.delete_at(
                frozen.array, pixel, connectivity, box, reporter, component=component
            )

        def write(edit: LabelEdit) -> None:
            what = "a component of label" if component else "label value"
            pixels = counted(edit.pixels, "pixel")
            done = f"Removed {what} {value} from “{frozen.name}” ({pixels})."
            self._jobs.commit(key, edit, done, self._after_edit)

        self._jobs.start("Right-click delete", find, write)

    def undo(self) -> None:
        """Take the last edit of the target back.

        Raises
        ------
        MaskError
            If there is none.
        """
        self._step(forward=False)

    def redo(self) -> None:
        """Do the edit again that was taken back.

        Raises
        ------
        MaskError
            If there is none.
        """
        self._step(forward=True)

    # -- what the viewer tells ------------------------------------------------------------

    def note_painting(self, key: str, edit: LabelEdit) -> None:
        """Take note that the user painted on a layer."""
        if edit.pixels:
            self._jobs.remember(key, edit)
            self._outdate(key)

    def note_replaced(self, key: str, *, same_shape: bool) -> None:
        """Take note that a layer got other data."""
        if not same_shape:
            self.note_removed(key)
        self._outdate(key)

    def note_removed(self, key: str) -> None:
        """Forget what can be taken back on a layer that is gone."""
        self._jobs.history.forget(key)
        if key == self.model.target:
            self._on_target()

    # -- inside ---------------------------------------------------------------------------

    def _target(self, *, editable: bool = True) -> tuple[FrozenLabels, Box | None]:
        if self.model.choice(self.model.target) is None:
            raise MaskError(_NO_TARGET, "Open or make a labels layer first.")
        frozen = self._scene.freeze(self.model.target, editable=editable)
        return frozen, self._scene.box(self.model.target, self.model.scope)

    def _request(self, operation: Operation) -> EditRequest:
        frozen, box = self._target()
        if operation is Operation.RENUMBER and self.model.scope is not Scope.WHOLE:
            raise MaskError("Only a whole layer can be renumbered.", "Choose “whole layer”.")
        ones = (1.0,) * frozen.array.ndim
        spacing = frozen.scale if self.model.physical else ones
        return EditRequest(frozen.array, operation, self.settings(operation), spacing, box)

    def _chosen(self, verb: str) -> tuple[Components, list[int]]:
        found = self.model.components
        rows = [row for row in self.model.selected if found is not None and row < len(found)]
        if found is None or not rows:
            raise MaskError(f"Select component rows to {verb}.", "Press Analyze Layer first.")
        return found, rows

    def _commit(self, edit: LabelEdit, done: str) -> None:
        self.hide_preview()
        self._jobs.commit(self.model.target, edit, done, self._after_edit)

    def _step(self, *, forward: bool) -> None:
        if self.model.choice(self.model.target) is None:
            raise MaskError(_NO_TARGET)
        self.hide_preview()
        self._jobs.step(self.model.target, self._after_edit, forward=forward)

    def _after_edit(self) -> None:
        """Bring the table up to date, where that is quick."""
        if self.model.components is None:
            return
        frozen, box = self._target(editable=False)
        if hasattr(frozen.array, "chunks"):
            self._outdate(self.model.target)
            return
        key, said = self.model.target, self.model.message

        def show(found: Components) -> None:
            if self.model.target == key:
                self._show_table(found)
                self.model.message = said

        work = partial(analyse, frozen.array, self.model.connectivity, box)
        self._jobs.start("The analysis", work, show)

    def _show_table(self, found: Components) -> None:
        self.model.selected = ()
        self.model.components = found
        self.model.components_stale = False

    def _outdate(self, key: str) -> None:
        if key == self.model.target and self.model.components is not None:
            self.model.components_stale = True

    def _on_target(self, *_: Any) -> None:  # noqa: ANN401 - the new and the old key
        self._jobs.cancel()
        self.hide_preview()
        self.model.selected = ()
        self.model.components = None
        self.model.components_stale = False
        self._jobs.tell_history()
