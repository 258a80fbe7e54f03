"""Images that the session opens in the viewer and closes again, with their accepted labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Image, Points, Shapes

# napari has no public name for where a layer is from.
from napari.layers._source import layer_source

from napari_sam3_assistant.core.axes import guess_axes
from napari_sam3_assistant.core.tiling import LARGE_PLANE
from napari_sam3_assistant.errors import ImageError
from napari_sam3_assistant.session.layer_files import placed
from napari_sam3_assistant.session.saved import BROKEN, read_value, write_value
from napari_sam3_assistant.session.snapshots import AcceptedState
from napari_sam3_assistant.viewer.geometry import PLACE, array_of, leave_shown, transform_of
from napari_sam3_assistant.viewer.images import find_image
from napari_sam3_assistant.viewer.label_places import locate_labels
from napari_sam3_assistant.viewer.previews import empty_shapes
from napari_sam3_assistant.viewer.prompt_layers import (
    ensure,
    read_states,
    restore_states,
    state_from_json,
    state_to_json,
)
from napari_sam3_assistant.viewer.roles import (
    IMAGE,
    PROMPT_ROLES,
    SERIES,
    Role,
    drop_deep_spares,
    key_of,
    move_to,
    put_away,
    role_of,
    topmost,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari.components import ViewerModel

    from napari_sam3_assistant.core.display import ImageView
    from napari_sam3_assistant.core.masks.edits import LabelEdit
    from napari_sam3_assistant.io.loaded import LoadedImage
    from napari_sam3_assistant.viewer.accepted import AcceptedLayers
    from napari_sam3_assistant.viewer.prompts import ViewerPrompts


# What a session has left open in a viewer, for the next one.
_LEFT: WeakKeyDictionary[ViewerModel, object] = WeakKeyDictionary()
_PROMPTS = {str(role): role for role in PROMPT_ROLES}
_LOOK = ("contrast_limits", "gamma", "colormap", "interpolation2d")


class OpenedImages:
    """Opens images, and closes them with all that is ours of them. GUI thread only.

    What the user changes in how one is seen holds for those that are opened after it.
    """

    def __init__(self, prompts: ViewerPrompts, accepted: AcceptedLayers) -> None:
        self._prompts, self._viewer = prompts, prompts.viewer
        self._accepted = accepted
        self._at_first: dict[str, dict[str, Any]] = {}
        self._chosen: dict[str, Any] = {}
        # The image that is opened next, as a layer, and the look that it was given.
        self._ready: tuple[LoadedImage, Image, dict[str, Any]] | None = None
        self._order: tuple[int, ...] = ()  # of the axes, as it was set here
        self._is_to_fit = False  # the canvas, once the image is gone that has another size

    @property
    def left(self) -> object:
        """What an earlier session has left open in this viewer, as it has put it here."""
        return _LEFT.get(self._viewer)

    @left.setter
    def left(self, value: object) -> None:
        _LEFT[self._viewer] = value

    def view_ahead(
        self,
        image: LoadedImage,
        path: Path,
        contrast: tuple[float, float] | None,
        before: str,
    ) -> ImageView | None:
        """Return what the model would see of an image that is opened next, as far as is known.

        ``path``: its file.
        ``contrast``: its contrast limits, where napari shall not look at all pixels to find them.
        ``before``: key of the image whose place it will take.
        Returns None where the viewer will show no plane of it, or one so large that, unasked,
        nobody reads it whole.
        """
        look, prompts = self._look_to_keep(before), self._prompts
        layer = self._find_ready(image, look)
        if layer is None:
            self.forget_ahead()
            layer = self._make(image, path, contrast, look)
            self._ready = (image, layer, look)
        try:
            view = prompts.view_of(key_of(layer), prompts.displayed_of(layer))
        except ImageError:
            return None
        in_memory = isinstance(image.data, np.ndarray)
        return view if in_memory or max(view.shape) <= LARGE_PLANE else None

    def forget_ahead(self) -> None:
        """Let go of the image that was to be opened next."""
        if self._ready is not None:
            self._prompts.sources.forget(self._ready[1])
            self._ready = None

    def open(
        self,
        image: LoadedImage,
        path: Path,
        contrast: tuple[float, float] | None = None,
        before: str = "",
    ) -> str:
        """Add an image as the selected layer; returns its key.

        ``path``: its file.
        ``contrast``: its contrast limits, where napari shall not look at all pixels to find them.
        ``before``: key of the image whose place it takes; that one is closed next. Empty for none.
        """
        self._chosen = self._look_to_keep(before)
        layer = self._find_ready(image, self._chosen)
        if layer is None:
            self.forget_ahead()
            layer = self._make(image, path, contrast, self._chosen)
        self._ready = None
        self._count_alike(layer, before)
        self._at_first[key_of(layer)] = _look(layer)
        layers = self._viewer.layers
        # Below the layers that stay for it.
        stay = (at for at, layer in enumerate(layers) if layer.metadata.get(IMAGE) in ("", before))
        layers.insert(min(stay, default=len(layers)), layer)
        layers.selection.active = layer
        self._show_rows_and_columns(image, layer)
        leave_shown(self._viewer)
        earlier = self._prompts.find(before)
        if earlier is None:
            self._viewer.reset_view()
        else:
            size, before_it = layer.extent.world[1], earlier.extent.world[1]
            self._is_to_fit = tuple(size) != tuple(before_it)
        return key_of(layer)

    def _count_alike(self, layer: Image, before: str) -> None:
        """Have what stays for an image, and the one that goes, count in its units.

        napari warns, in a box on the canvas, at each change of layers that count in different ones.
        """
        earlier = self._prompts.find(before)
        with self._prompts.mark_changes():
            for other in self._viewer.layers:
                if other is earlier or other.metadata.get(IMAGE) in ("", before):
                    first = max(other.ndim - layer.ndim, 0)
                    other.units = (*other.units[:first], *layer.units[-other.ndim :])

    def _show_rows_and_columns(self, image: LoadedImage, layer: Image) -> None:
        """Order the axes on show where a file has rows and columns not last, such as y, x, c."""
        layout = guess_axes(image.data.shape, rgb=image.rgb, axis_labels=image.axis_labels)
        dims = self._viewer.dims
        missing = dims.ndim - layer.ndim
        plane = (missing + layout.y, missing + layout.x)
        if plane != (dims.ndim - 2, dims.ndim - 1) or tuple(dims.order) == self._order:
            self._order = (*(axis for axis in range(dims.ndim) if axis not in plane), *plane)
            dims.order = self._order

    def _find_ready(self, image: LoadedImage, look: dict[str, Any]) -> Image | None:
        """Return the layer of an image that was looked at ahead, if it looks as it is to."""
        ready = self._ready
        return ready[1] if ready is not None and ready[0] is image and ready[2] == look else None

    def _make(
        self,
        image: LoadedImage,
        path: Path,
        contrast: tuple[float, float] | None,
        look: dict[str, Any],
    ) -> Image:
        rgb = guess_axes(image.data.shape, rgb=image.rgb, axis_labels=image.axis_labels).rgb
        axes = image.axes[:-1] if rgb else image.axes
        many = len(image.levels) > 1
        with layer_source(path=str(path)):
            layer = Image(
                list(image.levels) if many else image.data,
                name=image.name,
                rgb=rgb,
                multiscale=many,
                contrast_limits=None if rgb else contrast,
                metadata={SERIES: image.series} if len(image.choices) > 1 else {},
                **placed(axes),
            )
        if look and not rgb and look["dtype"] == layer.dtype:
            for name in _LOOK:
                setattr(layer, name, look[name])
        return layer

    def close(self, key: str) -> list[str]:
        """Remove an image, if it is there, and our layers of it.

        Its layers of points and shapes are emptied and stay for the next image.

        Returns keys of the layers of prompts that stay.
        """
        layer = self._prompts.find(key)
        self._chosen = self._look_to_keep(key)
        self._at_first.pop(key, None)
        self._prompts.clear_prompts(key)
        ours = [layer for layer in self._viewer.layers if layer.metadata.get(IMAGE) == key]
        with self._prompts.mark_changes():
            for own in [*reversed(ours), *([] if layer is None else [layer])]:
                if isinstance(own, Shapes) and role_of(own) is not Role.BOXES:
                    empty_shapes(self._viewer, own)
                elif isinstance(own, Points | Shapes):
                    put_away(self._viewer, own)
                else:
                    self._viewer.layers.remove(own)
            drop_deep_spares(self._viewer)  # those of a stack, where flat images come next
        if self._is_to_fit:
            self._is_to_fit = False
            self._viewer.reset_view()
        return [key_of(layer) for layer in ours if role_of(layer) in PROMPT_ROLES]

    def _look_to_keep(self, key: str) -> dict[str, Any]:
        """Return what the images after one look like, as far as the user has changed that."""
        layer, at_first = self._prompts.find(key), self._at_first.get(key)
        if layer is None or layer.rgb or at_first in (None, _look(layer)):
            return self._chosen
        return {**_look(layer), "dtype": layer.dtype}

    def prompts_as_json(self, key: str) -> list[Any]:
        """Return the prompts on an image as JSON, for :meth:`put_prompts`."""
        kept = []
        for role in sorted(PROMPT_ROLES):
            layer = topmost(self._viewer.layers, role, key)
            state = () if layer is None else read_states([layer])[key_of(layer)]
            if layer is not None and state:
                place = transform_of(layer)
                entry = {name: write_value(np.asarray(place[name], float)) for name in PLACE}
                kept.append({"role": str(role), "place": entry, "state": state_to_json(state)})
        return kept

    def put_prompts(self, key: str, kept: list[Any]) -> None:
        """Put prompts back on an image that was opened again.

        Raises ImageError if no plane of it is on show, or they can't be read.
        """
        prompts = self._prompts
        with prompts.mark_changes():
            for entry in kept:
                try:
                    role, numbers = _PROMPTS[entry["role"]], entry["place"]
                    place = {name: read_value(np.ndarray, numbers[name]) for name in PLACE}
                    layer = ensure(self._viewer, prompts.displayed(key), role)
                    if role is Role.MASK:  # it lies on a plane of its own
                        move_to(layer, transform_of(layer) | place)
                    state = state_from_json(layer, entry["state"])
                except BROKEN as error:
                    raise ImageError(
                        f"Its prompts that were not run can't be read: {error}.", "Draw them again."
                    ) from error
                restore_states([layer], {key_of(layer): state})
        prompts.restored.emit()

    def accepted(self, key: str) -> AcceptedState | None:
        """Return the accepted labels of an image as they are now; None where there are none."""
        layer = topmost(self._viewer.layers, Role.ACCEPTED, key)
        if layer is None:
            return None
        _, axes = locate_labels(self._viewer, layer)
        return AcceptedState(array_of(layer), axes, layer.features.to_dict("list"))

    def put_accepted(self, key: str, edit: LabelEdit, features: Mapping[str, list[Any]]) -> None:
        """Put labels that were saved back as accepted ones.

        Raises ImageError if they don't fit the image.
        """
        image = find_image(self._viewer, key)
        target = self._prompts.displayed(key).target
        with self._prompts.mark_changes():
            self._accepted.put_back(image, target, edit, features)


def _look(layer: Image) -> dict[str, Any]:
    return {name: getattr(layer, name) for name in _LOOK}
