"""What the user can do to a viewer by a key, a button or a command of napari."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from napari_sam3_assistant.core.plurals import pluralize
from napari_sam3_assistant.core.prompts import SIGNED, Task, Tool, tools_of
from napari_sam3_assistant.errors import PromptError, Sam3AssistantError
from napari_sam3_assistant.session.availability import no_preview
from napari_sam3_assistant.session.values import (
    FileBackedLabels,
    FramePlace,
    KeptPlace,
    Level,
    Message,
    Preview,
)
from napari_sam3_assistant.viewer.picking import choose_object
from napari_sam3_assistant.viewer.roles import Role, key_of, role_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.components import ViewerModel

    from napari_sam3_assistant.session.session import Session
    from napari_sam3_assistant.session.values import ResultRow, StackSeed
    from napari_sam3_assistant.viewer.adapter import ViewerAdapter
    from napari_sam3_assistant.viewer.correcting import Corrections
    from napari_sam3_assistant.viewer.label_binding import LabelBinding
    from napari_sam3_assistant.viewer.prompt_binding import PromptBinding
    from napari_sam3_assistant.viewer.stack_binding import StackBinding


_TASK_OF = {
    Tool.TEXT: Task.TEXT,
    Tool.EXAMPLE: Task.EXEMPLAR,
    Tool.EVERYTHING: Task.EVERYTHING,
}
_RESULTS = (Role.PREVIEW_LABELS, Role.PREVIEW_BOXES, Role.ACCEPTED, Role.PROPAGATED)


class Actions:
    """The acts on a viewer; :data:`.keys.SHORTCUTS` names those that have a key."""

    def __init__(
        self,
        viewer: ViewerModel,
        adapter: ViewerAdapter,
        session: Session,
        prompts: PromptBinding,
        stack: StackBinding,
        labels: LabelBinding,
        corrections: Corrections,
    ) -> None:
        self._viewer = viewer
        self._adapter = adapter
        self._session = session
        self._model = session.model
        self._prompts = prompts
        self._stack = stack
        self._labels = labels
        self._corrections = corrections

    def refine(self) -> None:
        """Let the user point at an object of the previews, then refine it by clicks.

        Raises PromptError if there is no preview.
        """
        self._session.shown_preview()
        choose_object(self._viewer, self._model, self._refine)

    def refine_row(self, row: ResultRow) -> None:
        """Refine the object of a row of the results by clicks.

        Raises PromptError if it is not an object of a preview.
        """
        if isinstance(row.preview, FramePlace | FileBackedLabels):
            raise PromptError(
                "Clicks refine found and accepted objects.",
                "Correct a propagation by clicks on a slice, a scan in Mask Operations.",
            )
        self.reveal(row)
        part = self._adapter.part_on_show(row).preview
        assert isinstance(part, Preview | KeptPlace)
        self._refine(part, row.record.id)

    def _refine(self, place: Preview | KeptPlace, object_id: int) -> None:
        image = self._adapter.find(self._model.image)
        if image is None or key_of(image) != place.target.image:
            self._model.image = place.target.image
        if isinstance(place, Preview):
            self._session.refine(object_id, place)
        else:
            self._session.refine_accepted(place, object_id)
        self._prompts.arm()

    def call(self, name: str) -> None:
        """Do what a shortcut stands for, and say why where it can't be done."""
        try:
            getattr(self, name)()
        except Sam3AssistantError as error:
            self._model.message = Message(str(error), Level.ERROR)

    def choose_class(self, number: int) -> bool:
        """Choose the class of a key; returns whether there is a class list."""
        try:
            return self._session.classes.press(number)
        except Sam3AssistantError as error:
            self._model.message = Message(str(error), Level.ERROR)
            return True

    def choose_tool(self, tool: Tool) -> None:
        """Choose a tool, and a task that offers it, and let the next click be a prompt."""
        model = self._model
        example = tool is Tool.EXAMPLE and model.task is not Task.VIDEO
        # The boxes of an exemplar are examples.
        if example or tool not in tools_of(model.task) or model.task is Task.EXEMPLAR:
            model.task = _TASK_OF.get(tool, Task.SEGMENT)
        if not example:
            model.tool = tool
        model.message = self._prompts.arm()

    def choose_points(self) -> None:
        """Prompt with points."""
        self.choose_tool(Tool.POINTS)

    def choose_box(self) -> None:
        """Prompt with boxes."""
        self.choose_tool(Tool.BOX)

    def choose_labels(self) -> None:
        """Prompt with a painted mask."""
        self.choose_tool(Tool.MASK)

    def choose_text(self) -> None:
        """Prompt with a phrase."""
        self.choose_tool(Tool.TEXT)

    def choose_example(self) -> None:
        """Prompt with an example."""
        self.choose_tool(Tool.EXAMPLE)

    def choose_everything(self) -> None:
        """Look for all objects."""
        self.choose_tool(Tool.EVERYTHING)

    def encode_folder(self) -> None:
        """Encode the images of the folder of Batch Folder ahead.

        Raises Sam3AssistantError if that can't be done.
        """
        self._session.folder_encoding.run()

    def smaller_candidate(self) -> None:
        """Take the next smaller mask that the click may mean."""
        self._session.choose_candidate(-1)

    def larger_candidate(self) -> None:
        """Take the next larger mask that the click may mean."""
        self._session.choose_candidate(1)

    def follow(self) -> None:
        """Go through the stack with a found or accepted object.

        Raises Sam3AssistantError if that can't be done.
        """
        self._session.note_edits()
        self._stack.choose_seed(self._follow)

    def _follow(self, seed: StackSeed) -> None:
        try:
            self._session.follow(seed)
        except Sam3AssistantError as error:
            # It may have been chosen by a click: napari would show a traceback.
            self._model.message = Message(str(error), Level.ERROR)
            return
        self._prompts.get_ready(say=False)

    def run(self) -> None:
        """Run Preview, or start the 3D propagation."""
        self._session.run()

    def accept(self) -> None:
        """Accept the object and begin the next one."""
        self._session.accept()

    def discard(self) -> None:
        """Discard the object on show, or cancel the run; before, leave a correction begun."""
        if self._corrections.disarm():
            self._model.message = Message("Nothing was changed.")
        else:
            self._session.discard()

    def undo(self) -> None:
        """Take the last step back, also a stroke that was painted on a result."""
        if not self._labels.undo():
            self._session.undo()

    def redo(self) -> None:
        """Take the step again that was taken back."""
        if not self._labels.redo():
            self._session.redo()

    def delete_object(self) -> None:
        """Delete the object that is marked; of a propagation on its slice."""
        self._session.correcting.delete(self._require_picked())
        self._model.picked = None

    def refine_object(self) -> None:
        """Refine the object that is marked by clicks."""
        self.refine_row(self._require_picked())

    def split(self) -> None:
        """Split an object along a line that is drawn next."""
        self._corrections.arm_split()

    def _require_picked(self) -> ResultRow:
        if self._model.picked is None:
            raise PromptError("No object is marked.", "Click on its row, or go to it by N.")
        return self._model.picked

    def reveal(self, row: ResultRow) -> None:
        """Show the object of a row of the results in the middle of the canvas.

        Raises ImageError if its image or its preview layer is gone.
        """
        self._model.picked = row
        self._adapter.reveal(row)

    def next_object(self, step: int = 1) -> None:
        """Show the next object of the results, or the one so many steps away."""
        rows, picked = self._model.results, self._model.picked
        if not rows:
            raise no_preview(self._model, "There are no results yet.")
        before = rows.index(picked) if picked in rows else -min(step, 0) - 1
        self.reveal(rows[(before + step) % len(rows)])

    def previous_object(self) -> None:
        """Show the previous object of the results."""
        self.next_object(-1)

    def next_image(self) -> None:
        """Save what was done, and go to the next image of the folder that is annotated."""
        self._session.annotation.go(1)

    def previous_image(self) -> None:
        """Save what was done, and go to the previous image of the folder that is annotated."""
        self._session.annotation.go(-1)

    def toggle_results(self) -> None:
        """Show or hide what was found and what was accepted."""
        layers = [layer for layer in self._viewer.layers if role_of(layer) in _RESULTS]
        shown = any(layer.visible for layer in layers)
        with self._adapter.mark_changes():
            for layer in layers:
                layer.visible = not shown

    def toggle_class_colours(self) -> None:
        """Show objects in the colours of their classes, or each in one of its own."""
        self._model.colour_by_class = not self._model.colour_by_class

    def toggle_outlines(self) -> None:
        """Show objects as outlines, or filled."""
        self._adapter.set_outlines(shown=not self._adapter.outlines)

    @contextmanager
    def bare_image(self) -> Iterator[None]:
        """Hide all layers that are ours for as long as the block lasts."""
        hidden = [
            layer for layer in self._viewer.layers if role_of(layer) is not None and layer.visible
        ]
        with self._adapter.mark_changes():
            for layer in hidden:
                layer.visible = False
        try:
            yield
        finally:
            with self._adapter.mark_changes():
                for layer in hidden:
                    layer.visible = True

    def toggle_next(self) -> None:
        """Switch the next click or example between positive and negative."""
        if self._prompts.kind in SIGNED:
            self._model.next_positive = not self._model.next_positive

    def flip(self) -> int:
        """Flip the selected points or examples, or the latest one; returns how many."""
        return self._adapter.flip_prompts(self._model.image, self._prompts.kind)

    def mark_selected(self) -> None:
        """Give the selected points or examples the polarity of the next one.

        Raises PromptError if there is no layer of them, or none is selected.
        """
        positive = self._model.next_positive
        count = self._adapter.mark_prompts(self._model.image, self._prompts.kind, positive=positive)
        prompts = pluralize(count, f"selected {SIGNED[self._prompts.kind]}")
        word = "positive" if positive else "negative"
        self._model.message = Message(f"Updated {prompts} to {word}.")

    def new_object(self) -> None:
        """Let the next click on a stack be on an object that there is not yet."""
        self._stack.new_object()
