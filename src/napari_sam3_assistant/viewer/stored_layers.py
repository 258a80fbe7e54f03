"""Labels that are in a file as layers: only what is in view is read, and seen as it grows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Labels

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.session.disk.stored import StoredKind
from napari_sam3_assistant.viewer.geometry import World, kept_axes, place
from napari_sam3_assistant.viewer.lazy_plane import LazyPlane
from napari_sam3_assistant.viewer.placing import add_below_prompts, undisturbed
from napari_sam3_assistant.viewer.roles import Role, name_of, tag, with_role

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_sam3_assistant.core.images import ImageAxes
    from napari_sam3_assistant.session.disk.stored import StoredLabels

FILE = "sam3_file"
_ROLES = {StoredKind.SCAN: Role.SCAN, StoredKind.MERGED: Role.MERGED}
_MOST_OFTEN = 0.1  # seconds between two looks into the file; tiles of an earlier start come faster


class StoredLayers:
    """The layers of labels in files.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._looked: WeakKeyDictionary[Labels, float] = WeakKeyDictionary()
        # What changed while it was too early to look again.
        self._waiting: WeakKeyDictionary[Labels, Region] = WeakKeyDictionary()

    def show(self, image: Image, stored: StoredLabels) -> str:
        """Show labels in their layer, which is made where it is missing; returns its name.

        Parameters
        ----------
        image : Image
            The layer of their image.
        stored : StoredLabels
            The labels.
        """
        viewer = self._viewer
        before, layer = self.find(stored), self._new(image, stored)
        if before is None:
            add_below_prompts(viewer, layer)
            return str(layer.name)
        # Another layer and not other data: napari would go back to the coarsest size.
        layer.visible, layer.opacity = before.visible, before.opacity
        layer.name = before.name
        index = viewer.layers.index(before)
        with undisturbed(viewer) as chosen:
            viewer.layers.remove(before)
            viewer.layers.insert(index, layer)
            chosen.replace(before, layer)
        return str(layer.name)

    def refresh(self, stored: StoredLabels, changed: Region | None) -> None:
        """Look into the file again, if what changed is in view.

        Parameters
        ----------
        stored : StoredLabels
            The labels.
        changed : Region or None
            What changed; None to look in any case.
        """
        layer = self.find(stored)
        if layer is None:
            return
        now = time.monotonic()
        waiting = self._waiting.pop(layer, changed)
        if changed is not None and waiting is not None:
            waiting = waiting.union(changed)
            if now - self._looked.get(layer, 0.0) < _MOST_OFTEN:
                self._waiting[layer] = waiting
                return
            if _seen(layer, stored, waiting).is_empty:
                return
        self._looked[layer] = now
        layer.refresh(extent=False)

    def remove(self, stored: StoredLabels) -> None:
        """Remove the layer of labels."""
        layer = self.find(stored)
        if layer is not None:
            self._viewer.layers.remove(layer)

    def find(self, stored: StoredLabels) -> Labels | None:
        """Return the layer of labels, or None."""
        layers = with_role(self._viewer.layers, _ROLES[stored.kind], stored.target.image)
        found = [one for one in layers if one.metadata.get(FILE) == str(stored.path)]
        return found[-1] if found else None

    def _new(self, image: Image, stored: StoredLabels) -> Labels:
        role, target = _ROLES[stored.kind], stored.target
        kept = kept_axes(target.axes)
        rows, columns = kept.index(target.axes.y), kept.index(target.axes.x)
        levels: list[Any] = [
            level
            if (rows, columns) == (0, 1) and len(kept) == 2
            else LazyPlane(level, len(kept), rows, columns)
            for level in stored.levels
        ]
        label = stored.label
        whole = Region.whole((stored.levels[0].shape[0], stored.levels[0].shape[1]))
        layer = Labels(
            levels if len(levels) > 1 else levels[0],
            multiscale=len(levels) > 1,
            name=name_of(role, label),
            metadata={
                **tag(role, target.image, label),
                FILE: str(stored.path),
                "source_image_layer": target.name,
            },
            features={name: list(column) for name, column in stored.features.items()} or None,
            **place(image, target.axes, World.of(self._viewer), target.plane, whole),
        )
        layer.editable = layer.editable and stored.complete
        return layer


def _seen(layer: Labels, stored: StoredLabels, changed: Region) -> Region:
    """Return the part of a region that the layer has on show."""
    if not layer.multiscale:
        return changed
    shape, (rows, columns) = layer.data[0].shape, plane_axes(stored.target.axes)
    factors = np.asarray(layer.downsample_factors[layer.data_level])
    first, last = np.asarray(layer.corner_pixels) * factors
    stop = np.minimum(last + factors, shape)
    shown = Region(int(first[rows]), int(first[columns]), int(stop[rows]), int(stop[columns]))
    return shown.intersect(changed)


def plane_axes(axes: ImageAxes) -> tuple[int, int]:
    """Return which axes of a layer are rows and columns, given those of its image."""
    kept = kept_axes(axes)
    return kept.index(axes.y), kept.index(axes.x)
