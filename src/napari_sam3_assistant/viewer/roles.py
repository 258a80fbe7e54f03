"""Which layer is what: a role in the layer's metadata, so that renaming a layer changes nothing."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from napari.layers import Layer


ROLE = "sam3_role"
IMAGE = "sam3_image"
LABEL = "sam3_label"


class Role(StrEnum):
    """What a layer is to us."""

    POINTS = "points"
    BOXES = "boxes"
    MASK = "mask_prompt"
    PREVIEW_LABELS = "preview_labels"
    PREVIEW_BOXES = "preview_boxes"
    PREVIEW_MASKS = "preview_masks"
    ACTIVE_ROI = "active_roi"
    ACCEPTED = "live_accepted_labels"
    SAVED = "saved_labels"
    PROPAGATED = "propagated_labels"
    SAVED_PROPAGATED = "saved_propagated_labels"
    TRACKS = "propagated_tracks"
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
    Role.ACCEPTED: "SAM3 live accepted labels",
    Role.SAVED: "SAM3 saved labels",
    Role.PROPAGATED: "SAM3 propagated preview labels",
    Role.SAVED_PROPAGATED: "SAM3 saved propagated labels",
    Role.TRACKS: "SAM3 propagated tracks",
    Role.SCAN: "SAM3 scan labels",
    Role.MERGED: "SAM3 merged ROI labels",
}
PROMPT_ROLES = frozenset({Role.POINTS, Role.BOXES, Role.MASK})
_WRITTEN = PROMPT_ROLES | {
    Role.PREVIEW_LABELS,
    Role.PREVIEW_BOXES,
    Role.PREVIEW_MASKS,
    Role.ACTIVE_ROI,
    Role.ACCEPTED,
    Role.PROPAGATED,
    Role.TRACKS,
    Role.SCAN,
    Role.MERGED,
}
"""Later runs write into such layers, empty or remove them."""


def key_of(layer: Layer) -> str:
    """Return a layer's identity, which survives renaming and moving."""
    return str(layer.unique_id)


def role_of(layer: Layer) -> Role | None:
    """Return a layer's role, or None."""
    kept = layer.metadata.get(ROLE)
    return Role(kept) if kept in set(Role) else None


def role_metadata(role: Role, image: str, label: str = "") -> dict[str, object]:
    """Return the metadata that gives a layer its role for an image.

    Parameters
    ----------
    role : Role
        The role.
    image : str
        Key of the image.
    label : str
        What tells it from other layers of the role and the image; empty for nothing.
    """
    return {ROLE: str(role), IMAGE: image, LABEL: label}


def disown(layer: Layer, layers: Iterable[Layer]) -> None:
    """Take the role from a layer that the user made a copy of: the copy is the user's.

    napari copies the metadata along; the next run would write into the copy, or remove it.

    Parameters
    ----------
    layer : Layer
        A new layer that is not ours.
    layers : iterable of Layer
        All layers.
    """
    role = role_of(layer)
    if role in _WRITTEN and any(
        other is not layer and role_of(other) is role and slot_of(other) == slot_of(layer)
        for other in layers
    ):
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
