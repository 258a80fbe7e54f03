"""Labels layers as the mask operations see them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from napari.layers import Image, Labels
from napari.utils import DirectLabelColormap

from napari_sam3_assistant.core.masks.labels import check_labels, shape_of
from napari_sam3_assistant.core.masks.objects import Classes
from napari_sam3_assistant.errors import MaskError
from napari_sam3_assistant.session.mask_scene import FrozenLabels, LabelsChoice, NewLabels, Scope
from napari_sam3_assistant.viewer.geometry import moved
from napari_sam3_assistant.viewer.mask_regions import drawn_box, visible_box
from napari_sam3_assistant.viewer.roles import ROLE, Role, key_of, role_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt
    from napari.components import ViewerModel

    from napari_sam3_assistant.core.masks.edits import LabelEdit
    from napari_sam3_assistant.core.masks.labels import Box

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


def array_of(layer: Labels) -> Any:  # noqa: ANN401 - arrays of numpy, zarr and others
    """Return a layer's array, of the largest level if it has several."""
    return layer.data[0] if layer.multiscale else layer.data


class ViewerMasks:
    """A napari viewer as a scene; see :class:`napari_sam3_assistant.session.mask_scene.MaskScene`.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer itself, not the proxy that napari hands to dock widgets.

    Attributes
    ----------
    busy : bool
        Whether a layer is being changed by us and not by the user.
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
        image_name = layer.metadata.get("source_image_layer") or next(
            (one.name for one in self.viewer.layers if isinstance(one, Image)), layer.name
        )
        scale = tuple(abs(float(size)) for size in layer.scale)
        return FrozenLabels(array, layer.name, scale, str(image_name), _classes(layer))

    def box(self, key: str, scope: Scope) -> Box | None:
        """Return the part of a layer to work on; None for all of it."""
        layer = self.layer(key)
        if scope is Scope.VISIBLE:
            return visible_box(self.viewer, layer, array_of(layer).shape)
        if scope is Scope.DRAWN:
            return drawn_box(self.viewer, layer, array_of(layer).shape)
        return None

    def metadata(self, key: str) -> dict[str, Any]:
        """Return what is known of a layer."""
        return dict(self.layer(key).metadata)

    def check_aligned(self, keys: Sequence[str]) -> None:
        """Raise MaskError unless the layers lie on top of each other."""
        layers = [self.layer(key) for key in keys]
        for layer in layers[1:]:
            first = layers[0]
            same = layer.ndim == first.ndim and all(
                np.allclose(layer.data_to_world(corner), first.data_to_world(corner))
                for corner in (np.zeros(layer.ndim), *np.eye(layer.ndim))
            )
            if not same:
                raise MaskError(
                    f"“{layer.name}” and “{first.name}” don't lie on top of each other.",
                    "Choose layers with the same scale and position.",
                )

    def write(self, key: str, edit: LabelEdit, *, forward: bool) -> None:
        """Write a small edit, or take it back, and show it."""
        layer = self.layer(key)
        if layer.multiscale:
            edit.write(array_of(layer), forward=forward)
            self.changed(key, edit)
            return
        where, values = edit.pixels_to_write(layer.data, forward=forward)
        self.busy = True
        try:
            # Unlike a refresh this draws only what changes, which is quick in large layers.
            layer.data_setitem(where, values)
        finally:
            self.busy = False

    def changed(self, key: str, edit: LabelEdit) -> None:
        """Show that an edit was written to a layer."""
        layer = self.layer(key)
        if layer.multiscale:
            _write_levels(list(layer.data), edit.box)
        layer.refresh(extent=False)

    def show_changes(self, key: str, edit: LabelEdit, image: npt.NDArray[np.uint8]) -> None:
        """Show what an edit would do to the pixels of its box."""
        source = self.layer(key)
        placed = moved(_place(source), [side.start for side in edit.box])
        layer = self._changes()
        if layer is not None and layer.ndim == source.ndim and _same_place(layer, placed):
            layer.data = image
            layer.translate = placed["translate"]
            return
        self.hide_changes()
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
            self.viewer.layers.remove(layer)

    def add(self, fresh: NewLabels) -> str:
        """Add a layer; returns its name."""
        layer = Labels(
            fresh.labels,
            name=fresh.name,
            metadata={ROLE: fresh.role, **fresh.metadata},
            **_place(self.layer(fresh.like)),
        )
        self._insert(layer)
        return str(layer.name)

    def put(self, fresh: NewLabels) -> str:
        """Add a layer, or fill the one of that name and role anew; returns its name."""
        for layer in mask_layers(self.viewer):
            same = layer.name == fresh.name and layer.metadata.get(ROLE) == fresh.role
            if same and not layer.multiscale and layer.data.shape == fresh.labels.shape:
                layer.metadata = {ROLE: fresh.role, **fresh.metadata}
                layer.data = fresh.labels
                return str(layer.name)
        return self.add(fresh)

    def go_to(self, key: str, centre: Sequence[float]) -> None:
        """Show a pixel of a layer in the middle of the view."""
        layer, dims = self.layer(key), self.viewer.dims
        world = np.asarray(layer.data_to_world(centre), float)
        missing = dims.ndim - layer.ndim
        for axis, position in enumerate(world):
            if axis + missing not in dims.displayed:
                dims.set_point(axis + missing, position)
        shown = [world[axis - missing] for axis in dims.displayed if axis >= missing]
        camera = getattr(self.viewer, "scene", self.viewer).camera  # moved in napari 0.9
        camera.center = (*camera.center[: 3 - len(shown)], *shown)
        self.viewer.layers.selection.active = layer

    def _changes(self) -> Labels | None:
        shown = (one for one in self.viewer.layers if role_of(one) is Role.MASK_CHANGES)
        return next(shown, None)

    def _insert(self, layer: Labels) -> None:
        active = self.viewer.layers.selection.active
        self.viewer.add_layer(layer)
        if active is not None:
            self.viewer.layers.selection.active = active


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
    )


def _classes(layer: Labels) -> Classes:
    known = layer.metadata
    if role_of(layer) is Role.ACCEPTED_OBJECT:
        value = int(known.get("class_value", 1))
        return Classes({value: str(known.get("class_name", "object"))}, every=value)
    names = {int(value): str(name) for value, name in known.get("class_names", {}).items()}
    of_object = {int(one): int(value) for one, value in known.get("object_classes", {}).items()}
    return Classes(names, of_object)


def _check_writable(array: Any, name: str) -> None:  # noqa: ANN401
    if isinstance(array, np.ndarray):
        writable = bool(array.flags.writeable)
    else:
        writable = isinstance(array, zarr.Array) and not array.read_only
    if not writable:
        raise MaskError(
            f"“{name}” can only be read ({type(array).__module__.partition('.')[0]} array).",
            "Duplicate the layer into memory, or open a zarr folder for writing.",
        )


def _place(layer: Labels) -> dict[str, Any]:
    """Return the keyword arguments that put a new layer where another one is."""
    return {
        "scale": layer.scale,
        "translate": layer.translate,
        "rotate": layer.rotate,
        "shear": layer.shear,
        "affine": layer.affine,
        "units": layer.units,
        "axis_labels": layer.axis_labels,
    }


def _same_place(layer: Labels, placed: dict[str, Any]) -> bool:
    """Return whether a layer is placed like that, but for where it begins."""
    return all(
        np.array_equal(getattr(layer, name), placed[name]) for name in ("scale", "rotate", "shear")
    ) and np.array_equal(layer.affine.affine_matrix, placed["affine"].affine_matrix)


def _write_levels(levels: list[Any], box: Box) -> None:
    """Bring the smaller levels of a pyramid up to date: each its nearest pixel of the largest."""
    for level in levels[1:]:
        if 0 in shape_of(box) or not isinstance(level, (np.ndarray, zarr.Array)):
            continue
        steps = [
            max(1, round(size / small))
            for size, small in zip(levels[0].shape, level.shape, strict=True)
        ]
        small = tuple(
            slice(side.start // step, min(-(-side.stop // step), size))
            for side, step, size in zip(box, steps, level.shape, strict=True)
        )
        fine = tuple(
            slice(side.start * step, side.stop * step, step)
            for side, step in zip(small, steps, strict=True)
        )
        level[small] = np.asarray(levels[0][fine])
