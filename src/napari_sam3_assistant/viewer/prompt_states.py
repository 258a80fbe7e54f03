"""What prompt layers hold, as values: for undo."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.regions import bounds_of
from napari_sam3_assistant.viewer.polarity import POLARITY, polarity_of, set_features
from napari_sam3_assistant.viewer.prompt_layers import BOX_EDGE, BOX_FACE
from napari_sam3_assistant.viewer.roles import Role, key_of, role_of
from napari_sam3_assistant.viewer.stacks.point_objects import OBJECT_ID, ids_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from napari.layers import Labels, Layer, Points, Shapes

    State = tuple[Any, ...]


def states(layers: Iterable[Layer]) -> dict[str, State]:
    """Return what each prompt layer holds, by layer; equal states compare equal."""
    readers = {Role.POINTS: _points, Role.BOXES: _boxes, Role.MASK: _mask}
    return {
        key_of(layer): readers[role](layer)
        for layer in layers
        if (role := role_of(layer)) in readers
    }


def put_back(layers: Iterable[Layer], kept: dict[str, State]) -> None:
    """Put prompt layers back as they were; those that had no state are emptied."""
    writers = {Role.POINTS: _put_points, Role.BOXES: _put_boxes, Role.MASK: _put_mask}
    for layer in layers:
        role = role_of(layer)
        if role in writers:
            writers[role](layer, kept.get(key_of(layer), ()))


def _points(layer: Points) -> State:
    words = map(str, polarity_of(layer))
    rows = zip(layer.data.tolist(), words, ids_of(layer), strict=True)
    return tuple((tuple(row), word, object_id) for row, word, object_id in rows)


def _put_points(layer: Points, state: State) -> None:
    layer.selected_data = set()
    layer.data = np.array([row for row, _, _ in state], float).reshape(-1, layer.ndim)
    if state:
        features = layer.features.copy()
        features[POLARITY] = [word for _, word, _ in state]
        if OBJECT_ID in features:
            features[OBJECT_ID] = [object_id or 1 for _, _, object_id in state]
        set_features(layer, features)


def _boxes(layer: Shapes) -> State:
    rows = (tuple(map(tuple, outline.tolist())) for outline in layer.data)
    return tuple(zip(map(str, layer.shape_type), rows, strict=True))


def _put_boxes(layer: Shapes, state: State) -> None:
    layer.selected_data = set()
    layer.data = []
    if state:
        layer.add(
            [np.array(rows) for _, rows in state],
            shape_type=[kind for kind, _ in state],
            edge_color=BOX_EDGE,
            face_color=BOX_FACE,
        )


def _mask(layer: Labels) -> State:
    data = np.asarray(layer.data)
    bounds = bounds_of(data)
    crop = data[bounds]
    return (bounds, str(crop.dtype), crop.tobytes()) if crop.size else ()


def _put_mask(layer: Labels, state: State) -> None:
    layer.data[...] = 0
    if state:
        bounds, dtype, pixels = state
        painted = np.frombuffer(pixels, dtype).reshape([one.stop - one.start for one in bounds])
        crop = layer.data[bounds]
        # The user may have given the layer other pixels, of another type and shape.
        if crop.shape == painted.shape:
            crop[...] = painted
    layer.refresh()
