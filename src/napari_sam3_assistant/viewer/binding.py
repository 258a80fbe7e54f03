"""The one listener on a viewer: layers, sliders and keys to the session, results to layers."""

from __future__ import annotations

import inspect
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Image, Labels
from psygnal import Signal

from napari_sam3_assistant.core.masks.labels import whole_box
from napari_sam3_assistant.core.plurals import pluralize
from napari_sam3_assistant.core.prompts import (
    NOT_DRAWN,
    SIGNED,
    PromptKind,
    Task,
    Tool,
    layer_tool,
    prompt_kind,
    tools_of,
)
from napari_sam3_assistant.errors import ImageError, PromptError, Sam3AssistantError
from napari_sam3_assistant.session.availability import no_preview
from napari_sam3_assistant.session.layer_files import saved_features
from napari_sam3_assistant.session.model import CHOICE_FIELDS, SessionModel
from napari_sam3_assistant.session.session import Session
from napari_sam3_assistant.session.values import (
    FileBackedLabels,
    FramePlace,
    KeptPlace,
    Level,
    Message,
    Preview,
)
from napari_sam3_assistant.viewer import prompt_layers
from napari_sam3_assistant.viewer.accepted_objects import list_kept
from napari_sam3_assistant.viewer.adapter import ViewerAdapter
from napari_sam3_assistant.viewer.classes import (
    class_names,
    colour_by_class,
    colour_by_object,
    share_classes,
)
from napari_sam3_assistant.viewer.correcting import Corrections
from napari_sam3_assistant.viewer.file_backed_layers import plane_axes
from napari_sam3_assistant.viewer.following import Followers
from napari_sam3_assistant.viewer.geometry import array_of
from napari_sam3_assistant.viewer.images import ALL_IMAGES, file_of, image_layers
from napari_sam3_assistant.viewer.keys import Keys
from napari_sam3_assistant.viewer.label_pixels import Strokes, edit_of_strokes, edits_of
from napari_sam3_assistant.viewer.lifetime import Bindings, RefCounted, get_or_make_binding
from napari_sam3_assistant.viewer.picking import (
    box_under,
    choose_object,
    forget_pick,
    select_on_click,
)
from napari_sam3_assistant.viewer.previews import follow_zoom
from napari_sam3_assistant.viewer.roles import (
    PROMPT_ROLES,
    RESULT_ROLES,
    Role,
    clear_role,
    drop_deep_spares,
    follow_units,
    in_slot,
    is_ours,
    key_of,
    role_of,
    slot_of,
)
from napari_sam3_assistant.viewer.stack_binding import StackBinding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.components import ViewerModel
    from napari.layers import Layer, Shapes
    from napari.utils.events import Event

    from napari_sam3_assistant.core.masks.edits import Changes, LabelEdit
    from napari_sam3_assistant.core.masks.labels import Box
    from napari_sam3_assistant.core.progress import Deliver
    from napari_sam3_assistant.session.settings import SettingsStore
    from napari_sam3_assistant.session.values import ResultRow, StackSeed


_HINTS = {
    PromptKind.POINTS: "Click on the object",
    PromptKind.BOXES: "Drag a box around an object",
    PromptKind.MASK: "Paint over the object",
    PromptKind.EXEMPLARS: "Drag a box around an example",
}
_TASK_OF = {
    Tool.TEXT: Task.TEXT,
    Tool.EXAMPLE: Task.EXEMPLAR,
    Tool.EVERYTHING: Task.EVERYTHING,
}
_RESULTS = (Role.PREVIEW_LABELS, Role.PREVIEW_BOXES, Role.ACCEPTED, Role.PROPAGATED)
_BEFORE = {"ADDING", "CHANGING", "REMOVING"}
_EDITED = (Role.PREVIEW_LABELS, Role.ACCEPTED, Role.PROPAGATED)
_STROKE_GONE = "The last stroke is taken back."
_CLICK = 5
"""A mouse that moves by fewer pixels has clicked, for napari as well."""
_DRAGGED = {"add_rectangle", "add_ellipse", "add_line"}
"""Modes of shapes that are drawn by one drag: napari makes a speck of a click."""
_WATCHED = (
    "name",
    "visible",
    "data",
    "set_data",
    "projection_mode",
    "features",
    "current_properties",
    "paint",
    "selected_label",
)

_BINDINGS: Bindings[Binding] = WeakKeyDictionary()


def binding_for(viewer: ViewerModel, deliver: Deliver, settings: SettingsStore) -> Binding:
    """Return the binding of a viewer: the same one for all who ask while somebody holds it.

    ``viewer``: the viewer, or the proxy of it that napari hands to dock widgets.
    """
    return get_or_make_binding(viewer, _BINDINGS, lambda real: Binding(real, deliver, settings))


def find_binding(viewer: ViewerModel) -> Binding | None:
    """Return the binding of a viewer, or of napari's proxy of it, if there is one."""
    known = _BINDINGS.get(inspect.unwrap(viewer))
    return None if known is None else known()


class Binding(RefCounted):
    """A viewer, its session, and what keeps the two in step.

    Attributes
    ----------
    opened : Signal
        Tells that the user has opened an image. napari may still be about to add it.
    drawn : Signal
        Tells that the user has let go of the mouse on a prompt layer.
    phrase_wanted : Signal
        Tells that the user is about to type a phrase.
    drawing : bool
        Whether the mouse is held down on one.
    """

    opened = Signal()
    drawn = Signal()
    phrase_wanted = Signal()

    def __init__(self, viewer: ViewerModel, deliver: Deliver, settings: SettingsStore) -> None:
        super().__init__()
        self.viewer = viewer
        self.drawing = False
        self._clicked = False  # whether the mouse has not been moved since it was pressed
        # What napari selects by itself when the user has removed the selected layer.
        self._neighbour: Layer | None = None
        self._hint = Message("")
        self._deliver = deliver
        self._turned = 0.0
        self.adapter = ViewerAdapter(viewer)
        self.model = SessionModel()
        self.session = Session(self.model, self.adapter, deliver, settings)
        self._keys = Keys(viewer, self.call, self._choose_class, self.bare_image)
        self._strokes = Strokes()
        self._followers = Followers(viewer, self.adapter.axes)
        self._corrections = Corrections(self.adapter, self.session)
        self._unshare = share_classes(
            viewer, self.model, self.session.classes.file, self.session.classes.rename
        )
        self._stack = StackBinding(self.model, self.adapter, self.session)
        self._watch_viewer()
        self._watch_model()
        for layer in viewer.layers:
            self._watch_layer(layer)
        self._list_images()
        self._list_prompt_layers()
        self._follow_active()
        self._note_selected()
        self.session.resume()

    def _disconnect(self) -> None:
        edits_of(self.viewer).edited.disconnect(self._on_edited)
        edits_of(self.viewer).changed.disconnect(self._on_changed)
        for emitter in self._viewer_emitters():
            emitter.disconnect(self)
        for layer in self.viewer.layers:
            self._forget_layer(layer)
        self._keys.close()
        self.viewer.mouse_wheel_callbacks.remove(self._on_wheel)
        self._corrections.close()
        self._unshare()
        self.session.close()

    # -- what the views ask for -----------------------------------------------------------

    def arm(self) -> Message:
        """Make the prompt layer of the chosen tool ready to use; returns what to do next.

        Raises ImageError if there is no image.
        """
        tool = layer_tool(self.model.tool)
        if tool is Tool.EVERYTHING:
            return Message("Run looks for all objects, nothing has to be drawn.")
        if tool is Tool.TEXT:
            self.phrase_wanted.emit()
            return Message("Type a phrase, then press Enter.")
        setattr(self.model, CHOICE_FIELDS[tool], "")
        name = self.adapter.arm(self.model.image, tool)
        self._on_next_positive(self.model.next_positive)
        self._stack.arm_points()
        self._count_prompts()
        self.session.prefetch.start()
        self._hint = Message(f"{_HINTS[self._kind]} (layer “{name}”).")
        return self._hint

    def get_ready(self, *, say: bool = True) -> None:
        """Let the next click be a prompt of the chosen tool, on the layer that it takes them from.

        Nothing happens where there is nothing to click on. ``say``: whether to show the next step.
        """
        tool = layer_tool(self.model.tool)
        if not tool.has_layer or not self.model.image:
            return
        if getattr(self.model, CHOICE_FIELDS[tool]):
            self.adapter.go_back_to(self.model.image, tool)
            return
        try:
            hint = self.arm()
        except ImageError:
            # The viewer shows no plane of the image: its summary says so, and what to do.
            return
        if say:
            self.model.message = hint

    def refine(self) -> None:
        """Let the user point at an object of the previews, then refine it by clicks.

        Raises PromptError if there is no preview.
        """
        self.session.shown_preview()
        choose_object(self.viewer, self.model, self._refine)

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
        part = self.adapter.part_on_show(row).preview
        assert isinstance(part, Preview | KeptPlace)
        self._refine(part, row.record.id)

    def _refine(self, place: Preview | KeptPlace, object_id: int) -> None:
        if self._image_key() != place.target.image:
            self.model.image = place.target.image
        if isinstance(place, Preview):
            self.session.refine(object_id, place)
        else:
            self.session.refine_accepted(place, object_id)
        self.arm()

    # -- the keys -------------------------------------------------------------------------

    def call(self, name: str) -> None:
        """Do what a shortcut stands for, and say why where it can't be done."""
        try:
            getattr(self, name)()
        except Sam3AssistantError as error:
            self.model.message = Message(str(error), Level.ERROR)

    def _choose_class(self, number: int) -> bool:
        """Choose the class of a key; returns whether there is a class list."""
        try:
            return self.session.classes.press(number)
        except Sam3AssistantError as error:
            self.model.message = Message(str(error), Level.ERROR)
            return True

    def choose_tool(self, tool: Tool) -> None:
        """Choose a tool, and a task that offers it, and let the next click be a prompt."""
        model = self.model
        example = tool is Tool.EXAMPLE and model.task is not Task.VIDEO
        # The boxes of an exemplar are examples.
        if example or tool not in tools_of(model.task) or model.task is Task.EXEMPLAR:
            model.task = _TASK_OF.get(tool, Task.SEGMENT)
        if not example:
            model.tool = tool
        model.message = self.arm()

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

    def encode_folder(self) -> None:
        """Encode the images of the folder of Batch Folder ahead.

        Raises
        ------
        Sam3AssistantError
            If that can't be done.
        """
        self.session.folder_encoding.run()

    def smaller_candidate(self) -> None:
        """Take the next smaller mask that the click may mean."""
        self.session.choose_candidate(-1)

    def larger_candidate(self) -> None:
        """Take the next larger mask that the click may mean."""
        self.session.choose_candidate(1)

    def follow(self) -> None:
        """Go through the stack with a found or accepted object.

        Raises Sam3AssistantError if that can't be done.
        """
        self.session.note_edits()
        self._stack.choose_seed(self._follow)

    def _follow(self, seed: StackSeed) -> None:
        try:
            self.session.follow(seed)
        except Sam3AssistantError as error:
            # It may have been chosen by a click: napari would show a traceback.
            self.model.message = Message(str(error), Level.ERROR)
            return
        self.get_ready(say=False)

    def choose_everything(self) -> None:
        """Look for all objects."""
        self.choose_tool(Tool.EVERYTHING)

    def run(self) -> None:
        """Run Preview, or start the 3D propagation."""
        self.session.run()

    def accept(self) -> None:
        """Accept the object and begin the next one."""
        self.session.accept()

    def discard(self) -> None:
        """Discard the object on show, or cancel the run; before, leave a correction begun."""
        if self._corrections.disarm():
            self.model.message = Message("Nothing was changed.")
        else:
            self.session.discard()

    def undo(self) -> None:
        """Take the last step back, also a stroke that was painted on a result."""
        if stroke := self._strokes.undo(self.session.step):
            self._note_stroke(*stroke, forward=False)
        else:
            self.session.undo()

    def redo(self) -> None:
        """Take the step again that was taken back."""
        if stroke := self._strokes.redo(self.session.step):
            self._note_stroke(*stroke, forward=True)
        else:
            self.session.redo()

    def delete_object(self) -> None:
        """Delete the object that is marked; of a propagation on its slice."""
        self.session.correcting.delete(self._require_picked())
        self.model.picked = None

    def refine_object(self) -> None:
        """Refine the object that is marked by clicks."""
        self.refine_row(self._require_picked())

    def split(self) -> None:
        """Split an object along a line that is drawn next."""
        self._corrections.arm_split()

    def _require_picked(self) -> ResultRow:
        if self.model.picked is None:
            raise PromptError("No object is marked.", "Click on its row, or go to it by N.")
        return self.model.picked

    def next_object(self, step: int = 1) -> None:
        """Show the next object of the results, or the one so many steps away."""
        rows, picked = self.model.results, self.model.picked
        if not rows:
            raise no_preview(self.model, "There are no results yet.")
        before = rows.index(picked) if picked in rows else -min(step, 0) - 1
        self.reveal(rows[(before + step) % len(rows)])

    def previous_object(self) -> None:
        """Show the previous object of the results."""
        self.next_object(-1)

    def next_image(self) -> None:
        """Save what was done, and go to the next image of the folder that is annotated."""
        self.session.annotation.go(1)

    def previous_image(self) -> None:
        """Save what was done, and go to the previous image of the folder that is annotated."""
        self.session.annotation.go(-1)

    def toggle_results(self) -> None:
        """Show or hide what was found and what was accepted."""
        layers = [layer for layer in self.viewer.layers if role_of(layer) in _RESULTS]
        shown = any(layer.visible for layer in layers)
        with self.adapter.mark_changes():
            for layer in layers:
                layer.visible = not shown

    def toggle_class_colours(self) -> None:
        """Show objects in the colours of their classes, or each in one of its own."""
        self.model.colour_by_class = not self.model.colour_by_class

    def toggle_outlines(self) -> None:
        """Show objects as outlines, or filled."""
        self.adapter.set_outlines(shown=not self.adapter.outlines)

    @contextmanager
    def bare_image(self) -> Iterator[None]:
        """Hide all layers that are ours for as long as the block lasts."""
        hidden = [
            layer for layer in self.viewer.layers if role_of(layer) is not None and layer.visible
        ]
        with self.adapter.mark_changes():
            for layer in hidden:
                layer.visible = False
        try:
            yield
        finally:
            with self.adapter.mark_changes():
                for layer in hidden:
                    layer.visible = True

    def toggle_next(self) -> None:
        """Switch the next click or example between positive and negative."""
        if self._kind in SIGNED:
            self.model.next_positive = not self.model.next_positive

    def flip(self) -> int:
        """Flip the selected points or examples, or the latest one; returns how many."""
        return self.adapter.flip_prompts(self.model.image, self._kind)

    def new_object(self) -> None:
        """Let the next click on a stack be on an object that there is not yet."""
        self._stack.new_object()

    def mark_selected(self) -> None:
        """Give the selected points or examples the polarity of the next one.

        Raises PromptError if there is no layer of them, or none is selected.
        """
        positive = self.model.next_positive
        count = self.adapter.mark_prompts(self.model.image, self._kind, positive=positive)
        prompts = pluralize(count, f"selected {SIGNED[self._kind]}")
        word = "positive" if positive else "negative"
        self.model.message = Message(f"Updated {prompts} to {word}.")

    def reveal(self, row: ResultRow) -> None:
        """Show the object of a row of the results in the middle of the canvas.

        Raises ImageError if its image or its preview layer is gone.
        """
        self.model.picked = row
        self.adapter.reveal(row)

    # -- from the viewer to the model -----------------------------------------------------

    def _viewer_emitters(self) -> list[Any]:
        layers, dims = self.viewer.layers, self.viewer.dims
        camera = getattr(self.viewer, "scene", self.viewer).camera  # moved in napari 0.9
        return [
            camera.events.zoom,
            layers.events.inserted,
            layers.events.removed,
            layers.events.reordered,
            layers.selection.events.active,
            dims.events.point,
            dims.events.order,
            dims.events.ndisplay,
            dims.events.margin_left,
            dims.events.margin_right,
        ]

    def _watch_viewer(self) -> None:
        self.viewer.mouse_wheel_callbacks.append(self._on_wheel)
        zoom, inserted, removed, reordered, active, *dims = self._viewer_emitters()
        zoom.connect(self._on_zoom)
        inserted.connect(self._on_inserted)
        removed.connect(self._on_removed)
        reordered.connect(self._list_images)
        edits_of(self.viewer).edited.connect(self._on_edited)
        edits_of(self.viewer).changed.connect(self._on_changed)
        active.connect(self._follow_active)
        active.connect(self._note_selected)
        for emitter in dims:
            emitter.connect(self._on_plane)

    def _watch_layer(self, layer: Layer) -> None:
        layer.events.name.connect(self._list_images)
        layer.events.name.connect(self._list_prompt_layers)
        layer.events.visible.connect(self._list_images)
        if role_of(layer) is None and self.model.image:
            prompt_layers.adopt(layer, self._image_key())
        self._keys.watch(layer)
        if role_of(layer) is Role.PREVIEW_MASKS:
            layer.events.visible.connect(self._on_soft_visible)
            return
        if isinstance(layer, Image):
            layer.events.data.connect(self._on_pixels)
            layer.events.set_data.connect(self._on_drawn)
            layer.events.projection_mode.connect(self._list_images)
            layer.events.visible.connect(self._on_image_visible)
            self._followers.watch(layer)
            self.adapter.sources.note_drawn(self.viewer, layer)
            return
        if role_of(layer) in _EDITED:
            layer.events.paint.connect(self._on_painted)
            layer.events.data.connect(self._on_replaced)
            layer.events.set_data.connect(self._on_labels_drawn)
            layer.events.features.connect(self._on_features)
        if role_of(layer) in RESULT_ROLES:
            layer.mouse_drag_callbacks.append(select_on_click)
            layer.events.selected_label.connect(self._on_picked)
        if role_of(layer) not in PROMPT_ROLES:
            self._watch_other(layer)
            return
        layer.events.data.connect(self._on_prompts)
        layer.mouse_drag_callbacks.append(self._on_drag)
        if role_of(layer) in (Role.POINTS, Role.BOXES):
            layer.events.features.connect(self._on_prompts)
            layer.events.current_properties.connect(self._on_next_polarity)
        if role_of(layer) is Role.MASK:
            layer.events.paint.connect(self._on_prompts)

    def _watch_other(self, layer: Layer) -> None:
        """Listen to a layer that is not ours, but that the user may take prompts from, or boxes."""
        if role_of(layer) is Role.PREVIEW_BOXES:
            layer.mouse_drag_callbacks.append(self._on_box)
        for name in ("data", "features", "paint"):
            emitter = getattr(layer.events, name, None)
            if emitter is not None:
                emitter.connect(self._on_other_prompts)
        if role_of(layer) is Role.ACCEPTED:
            layer.events.features.connect(self._on_kept)
            self.session.results.list_kept(key_of(layer), list_kept(layer))

    def _forget_layer(self, layer: Layer) -> None:
        forget_pick(layer)
        self._keys.forget(layer)
        self._followers.forget(layer)
        if select_on_click in layer.mouse_drag_callbacks:
            layer.mouse_drag_callbacks.remove(select_on_click)
        if self._on_drag in layer.mouse_drag_callbacks:
            layer.mouse_drag_callbacks.remove(self._on_drag)
        if self._on_box in layer.mouse_drag_callbacks:
            layer.mouse_drag_callbacks.remove(self._on_box)
        for name in _WATCHED:
            emitter = getattr(layer.events, name, None)
            if emitter is not None:
                emitter.disconnect(self)

    def _image_key(self) -> str:
        image = self.adapter.find(self.model.image)
        return "" if image is None else key_of(image)

    def _on_wheel(self, viewer: ViewerModel, event: Event) -> None:
        """Go through the candidates of a click; a mouse callback. Shift and wheel are free."""
        del viewer
        found = self.model.preview
        if tuple(event.modifiers) == ("Shift",) and found and found.segmentation.candidates:
            # macOS turns the wheel with Shift sideways; a touchpad sends parts of a turn.
            self._turned += sum(event.delta)
            if abs(self._turned) >= 1:
                self.call("larger_candidate" if self._turned > 0 else "smaller_candidate")
                self._turned = 0.0

    def _on_zoom(self, event: Event) -> None:
        del event
        follow_zoom(self.viewer)

    def _on_inserted(self, event: Event) -> None:
        if not self.adapter.busy:
            clear_role(event.value, self.viewer.layers)
            follow_units(self.viewer)
            _restore_features(event.value)
        self._watch_layer(event.value)
        self.adapter.outline(event.value)
        self._list_images()
        self._list_prompt_layers()
        if event.value in image_layers(self.viewer):
            self.opened.emit()

    def _on_removed(self, event: Event) -> None:
        layer, layers = event.value, self.viewer.layers
        if layers and not layers.selection and key_of(layer) != self.model.image:
            self._neighbour = layers[max(0, event.index - 1)]
        self._forget_layer(layer)
        if not self.adapter.busy:
            follow_units(self.viewer)
        self.adapter.sources.forget(layer)
        self.session.note_image_removed(key_of(layer))
        self._list_images()
        self._list_prompt_layers()
        if not self.adapter.busy:
            self._take_back_hint(layer)
        self._stack.on_removed(layer)
        if role_of(layer) is Role.ACCEPTED:
            self.session.results.list_kept(key_of(layer))
        if role_of(layer) is Role.SCAN and not self.adapter.busy:
            self.session.results.forget_file_backed(*slot_of(layer))
        # Later: napari may be removing several, by a list that it has made before, and can't go on
        # when another of them is gone with this one.
        if role_of(layer) is None and not self.adapter.busy:
            self._deliver(self._drop_deep_spares)
        if role_of(layer) is Role.PREVIEW_LABELS and not self.adapter.busy:
            self._deliver(partial(self._drop_preview, slot_of(layer)))
        if not self.adapter.busy and isinstance(layer, Image):
            self._deliver(partial(self.session.part_from_image, key_of(layer), layer.name))

    def _drop_deep_spares(self) -> None:
        with self.adapter.mark_changes():
            drop_deep_spares(self.viewer)

    def _drop_preview(self, slot: tuple[str, str]) -> None:
        """Forget the preview whose labels the user removed, unless there is a newer one."""
        if in_slot(self.viewer.layers, Role.PREVIEW_LABELS, slot) is None:
            self.model.previews = tuple(
                preview for preview in self.model.previews if preview.slot != slot
            )

    def _take_back_hint(self, gone: Layer) -> None:
        """Say no more what to do with a layer that is gone, or what was done with the last one."""
        message, is_last = self.model.message, isinstance(gone, Image) and not self.model.images
        if is_last and message.level not in (Level.WARNING, Level.ERROR):
            self.model.message = Message("Ready")
        elif message is self._hint and f"“{gone.name}”" in message.text:
            self.model.message = Message(
                f"Layer “{gone.name}” is gone: choose the tool again to draw."
            )

    def _list_images(self, event: Event | None = None) -> None:
        del event
        choices = self.adapter.choices()
        self.model.images, self.model.no_image = choices, self.adapter.explain_no_image()
        if self.model.image not in {choice.key for choice in choices}:
            self.model.image = choices[0].key if choices else ""
        self._stack.list_axes()
        self._count_prompts()
        self._count_kept()

    def _count_kept(self, event: Event | None = None) -> None:
        del event
        self.model.kept = self.adapter.accepted.count(self.model.image)

    def _on_features(self, event: Event) -> None:
        self._colour(event.source)

    def _colour_all(self) -> None:
        """Colour the objects of all layers by their classes, or each on its own."""
        with self.adapter.mark_changes():
            for layer in self.viewer.layers:
                if role_of(layer) in (*_EDITED, Role.SCAN):
                    self._colour(layer)

    def _colour(self, layer: Labels) -> None:
        if not self.model.colour_by_class:
            colour_by_object(layer)
            return
        tracked = role_of(layer) is Role.PROPAGATED
        names = self.session.propagation.tracks.classes if tracked else class_names(layer)
        colour_by_class(layer, self.model.class_list, names)

    def _on_kept(self, event: Event) -> None:
        layer = event.source
        self.session.results.list_kept(key_of(layer), list_kept(layer))
        self._count_kept()

    def _list_prompt_layers(self, event: Event | None = None) -> None:
        del event
        choices = self.adapter.prompt_choices()
        self.model.prompt_layers = choices
        for tool, name in CHOICE_FIELDS.items():
            offered = {choice.key for choice in choices if choice.tool is tool}
            if getattr(self.model, name) not in offered:
                setattr(self.model, name, "")

    def _follow_active(self, event: Event | None = None) -> None:
        del event
        active, expected = self.viewer.layers.selection.active, self._neighbour
        if active is None or is_ours(self.viewer):
            return
        self._neighbour = None
        if active is expected or self.model.image == ALL_IMAGES:
            return
        if active in image_layers(self.viewer):
            self.model.image = key_of(active)

    def _note_selected(self, event: Event | None = None) -> None:
        del event
        model, tool = self.model, layer_tool(self.model.tool)
        active = self.viewer.layers.selection.active
        elsewhere = active is not None and not self.adapter.is_for(active, model.image, tool)
        shows_brush = bool(model.image) and tool.has_layer
        model.selected_instead = active.name if elsewhere and shows_brush else ""

    def _on_plane(self, event: Event) -> None:
        del event
        self._list_images()
        self.session.prefetch.stop_if_stale()

    def _on_pixels(self, event: Event) -> None:
        self.adapter.sources.note_replaced(event.source)
        self._list_images()
        self._on_previews()

    def _on_drawn(self, event: Event) -> None:
        self.adapter.sources.note_drawn(self.viewer, event.source)

    def _on_image_visible(self, event: Event) -> None:
        if not event.source.visible:
            self.adapter.sources.note_hidden(event.source)

    def _on_prompts(self, event: Event) -> None:
        if not _is_early(event) and not self.adapter.busy and not self._drop_speck(event):
            if _is_added(event) and role_of(event.source) is Role.POINTS:
                self._stack.on_points_added(event.source, event.data_indices)
            picked = self.model.picked
            if picked is not None and isinstance(picked.preview, KeptPlace):
                # What is drawn now is about another object, unless it refines that one.
                self.model.picked = picked if self.model.refining else None
            self._count_prompts()
            self._begin_positive()
            self.session.note_prompts()

    def _on_drag(self, layer: Layer, event: Event) -> Iterator[None]:
        # In 3-D display nothing is drawn in any case, which the panel says; a click with a key held
        # is no prompt, such as Ctrl+click, which deletes an object.
        draws = event.button == 1 and self.viewer.dims.ndisplay == 2 and not event.modifiers
        idle = prompt_layers.explain_idle(layer) if draws else ""
        start = np.asarray(event.pos)
        self.drawing = self._clicked = True
        try:
            yield
            while event.type == "mouse_move":
                self._clicked = bool(np.linalg.norm(start - event.pos) < _CLICK)
                yield
        finally:
            # Later: napari may tell of what was drawn only when it is let go of.
            self._deliver(self._end_drawing)
        # A drag moves the view, which is what it shall do then.
        if idle and self._clicked:
            self.model.message = Message(idle, Level.WARNING)

    def _end_drawing(self) -> None:
        self.drawing = False
        self.drawn.emit()

    def _drop_speck(self, event: Event) -> bool:
        """Take away what napari has drawn for a click, where a drag was meant; whether it did."""
        layer = event.source
        is_click = self.drawing and self._clicked and _is_added(event)
        if not (is_click and role_of(layer) is Role.BOXES and layer.mode in _DRAGGED):
            return False
        with self.adapter.mark_changes():
            layer.selected_data = {layer.nshapes - 1}
            layer.remove_selected()
        kind = PromptKind.EXEMPLARS if self._kind is PromptKind.EXEMPLARS else PromptKind.BOXES
        self.model.message = Message(f"A click is no box. {_HINTS[kind]}.", Level.WARNING)
        return True

    def _on_other_prompts(self, event: Event) -> None:
        if key_of(event.source) not in self.adapter.chosen.values() or _is_early(event):
            return
        if is_ours(self.viewer):
            return
        self._count_prompts()
        self.session.prompts_edited.emit()

    def _on_painted(self, event: Event) -> None:
        layer = event.source
        edit = edit_of_strokes(event.value, array_of(layer))
        box = edit.box
        self._strokes.note(layer, edit, self.session.step)
        if role_of(layer) is Role.ACCEPTED:
            self.adapter.accepted.follow(layer, edit.changes())
            return
        if role_of(layer) is Role.PROPAGATED:
            self._stack.on_painted(layer, box)
        self._on_edited(layer, box)
        # Of what a script paints napari tells before it is written.
        self._deliver(partial(self._on_edited, layer, box))

    def _on_replaced(self, event: Event) -> None:
        if role_of(event.source) is Role.ACCEPTED:
            self.adapter.accepted.recount(event.source)
        elif not self.adapter.busy:
            self._on_edited(event.source, whole_box(event.source.data.shape))

    def _note_stroke(self, layer: Labels, edit: LabelEdit, *, forward: bool) -> None:
        """Record a stroke that was taken back, or made again."""
        self.model.message = Message("The stroke is made again." if forward else _STROKE_GONE)
        if role_of(layer) is Role.ACCEPTED:
            changes = edit.changes() if forward else edit.changes().reverse()
            self.adapter.accepted.follow(layer, changes)
        else:
            self._on_edited(layer, edit.box)

    def _on_changed(self, layer: Labels, changes: Changes, shape: tuple[int, ...]) -> None:
        if role_of(layer) is Role.ACCEPTED:
            self.adapter.accepted.follow(layer, changes)
            return
        results, slot = self.session.results, slot_of(layer)
        scan = results.find_scan(slot) if role_of(layer) is Role.SCAN else None
        if scan is not None:
            results.update_file_backed(slot, changes, shape, plane_axes(scan.target.axes))

    def _on_labels_drawn(self, event: Event) -> None:
        if role_of(event.source) is Role.PROPAGATED:
            self._stack.on_drawn(event.source)

    def _on_edited(self, layer: Labels, box: Box) -> None:
        if role_of(layer) is Role.PREVIEW_LABELS:
            self.session.note_edits(self.adapter.edits(layer, box))
        elif role_of(layer) is Role.PROPAGATED:
            self._stack.on_edited(layer, box)

    def _on_picked(self, event: Event) -> None:
        role = role_of(event.source)
        if self.adapter.busy or role not in RESULT_ROLES:
            return
        if role is Role.PROPAGATED:
            self.model.picked = self._stack.find_row(event.source)
            return
        if role is Role.ACCEPTED:
            self._corrections.pick(event.source, event.source.selected_label)
            return
        self._pick(slot_of(event.source), event.source.selected_label, stored=role is Role.SCAN)

    def _on_box(self, layer: Shapes, event: Event) -> None:
        """Point at the object of a clicked box; a mouse callback."""
        if picked := box_under(layer, event):
            self._pick(slot_of(layer), picked, stored=False)

    def _pick(self, slot: tuple[str, str] | None, number: int, *, stored: bool) -> None:
        rows = (
            row
            for row in self.model.results
            if row.record.id == number
            and row.preview.slot == slot
            and isinstance(row.preview, FileBackedLabels if stored else Preview)
        )
        self.model.picked = next(rows, None)

    def _on_soft_visible(self, event: Event) -> None:
        # The eye in the layer list and the box in the panel are one.
        if not self.adapter.busy:
            self.model.soft_masks = event.source.visible

    def _on_next_polarity(self, event: Event) -> None:
        layer = event.source
        if layer is self.adapter.signed_layer(self.model.image, self._kind):
            self.model.next_positive = prompt_layers.next_positive(layer)
        if role_of(layer) is Role.POINTS:
            self._stack.on_next_object(layer)

    def _begin_positive(self) -> None:
        """Where there are no points or examples, have the first one be positive."""
        layer = self.adapter.signed_layer(self.model.image, self._kind)
        if layer is None or len(layer.data) == 0:
            self.model.next_positive = True

    @property
    def _kind(self) -> PromptKind:
        """The kind of prompt of the chosen task and tool."""
        return prompt_kind(self.model.task, self.model.tool)

    def _count_prompts(self) -> None:
        model = self.model
        axis = model.frame_axis if model.task is Task.VIDEO else None
        model.prompts = self.adapter.count(model.image, self._kind, axis)

    def _on_deselected(self) -> None:
        self.adapter.go_back_to(self.model.image, layer_tool(self.model.tool))

    # -- from the model to the viewer -----------------------------------------------------

    def _watch_model(self) -> None:
        events = self.model.events
        events.previews.connect(self._on_previews, max_args=0)
        events.picked.connect(self.adapter.mark)
        events.active_rois.connect(self.adapter.show_rois)
        events.soft_images.connect(self._on_soft, max_args=0)
        events.soft_masks.connect(self._on_soft, max_args=0)
        events.next_positive.connect(self._on_next_positive)
        events.image.connect(self._count_prompts, max_args=0)
        events.image.connect(self._count_kept, max_args=0)
        events.image.connect(self._begin_positive, max_args=0)
        events.tool.connect(self._count_prompts, max_args=0)
        events.task.connect(self._count_prompts, max_args=0)
        events.frame_axis.connect(self._count_prompts, max_args=0)
        for event in (events.image, events.tool, events.task):
            event.connect(self._note_selected, max_args=0)
        events.channel_axis.connect(self._on_channel_axis)
        for event in (events.colour_by_class, events.class_list, events.results):
            event.connect(self._colour_all, max_args=0)
        for tool, name in CHOICE_FIELDS.items():
            getattr(events, name).connect(partial(self._on_choice, tool))
        self.adapter.restored.connect(self._count_prompts, max_args=0)
        self.adapter.restored.connect(self._begin_positive, max_args=0)
        self.adapter.deselected.connect(self._on_deselected, max_args=0)

    def _on_previews(self) -> None:
        try:
            self.adapter.show(self.model.previews)
            self.adapter.mark(self.model.picked)
        except ImageError as error:
            left = [
                preview
                for preview in self.model.previews
                if self.adapter.is_current(preview.target)
            ]
            self.model.previews = tuple(left)
            self.model.message = Message(str(error), Level.WARNING)

    def _on_soft(self) -> None:
        self.adapter.show_soft(self.model.soft_images, shown=self.model.soft_masks)

    def _on_channel_axis(self, axis: int) -> None:
        self.adapter.channel_axis = axis
        self._list_images()
        self.session.prefetch.stop_if_stale()

    def _on_choice(self, tool: Tool, key: str) -> None:
        self.adapter.chosen[tool] = key
        self._count_prompts()
        self._note_selected()

    def _on_next_positive(self, positive: bool) -> None:
        if self._kind not in NOT_DRAWN:
            self.adapter.set_next_positive(self.model.image, self._kind, positive=positive)


def _restore_features(layer: Layer) -> None:
    """Give labels that were opened from a file what the note beside it says of their objects."""
    if isinstance(layer, Labels) and layer.features.columns.empty:
        file = file_of(layer)
        features = {} if file is None else saved_features(file)
        if features:
            layer.features = features


def _is_early(event: Event) -> bool:
    """Return whether a change is still to come: napari emits before and after it."""
    return str(getattr(event, "action", "")).upper().rpartition(".")[2] in _BEFORE


def _is_added(event: Event) -> bool:
    """Return whether prompts were added, and not moved or removed."""
    return str(getattr(event, "action", "")).upper().endswith("ADDED")
