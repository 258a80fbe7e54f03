"""The viewer as the session sees it: what is on show, the prompts on it, and what came out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Labels

from napari_sam3_assistant.core.axes import axis_kind
from napari_sam3_assistant.core.display import ImageView
from napari_sam3_assistant.core.masks.labels import ImagePlace, plane_names
from napari_sam3_assistant.core.results import ObjectRecord
from napari_sam3_assistant.errors import ImageError, MaskError
from napari_sam3_assistant.session.snapshots import PictureSource
from napari_sam3_assistant.session.values import FileBackedLabels, FramePlace, KeptPlace, Preview
from napari_sam3_assistant.viewer import previews as preview_layers
from napari_sam3_assistant.viewer.accepted import AcceptedLayers, find_together, of_preview
from napari_sam3_assistant.viewer.accepted_objects import objects_of
from napari_sam3_assistant.viewer.file_backed_layers import FileBackedLayers
from napari_sam3_assistant.viewer.geometry import (
    World,
    array_of,
    file_axes,
    is_aligned,
    result_shape,
    show_slice,
    spacing,
)
from napari_sam3_assistant.viewer.images import axis_name, image_layers, shape_of, view_channel
from napari_sam3_assistant.viewer.opened import OpenedImages
from napari_sam3_assistant.viewer.other_labels import (
    add_labels,
    lay_on_image,
    lies_elsewhere,
    read_labels,
)
from napari_sam3_assistant.viewer.picking import (
    add_columns,
    first_pixel,
    raw_plane,
    show_object,
)
from napari_sam3_assistant.viewer.previews import hide_rois, hide_soft, show_roi, show_soft
from napari_sam3_assistant.viewer.prompts import ViewerPrompts
from napari_sam3_assistant.viewer.roles import Role, in_slot, key_of, role_of
from napari_sam3_assistant.viewer.saved_viewer import SavedViewer
from napari_sam3_assistant.viewer.stacks import StacksAdapter, TracksAdapter

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.images import LazyArray, RawPlane, Untyped
    from napari_sam3_assistant.core.masks.labels import PlaneOfLabels
    from napari_sam3_assistant.core.regions import Region
    from napari_sam3_assistant.core.tracks import TrackTable
    from napari_sam3_assistant.session.snapshots import (
        KeptPixels,
        OtherLabels,
        Pixels,
    )
    from napari_sam3_assistant.session.values import (
        ActiveRoi,
        PlaneTarget,
        ResultRow,
        SoftImage,
        StackTarget,
    )
    from napari_sam3_assistant.viewer.accepted import Acceptance


# What each layer of preview labels shows, the latest last: it is not written again, and who closes
# the dock and opens it again finds it.
_SHOWN: WeakKeyDictionary[Layer, Preview] = WeakKeyDictionary()


_WORKED_IN = (Role.MASK, Role.PREVIEW_LABELS, Role.ACCEPTED, Role.MASK_CHANGES)
_NO_LENGTH = ("t", "c", "s")
"""Kinds of axes along which there is no distance."""


class ViewerAdapter(ViewerPrompts):
    """A napari viewer, not its proxy, as the session sees it. GUI thread only.

    ``outlines``: whether objects are shown as outlines, and not filled.
    ``stacks``: the same of whole stacks, for 3D/video.
    ``tracks``: the tracks of what was followed through a stack.
    ``accepted``: the labels of accepted objects.
    ``opened``: the images that the session has opened by itself.
    ``saved``: the layers as entries of a saved session.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__(viewer)
        self.outlines = False
        self.accepted = AcceptedLayers(self)
        self.stacks = StacksAdapter(self)
        self.tracks = TracksAdapter(self)
        self.opened = OpenedImages(self, self.accepted)
        self.saved = SavedViewer(self, self.stacks)
        self._stored = FileBackedLayers(viewer)

    # -- results --------------------------------------------------------------------------

    def show(self, previews: Sequence[Preview]) -> None:
        """Show previews and no others; of those for the same place, the later one.

        Raises ImageError if the image of one is gone or has another shape now; the others are
        shown.
        """
        on_show = set(_SHOWN.values())
        # One of which the user has erased everything stays: the eraser can be taken back. So does
        # one of which all is hidden.
        found = {
            preview.slot: preview
            for preview in previews
            if preview.segmentation.objects or preview.hidden or preview in on_show
        }
        current = {
            slot: preview for slot, preview in found.items() if self.is_current(preview.target)
        }
        with self.mark_changes():
            preview_layers.remove_previews(self.viewer, current)
            for slot, preview in current.items():
                layer = in_slot(self.viewer.layers, Role.PREVIEW_LABELS, slot)
                if layer is None or _SHOWN.get(layer) is not preview:
                    image = self.image_of(preview.target)
                    layer = preview_layers.show_preview(self.viewer, image, preview)
                    _SHOWN.pop(layer, None)
                    _SHOWN[layer] = preview
        for preview in found.values():
            self.image_of(preview.target)

    def set_outlines(self, *, shown: bool) -> None:
        """Show objects as outlines, or filled, now and from now on."""
        self.outlines = shown
        with self.mark_changes():
            for layer in self.viewer.layers:
                self.outline(layer)

    def outline(self, layer: Layer) -> None:
        """Show a layer's objects as all are shown, if it has some."""
        if role_of(layer) in preview_layers.OUTLINED and (self.outlines or layer.contour):
            preview_layers.set_outline(self.viewer, layer, shown=self.outlines)

    def show_soft(self, images: Sequence[SoftImage], *, shown: bool) -> None:
        """Show the soft masks of results.

        ``images``: those that are ready.
        ``shown``: whether the user wants to see any; else all are hidden. Of those that are not
        ready yet, the earlier ones stay for the moment that it takes.
        """
        with self.mark_changes():
            if not shown:
                hide_soft(self.viewer.layers)
            for soft_image in images:
                labels = in_slot(self.viewer.layers, Role.PREVIEW_LABELS, soft_image.preview.slot)
                image = self.find(soft_image.preview.target.image)
                if (
                    labels is not None
                    and image is not None
                    and _SHOWN.get(labels) is soft_image.preview
                ):
                    show_soft(self.viewer, soft_image)

    def show_rois(self, rois: Sequence[ActiveRoi]) -> None:
        """Frame the regions that the last run worked on, and no others."""
        with self.mark_changes():
            hide_rois(self.viewer)
            for roi in rois:
                if self.is_current(roi.target):
                    show_roi(self.viewer, self.image_of(roi.target), roi)

    def reveal(self, row: ResultRow) -> None:
        """Bring an object of a preview to the middle of the canvas, and select it.

        Raises ImageError if its image or its preview layer is gone.
        """
        row = self.part_on_show(row)
        target = row.preview.target
        if isinstance(row.preview, FileBackedLabels):
            labels = self._stored.find(row.preview)
        else:
            labels = self._layer_of(row.preview)
        if labels is None:
            raise ImageError("The preview layer is gone.", "Press Run Preview again.")
        image = self.image_of(target)
        show_object(self.viewer, labels, target, row.record, image)

    def part_on_show(self, row: ResultRow) -> ResultRow:
        """Return the part of an object on the plane on show, or else its largest one."""
        try:
            return row.on(self.displayed(row.preview.target.image).target.plane)
        except ImageError:  # no plane of it is on show
            return row.on(row.preview.target.plane)

    def go_to(self, target: PlaneTarget) -> None:
        """Move the sliders to a plane of an image; nothing happens where the image is gone."""
        if self.is_current(target):
            image = self.image_of(target)
            show_slice(self.viewer, image, first_pixel(image, target))

    def mark(self, picked: ResultRow | None) -> None:
        """Mark the box of the object that is pointed at, and its label, and no others."""
        with self.mark_changes():
            preview_layers.mark_box(self.viewer, picked)
            if picked is None or isinstance(picked.preview, FramePlace | FileBackedLabels):
                return
            labels = self._layer_of(picked.preview)
            if labels is not None and labels.selected_label != picked.record.id:
                labels.selected_label = picked.record.id

    def _layer_of(self, place: Preview | FramePlace | KeptPlace) -> Labels | None:
        """Return the layer that a result on show is in."""
        if isinstance(place, KeptPlace):
            return self.accepted.find(place)
        role = Role.PROPAGATED if isinstance(place, FramePlace) else Role.PREVIEW_LABELS
        return in_slot(self.viewer.layers, role, place.slot)

    def begin_accept(self, preview: Preview, lasting: Path | None) -> Acceptance:
        """Return what is to be written to add a preview's objects to the accepted labels."""
        return self.accepted.begin(of_preview(preview, self._labels_on_show(preview)), lasting)

    def named_plane(self, image: str) -> tuple[tuple[int, int], tuple[str, ...], dict[str, int]]:
        """Return the plane of an image that is on show as annotation files describe it.

        Raises ImageError if no plane of it is on show.

        Returns
        -------
        shape : tuple of int
            Its height and width as the image holds it, also where the viewer shows it turned.
        names : tuple of str
            What a file may call it, the likeliest first.
        plane : dict of str to int
            Its index along ``z`` and ``t``.
        """
        shown, file = self.displayed(image), self.file_of(image)
        layer, axes, index = shown.layer, shown.axes, shown.plane.leading
        kinds = [axis_kind(axis_name(layer, axes, axis)) for axis in axes.leading]
        shape = shown.shape if axes.y < axes.x else shown.shape[::-1]
        place = ImagePlace(
            str(layer.name),
            shape,
            leading=index,
            names=plane_names(len(index), kinds),
            file="" if file is None else file.name,
        )
        return shape, place.file_names, place.plane((0,) * len(index))

    def add_labels(
        self, image: str, name: str, data: Untyped, axes: Axes, features: Mapping[str, Any]
    ) -> str:
        """Add labels of a file as a layer on an image, with their features; returns its name.

        Their axes, as the file names them, get the order of the image's.

        Raises ImageError if they have another size.
        """
        with self.mark_changes():
            layer = add_labels(self.viewer, self.displayed(image), name, data, axes, features)
        return str(layer.name)

    def other_labels(self) -> list[tuple[str, str]]:
        """Return key and name of the labels that no session works in, the topmost first."""
        return [
            (key_of(layer), str(layer.name))
            for layer in reversed(self.viewer.layers)
            if isinstance(layer, Labels) and role_of(layer) not in _WORKED_IN
        ]

    def read_labels(self, image: str, layer: str) -> OtherLabels:
        """Return what a layer of labels, given its key, holds of an image.

        Raises ImageError if it is gone, or has nothing on the plane on show.
        """
        return read_labels(self._labels(layer), self.displayed(image))

    def labels_lie_elsewhere(self, image: str, layer: str) -> bool:
        """Return whether labels, given their key, have an image's pixels, but another place."""
        return lies_elsewhere(self._labels(layer), self.displayed(image))

    def lay_labels_on_image(self, image: str, layer: str) -> None:
        """Give labels, given their key, the pixel size and the place of an image.

        Raises ImageError if they are gone.
        """
        with self.mark_changes():
            lay_on_image(self._labels(layer), self.displayed(image))

    def _labels(self, layer: str) -> Labels:
        """Return a layer of labels, given its key; raises ImageError if it is gone."""
        found = next(
            (candidate for candidate in self.viewer.layers if key_of(candidate) == layer), None
        )
        if found is None:
            raise ImageError("The labels layer is gone.", "Choose another one.")
        return found

    def begin_accept_stack(
        self, stack: StackTarget, table: TrackTable, lasting: Path | None
    ) -> Acceptance:
        """Return what is to be written to add propagated objects to the accepted labels."""
        return self.accepted.begin(self.stacks.to_accept(stack, table), lasting)

    def _labels_on_show(self, preview: Preview) -> npt.NDArray[np.integer[Any]]:
        """Return the labels of a preview as its layer shows them, or as they were found."""
        layer = in_slot(self.viewer.layers, Role.PREVIEW_LABELS, preview.slot)
        on_show = layer is not None and _SHOWN.get(layer) is preview
        return self.pixels(preview).labels if on_show else preview.segmentation.labels

    def kept(self, image: str, previews: Sequence[Preview] = ()) -> KeptPixels | None:
        """Return the accepted labels of an image, and the objects of its previews.

        None where nothing was accepted, and no or one preview is given.
        """
        found = self.find(image)
        if found is None:
            return None
        mine = [preview for preview in previews if preview.target.image == key_of(found)]
        shown = [(layer, self._labels_on_show(layer)) for layer in mine]
        kept = self.accepted.pixels(found, shown)
        if kept is None and len(shown) > 1:
            return find_together(found, shown)
        return kept

    def plane_labels(self, place: KeptPlace | FramePlace) -> PlaneOfLabels:
        """Return a plane of accepted labels, or of propagated ones; pixels are read when asked for.

        Raises ImageError if they are gone.
        """
        if isinstance(place, FramePlace):
            return self.stacks.plane_labels(place.target)
        return self.accepted.plane(place)

    def find_earlier(self) -> tuple[Preview, ...]:
        """Return the previews that an earlier session has left in the viewer, the latest last."""
        there = (shown for layer, shown in _SHOWN.items() if layer in self.viewer.layers)
        return tuple(layer for layer in there if self.is_current(layer.target))

    def edits(
        self, layer: Layer | None = None, box: Sequence[slice] | None = None
    ) -> tuple[tuple[Preview, Preview], ...]:
        """Return the previews that the user has changed the pixels of, before and after.

        ``layer``: the only layer to look at.
        ``box``: the only part of it to look at.
        """
        changed = []
        for shown, before in list(_SHOWN.items()):
            if shown not in self.viewer.layers or (layer is not None and layer is not shown):
                continue
            if not self.is_current(before.target):
                continue
            image = self.image_of(before.target)
            with self.mark_changes():
                after = preview_layers.find_edit(self.viewer, image, shown, before, box)
            if after is not None:
                _SHOWN[shown] = after
                changed.append((before, after))
        return tuple(changed)

    def objects_in(self, layer: Labels) -> set[int]:
        """Return the numbers of the objects of a preview or of accepted labels; else none."""
        shown, kept = _SHOWN.get(layer), objects_of(layer)
        if shown is not None:
            return {one.id for one in shown.segmentation.objects}
        return set() if kept is None else set().union(*kept[1].values())

    def pixels(self, preview: Preview) -> Pixels:
        """Return a preview as it is on show."""
        return preview_layers.read_pixels(self.viewer, self.image_of(preview.target), preview)

    def raw_plane(self, preview: Preview | FramePlace | KeptPlace | FileBackedLabels) -> RawPlane:
        """Return the pixels below a result, also those of other channels that are on show.

        napari makes a layer of each channel of a file: those that are visible and lie pixel on
        pixel on the image belong to it.
        """
        target = preview.target
        image, world = self.image_of(target), World.of(self.viewer)
        others = (
            layer
            for layer in image_layers(self.viewer)
            if layer is not image
            and layer.visible
            and (shape_of(layer), layer.rgb) == (shape_of(image), image.rgb)
            and is_aligned(image, layer, world)
        )
        beside = tuple(raw_plane(layer, target) for layer in others)
        return replace(raw_plane(image, target), beside=beside)

    def depth(self, target: PlaneTarget, axis: int) -> float | None:
        """Return how far slices lie apart along an axis, in the unit of the image's pixels.

        None where there is no such distance: between times or channels, and where units don't fit.
        """
        image, axes = self.image_of(target), target.axes
        if axis_kind(image.axis_labels[axis]) in _NO_LENGTH:
            return None
        try:
            return spacing(image, (axis, axes.y, axes.x))[axis]
        except MaskError:
            return None

    def depth_axis(self, target: PlaneTarget) -> int | None:
        """Return the axis whose slices make up objects; None where none is, or several may be."""
        labels = self.image_of(target).axis_labels
        kinds = {axis: axis_kind(labels[axis]) for axis in target.axes.leading}
        found = [axis for axis, kind in kinds.items() if kind == "z"] or [
            axis
            for axis, kind in kinds.items()
            if kind not in _NO_LENGTH and target.shape[axis] > 1
        ]
        return found[0] if len(found) == 1 else None

    def visible_previews(self, target: PlaneTarget) -> list[Preview]:
        """Return the previews of a plane whose layers are visible, the latest last."""
        found = [_SHOWN[layer] for layer in self.viewer.layers if layer.visible and layer in _SHOWN]
        return [place for place in found if place.target.is_same_plane(target)]

    def visible_labels(
        self, target: PlaneTarget, stored: Iterable[FileBackedLabels]
    ) -> list[KeptPlace | FramePlace | FileBackedLabels]:
        """Return which other labels of a plane are visible, of those in files some that are known.

        Those are accepted ones, propagated ones, and those of scans.
        """
        whole = result_shape(target.shape, target.axes)
        places: list[KeptPlace | FramePlace] = [KeptPlace(target), FramePlace(target)]
        found: list[KeptPlace | FramePlace | FileBackedLabels] = []
        for place in places if target.axes.leading else places[:1]:
            layer = self._layer_of(place)
            if layer is not None and layer.visible and array_of(layer).shape == whole:
                found.append(place)
        for scan in stored:
            layer = self._stored.find(scan)
            if layer is not None and layer.visible and scan.target.is_same_plane(target):
                found.append(scan)
        return found

    def view_at(self, target: PlaneTarget) -> ImageView:
        """Return a plane of an image as the user sees it, also while another one is on show.

        Raises ImageError if the image is gone.
        """
        image = self.image_of(target)
        source = self.sources.source(image, target.axes, target.plane)
        return ImageView((view_channel(image, source, target.plane),))

    def picture_source(self, row: ResultRow) -> PictureSource:
        """Return where the picture of an object comes from: the plane as it is seen, and its mask.

        Raises ImageError if its image or its labels are gone.
        """
        target, record = row.preview.target, row.record
        view = self.view_at(target)
        box = record.region
        if isinstance(record, ObjectRecord):
            whole = record.mask
            return PictureSource(view, box, lambda part: whole[part.localise(box).slices])
        labels = self.stored_labels(row.preview)
        assert labels is not None
        return PictureSource(view, box, lambda part: np.asarray(labels[part.slices]) == record.id)

    def stored_labels(
        self, place: Preview | FramePlace | KeptPlace | FileBackedLabels
    ) -> LazyArray | PlaneOfLabels | None:
        """Return the labels of a plane; None for a preview, whose objects have their masks.

        Raises ImageError if they are gone.
        """
        if isinstance(place, Preview):
            return None
        if isinstance(place, FileBackedLabels):
            return place.levels[0]
        return self.plane_labels(place)

    def add_features(
        self,
        preview: Preview | KeptPlace | FileBackedLabels,
        ids: Sequence[int],
        columns: Mapping[str, Sequence[object]],
    ) -> None:
        """Add columns to the features of a result's layer, if it is still there."""
        if isinstance(preview, FileBackedLabels):
            layer = self._stored.find(preview)
        else:
            layer = self._layer_of(preview)
            if isinstance(preview, Preview) and layer is not None:
                layer = layer if _SHOWN.get(layer) is preview else None
        if layer is not None:
            layer.features = add_columns(layer.features, ids, columns)

    def keep(self, preview: Preview) -> str:
        """Keep the preview as a saved labels layer; returns its name."""
        return preview_layers.keep_preview(self.viewer, preview)

    # -- labels in files ------------------------------------------------------------------

    def plane_axes(self, target: PlaneTarget) -> Axes:
        """Return what a file can say of the place of a whole plane of an image."""
        return file_axes(self.image_of(target), (target.axes.y, target.axes.x), ("y", "x"))

    def show_file_backed(self, stored: FileBackedLabels) -> str:
        """Show labels that are in a file; returns the name of their layer, empty for none."""
        if not self.is_current(stored.target):
            return ""
        with self.mark_changes():
            return self._stored.show(self.image_of(stored.target), stored)

    def hide_file_backed(self, stored: FileBackedLabels, hidden: Collection[int]) -> None:
        """Show labels in a file without some objects; the file stays as it is."""
        if self.is_current(stored.target):
            with self.mark_changes():
                self._stored.hide(self.image_of(stored.target), stored, hidden)

    def refresh_file_backed(self, stored: FileBackedLabels, changed: Region | None) -> None:
        """Record that labels in a file changed in a region; None for anywhere."""
        self._stored.refresh(stored, changed)

    def remove_file_backed(self, stored: FileBackedLabels) -> None:
        """Remove the layer of labels in a file; the file stays."""
        with self.mark_changes():
            self._stored.remove(stored)
