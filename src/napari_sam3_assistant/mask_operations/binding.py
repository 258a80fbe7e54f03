"""The one listener of the mask operations on a viewer."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from napari_sam3_assistant.mask_operations.edits import do_nothing
from napari_sam3_assistant.mask_operations.layers import LabelsAdapter, mask_layers
from napari_sam3_assistant.mask_operations.model import MaskModel, RightClick
from napari_sam3_assistant.mask_operations.session import MaskSession
from napari_sam3_assistant.viewer.classes import share_classes
from napari_sam3_assistant.viewer.geometry import World, array_of
from napari_sam3_assistant.viewer.images import image_layers
from napari_sam3_assistant.viewer.label_pixels import edit_of_strokes, edits_of
from napari_sam3_assistant.viewer.lifetime import Bindings, RefCounted, get_or_make_binding
from napari_sam3_assistant.viewer.prompt_binding import CLICK
from napari_sam3_assistant.viewer.roles import key_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari.components import ViewerModel
    from napari.layers import Labels
    from napari.utils.events import Event

    from napari_sam3_assistant.core.images import Untyped
    from napari_sam3_assistant.core.progress import Deliver


_LEFT, _RIGHT = 1, 2
_AXES = ("axis_labels", "scale", "units")
_POINTING = {"pan_zoom", "pick"}
_BINDINGS: Bindings[MaskBinding] = WeakKeyDictionary()


def mask_binding_for(viewer: ViewerModel, deliver: Deliver) -> MaskBinding:
    """Return the binding of a viewer: the same one for all who ask while somebody holds it.

    ``viewer``: the viewer, or the proxy of it that napari hands to dock widgets.
    """
    return get_or_make_binding(viewer, _BINDINGS, lambda real: MaskBinding(real, deliver))


class MaskBinding(RefCounted):
    """A viewer, the session of its masks, and what keeps the two in step."""

    def __init__(self, viewer: ViewerModel, deliver: Deliver) -> None:
        super().__init__()
        self.viewer = viewer
        self.adapter = LabelsAdapter(viewer)
        self.model = MaskModel()
        self.session = MaskSession(self.model, self.adapter, deliver)
        self._unshare = share_classes(viewer, self.model, self.session.collection.class_file)
        self._kinds: dict[str, tuple[object, object]] = {}
        layers = viewer.layers
        layers.events.inserted.connect(self._on_inserted)
        layers.events.removed.connect(self._on_removed)
        layers.events.reordered.connect(self._list_layers)
        edits_of(viewer).edited.connect(self._on_edited)
        edits_of(viewer).rewritten.connect(self._on_rewritten)
        edits_of(viewer).restored.connect(self.session.edits.resume)
        viewer.mouse_drag_callbacks.extend((self._on_mouse, self._on_stroke))
        for layer in mask_layers(viewer):
            self._watch(layer)
        for image in image_layers(viewer):
            image.events.axis_labels.connect(self._list_layers)
        self._list_layers()
        self.session.edits.resume()

    def _disconnect(self) -> None:
        self._unshare()
        self.session.close()
        edits_of(self.viewer).edited.disconnect(self._on_edited)
        edits_of(self.viewer).rewritten.disconnect(self._on_rewritten)
        edits_of(self.viewer).restored.disconnect(self.session.edits.resume)
        for emitter in ("inserted", "removed", "reordered"):
            getattr(self.viewer.layers.events, emitter).disconnect(self)
        for callback in (self._on_mouse, self._on_stroke):
            self.viewer.mouse_drag_callbacks.remove(callback)
        for layer in mask_layers(self.viewer):
            self._forget(layer)
        for image in image_layers(self.viewer):
            image.events.axis_labels.disconnect(self)

    # -- layers ---------------------------------------------------------------------------

    def _watch(self, layer: Labels) -> None:
        self._kinds[key_of(layer)] = _shape_and_dtype(layer)
        layer.events.name.connect(self._list_layers)
        for name in _AXES:
            getattr(layer.events, name).connect(self._on_axes)
        layer.events.data.connect(self._on_data)
        layer.events.paint.connect(self._on_paint)
        for key, forward in (("Control-Z", False), ("Control-Shift-Z", True)):
            layer.bind_key(key, self._make_step_slot(forward=forward), overwrite=True)

    def _forget(self, layer: Labels) -> None:
        self._kinds.pop(key_of(layer), None)
        for name in ("name", *_AXES, "data", "paint"):
            getattr(layer.events, name).disconnect(self)
        for key in ("Control-Z", "Control-Shift-Z"):
            layer.bind_key(key, None, overwrite=True)

    def _make_step_slot(self, *, forward: bool) -> Callable[[Labels], None]:
        def step(layer: Labels) -> None:
            self.step(layer, forward=forward)

        return step

    def step(self, layer: Labels, *, forward: bool) -> None:
        """Undo or redo on a layer; where we know of nothing it is napari's to take back."""
        key = key_of(layer)
        if not self.session.edits.history.knows(key):
            # Later on its own history would bring back what we have changed since.
            (layer.redo if forward else layer.undo)()
            return
        cleanup = self.session.cleanup
        if key == self.model.target:
            self.session.jobs.guard(cleanup.redo if forward else cleanup.undo)
        else:
            self.session.jobs.guard(
                lambda: self.session.edits.step(key, do_nothing, forward=forward)
            )

    def _on_inserted(self, event: Event) -> None:
        if event.value in mask_layers(self.viewer):
            self._watch(event.value)
        elif event.value in image_layers(self.viewer):
            # It says what the axes of the labels on it are.
            event.value.events.axis_labels.connect(self._list_layers)
        self._list_layers()

    def _on_removed(self, event: Event) -> None:
        key = key_of(event.value)
        if key in self._kinds:
            self._forget(event.value)
            if not self.adapter.busy:
                self.session.cleanup.note_removed(key)
        event.value.events.axis_labels.disconnect(self)
        self._list_layers()

    def _on_axes(self) -> None:
        self._list_layers()
        self.session.axes_from_file.look()

    def _on_data(self, event: Event) -> None:
        layer = event.source
        key, kind = key_of(layer), _shape_and_dtype(layer)
        alike = self._kinds.get(key) == kind or self.adapter.busy
        self._kinds[key] = kind
        self.session.cleanup.note_replaced(key, alike=alike)
        self.session.collection.note_changed(key)
        self._list_layers()

    def _on_edited(self, layer: Labels) -> None:
        self.session.collection.note_changed(key_of(layer))

    def _on_rewritten(self, layer: Labels) -> None:
        self.session.cleanup.note_replaced(key_of(layer), alike=False)

    def _on_paint(self, event: Event) -> None:
        layer = event.source
        edit = edit_of_strokes(event.value, array_of(layer))
        self.session.cleanup.note_painting(key_of(layer), edit)
        self.session.collection.note_changed(key_of(layer))

    def _list_layers(self) -> None:
        model, choices = self.model, self.adapter.choices()
        keys = [choice.key for choice in choices]
        model.layers = choices
        model.final_order = (
            *(key for key in keys if key not in model.final_order),
            *(key for key in model.final_order if key in keys),
        )
        model.final_chosen = tuple(key for key in model.final_chosen if key in keys)
        model.merge_chosen = tuple(key for key in model.merge_chosen if key in keys)
        if model.target not in keys:
            model.target = self._first_key(keys)
        previews = [choice.key for choice in choices if choice.preview] or keys
        if model.source not in keys:
            model.source = previews[0] if previews else ""
        accepted = [choice.key for choice in choices if choice.accepted]
        if model.accepted_target not in accepted:
            model.accepted_target = accepted[0] if accepted else ""

    def _first_key(self, keys: list[str]) -> str:
        active = self.viewer.layers.selection.active
        if active is not None and key_of(active) in keys:
            return key_of(active)
        return keys[0] if keys else ""

    # -- the mouse ------------------------------------------------------------------------

    def _on_mouse(self, viewer: ViewerModel, event: Untyped) -> Iterator[None]:
        """Choose, or delete, what a click points at; a drag is meant for the view."""
        if viewer.dims.ndisplay != 2:
            return
        right = event.button == _RIGHT and self.model.right_click is not RightClick.OFF
        if self.model.choice(self.model.target) is None or not (right or event.button == _LEFT):
            return
        layer = self.adapter.layer(self.model.target)
        if not layer.visible:
            return  # who clicks there means another layer
        if not right and (
            viewer.layers.selection.active is not layer or str(layer.mode) not in _POINTING
        ):
            return
        shape = array_of(layer).shape
        pixel = [round(float(at)) for at in World.of(viewer).drawn_at(layer, event.position)]
        if not all(0 <= at < size for at, size in zip(pixel, shape, strict=True)):
            return
        start = np.asarray(event.pos)
        yield
        while event.type == "mouse_move":
            if np.linalg.norm(start - event.pos) >= CLICK:
                return
            yield
        cleanup = self.session.cleanup
        self.session.jobs.guard(lambda: (cleanup.delete_at if right else cleanup.select_at)(pixel))

    def _on_stroke(self, viewer: ViewerModel, event: Untyped) -> Iterator[None]:
        """Note how long the user draws on labels: nothing else is written to them meanwhile."""
        layer = viewer.layers.selection.active
        if layer not in mask_layers(viewer) or str(layer.mode) in _POINTING:
            return
        self.model.stroke = True
        yield
        while event.type == "mouse_move":
            yield
        self.model.stroke = False


def _shape_and_dtype(layer: Labels) -> tuple[object, object]:
    """Return what edits of a layer depend on: its shape and its type."""
    array = array_of(layer)
    return tuple(array.shape), np.dtype(array.dtype)
