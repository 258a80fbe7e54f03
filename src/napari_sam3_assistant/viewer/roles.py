"""Our layers: which is what, by a role in the metadata, and where they stand among the user's."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Image, Labels, Points, Shapes, Tracks

from napari_sam3_assistant.viewer.geometry import convert_units, inner_transform, transform_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_sam3_assistant.session.values import Preview


ROLE = "sam3_role"
IMAGE = "sam3_image"
LABEL = "sam3_label"
SERIES = "sam3_series"  # of an image that we opened: which of its file it is


class Role(StrEnum):
    """What a layer is to us."""

    POINTS = "points"
    BOXES = "boxes"
    MASK = "mask_prompt"
    PREVIEW_LABELS = "preview_labels"
    PREVIEW_BOXES = "preview_boxes"
    PREVIEW_MASKS = "preview_masks"
    ACTIVE_ROI = "active_roi"
    SPLIT_LINE = "split_line"
    ACCEPTED = "live_accepted_labels"
    SAVED = "saved_labels"
    PROPAGATED = "propagated_labels"
    SAVED_PROPAGATED = "saved_propagated_labels"
    TRACKS = "propagated_tracks"
    ACCEPTED_TRACKS = "accepted_tracks"
    SCAN = "scan_labels"
    MERGED = "merged_labels"
    ACCEPTED_OBJECT = "accepted_object"
    CLASS_MASK = "class_working_mask"
    FINAL_MASK = "final_training_mask"
    OVERLAP_MAP = "overlap_map"
    MASK_CHANGES = "mask_changes"


NAMES = {
    Role.POINTS: "SAM3 points",
    Role.BOXES: "SAM3 boxes",
    Role.MASK: "SAM3 mask prompt",
    Role.PREVIEW_LABELS: "SAM3 preview labels",
    Role.PREVIEW_BOXES: "SAM3 preview boxes",
    Role.PREVIEW_MASKS: "SAM3 preview masks",
    Role.ACTIVE_ROI: "SAM3 active ROI",
    Role.SPLIT_LINE: "SAM3 split line",
    Role.ACCEPTED: "SAM3 live accepted labels",
    Role.SAVED: "SAM3 saved labels",
    Role.PROPAGATED: "SAM3 propagated preview labels",
    Role.SAVED_PROPAGATED: "SAM3 saved propagated labels",
    Role.TRACKS: "SAM3 propagated tracks",
    Role.ACCEPTED_TRACKS: "SAM3 accepted tracks",
    Role.SCAN: "SAM3 scan labels",
    Role.MERGED: "SAM3 merged ROI labels",
}
_KINDS = dict.fromkeys(Role, Labels) | {
    Role.POINTS: Points,
    Role.BOXES: Shapes,
    Role.PREVIEW_BOXES: Shapes,
    Role.PREVIEW_MASKS: Image,
    Role.ACTIVE_ROI: Shapes,
    Role.SPLIT_LINE: Shapes,
    Role.TRACKS: Tracks,
    Role.ACCEPTED_TRACKS: Tracks,
}
"""napari's Convert to Image and Convert to Labels make another kind of layer with our metadata."""
PROMPT_ROLES = frozenset({Role.POINTS, Role.BOXES, Role.MASK})
RESULT_ROLES = frozenset({Role.PREVIEW_LABELS, Role.ACCEPTED, Role.PROPAGATED, Role.SCAN})
"""Labels whose objects the results table lists."""
DERIVED = frozenset(
    {
        Role.PREVIEW_LABELS,
        Role.PREVIEW_BOXES,
        Role.PREVIEW_MASKS,
        Role.ACTIVE_ROI,
        Role.SPLIT_LINE,
        Role.TRACKS,
        Role.ACCEPTED_TRACKS,
        Role.SCAN,
    }
)
"""Layers that follow from results, and are made again from them."""
_WRITTEN = PROMPT_ROLES | DERIVED | {Role.ACCEPTED, Role.PROPAGATED, Role.MERGED}
"""Later runs write into such layers, empty or remove them."""


def key_of(layer: Layer) -> str:
    """Return a layer's identity, which survives renaming and moving."""
    return str(layer.unique_id)


def role_of(layer: Layer) -> Role | None:
    """Return a layer's role, or None."""
    kept = layer.metadata.get(ROLE)
    if not isinstance(kept, str) or kept not in _KINDS:
        return None
    role = Role(kept)
    return role if isinstance(layer, _KINDS[role]) else None


def role_metadata(role: Role, image: str, label: str = "") -> dict[str, object]:
    """Return the metadata that gives a layer its role for an image.

    ``label``: what distinguishes it from other layers of the role and the image; empty for nothing.
    """
    return {ROLE: str(role), IMAGE: image, LABEL: label}


def clear_role(layer: Layer, layers: Iterable[Layer]) -> None:
    """Take the role from a layer that the user has copied or converted: that layer is the user's.

    napari copies the metadata along; the next run would write into the copy, or remove it.

    ``layer``: a new layer that is not ours.
    ``layers``: all layers.
    """
    role = role_of(layer)
    copied = role in _WRITTEN and any(
        other is not layer and role_of(other) is role and slot_of(other) == slot_of(layer)
        for other in layers
    )
    converted = role is None and layer.metadata.get(ROLE) is not None
    if copied or converted:
        ours = (ROLE, IMAGE, LABEL)
        layer.metadata = {key: kept for key, kept in layer.metadata.items() if key not in ours}


def slot_of(layer: Layer) -> tuple[str, str]:
    """Return the image and the label of a layer that has a role."""
    return (str(layer.metadata.get(IMAGE, "")), str(layer.metadata.get(LABEL, "")))


def name_of(role: Role, label: str) -> str:
    """Return the name of a new layer."""
    return f"{NAMES[role]} [{label}]" if label else NAMES[role]


def in_slot(layers: Iterable[Layer], role: Role, slot: tuple[str, str]) -> Layer | None:
    """Return the topmost layer of a role for an image and a label, or None."""
    found = [layer for layer in with_role(layers, role) if slot_of(layer) == slot]
    return found[-1] if found else None


def with_role(layers: Iterable[Layer], role: Role, image: str | None = None) -> Iterator[Layer]:
    """Yield the layers of a role, the topmost last; of one image if its key is given."""
    for layer in layers:
        if role_of(layer) is role and (image is None or layer.metadata.get(IMAGE) == image):
            yield layer


def topmost(layers: Iterable[Layer], role: Role, image: str) -> Layer | None:
    """Return the topmost layer of a role for an image, or None."""
    return next(reversed(list(with_role(layers, role, image))), None)


def clear_shapes(layer: Shapes) -> None:
    """Take all shapes away.

    What is written to ``data`` in 3-D display makes a list of shapes in 3-D of a layer of two
    dimensions, which takes none from then on (napari 0.9.2).
    """
    with suppress(ValueError):  # napari 0.5.6 draws no box round several of which none is on show
        layer.selected_data = set(range(layer.nshapes))
    layer.remove_selected()


def put_away(viewer: ViewerModel, layer: Layer) -> None:
    """Leave an empty layer of points or shapes for whoever needs one of its role next.

    Once napari has drawn such a layer and deleted it, OpenGL may read what is gone when it draws
    the rest (napari/napari#8471); Mesa's software renderer ends the process then, and does so, too,
    where the layer was hidden while another one went. It goes all the same where it would leave
    the viewer with sliders that no image has.
    """
    layer.metadata.update(role_metadata(Role(layer.metadata[ROLE]), ""))
    drop_deep_spares(viewer)


def drop_deep_spares(viewer: ViewerModel) -> None:
    """Remove layers that were put away where they leave the viewer with sliders of no image."""
    deepest = max((layer.ndim for layer in viewer.layers if role_of(layer) is None), default=0)
    for layer in [layer for layer in viewer.layers if is_put_away(layer) and layer.ndim > deepest]:
        viewer.layers.remove(layer)


def is_put_away(layer: Layer) -> bool:
    """Return whether a layer is empty and waits for whoever needs one of its role."""
    return role_of(layer) is not None and layer.metadata.get(IMAGE) == ""


def find_spare(layers: Iterable[Layer], role: Role, ndim: int) -> Layer | None:
    """Return a layer of a role that was put away, or None."""
    return next((layer for layer in with_role(layers, role, "") if layer.ndim == ndim), None)


ENGINE = "sam3_engine"
PARENTS = "sam3_parents"
"""Of labels of a propagation: which object came of which one's division."""
_ON_TOP = PROMPT_ROLES | {Role.PREVIEW_BOXES, Role.ACTIVE_ROI, Role.SPLIT_LINE}


def make_metadata(role: Role, preview: Preview) -> dict[str, Any]:
    """Return what a layer of a preview says of itself: its role, and what made it."""
    segmentation = preview.segmentation
    return {
        **role_metadata(role, *preview.slot),
        ENGINE: asdict(segmentation.engine),
        "source_image_layer": preview.target.name,
    }


def move_to(layer: Layer, place_: dict[str, Any]) -> None:
    """Give a layer its place in the world, if it is another one than it has."""
    counted = layer.units != place_["units"]
    if counted:
        layer.units = place_["units"]
    if not _is_close(layer.affine.affine_matrix, place_["affine"]):
        layer.affine = place_["affine"]
    for name in ("scale", "translate", "rotate", "shear"):
        # napari slices by the units that a layer had when this was last set.
        if counted or not _is_close(getattr(layer, name), place_[name]):
            setattr(layer, name, place_[name])
    if layer.axis_labels != place_["axis_labels"]:
        layer.axis_labels = place_["axis_labels"]
    inner = (
        inner_transform(transform_of(layer)).affine_matrix,
        inner_transform(place_).affine_matrix,
    )
    if not np.allclose(*inner, rtol=1e-9, atol=1e-9 * np.abs(inner[1]).max()):
        # Set one after the other napari can mistake a flipped axis for a turned one.
        layer.rotate, layer.shear = np.eye(layer.ndim), np.zeros_like(place_["shear"])
        inner = inner_transform(transform_of(layer)).affine_matrix, inner[1]
        layer.affine = place_["affine"] @ inner[1] @ np.linalg.inv(inner[0])


def follow_units(viewer: ViewerModel) -> None:
    """Have our layers count in what the user's layers make the viewer count in.

    napari takes the mouse for a position in the units of the layer that is drawn on. Layers that
    were put away have nothing in them, so they count in whatever is wanted.
    """
    users = [layer for layer in viewer.layers if role_of(layer) is None]
    if not hasattr(viewer.dims, "units") or not users:
        return  # before napari 0.7
    # None where those of the user's layers can't be converted.
    units = viewer.layers.get_extent(users).units or ()
    for layer in [layer for layer in viewer.layers if role_of(layer) is not None]:
        own_units = tuple(units[len(units) - layer.ndim :]) if len(units) >= layer.ndim else ()
        pairs = zip(layer.units, own_units, strict=False)
        if own_units in ((), layer.units):
            continue
        with preserve_choices(viewer):
            if all(unit.is_compatible_with(to) for unit, to in pairs):
                move_to(layer, convert_units(transform_of(layer), own_units))
            elif is_put_away(layer):
                layer.units = own_units


def _is_close(first: npt.ArrayLike, second: npt.ArrayLike) -> bool:
    # But for rounding: a pixel may be a millionth of the coordinates.
    return np.allclose(first, second, rtol=1e-12, atol=0)


def add_below_prompts(viewer: ViewerModel, layer: Layer) -> None:
    """Add a layer under the prompts and the boxes, so that these stay visible.

    What the user has chosen stays as it is.
    """
    index = len(viewer.layers)
    while index and role_of(viewer.layers[index - 1]) in _ON_TOP:
        index -= 1
    with preserve_choices(viewer):
        viewer.layers.insert(index, layer)


_LOOK = (
    "name", "visible", "opacity", "blending", "contour", "rendering", "iso_gradient_mode",
    "depiction", "projection_mode", "experimental_clipping_planes", "selected_label",
    "show_selected_label", "brush_size", "n_edit_dimensions", "contiguous", "preserve_labels",
)  # fmt: skip
"""What a user sets of labels, but for their colours. In napari 0.5.6 to 0.9.2 alike."""


def take_place(viewer: ViewerModel, before: Labels, layer: Labels) -> None:
    """Put labels in the place of others, which the user may have made look in another way."""
    for name in _LOOK:
        setattr(layer, name, getattr(before, name))
    layer.metadata = {**before.metadata, **layer.metadata}
    if layer.editable:
        layer.mode = before.mode
    index = viewer.layers.index(before)
    with preserve_choices(viewer) as chosen:
        viewer.layers.remove(before)
        viewer.layers.insert(index, layer)
        chosen.replace(before, layer)


class Choices:
    """What the user has chosen in a viewer: the selected layers, and the point of the sliders.

    ``lost``: whether the active layer went, and no other took its place.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self.lost = False
        self._viewer = viewer
        self._selected = set(viewer.layers.selection)
        self._point = viewer.dims.point

    def replace(self, before: Layer, after: Layer) -> None:
        """Record that a layer has taken the place of another one."""
        if before in self._selected:
            self._selected = {*self._selected - {before}, after}

    def select(self, layer: Layer) -> None:
        """Choose a layer for the user, who has asked for it."""
        self._selected = {layer}

    def put_back(self) -> None:
        """Have the viewer as the user chose it, but for layers that are gone."""
        selection, dims, point = self._viewer.layers.selection, self._viewer.dims, self._point
        if dims.point != point and len(point) == dims.ndim:
            # A layer that moves between units stretches the sliders for a moment; stay on the
            # slice.
            dims.set_point(range(len(point)), point)
        kept = {layer for layer in self._selected if layer in self._viewer.layers}
        self.lost = bool(self._selected) and not kept
        if len(kept) == 1:
            selection.active = next(iter(kept))
        elif set(selection) != kept:
            selection.clear()
            selection.update(kept)


_KEPT: WeakKeyDictionary[ViewerModel, Choices] = WeakKeyDictionary()


@contextmanager
def preserve_choices(viewer: ViewerModel) -> Iterator[Choices]:
    """Mark what happens to the layers as ours, and leave what the user has chosen as it is.

    Whatever we insert, remove, move or write is done inside: napari makes a new layer the active
    one, which is nobody's choice. Of several, one in the other, the outermost puts things back.
    """
    outer = _KEPT.get(viewer)
    if outer is not None:
        yield outer
        return
    _KEPT[viewer] = kept = Choices(viewer)
    try:
        yield kept
    finally:
        try:
            kept.put_back()
        finally:
            del _KEPT[viewer]


def is_ours(viewer: ViewerModel) -> bool:
    """Return whether what happens to the layers now is done by us and not by the user."""
    return viewer in _KEPT
