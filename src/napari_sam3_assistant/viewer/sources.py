"""The pixels of the images that have been looked at, as long as they stay what they were."""

from __future__ import annotations

import weakref
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.images import ImageSource, level_zero
from napari_sam3_assistant.viewer.geometry import World
from napari_sam3_assistant.viewer.roles import key_of

if TYPE_CHECKING:
    from pathlib import Path

    from napari.components import ViewerModel
    from napari.layers import Image, Layer

    from napari_sam3_assistant.core.images import ImageAxes, PlaneRef

_MOST_BYTES = 32 << 20
"""Of larger planes every second, third, ... row is looked at: at most so much, some 30 ms."""


class Sources:
    """Image layers as sources of planes: the same source as long as the pixels are the same.

    Who writes into an array in place tells nobody but ``layer.refresh()``, and napari's event of
    that is the one of each move of a slider, too. So a draw is only counted. When a plane of an
    array in memory is asked for after one, a checksum says whether it is still the one that was
    looked at. An array that is read piece by piece is not read for that: it is a new source after
    a draw that nothing in the view explains.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, ImageAxes], _Known] = {}
        self._views: dict[str, tuple[object, ...]] = {}

    def source(self, layer: Image, axes: ImageAxes, plane: PlaneRef) -> ImageSource:
        """Return the source of a layer that is about to be asked for a plane.

        Raises
        ------
        ImageError
            If its pixels can't be segmented, or can't be read.
        """
        key = (key_of(layer), axes)
        known = self._known.get(key)
        if known is None or not known.is_as_it_was(plane):
            known = self._known[key] = _Known(layer, axes)
        known.look_at(plane)
        return known.source

    def files(self, paths: dict[str, Path]) -> dict[int, Path]:
        """Return what is known of layers, by key, for the tokens of their sources."""
        return {
            known.source.token: paths[key]
            for (key, _), known in self._known.items()
            if key in paths
        }

    def forget(self, layer: Layer) -> None:
        """Take note that a layer has other pixels now, or is gone."""
        key = key_of(layer)
        self._views.pop(key, None)
        self._known = {kept: known for kept, known in self._known.items() if kept[0] != key}

    def drawn(self, viewer: ViewerModel, layer: Image) -> None:
        """Take note that napari has drawn a layer again."""
        key, view = key_of(layer), _view_of(viewer, layer)
        before, self._views[key] = self._views.get(key), view
        for (one, _), known in list(self._known.items()):
            if one == key:
                known.draws += 1
        if view == before:
            kept = self._known.items()
            self._known = {k: known for k, known in kept if k[0] != key or known.in_memory}

    def hidden(self, layer: Image) -> None:
        """Take note that a layer was hidden: it will be drawn when it is shown again."""
        self._views.pop(key_of(layer), None)


class _Known:
    """A source, and the checksums of the planes of it that were looked at."""

    def __init__(self, layer: Image, axes: ImageAxes) -> None:
        data = list(layer.data) if layer.multiscale else layer.data
        self.source = ImageSource(data, axes)
        # Results may hold the source for long; whoever else kept something of it lets go.
        weakref.finalize(self, self.source.retire).atexit = False
        self._largest: Any = level_zero(data)
        self.draws = 0
        # For each plane its checksum, and at which draw that was right; the latest last.
        self._looked: dict[PlaneRef, tuple[int, int]] = {}

    @property
    def in_memory(self) -> bool:
        """Whether parts of the array are views of it: NumPy, also where it maps a file."""
        return isinstance(self._largest, np.ndarray)

    def is_as_it_was(self, plane: PlaneRef) -> bool:
        """Return whether a plane, or where nobody has looked at it the latest one, is the same."""
        if not self._looked:
            return True
        looked = plane if plane in self._looked else next(reversed(self._looked))
        checksum, draw = self._looked[looked]
        return draw == self.draws or self._checksum(looked) == checksum

    def look_at(self, plane: PlaneRef) -> None:
        """Take note of what a plane is like now."""
        known = self._looked.pop(plane, None)
        if self.in_memory:
            now = known[0] if known is not None else self._checksum(plane)
            self._looked[plane] = (now, self.draws)

    def _checksum(self, plane: PlaneRef) -> int:
        axes = self.source.axes
        key: list[int | slice] = [slice(None)] * axes.ndim
        for axis, index in zip(axes.leading, plane.leading, strict=True):
            key[axis] = index
        if axes.channel is not None and plane.channel is not None:
            key[axes.channel] = plane.channel
        pixels = np.asarray(
            self._largest[tuple(key)]
        )  # a view: the plane may be larger than memory
        return zlib.crc32(np.ascontiguousarray(pixels[:: 1 + pixels.nbytes // _MOST_BYTES]).data)


def _view_of(viewer: ViewerModel, layer: Image) -> tuple[object, ...]:
    """Return all of a view for which napari draws a layer again, where it is another one."""
    dims, world, own = viewer.dims, World.of(viewer), slice(-layer.ndim, None)
    return (
        dims.ndisplay,
        world.shown_axes(layer, dims.ndisplay),
        # The sliders of axes that it does not have, and the pixels in view, change nothing.
        world.slice_of(layer, dims.ndisplay).tobytes(),
        dims.margin_left[own],
        dims.margin_right[own],
        str(layer.projection_mode),
        world.matrix(layer).tobytes(),
        (layer.data_level, layer.corner_pixels.tobytes()) if layer.multiscale else None,
    )
