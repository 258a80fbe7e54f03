"""A viewer as entries of a session, and brought back from them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers._source import layer_source  # what napari's own readers are called in

from napari_sam3_assistant.core.axes import ImageAxes
from napari_sam3_assistant.core.display import Display, ImageView, ViewChannel
from napari_sam3_assistant.core.images import PlaneRef
from napari_sam3_assistant.core.stitching import StitchedObject
from napari_sam3_assistant.errors import Sam3AssistantError
from napari_sam3_assistant.session.saved import (
    BROKEN,
    Entry,
    Numbers,
    read_label_edit,
    read_target,
    read_value,
    write_value,
)
from napari_sam3_assistant.viewer.accepted import locate
from napari_sam3_assistant.viewer.accepted_objects import objects_of, restore_objects
from napari_sam3_assistant.viewer.geometry import array_of
from napari_sam3_assistant.viewer.images import ALL_IMAGES, shape_of
from napari_sam3_assistant.viewer.label_pixels import (
    edits_of,
    forget_written,
    take_written,
    watch_written,
)
from napari_sam3_assistant.viewer.prompt_layers import state_from_json, state_to_json
from napari_sam3_assistant.viewer.roles import DERIVED, Role, key_of, role_of
from napari_sam3_assistant.viewer.saved_layers import (
    layer_entries,
    layer_pixels,
    make_layer,
    order_layers,
    show_again,
    show_view,
    view_entry,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from napari.layers import Layer

    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.core.masks.edits import LabelEdit
    from napari_sam3_assistant.core.masks.labels import Box
    from napari_sam3_assistant.core.measurements import Measurement
    from napari_sam3_assistant.session.saved import LayerPixels
    from napari_sam3_assistant.session.snapshots import Accepted
    from napari_sam3_assistant.session.values import PlaneTarget, StackTarget
    from napari_sam3_assistant.viewer.prompts import ViewerPrompts
    from napari_sam3_assistant.viewer.stacks import StacksAdapter


_JOURNAL = "journal"


class SavedViewer:
    """The layers of a viewer as entries of a session. GUI thread only."""

    def __init__(self, adapter: ViewerPrompts, stacks: StacksAdapter) -> None:
        self._adapter, self._stacks = adapter, stacks
        self._viewer = adapter.viewer
        self._numbers = Numbers()

    # -- to entries -----------------------------------------------------------------------

    def entries(self) -> dict[str, Entry]:
        """Return what is known of all layers, and what is on show."""
        entries = {"view": view_entry(self._viewer)}
        for layer in self._viewer.layers:
            entries |= layer_entries(layer)
        return entries | self._mask_entries()

    def _mask_entries(self) -> dict[str, Entry]:
        """Return what mask operations can take back; an edit is written once, done or undone."""
        entries: dict[str, Entry] = {}
        kept = edits_of(self._viewer).history.edits(_MOST_MASK_BYTES)
        for tick, (key, edit, undone) in kept.items():
            number = self._numbers.of(edit)
            entries[f"mask_edit/{number}"] = Entry(edit, partial(write_value, edit))
            entries[f"mask_step/{tick}"] = Entry.of([key, number, undone])
        self._numbers.keep({id(edit) for _, edit, _ in kept.values()})
        return entries

    def kept_entries(self, measured: Mapping[int, Measurement]) -> dict[str, Entry]:
        """Return the accepted objects, slice by slice, with what was measured of them."""
        entries: dict[str, Entry] = {}
        for layer in self._viewer.layers:
            if (known := objects_of(layer)) is None:
                continue
            target, slices = known
            key = key_of(layer)
            entries[f"accepted/{key}"] = Entry(target, partial(write_value, target))
            for place, there in slices.items():
                objects = tuple(there.values())
                measurements = tuple(measured.get(id(record)) for record in objects)
                name = f"kept/{key}/{','.join(map(str, place))}"
                entries[name] = Entry(
                    (objects, measurements), partial(_kept_to_json, place, objects, measurements)
                )
        return entries

    def pixels(self) -> dict[str, LayerPixels]:
        """Return the pixels of the layers that have some of their own, not copied."""
        found = {key_of(layer): layer_pixels(layer) for layer in self._viewer.layers}
        return {key: pixels for key, pixels in found.items() if pixels is not None}

    def watch(self, changed: Callable[..., None]) -> None:
        """Call a function whenever something of the viewer may have changed."""
        for emitter in self._emitters():
            emitter.connect(changed)

    def unwatch(self, changed: Callable[..., None]) -> None:
        """Call it no more."""
        for emitter in self._emitters():
            emitter.disconnect(changed)

    def _emitters(self) -> list[Any]:
        viewer, edits = self._viewer, edits_of(self._viewer)
        camera = getattr(viewer, "scene", viewer).camera  # moved in napari 0.9
        # napari's list tells what its layers tell.
        listed = (viewer.layers.events, viewer.layers.selection.events)
        # Not all of the camera's: napari 0.5 would warn of a name of its own that is old.
        seen = (camera.events.center, camera.events.zoom, camera.events.angles)
        return [*listed, viewer.dims.events, *seen, edits.edited, edits.changed]

    def watch_pixels(self) -> None:
        """Record what is written to layers from now on, for :meth:`take_written`."""
        for layer in self._viewer.layers:
            if role_of(layer) not in DERIVED:
                watch_written(layer, _JOURNAL)

    def take_written(self) -> dict[str, list[Box] | None]:
        """Return where pixels of layers were written since the last time; None for anywhere."""
        found = {key_of(layer): take_written(layer, _JOURNAL) for layer in self._viewer.layers}
        return {key: boxes for key, boxes in found.items() if boxes != []}

    def forget_written(self) -> None:
        """Listen to layers no more."""
        for layer in self._viewer.layers:
            forget_written(layer, _JOURNAL)

    def view_as_json(self, view: ImageView) -> list[dict[str, Any]]:
        """Return what a model was shown as JSON; an image that is gone has no key."""
        return [
            {
                "image": self._adapter.sources.key_of(channel.source),
                "axes": write_value(channel.source.axes),
                "plane": write_value(channel.plane),
                "contrast": write_value(channel.display.contrast),
                "gamma": float(channel.display.gamma),
                "colormap": write_value(channel.display.colormap),
                "padding": channel.display.padding,
            }
            for channel in view.channels
        ]

    def prompts_as_json(self, state: object) -> Any:  # noqa: ANN401 (JSON)
        """Return what a prompt layer held, as steps of undo know it, as JSON."""
        return state_to_json(state if isinstance(state, tuple) else ())

    # -- from entries ---------------------------------------------------------------------

    def clear(self) -> None:
        """Remove all layers."""
        self._viewer.layers.clear()
        edits_of(self._viewer).history.restore(())

    @property
    def is_empty(self) -> bool:
        """Whether there are no layers."""
        return len(self._viewer.layers) == 0

    def restore_layers(
        self,
        entries: Mapping[str, Any],
        levels: Mapping[str, Sequence[AnyArray]],
        files: Mapping[str, Path],
    ) -> tuple[dict[str, str], list[str]]:
        """Make layers again, the images first.

        ``levels``: the pixels that are there, by the keys that layers had.
        ``files``: the files that they are of, as far as they are of any.

        Returns
        -------
        dict of str to str
            The keys of layers now, by those that they had.
        list of str
            What could not be made again, for the user.
        """
        keys, problems = {ALL_IMAGES: ALL_IMAGES}, []
        heads = {
            name.partition("/")[2]: head
            for name, head in entries.items()
            if name.startswith("layer/") and isinstance(head, dict)
        }
        order = _listed(entries.get("view"), heads)
        order.sort(
            key=lambda key: heads[key].get("type") != "image" or bool(heads[key].get("role"))
        )
        for key in order:
            head = heads[key]
            try:
                if head["role"] and Role(head["role"]) in DERIVED:
                    continue
                plugin = entries.get(f"pixels/{key}", {}).get("plugin")
                # So that it is known where masks are to be saved, and what they were made of.
                path = str(files[key]) if key in files else None
                with layer_source(path=path, reader_plugin=plugin or None):
                    layer = self._make(key, head, entries, levels, keys)
            except (*BROKEN, Sam3AssistantError) as error:
                name = _name_of(head)
                problems.append(f"The layer “{name}” can't be made again: {error}.")
                continue
            if layer is not None:
                keys[key] = key_of(layer)
        return keys, problems

    def _make(
        self,
        key: str,
        head: Mapping[str, Any],
        entries: Mapping[str, Any],
        levels: Mapping[str, Sequence[AnyArray]],
        keys: Mapping[str, str],
    ) -> Layer | None:
        if head["type"] in ("image", "labels") and key not in levels:
            return None  # that its pixels are gone is told already
        image = str(head["slot"][0])
        if head["role"] and image not in keys:
            head = {**head, "role": "", "colormap": _NO_COLOURS}  # of no image any more
        layer = make_layer(
            head,
            entries.get(f"data/{key}"),
            entries.get(f"features/{key}"),
            levels.get(key, ()),
            keys.get(image, ""),
        )
        if role_of(layer) is Role.ACCEPTED:
            self._restore_kept(key, layer, entries, keys)
        with self._adapter.mark_changes():
            self._viewer.add_layer(layer)
        return layer

    def _restore_kept(
        self, key: str, layer: Layer, entries: Mapping[str, Any], keys: Mapping[str, str]
    ) -> None:
        target = read_target(entries[f"accepted/{key}"], keys)
        if target is None:
            return
        slices = {}
        for name, entry in entries.items():
            if name.startswith(f"kept/{key}/"):
                place = read_value(tuple[int, ...], entry["place"])
                objects = read_value(tuple[StitchedObject, ...], entry["objects"])
                slices[place] = {record.id: record for record in objects}
        restore_objects(layer, target, slices)

    def measured_of_kept(
        self, entries: Mapping[str, Any], keys: Mapping[str, str]
    ) -> dict[int, Any]:
        """Return what was measured of accepted objects as JSON, by identity of the records."""
        by_key = {key_of(layer): layer for layer in self._viewer.layers}
        found: dict[int, Any] = {}
        for name, entry in entries.items():
            parts = name.split("/")
            known = keys.get(parts[1], "") if parts[0] == "kept" and len(parts) > 2 else ""
            layer = by_key.get(known)
            objects = None if layer is None else objects_of(layer)
            if objects is None:
                continue
            there = objects[1].get(tuple(entry["place"]), {})
            pairs = zip(there.values(), entry["measured"], strict=True)
            found |= {id(record): value for record, value in pairs if value is not None}
        return found

    def make_view(self, channels: Sequence[Mapping[str, Any]]) -> ImageView:
        """Return what a model was shown; each channel names today's image.

        Raises ValueError, TypeError, KeyError, Sam3AssistantError if it is damaged, or is none of
        these images.
        """
        view_channels = []
        for entry in channels:
            layer = self._adapter.image(str(entry["image"]))
            axes = read_value(ImageAxes, entry["axes"])
            plane = read_value(PlaneRef, entry["plane"])
            if axes.ndim != layer.ndim + layer.rgb and axes.ndim != len(shape_of(layer)):
                raise ValueError("an image has other axes now")
            contrast = read_value(tuple[float, float] | None, entry["contrast"])
            colours = entry["colormap"]
            table = None if colours is None else read_value(np.ndarray, colours)
            gamma = read_value(float, entry["gamma"])
            display = Display(contrast, gamma, table, padding=entry.get("padding") is True)
            view_channels.append(
                ViewChannel(self._adapter.sources.source(layer, axes, plane), plane, display)
            )
        return ImageView(tuple(view_channels))

    def read_prompts(self, key: str, value: object) -> object:
        """Return what a prompt layer held, as steps of undo know it.

        Raises ValueError, KeyError, TypeError, IndexError if it is damaged, or of another layer.
        """
        layer = next(layer for layer in self._viewer.layers if key_of(layer) == key)
        return state_from_json(layer, value)

    def locate(self, accepted: Accepted) -> None:
        """Note in what was accepted in which folder its labels are now."""
        locate(self._viewer, accepted)

    def is_current(self, target: PlaneTarget) -> bool:
        """Return whether a result fits its image."""
        return self._adapter.is_current(target)

    def restore_stack(self, key: str, stack: StackTarget) -> bool:
        """Take a layer for the propagated labels of a stack; returns whether it fits."""
        by_key = {key_of(layer): layer for layer in self._viewer.layers}
        return key in by_key and self._stacks.restore(by_key[key], stack)

    def restore_mask_steps(
        self, entries: Mapping[str, Any], keys: Mapping[str, str], problems: list[str]
    ) -> None:
        """Know again what mask operations can take back.

        Of labels with a damaged step those stay that come before it on the way back.

        Raises ValueError, KeyError, TypeError, IndexError if it is damaged.
        """
        by_key = {key_of(layer): layer for layer in self._viewer.layers}
        names = [name for name in entries if name.startswith("mask_step/")]
        steps: list[tuple[str, LabelEdit, bool]] = []
        for name in sorted(names, key=lambda name: int(name.partition("/")[2])):
            key, number, undone = read_value(tuple[str, int, bool], entries[name])
            layer = by_key.get(keys.get(key, ""))
            if layer is None:
                continue
            try:
                edit = read_label_edit(entries[f"mask_edit/{number}"])
                if edit.shape != tuple(map(int, array_of(layer).shape)):
                    continue
            except BROKEN as error:
                problems.append(f"A step of Mask Operations on “{layer.name}”: {error}")
                stack = (key_of(layer), undone)
                steps = [step for step in steps if (step[0], step[2]) != stack]
            else:
                steps.append((key_of(layer), edit, undone))
        edits = edits_of(self._viewer)
        edits.history.restore(steps)
        edits.restored.emit()

    def restore_view(self, entries: Mapping[str, Any], keys: Mapping[str, str]) -> None:
        """Bring back the order of the layers, how results are shown, and what was on show."""
        keys = dict(keys)
        for name, head in entries.items():
            try:
                if name.startswith("layer/") and head["role"] and Role(head["role"]) in DERIVED:
                    image = keys.get(str(head["slot"][0]), "")
                    key = name.partition("/")[2]
                    features = entries.get(f"features/{key}")
                    layer = show_again(self._viewer.layers, head, features, image)
                    if layer is not None:
                        keys[key] = key_of(layer)
            except BROKEN:
                continue
        try:
            with self._adapter.mark_changes() as chosen:
                order_layers(self._viewer, entries["view"], keys)
                del chosen
            show_view(self._viewer, entries["view"], keys)
        except BROKEN:  # what is on show is nothing that is lost
            return


_MOST_MASK_BYTES = 32 << 20
_NO_COLOURS: dict[str, Any] = {"cyclic": []}


def _kept_to_json(
    place: tuple[int, ...],
    objects: tuple[StitchedObject, ...],
    measured: tuple[Measurement | None, ...],
) -> dict[str, Any]:
    entry = {"objects": write_value(objects), "measured": write_value(measured)}
    return {"place": list(place), **entry}


def _listed(view: object, heads: Mapping[str, Any]) -> list[str]:
    names = view.get("layers", ()) if isinstance(view, dict) else ()
    listed = [key for key in names if isinstance(key, str) and key in heads]
    return [*listed, *(key for key in heads if key not in listed)]


def _name_of(head: Mapping[str, Any]) -> str:
    shown = head.get("shown")
    return str(shown.get("name", "?")) if isinstance(shown, dict) else "?"
