"""Labels that are in a file as layers: only what is in view is read, and seen as it grows."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Labels

from napari_sam3_assistant.core.masks.components import expand_ranges
from napari_sam3_assistant.core.masks.edits import Changes, LabelEdit
from napari_sam3_assistant.core.masks.labels import FilteredLabels, is_writable
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.session.values import FileBackedKind
from napari_sam3_assistant.viewer.geometry import World, result_axes, result_transform
from napari_sam3_assistant.viewer.roles import (
    Role,
    add_below_prompts,
    name_of,
    role_metadata,
    take_place,
    with_role,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    import numpy.typing as npt
    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_sam3_assistant.core.axes import ImageAxes
    from napari_sam3_assistant.core.images import LazyArray
    from napari_sam3_assistant.session.values import FileBackedLabels


FILE = "sam3_file"
_ROLES = {FileBackedKind.SCAN: Role.SCAN, FileBackedKind.MERGED: Role.MERGED}
_MOST_OFTEN = 0.1  # seconds between two looks into the file; tiles of an earlier start come faster

# Whatever NumPy takes between brackets.
_Index: TypeAlias = Any


class FileBackedLayers:
    """The layers of labels in files."""

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._looked: WeakKeyDictionary[Labels, float] = WeakKeyDictionary()
        # What changed while it was too early to look again.
        self._waiting: WeakKeyDictionary[Labels, Region] = WeakKeyDictionary()

    def show(self, image: Image, stored: FileBackedLabels) -> str:
        """Show labels in their layer, which is made where it is missing; returns its name."""
        before, layer = self.find(stored), self._new(image, stored)
        if before is None:
            add_below_prompts(self._viewer, layer)
            return str(layer.name)
        return self._replace(before, layer)

    def hide(self, image: Image, stored: FileBackedLabels, hidden: Collection[int]) -> None:
        """Show labels without some objects; nothing is written, and only what is in view is read.

        They can't be changed meanwhile.
        """
        before = self.find(stored)
        if before is None:
            return
        levels = list(before.data) if before.multiscale else [before.data]
        known = [level for level in levels if isinstance(level, FilteredLabels)]
        if hidden and known:
            for level in known:
                level.hide(hidden)
            before.refresh(extent=False)
        elif hidden or known:
            layer = self._new(image, stored, hidden)
            layer.features = before.features  # with what was measured, and with other classes
            self._replace(before, layer)

    def _replace(self, before: Labels, layer: Labels) -> str:
        # Another layer and not other data: napari would go back to the coarsest size.
        layer.colormap = before.colormap
        take_place(self._viewer, before, layer)
        return str(layer.name)

    def refresh(self, stored: FileBackedLabels, changed: Region | None) -> None:
        """Look into the file again, if what changed is in view."""
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
            if _visible_part(layer, stored, waiting).is_empty:
                return
        self._looked[layer] = now
        layer.refresh(extent=False)

    def remove(self, stored: FileBackedLabels) -> None:
        """Remove the layer of labels."""
        layer = self.find(stored)
        if layer is not None:
            self._viewer.layers.remove(layer)

    def find(self, stored: FileBackedLabels) -> Labels | None:
        """Return the layer of labels, or None."""
        layers = with_role(self._viewer.layers, _ROLES[stored.kind], stored.target.image)
        found = [layer for layer in layers if layer.metadata.get(FILE) == str(stored.path)]
        return found[-1] if found else None

    def _new(self, image: Image, stored: FileBackedLabels, hidden: Collection[int] = ()) -> Labels:
        role, target = _ROLES[stored.kind], stored.target
        kept = result_axes(target.axes)
        rows, columns = kept.index(target.axes.y), kept.index(target.axes.x)
        levels: list[Any] = [
            level
            if (rows, columns) == (0, 1) and len(kept) == 2
            else LazyPlane(level, len(kept), rows, columns)
            for level in stored.levels
        ]
        if hidden:
            levels = [FilteredLabels(level, hidden) for level in levels]
        label = stored.label
        whole = Region.whole((stored.levels[0].shape[0], stored.levels[0].shape[1]))
        layer = Labels(
            levels if len(levels) > 1 else levels[0],
            multiscale=len(levels) > 1,
            name=name_of(role, label),
            metadata={
                **role_metadata(role, target.image, label),
                FILE: str(stored.path),
                "source_image_layer": target.name,
            },
            features={name: list(column) for name, column in stored.features.items()} or None,
            **result_transform(image, target.axes, World.of(self._viewer), target.plane, whole),
        )
        layer.editable = layer.editable and stored.complete and not hidden
        return layer


def _visible_part(layer: Labels, stored: FileBackedLabels, changed: Region) -> Region:
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
    kept = result_axes(axes)
    return kept.index(axes.y), kept.index(axes.x)


class LazyPlane:
    """An array of which two axes are those of a plane, and all others have length 1.

    Only what is indexed is read, and nothing is kept: what changes in the file is seen.

    ``plane`` (shape (h, w)): the plane; NumPy can make arrays of its pieces.
    ``rows``, ``columns``: which of them are the plane's.

    ``stored`` (shape (h, w)): the plane itself.
    """

    def __init__(self, plane: LazyArray, ndim: int, rows: int, columns: int) -> None:
        self.stored = plane
        self._axes = (rows, columns)
        shape = [1] * ndim
        shape[rows], shape[columns] = plane.shape
        self.shape = tuple(shape)
        self.dtype = plane.dtype
        self.ndim = ndim
        self.size = math.prod(self.shape)
        self.read_only = not is_writable(plane)
        self.store = getattr(plane, "store", None)

    @property
    def chunks(self) -> tuple[int, ...]:
        """Sides of the pieces in which the plane lies in the file, where it does."""
        plane: Any = self.stored
        sides = [1] * self.ndim
        for axis, side in zip(self._axes, plane.chunks, strict=True):
            sides[axis] = side
        return tuple(sides)

    def stored_edit(self, edit: LabelEdit) -> LabelEdit:
        """Return an edit of this array as one of the plane itself."""
        changes = edit.changes()
        pixels = expand_ranges(changes.starts, changes.lengths)
        coordinates = np.unravel_index(pixels, self.shape)
        height, width = self.stored.shape
        flat = np.ravel_multi_index([coordinates[axis] for axis in self._axes], (height, width))
        order = np.argsort(flat, kind="stable")
        before, after = (
            np.repeat(values, changes.lengths)[order] for values in (changes.before, changes.after)
        )
        stretches = Changes.of_pixels(flat[order], before, after, width)
        return LabelEdit.pack(edit.action, (height, width), stretches, edit.dtype)

    def __getitem__(self, key: _Index) -> npt.NDArray[Any]:
        """Return the part under an index of integers and slices, or of one array an axis."""
        full = self._full(key)
        rows, columns = (full[axis] for axis in self._axes)
        if any(isinstance(part, np.ndarray) for part in full):
            return np.asarray(self.stored[rows, columns])
        piece = np.asarray(self.stored[_as_slice(rows), _as_slice(columns)])
        upright = piece if self._axes[0] < self._axes[1] else piece.T
        others = [axis for axis in range(self.ndim) if axis not in self._axes]
        kept: list[Any] = list(full)
        for axis in self._axes:
            # Cut out already: what is left of an integer is one row to drop.
            kept[axis] = slice(None) if isinstance(full[axis], slice) else 0
        part: npt.NDArray[Any] = np.expand_dims(upright, others)[tuple(kept)]
        return part

    def __setitem__(self, key: _Index, value: npt.ArrayLike) -> None:
        """Write the part under an index of slices, or of one array an axis."""
        full = self._full(key)
        rows, columns = (full[axis] for axis in self._axes)
        values = np.asarray(value)
        if isinstance(rows, slice):
            if values.ndim == self.ndim:
                values = values.squeeze(tuple(set(range(self.ndim)) - set(self._axes)))
            values = values.T if self._axes[0] > self._axes[1] else values
        plane: Any = self.stored
        plane[rows, columns] = values

    def __array__(
        self,
        dtype: npt.DTypeLike | None = None,
        copy: bool | None = None,
    ) -> npt.NDArray[Any]:
        """Return all of it."""
        del copy
        return np.asarray(self[()], dtype)

    def _full(self, key: _Index) -> tuple[Any, ...]:
        """Return an index with an entry for each axis."""
        parts = list(key) if isinstance(key, tuple) else [key]
        if Ellipsis in [part for part in parts if not isinstance(part, np.ndarray)]:
            place = next(n for n, part in enumerate(parts) if part is Ellipsis)
            missing = self.ndim - len(parts) + 1
            parts[place : place + 1] = [slice(None)] * missing
        return (*parts, *[slice(None)] * (self.ndim - len(parts)))


def _as_slice(part: _Index) -> slice:
    return part if isinstance(part, slice) else slice(part, part + 1 or None)
