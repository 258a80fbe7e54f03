"""Images that the session opens in the viewer and closes again, with their accepted labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari.layers import Image, Points, Shapes

# napari has no public name for where a layer is from.
from napari.layers._source import layer_source

from napari_sam3_assistant.core.axes import guess_axes
from napari_sam3_assistant.session.layer_files import placed
from napari_sam3_assistant.session.snapshots import AcceptedState
from napari_sam3_assistant.viewer import accepted
from napari_sam3_assistant.viewer.geometry import array_of
from napari_sam3_assistant.viewer.images import find_image
from napari_sam3_assistant.viewer.label_places import locate_labels
from napari_sam3_assistant.viewer.previews import empty_shapes
from napari_sam3_assistant.viewer.roles import IMAGE, Role, key_of, put_away, role_of, topmost

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_sam3_assistant.core.masks.edits import LabelEdit
    from napari_sam3_assistant.io.loaded import LoadedImage
    from napari_sam3_assistant.viewer.prompts import ViewerPrompts


_LOOK = ("contrast_limits", "gamma", "colormap", "interpolation2d")


class OpenedImages:
    """Opens images, and closes them with all that is ours of them. GUI thread only.

    What the user changes in how one is seen holds for those that are opened after it.

    Parameters
    ----------
    prompts : ViewerPrompts
        The viewer with its prompts.
    in_memory : int, bytes
        Accepted labels up to this size are in memory, larger ones on the disk.
    """

    def __init__(self, prompts: ViewerPrompts, in_memory: int) -> None:
        self._prompts, self._viewer = prompts, prompts.viewer
        self._in_memory = in_memory
        self._at_first: dict[str, dict[str, Any]] = {}
        self._chosen: dict[str, Any] = {}

    def open(
        self,
        image: LoadedImage,
        path: Path,
        contrast: tuple[float, float] | None = None,
        before: str = "",
    ) -> str:
        """Add an image as the selected layer; returns its key.

        Parameters
        ----------
        image : LoadedImage
            The image.
        path : Path
            Its file.
        contrast : tuple of float, optional
            Its contrast limits, where napari shall not look at all pixels to find them.
        before : str
            Key of the image whose place it takes; that one is closed next. Empty for none.
        """
        self._keep_look(before)
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
                **placed(axes),
            )
        self._at_first[key_of(layer)] = _look(layer)
        if self._chosen and not rgb and self._chosen["dtype"] == layer.dtype:
            for name in _LOOK:
                setattr(layer, name, self._chosen[name])
        layers = self._viewer.layers
        # Below the layers that stay for it.
        stay = (at for at, one in enumerate(layers) if one.metadata.get(IMAGE) in ("", before))
        layers.insert(min(stay, default=len(layers)), layer)
        layers.selection.active = layer
        earlier = self._prompts.find(before)
        if earlier is None or tuple(earlier.extent.world[1]) != tuple(layer.extent.world[1]):
            self._viewer.reset_view()
        return key_of(layer)

    def close(self, key: str) -> None:
        """Remove an image, if it is there, and our layers of it.

        Its layers of points and shapes are emptied and stay for the next image.
        """
        layer = self._prompts.find(key)
        self._keep_look(key)
        self._prompts.clear_prompts(key)
        ours = [one for one in self._viewer.layers if one.metadata.get(IMAGE) == key]
        with self._prompts.mark_changes():
            for one in [*reversed(ours), *([] if layer is None else [layer])]:
                if isinstance(one, Shapes) and role_of(one) is not Role.BOXES:
                    empty_shapes(self._viewer, one)
                elif isinstance(one, Points | Shapes):
                    put_away(self._viewer, one)
                else:
                    self._viewer.layers.remove(one)

    def _keep_look(self, key: str) -> None:
        """Take note of how the user has changed what an image looks like."""
        layer, at_first = self._prompts.find(key), self._at_first.pop(key, None)
        if layer is not None and not layer.rgb and at_first not in (None, _look(layer)):
            self._chosen = {**_look(layer), "dtype": layer.dtype}

    def accepted(self, key: str) -> AcceptedState | None:
        """Return the accepted labels of an image as they are now; None where there are none."""
        layer = topmost(self._viewer.layers, Role.ACCEPTED, key)
        if layer is None:
            return None
        _, axes = locate_labels(self._viewer, layer)
        return AcceptedState(array_of(layer), axes, layer.features.to_dict("list"))

    def put_accepted(self, key: str, edit: LabelEdit, features: Mapping[str, list[Any]]) -> None:
        """Put labels that were saved back as accepted ones.

        Raises
        ------
        ImageError
            If they don't fit the image.
        """
        image = find_image(self._viewer, key)
        target = self._prompts.displayed(key).target
        with self._prompts.mark_changes():
            accepted.put_back(self._viewer, image, target, edit, features, self._in_memory)


def _look(layer: Image) -> dict[str, Any]:
    return {name: getattr(layer, name) for name in _LOOK}
