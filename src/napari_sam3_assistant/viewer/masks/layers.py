"""Labels layers as the mask operations see them."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils import DirectLabelColormap

from napari_sam3_assistant.core.masks.labels import check_labels, is_writable
from napari_sam3_assistant.core.masks.objects import Classes
from napari_sam3_assistant.errors import MaskError
from napari_sam3_assistant.session.masks.scene import (
    FrozenLabels,
    LabelsChoice,
    NewLabels,
    Scope,
    TakenLayer,
)
from napari_sam3_assistant.viewer.edits import edits_in
from napari_sam3_assistant.viewer.geometry import (
    World,
    array_of,
    lie_together,
    moved,
    show_at,
    spacing,
    transform_of,
)
from napari_sam3_assistant.viewer.label_pixels import default_colours
from napari_sam3_assistant.viewer.masks.display import redraw_in_parts
from napari_sam3_assistant.viewer.masks.image_place import SOURCE, image_of, placed_labels
from napari_sam3_assistant.viewer.masks.regions import drawn_box, visible_box
from napari_sam3_assistant.viewer.placing import undisturbed
from napari_sam3_assistant.viewer.roles import IMAGE, ROLE, Role, key_of, role_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt
    from napari.components import ViewerModel

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.masks.edits import LabelEdit
    from napari_sam3_assistant.core.masks.labels import Box
    from napari_sam3_assistant.core.masks.place import ImagePlace

CHANGES_NAME = "SAM3 mask changes"
_HIDDEN = (Role.MASK, Role.MASK_CHANGES)
# What goes, what comes, what gets another label.
_COLOURS = {None: "transparent", 0: "transparent", 1: "#ff5555", 2: "#55dd55", 3: "#ffcc33"}


def mask_layers(viewer: ViewerModel) -> list[Labels]:
    """Return the labels layers that can be worked on, the lowest first."""
    return [
        layer
        for layer in viewer.layers
        if isinstance(layer, Labels) and role_of(layer) not in _HIDDEN
    ]


class ViewerMasks:
    """A napari viewer as a scene; see :class:`napari_sam3_assistant.session.masks.scene.MaskScene`.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer itself, not the proxy that napari hands to dock widgets.

    Attributes
    ----------
    busy : bool
        Whether a layer is being taken out, or given other data, by us and not by the user.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self.viewer = viewer
        self.busy = False

    def choices(self) -> tuple[LabelsChoice, ...]:
        """Return the labels layers, the topmost first."""
        return tuple(_choice(layer) for layer in reversed(mask_layers(self.viewer)))

    def layer(self, key: str) -> Labels:
        """Return the layer of a key.

        Raises
        ------
        MaskError
            If it is gone.
        """
        for layer in mask_layers(self.viewer):
            if key_of(layer) == key:
                return layer
        raise MaskError("The labels layer is no longer open.", "Choose another one.")

    def freeze(self, key: str, *, editable: bool = False) -> FrozenLabels:
        """Return what a job may see of a layer."""
        layer = self.layer(key)
        array = array_of(layer)
        check_labels(array)
        if editable:
            _check_writable(array, layer.name)
        smaller = tuple(layer.data)[1:] if layer.multiscale else ()
        image = image_of(self.viewer, layer)
        name = str(layer.metadata.get(SOURCE) or ("" if image is None else image.name))
        return FrozenLabels(array, layer.name, name, _classes(layer), smaller)

    def file(self, key: str) -> Path | None:
        """Return the file or folder that a layer was opened from; None if that is not known."""
        path = self.layer(key).source.path
        return Path(path) if path else None

    def spacing(self, key: str, *, planes: bool) -> tuple[float, ...]:
        """Return how far pixels lie apart along each axis."""
        layer = self.layer(key)
        shape = array_of(layer).shape
        first = layer.ndim - 2 if planes else 0
        axes = [axis for axis in range(first, layer.ndim) if shape[axis] > 1]
        return spacing(layer, axes or range(layer.ndim))

    def place(self, key: str) -> tuple[ImagePlace, Axes]:
        """Return where labels lie in their image, and in the world."""
        return placed_labels(self.viewer, self.layer(key))

    def box(self, key: str, scope: Scope) -> Box | None:
        """Return the part of a layer to work on; None for all of it."""
        layer = self.layer(key)
        if scope is Scope.VISIBLE:
            return visible_box(self.viewer, layer, array_of(layer).shape)
        if scope is Scope.DRAWN:
            return drawn_box(self.viewer, layer, array_of(layer).shape)
        return None

    def image_of(self, key: str) -> tuple[str, Path | None]:
        """Return the name of the image of labels, and its file; empty and None for none."""
        image = image_of(self.viewer, self.layer(key))
        if image is None:
            return "", None
        return image.name, Path(image.source.path) if image.source.path else None

    def metadata(self, key: str) -> dict[str, Any]:
        """Return what is known of a layer."""
        return dict(self.layer(key).metadata)

    def picked_label(self, key: str) -> int:
        """Return the label that the user chose in a layer; 0 for none."""
        return int(self.layer(key).selected_label)

    def check_aligned(self, keys: Sequence[str]) -> None:
        """Raise MaskError unless the layers lie on top of each other."""
        first, *others = [self.layer(key) for key in keys]
        for layer in others:
            if not lie_together(first, layer, World.of(self.viewer)):
                raise MaskError(
                    f"“{layer.name}” and “{first.name}” don't lie on top of each other.",
                    "Choose layers with the same scale and position.",
                )

    def lock(self, key: str) -> Callable[[], None]:
        """Keep the user from painting on a layer until what is returned is called."""
        layer = self.layer(key)
        editable, mode = layer.editable, layer.mode
        layer.editable = False

        def unlock() -> None:
            layer.editable = editable
            if editable:
                layer.mode = mode

        return unlock

    def redraw(self, key: str, box: Box) -> Iterator[None]:
        """Show a part of a layer anew; yields where the event loop may have its turn."""
        layer = self.layer(key)
        edits_in(self.viewer).edited.emit(layer, box)
        return redraw_in_parts(self.viewer, layer, box)

    def note_edit(self, key: str, edit: LabelEdit, *, forward: bool) -> None:
        """Tell others that an edit was written to labels in a file, or taken back."""
        changes = edit.changes() if forward else edit.changes().reversed()
        edits_in(self.viewer).changed.emit(self.layer(key), changes, edit.shape)

    def show_changes(self, key: str, edit: LabelEdit, image: npt.NDArray[np.uint8]) -> None:
        """Show what an edit would do to the pixels of its box."""
        source = self.layer(key)
        placed = moved(transform_of(source), [side.start for side in edit.box])
        layer = self._changes()
        if layer is not None and layer.ndim == source.ndim and _same_place(layer, placed):
            layer.visible = False  # napari draws a layer that is not shown when it is shown again
            layer.data = image
            layer.translate = placed["translate"]
            layer.visible = True
            return
        self.forget_changes()
        self._insert(
            Labels(
                image,
                name=CHANGES_NAME,
                metadata={ROLE: str(Role.MASK_CHANGES)},
                colormap=DirectLabelColormap(color_dict=_COLOURS),
                opacity=0.9,
                **placed,
            )
        )

    def hide_changes(self) -> None:
        """Show that no more."""
        layer = self._changes()
        if layer is not None:
            # To remove it would halt napari, which then collects garbage, for 0.2 s.
            layer.visible = False

    def forget_changes(self) -> None:
        """Take the layer that shows changes out of the viewer."""
        layer = self._changes()
        if layer is not None:
            with undisturbed(self.viewer):
                self.viewer.layers.remove(layer)

    def builder(self, fresh: NewLabels) -> Callable[[], Labels]:
        """Return what builds a layer, on whichever thread: that takes a while."""
        like = self.layer(fresh.like)
        metadata = {ROLE: fresh.role, **_image_key(like), **fresh.metadata}
        return partial(
            Labels,
            fresh.labels,
            name=fresh.name,
            metadata=metadata,
            colormap=default_colours(),
            **transform_of(like),
        )

    def add(self, built: Labels) -> tuple[str, str]:
        """Add a layer that was built; returns its key and its name."""
        self._insert(built)
        return key_of(built), str(built.name)

    def made_before(self, fresh: NewLabels) -> str:
        """Return the key of the layer of that name, role and shape; empty if there is none."""
        for layer in mask_layers(self.viewer):
            same = layer.name == fresh.name and layer.metadata.get(ROLE) == fresh.role
            writable = isinstance(layer.data, np.ndarray) and layer.data.flags.writeable
            if same and writable and layer.data.shape == fresh.labels.shape:
                return key_of(layer)
        return ""

    def describe(self, key: str, metadata: dict[str, Any]) -> dict[str, Any]:
        """Set what is known of a layer; returns what was."""
        layer = self.layer(key)
        before, role = dict(layer.metadata), layer.metadata.get(ROLE)
        layer.metadata = {ROLE: role, **_image_key(layer), **metadata}
        return before

    def swap(
        self, key: str, labels: npt.NDArray[np.integer[Any]], metadata: dict[str, Any]
    ) -> tuple[npt.NDArray[np.integer[Any]], dict[str, Any]]:
        """Give a layer other labels; returns those that it had, and what was known of them."""
        layer = self.layer(key)
        before = layer.data
        described = self.describe(key, metadata)
        self.busy = True
        try:
            layer.data = labels
        finally:
            self.busy = False
        return before, described

    def take(self, key: str) -> TakenLayer:
        """Take a layer out of the viewer."""
        layer, layers = self.layer(key), self.viewer.layers
        taken = TakenLayer(layer.name, layer, layers.index(layer), int(layer.data.nbytes))
        self.busy = True
        try:
            with undisturbed(self.viewer):
                layers.remove(layer)
        finally:
            self.busy = False
        return taken

    def bring(self, taken: TakenLayer) -> None:
        """Put a layer back that was taken out."""
        layers = self.viewer.layers
        with undisturbed(self.viewer):
            layers.insert(min(taken.place, len(layers)), taken.layer)
            taken.layer.name = taken.name

    def go_to(self, key: str, centre: Sequence[float]) -> None:
        """Show a pixel of a layer in the middle of the view."""
        layer = self.layer(key)
        show_at(self.viewer, layer, centre)
        self.viewer.layers.selection.active = layer

    def _changes(self) -> Labels | None:
        shown = (one for one in self.viewer.layers if role_of(one) is Role.MASK_CHANGES)
        return next(shown, None)

    def _insert(self, layer: Labels) -> None:
        with undisturbed(self.viewer):
            self.viewer.add_layer(layer)


def _choice(layer: Labels) -> LabelsChoice:
    array, known, role = array_of(layer), layer.metadata, role_of(layer)
    value = known.get("class_value")
    return LabelsChoice(
        key_of(layer),
        layer.name,
        f"{' x '.join(map(str, array.shape))}, {array.dtype}",
        preview=role is Role.PREVIEW_LABELS or "preview" in layer.name.lower(),
        accepted=role is Role.ACCEPTED_OBJECT,
        class_name=str(known.get("class_name", "")),
        class_value=value if isinstance(value, int) else None,
        planes=math.prod(array.shape[:-2]),
    )


def _image_key(layer: Labels) -> dict[str, Any]:
    """Return what says of which image labels were made, also when that is renamed."""
    return {IMAGE: layer.metadata[IMAGE]} if layer.metadata.get(IMAGE) else {}


def _classes(layer: Labels) -> Classes:
    known = layer.metadata
    if role_of(layer) is Role.ACCEPTED_OBJECT:
        value = int(known.get("class_value", 1))
        return Classes({value: str(known.get("class_name", "object"))}, every=value)
    names = {int(value): str(name) for value, name in known.get("class_names", {}).items()}
    of_object = {int(one): int(value) for one, value in known.get("object_classes", {}).items()}
    return Classes(names, of_object)


def _check_writable(array: Any, name: str) -> None:  # noqa: ANN401
    if not is_writable(array):
        raise MaskError(
            f"“{name}” can only be read.",
            "Wait for the end of its scan, open its zarr folder for writing, or duplicate the "
            "layer into memory.",
        )


def _same_place(layer: Labels, placed: dict[str, Any]) -> bool:
    """Return whether a layer is placed like that, but for where it begins."""
    return (
        all(
            np.array_equal(getattr(layer, name), placed[name])
            for name in ("scale", "rotate", "shear")
        )
        and layer.units == placed["units"]
        and np.array_equal(layer.affine.affine_matrix, placed["affine"])
    )
