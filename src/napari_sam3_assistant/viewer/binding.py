"""The one listener on a viewer: layers, sliders and keys to the session, results to layers."""

from __future__ import annotations

import inspect
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from napari.layers import Image, Labels
from psygnal import Signal

from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.session.layer_files import saved_features
from napari_sam3_assistant.session.model import SessionModel
from napari_sam3_assistant.session.session import Session
from napari_sam3_assistant.session.values import (
    FileBackedLabels,
    Level,
    Message,
    Preview,
)
from napari_sam3_assistant.viewer import prompt_layers
from napari_sam3_assistant.viewer.accepted_objects import list_kept
from napari_sam3_assistant.viewer.actions import Actions
from napari_sam3_assistant.viewer.adapter import ViewerAdapter
from napari_sam3_assistant.viewer.classes import (
    class_names,
    colour_by_class,
    colour_by_object,
    share_classes,
)
from napari_sam3_assistant.viewer.correcting import Corrections
from napari_sam3_assistant.viewer.following import Followers
from napari_sam3_assistant.viewer.images import ALL_IMAGES, file_of, image_layers
from napari_sam3_assistant.viewer.keys import Keys
from napari_sam3_assistant.viewer.label_binding import EDITED, LabelBinding
from napari_sam3_assistant.viewer.label_features import keep_features, note_features
from napari_sam3_assistant.viewer.lifetime import Bindings, RefCounted, get_or_make_binding
from napari_sam3_assistant.viewer.picking import (
    box_under,
    forget_pick,
    select_on_click,
)
from napari_sam3_assistant.viewer.previews import follow_zoom
from napari_sam3_assistant.viewer.prompt_binding import PromptBinding
from napari_sam3_assistant.viewer.roles import (
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
    from napari.components import ViewerModel
    from napari.layers import Layer, Shapes
    from napari.utils.events import Event

    from napari_sam3_assistant.core.progress import Deliver
    from napari_sam3_assistant.session.settings import SettingsStore


_WATCHED = (
    "name",
    "visible",
    "data",
    "set_data",
    "projection_mode",
    "axis_labels",
    "scale",
    "units",
    "features",
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

    ``prompts``: the part for the prompt layers.
    ``actions``: what the user can do by keys and buttons.
    ``opened``: tells that the user has opened an image. napari may still be about to add it.
    """

    opened = Signal()

    def __init__(self, viewer: ViewerModel, deliver: Deliver, settings: SettingsStore) -> None:
        super().__init__()
        self.viewer = viewer
        # What napari selects by itself when the user has removed the selected layer.
        self._neighbour: Layer | None = None
        self._deliver = deliver
        self._turned = 0.0
        self.adapter = adapter = ViewerAdapter(viewer)
        self.model = SessionModel()
        self.session = session = Session(self.model, adapter, deliver, settings)
        self._followers = Followers(viewer, adapter.axes)
        self._corrections = Corrections(adapter, session)
        self._unshare = share_classes(
            viewer, self.model, session.classes.file, session.classes.rename
        )
        self._stack = StackBinding(self.model, adapter, session)
        self.prompts = PromptBinding(viewer, adapter, session, self._stack, deliver)
        self._labels = LabelBinding(viewer, session, adapter, self._stack, deliver)
        self.actions = Actions(
            viewer, adapter, session, self.prompts, self._stack, self._labels, self._corrections
        )
        self._keys = Keys(viewer, self.actions)
        self._watch_viewer()
        self._watch_model()
        for layer in viewer.layers:
            self._watch_layer(layer)
        self._list_images()
        self.prompts.list_layers()
        self._on_active()
        self.session.resume()

    def _disconnect(self) -> None:
        for emitter in self._viewer_emitters():
            emitter.disconnect(self)
        for layer in self.viewer.layers:
            self._forget_layer(layer)
        self._labels.close()
        self.prompts.close()
        self._keys.close()
        self.viewer.mouse_wheel_callbacks.remove(self._on_wheel)
        self._corrections.close()
        self._unshare()
        self.session.close()

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
        active.connect(self._on_active)
        for emitter in dims:
            emitter.connect(self._on_plane)

    def _watch_layer(self, layer: Layer) -> None:
        layer.events.name.connect(self._on_name)
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
            for name in ("axis_labels", "scale", "units"):
                getattr(layer.events, name).connect(self._on_axes)
            layer.events.visible.connect(self._on_image_visible)
            self._followers.watch(layer)
            self.adapter.sources.note_drawn(self.viewer, layer)
            return
        self._labels.watch(layer)
        if role_of(layer) in EDITED:
            layer.events.features.connect(self._on_features)
            note_features(layer)
        if role_of(layer) in RESULT_ROLES:
            layer.mouse_drag_callbacks.append(select_on_click)
            layer.events.selected_label.connect(self._on_picked)
        self.prompts.watch(layer)
        if role_of(layer) is Role.PREVIEW_BOXES:
            layer.mouse_drag_callbacks.append(self._on_box)
        if role_of(layer) is Role.ACCEPTED:
            layer.events.features.connect(self._on_kept)
            self.session.results.list_kept(key_of(layer), list_kept(layer))

    def _forget_layer(self, layer: Layer) -> None:
        forget_pick(layer)
        self._keys.forget(layer)
        self._followers.forget(layer)
        self._labels.forget(layer)
        self.prompts.forget(layer)
        if select_on_click in layer.mouse_drag_callbacks:
            layer.mouse_drag_callbacks.remove(select_on_click)
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
                self.actions.call("larger_candidate" if self._turned > 0 else "smaller_candidate")
                self._turned = 0.0

    def _on_zoom(self) -> None:
        follow_zoom(self.viewer)

    def _on_inserted(self, event: Event) -> None:
        if not self.adapter.busy:
            clear_role(event.value, self.viewer.layers)
            follow_units(self.viewer)
            _restore_features(event.value)
        self._watch_layer(event.value)
        self.adapter.outline(event.value)
        self._list_images()
        self.prompts.list_layers()
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
        self.prompts.list_layers()
        if not self.adapter.busy:
            self.prompts.take_back_hint(layer)
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

    def _on_name(self) -> None:
        self.prompts.list_layers()
        self._list_images()

    def _list_images(self) -> None:
        choices = self.adapter.choices()
        self.model.images, self.model.no_image = choices, self.adapter.explain_no_image()
        if self.model.image not in {choice.key for choice in choices}:
            self.model.image = choices[0].key if choices else ""
        self._stack.list_axes()
        self.prompts.count()
        self._count_kept()

    def _count_kept(self) -> None:
        self.model.kept = self.adapter.accepted.count(self.model.image)

    def _on_features(self, event: Event) -> None:
        layer = event.source
        if self.adapter.busy:
            note_features(layer)
        else:
            keep_features(layer, self.adapter.objects_in(layer))
        self._colour(layer)

    def _colour_all(self) -> None:
        """Colour the objects of all layers by their classes, or each on its own."""
        with self.adapter.mark_changes():
            for layer in self.viewer.layers:
                if role_of(layer) in (*EDITED, Role.SCAN):
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

    def _on_active(self) -> None:
        self.prompts.note_selected()
        self._follow_active()

    def _follow_active(self) -> None:
        active, expected = self.viewer.layers.selection.active, self._neighbour
        if active is None or is_ours(self.viewer):
            return
        self._neighbour = None
        if active is expected or self.model.image == ALL_IMAGES:
            return
        if active in image_layers(self.viewer):
            self.model.image = key_of(active)

    def _on_plane(self) -> None:
        self._list_images()
        self.session.prefetch.stop_if_stale()

    def _on_pixels(self, event: Event) -> None:
        self.adapter.sources.note_replaced(event.source)
        self._list_images()
        self._on_previews()

    def _on_axes(self) -> None:
        self._list_images()
        self.session.axes_from_file.look()

    def _on_drawn(self, event: Event) -> None:
        self.adapter.sources.note_drawn(self.viewer, event.source)

    def _on_image_visible(self, event: Event) -> None:
        if not event.source.visible:
            self.adapter.sources.note_hidden(event.source)

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

    # -- from the model to the viewer -----------------------------------------------------

    def _watch_model(self) -> None:
        events = self.model.events
        events.previews.connect(self._on_previews, max_args=0)
        events.picked.connect(self.adapter.mark)
        events.active_rois.connect(self.adapter.show_rois)
        events.soft_images.connect(self._on_soft, max_args=0)
        events.soft_masks.connect(self._on_soft, max_args=0)
        events.image.connect(self._count_kept, max_args=0)
        events.channel_axis.connect(self._on_channel_axis)
        for event in (events.colour_by_class, events.class_list, events.results):
            event.connect(self._colour_all, max_args=0)

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


def _restore_features(layer: Layer) -> None:
    """Give labels that were opened from a file what the note beside it says of their objects."""
    if isinstance(layer, Labels) and layer.features.columns.empty:
        file = file_of(layer)
        features = {} if file is None else saved_features(file)
        if features:
            layer.features = features
