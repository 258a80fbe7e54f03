"""Point at an object of a labels layer, to refine or to measure it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_sam3_assistant.core.images import ImageSource, RawPlane
from napari_sam3_assistant.session.messages import is_measured
from napari_sam3_assistant.session.values import Message
from napari_sam3_assistant.viewer.geometry import pixel_size, show_at
from napari_sam3_assistant.viewer.roles import Role, in_slot, slot_of, with_role

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    import numpy.typing as npt
    from napari.components import ViewerModel
    from napari.layers import Image, Labels, Layer, Shapes
    from napari.utils.events import Event

    from napari_sam3_assistant.core.images import Untyped
    from napari_sam3_assistant.core.results import ObjectRecord
    from napari_sam3_assistant.core.stitching import StitchedObject
    from napari_sam3_assistant.session.model import SessionModel
    from napari_sam3_assistant.session.values import PlaneTarget, Preview


def pick_once(layers: Sequence[Labels], picked: Callable[[Labels, int], None]) -> None:
    """Call ``picked`` with the next object that is clicked, while one of its layers is active.

    Clicks on the background are passed over. Asking again replaces what was asked before.

    ``layers``: where the object may lie, the lowest first.
    ``picked``: takes the layer and the object's value.
    """
    pick = _Pick(layers, picked)
    for layer in layers:
        layer.mode = "pan_zoom"
        forget_pick(layer)
        # Of the layers and not of the viewer: a prompt layer that ``picked`` makes the active one
        # must not hear of the same click.
        layer.mouse_drag_callbacks.append(pick)


def forget_pick(layer: Layer) -> None:
    """Wait no longer for an object of a layer to be clicked."""
    for callback in [
        callback for callback in layer.mouse_drag_callbacks if isinstance(callback, _Pick)
    ]:
        layer.mouse_drag_callbacks.remove(callback)


def select_on_click(layer: Labels, event: Event) -> None:
    """Make the clicked object the layer's selected label: a mouse callback.

    Only where a click does nothing else, or napari's picker does the same: not while the user
    paints or places prompts.
    """
    if layer.mode not in ("pan_zoom", "pick") or not (value := read_value(layer, event)):
        return
    if layer.selected_label == value:
        layer.events.selected_label()  # napari tells of changes alone, and begins with 1
    else:
        layer.selected_label = value


def box_under(layer: Shapes, event: Event) -> int:
    """Return the object of the box that was clicked; 0 for none."""
    value = _value_under(layer, event)
    place = value[0] if isinstance(value, tuple) else None
    return 0 if place is None else int(layer.features["object_id"].iloc[place])


def show_object(
    viewer: ViewerModel,
    labels: Labels,
    target: PlaneTarget,
    record: ObjectRecord | StitchedObject,
    image: Layer,
) -> None:
    """Bring an object to the middle of the canvas, on its slice, and select it."""
    axes, region = target.axes, record.region
    position = first_pixel(image, target)
    position[axes.y] = (region.y0 + region.y1 - 1) / 2
    position[axes.x] = (region.x0 + region.x1 - 1) / 2
    show_at(viewer, image, position)
    viewer.layers.selection.active = labels
    labels.selected_label = record.id


def first_pixel(image: Layer, target: PlaneTarget) -> npt.NDArray[np.float64]:
    """Return where the first pixel of a plane lies in its image."""
    axes = target.axes
    position = np.zeros(image.ndim)
    for axis, index in zip(axes.leading, target.plane.leading, strict=True):
        position[axis] = index
    if axes.channel is not None and target.plane.channel is not None:
        position[axes.channel] = target.plane.channel
    return position


def read_value(layer: Labels, event: Event) -> int:
    """Return the value of labels under the pointer; 0 for none."""
    value = _value_under(layer, event)
    # Of labels in several sizes napari tells the level, too.
    return int((value[1] if isinstance(value, tuple) else value) or 0)


def _value_under(layer: Layer, event: Event) -> Untyped:
    return layer.get_value(
        event.position,
        view_direction=event.view_direction,
        dims_displayed=event.dims_displayed,
        world=True,
    )


class _Pick:
    """A mouse callback that takes itself away when it has done its work."""

    def __init__(self, layers: Sequence[Labels], picked: Callable[[Labels, int], None]) -> None:
        self._layers = layers
        self._picked = picked

    def __call__(self, active: Labels, event: Event) -> None:
        for layer in reversed(self._layers):
            if layer.visible and (value := read_value(layer, event)):
                for labels in self._layers:
                    forget_pick(labels)
                self._picked(layer, value)
                return


def choose_object(
    viewer: ViewerModel, model: SessionModel, chosen: Callable[[Preview, int], None]
) -> None:
    """Call ``chosen`` with a preview and the id of one of its objects.

    At once where there is one object; else with the next one that is clicked, in whichever preview
    it lies.
    """
    objects = [
        (preview, record) for preview in model.previews for record in preview.segmentation.objects
    ]
    if len(objects) == 1:
        chosen(objects[0][0], objects[0][1].id)
        return
    slots = {preview.slot for preview, _ in objects}
    layers = [
        layer for layer in with_role(viewer.layers, Role.PREVIEW_LABELS) if slot_of(layer) in slots
    ]
    if not layers:
        return

    def picked(layer: Labels, value: int) -> None:
        for preview in model.previews:
            if preview.slot == slot_of(layer):
                chosen(preview, value)

    latest = model.preview.slot if model.preview is not None else None
    shown = in_slot(layers, Role.PREVIEW_LABELS, latest) if latest is not None else None
    viewer.layers.selection.active = shown or layers[-1]
    pick_once(layers, picked)
    model.message = Message("Click on the object to refine.")


def raw_plane(image: Image, target: PlaneTarget) -> RawPlane:
    """Return the pixels of the plane of an image that a result is of."""
    axes = target.axes
    data = list(image.data) if image.multiscale else image.data
    pixel = pixel_size(image, axes.y, axes.x)
    return RawPlane(ImageSource(data, axes), target.plane.leading, pixel)


def add_columns(
    features: Untyped,
    ids: Sequence[int],
    columns: Mapping[str, Sequence[object]],
) -> Untyped:
    """Return a layer's features with more columns; what else they say is kept.

    ``features``: one row an object, which the column ``index`` names.
    ``columns``: for each column a value for each object.
    """
    added = {}
    for name, values in columns.items():
        fresh = features["index"].map(dict(zip(ids, values, strict=True)))
        has_values = name in features and not features["index"].isin(ids).all()
        added[name] = (
            features[name].where(~features["index"].isin(ids), fresh) if has_values else fresh
        )
    return features.assign(**added)


def keep_columns(
    features: Untyped,
    before: Untyped,
    same: Collection[int],
) -> Untyped:
    """Return new features with the columns that others have added to the ones before.

    ``features``, ``before``: one row an object, which the column ``index`` names.
    ``same``: the objects that have not changed: of others, what was measured is left out.
    """
    if "index" not in before:
        return features
    added = {}
    for name in before.columns.difference(features.columns, sort=False):
        kept = before["index"].isin(same) if is_measured(name) else slice(None)
        values = dict(zip(before["index"][kept], before[name][kept], strict=True))
        added[name] = features["index"].map(values)
    return features.assign(**added)
