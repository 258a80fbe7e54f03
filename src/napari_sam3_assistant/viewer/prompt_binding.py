"""The prompt layers: ready for the next click, what is drawn on them, how much, of which sign."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Image
from psygnal import Signal

from napari_sam3_assistant.core.prompts import (
    NOT_DRAWN,
    PromptKind,
    Task,
    Tool,
    layer_tool,
    prompt_kind,
)
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.session.model import CHOICE_FIELDS
from napari_sam3_assistant.session.values import KeptPlace, Level, Message
from napari_sam3_assistant.viewer import prompt_layers
from napari_sam3_assistant.viewer.roles import PROMPT_ROLES, Role, is_ours, key_of, role_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.components import ViewerModel
    from napari.layers import Layer
    from napari.utils.events import Event, EventEmitter

    from napari_sam3_assistant.core.progress import Deliver
    from napari_sam3_assistant.session.session import Session
    from napari_sam3_assistant.viewer.adapter import ViewerAdapter
    from napari_sam3_assistant.viewer.stack_binding import StackBinding


_HINTS = {
    PromptKind.POINTS: "Click on the object",
    PromptKind.BOXES: "Drag a box around an object",
    PromptKind.MASK: "Paint over the object",
    PromptKind.EXEMPLARS: "Drag a box around an example",
}
_BEFORE = {"ADDING", "CHANGING", "REMOVING"}
CLICK = 5
"""A mouse that moves by fewer pixels has clicked, for napari as well."""
_DRAGGED = {"add_rectangle", "add_ellipse", "add_line"}
"""Modes of shapes that are drawn by one drag: napari makes a speck of a click."""
_STROKES = {"paint", "erase", "fill", "polygon"}
"""Modes of labels that change pixels."""
_LEFT = 1


class PromptBinding:
    """Keeps the prompt layers of a viewer and the model in step.

    ``deliver``: calls a function once what is being done now is done.

    ``drawn``: tells that the user has let go of the mouse on a prompt layer.
    ``phrase_wanted``: tells that the user is about to type a phrase.
    ``drawing``: whether the mouse is held down on one.
    """

    drawn = Signal()
    phrase_wanted = Signal()

    def __init__(
        self,
        viewer: ViewerModel,
        adapter: ViewerAdapter,
        session: Session,
        stack: StackBinding,
        deliver: Deliver,
    ) -> None:
        self._viewer = viewer
        self._adapter = adapter
        self._session = session
        self._model = session.model
        self._stack = stack
        self._deliver = deliver
        self.drawing = False
        self._clicked = False  # whether the mouse has not been moved since it was pressed
        self._hint = Message("")
        viewer.mouse_drag_callbacks.append(self._on_press)
        self._watch_model()

    def close(self) -> None:
        """Listen to the mouse no more; layers are forgotten one by one."""
        self._viewer.mouse_drag_callbacks.remove(self._on_press)

    def _watch_model(self) -> None:
        events = self._model.events
        events.next_positive.connect(self._on_next_positive)
        for event in (events.image, events.tool, events.task, events.frame_axis):
            event.connect(self.count, max_args=0)
        events.image.connect(self._begin_positive, max_args=0)
        for event in (events.image, events.tool, events.task):
            event.connect(self.note_selected, max_args=0)
        for tool, name in CHOICE_FIELDS.items():
            getattr(events, name).connect(partial(self._on_choice, tool))
        self._adapter.restored.connect(self.count, max_args=0)
        self._adapter.restored.connect(self._begin_positive, max_args=0)
        self._adapter.deselected.connect(self._on_deselected, max_args=0)

    def watch(self, layer: Layer) -> None:
        """Listen to a layer: a prompt layer of ours, or one that the user may take prompts from."""
        if role_of(layer) not in PROMPT_ROLES:
            for emitter in _emitters(layer, "data", "features", "paint"):
                emitter.connect(self._on_other_prompts)
            return
        layer.events.data.connect(self._on_prompts, position="last")
        layer.mouse_drag_callbacks.append(self._on_drag)
        if role_of(layer) in (Role.POINTS, Role.BOXES):
            layer.events.features.connect(self._on_prompts)
            layer.events.current_properties.connect(self._on_next_polarity)
        if role_of(layer) is Role.MASK:
            prompt_layers.painted_box(layer)  # from now on where is painted is noted, before
            layer.events.paint.connect(self._on_prompts, position="last")

    def forget(self, layer: Layer) -> None:
        """Listen to a layer no more."""
        if self._on_drag in layer.mouse_drag_callbacks:
            layer.mouse_drag_callbacks.remove(self._on_drag)
        for emitter in _emitters(layer, "data", "features", "paint", "current_properties"):
            emitter.disconnect(self)

    def arm(self) -> Message:
        """Make the prompt layer of the chosen tool ready to use; returns what to do next.

        Raises ImageError if there is no image.
        """
        tool = layer_tool(self._model.tool)
        if tool is Tool.EVERYTHING:
            return Message("Run looks for all objects, nothing has to be drawn.")
        if tool is Tool.TEXT:
            self.phrase_wanted.emit()
            return Message("Type a phrase, then press Enter.")
        setattr(self._model, CHOICE_FIELDS[tool], "")
        name = self._adapter.arm(self._model.image, tool)
        self._on_next_positive(self._model.next_positive)
        self._stack.arm_points()
        self.count()
        self._session.prefetch.start()
        self._hint = Message(f"{_HINTS[self.kind]} (layer “{name}”).")
        return self._hint

    def get_ready(self, *, say: bool = True) -> None:
        """Let the next click be a prompt of the chosen tool, on the layer that it takes them from.

        Nothing happens where there is nothing to click on. ``say``: whether to show the next step.
        """
        tool = layer_tool(self._model.tool)
        if not tool.has_layer or not self._model.image:
            return
        if getattr(self._model, CHOICE_FIELDS[tool]):
            self._adapter.go_back_to(self._model.image, tool)
            return
        try:
            hint = self.arm()
        except ImageError:
            # The viewer shows no plane of the image: its summary says so, and what to do.
            return
        if say:
            self._model.message = hint

    @property
    def kind(self) -> PromptKind:
        """The kind of prompt of the chosen task and tool."""
        return prompt_kind(self._model.task, self._model.tool)

    def count(self) -> None:
        """Record how many prompts there are of the chosen kind."""
        model = self._model
        axis = model.frame_axis if model.task is Task.VIDEO else None
        model.prompts = self._adapter.count(model.image, self.kind, axis)

    def list_layers(self) -> None:
        """Record the layers that prompts may be taken from."""
        choices = self._adapter.prompt_choices()
        self._model.prompt_layers = choices
        for tool, name in CHOICE_FIELDS.items():
            offered = {choice.key for choice in choices if choice.tool is tool}
            if getattr(self._model, name) not in offered:
                setattr(self._model, name, "")

    def note_selected(self) -> None:
        """Record the selected layer, where a click would not be a prompt."""
        model, tool = self._model, layer_tool(self._model.tool)
        active = self._viewer.layers.selection.active
        elsewhere = active is not None and not self._adapter.is_for(active, model.image, tool)
        shows_brush = bool(model.image) and tool.has_layer
        model.selected_instead = active.name if elsewhere and shows_brush else ""

    def take_back_hint(self, gone: Layer) -> None:
        """Say no more what to do with a layer that is gone, or what was done with the last one."""
        message, is_last = self._model.message, isinstance(gone, Image) and not self._model.images
        if is_last and message.level not in (Level.WARNING, Level.ERROR):
            self._model.message = Message("Ready")
        elif message is self._hint and f"“{gone.name}”" in message.text:
            self._model.message = Message(
                f"Layer “{gone.name}” is gone: choose the tool again to draw."
            )

    def _on_prompts(self, event: Event) -> None:
        if not _is_early(event) and not self._adapter.busy and not self._drop_speck(event):
            if _is_added(event) and role_of(event.source) is Role.POINTS:
                self._stack.on_points_added(event.source, event.data_indices)
            picked = self._model.picked
            if picked is not None and isinstance(picked.preview, KeptPlace):
                # What is drawn now is about another object, unless it refines that one.
                self._model.picked = picked if self._model.refining else None
            self.count()
            self._begin_positive()
            self._session.note_prompts()

    def _on_drag(self, layer: Layer, event: Event) -> Iterator[None]:
        # In 3-D display nothing is drawn in any case, which the panel says; a click with a key held
        # is no prompt, such as Ctrl+click, which deletes an object.
        draws = event.button == 1 and self._viewer.dims.ndisplay == 2 and not event.modifiers
        idle = prompt_layers.explain_idle(layer) if draws else ""
        start = np.asarray(event.pos)
        self.drawing = self._clicked = True
        try:
            yield
            while event.type == "mouse_move":
                self._clicked = bool(np.linalg.norm(start - event.pos) < CLICK)
                yield
        finally:
            # Later: napari may tell of what was drawn only when it is let go of.
            self._deliver(self._end_drawing)
        # A drag moves the view, which is what it shall do then.
        if idle and self._clicked:
            self._model.message = Message(idle, Level.WARNING)

    def _on_press(self, viewer: ViewerModel, event: Event) -> None:
        """Have a stroke on another slice than that of the painted layer go on one of its own."""
        layer = viewer.layers.selection.active
        draws = event.button == _LEFT and getattr(layer, "mode", "") in _STROKES
        if not (draws and role_of(layer) is Role.MASK) or viewer.dims.ndisplay != 2:
            return
        try:
            name = self._adapter.follow_stroke(layer)
        except ImageError:
            return  # no plane of the image is on show, and nothing to paint over
        if name:
            self._model.message = Message(f"This slice has a painted layer of its own, “{name}”.")

    def _end_drawing(self) -> None:
        self.drawing = False
        self.drawn.emit()

    def _drop_speck(self, event: Event) -> bool:
        """Take away what napari has drawn for a click, where a drag was meant; whether it did."""
        layer = event.source
        is_click = self.drawing and self._clicked and _is_added(event)
        if not (is_click and role_of(layer) is Role.BOXES and layer.mode in _DRAGGED):
            return False
        with self._adapter.mark_changes():
            layer.selected_data = {layer.nshapes - 1}
            layer.remove_selected()
        kind = PromptKind.EXEMPLARS if self.kind is PromptKind.EXEMPLARS else PromptKind.BOXES
        self._model.message = Message(f"A click is no box. {_HINTS[kind]}.", Level.WARNING)
        return True

    def _on_other_prompts(self, event: Event) -> None:
        if key_of(event.source) not in self._adapter.chosen.values() or _is_early(event):
            return
        if is_ours(self._viewer):
            return
        self.count()
        self._session.prompts_edited.emit()

    def _on_next_polarity(self, event: Event) -> None:
        layer = event.source
        if layer is self._adapter.signed_layer(self._model.image, self.kind):
            self._model.next_positive = prompt_layers.next_positive(layer)
        if role_of(layer) is Role.POINTS:
            self._stack.on_next_object(layer)

    def _begin_positive(self) -> None:
        """Where there are no points or examples, have the first one be positive."""
        layer = self._adapter.signed_layer(self._model.image, self.kind)
        if layer is None or len(layer.data) == 0:
            self._model.next_positive = True

    def _on_deselected(self) -> None:
        self._adapter.go_back_to(self._model.image, layer_tool(self._model.tool))

    def _on_choice(self, tool: Tool, key: str) -> None:
        self._adapter.chosen[tool] = key
        self.count()
        self.note_selected()

    def _on_next_positive(self, positive: bool) -> None:
        if self.kind not in NOT_DRAWN:
            self._adapter.set_next_positive(self._model.image, self.kind, positive=positive)


def _emitters(layer: Layer, *names: str) -> Iterator[EventEmitter]:
    """Yield the emitters of these names that a layer has."""
    for name in names:
        emitter = getattr(layer.events, name, None)
        if emitter is not None:
            yield emitter


def _is_early(event: Event) -> bool:
    """Return whether a change is still to come: napari emits before and after it."""
    return str(getattr(event, "action", "")).upper().rpartition(".")[2] in _BEFORE


def _is_added(event: Event) -> bool:
    """Return whether prompts were added, and not moved or removed."""
    return str(getattr(event, "action", "")).upper().endswith("ADDED")
