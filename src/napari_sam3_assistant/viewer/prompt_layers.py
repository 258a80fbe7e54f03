"""Prompt layers: how they are made, the features of points, and what they hold, for undo."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
from napari.layers import Labels, Layer, Points, Shapes

from napari_sam3_assistant.core.masks.labels import box_shape, union_box
from napari_sam3_assistant.core.regions import Region, bounds_of
from napari_sam3_assistant.session.saved import read_value, write_value
from napari_sam3_assistant.viewer.geometry import (
    DataMap,
    array_of,
    layer_transform,
    result_transform,
    to_layer_axes,
)
from napari_sam3_assistant.viewer.images import DisplayedPlane, plane_position
from napari_sam3_assistant.viewer.label_pixels import redraw, take_written, watch_written
from napari_sam3_assistant.viewer.roles import (
    NAMES,
    Role,
    clear_shapes,
    find_spare,
    key_of,
    move_to,
    role_metadata,
    role_of,
    topmost,
    with_role,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt
    from napari.components import ViewerModel
    from napari.utils.events import Event

    from napari_sam3_assistant.core.images import Untyped
    from napari_sam3_assistant.core.masks.labels import Box


POLARITY = "polarity"
COLOURS = {"positive": "#2fb344", "negative": "#e03131"}

_NAMES = (POLARITY, "prompt", "label", "class", "kind")
_NEGATIVE = {"negative", "neg", "background", "bg", "0", "false", "exclude"}
LAYER_TYPES: dict[Role, type[Layer]] = {
    Role.POINTS: Points,
    Role.BOXES: Shapes,
    Role.MASK: Labels,
}
_MODES = {Role.POINTS: "add", Role.BOXES: "add_rectangle", Role.MASK: "paint"}
GO_ON = "Press Create Prompt Layer to go on with prompts."
_EDGES = {True: "#2f9e44", False: "#e03131"}
_FACES = {positive: f"{colour}33" for positive, colour in _EDGES.items()}
_POINT_SIZE = 12
_OUTLINES = {"rectangle", "ellipse", "line", "path", "polygon"}


def is_positive(word: object) -> bool:
    """Return whether a word says positive; what is not known to say negative does."""
    text = str(word).strip().lower()
    return text.removesuffix(".0") not in _NEGATIVE


def feature_name(layer: Points | Shapes) -> str | None:
    """Return the name of the feature that holds the polarity, or None.

    What other features of shapes say, such as a class 0, is no polarity.
    """
    names = _NAMES if isinstance(layer, Points) else (POLARITY,)
    return next((name for name in names if name in layer.features), None)


def read_polarity(layer: Points | Shapes) -> list[object]:
    """Return each prompt's word; those without one are positive."""
    name = feature_name(layer)
    words = [] if name is None else list(layer.features[name])
    # napari tells of new data before the features follow.
    return (words + ["positive"] * len(layer.data))[: len(layer.data)]


def set_next_polarity(layer: Points | Shapes, *, positive: bool) -> None:
    """Choose the polarity of the prompts that are added next."""
    word = "positive" if positive else "negative"
    if POLARITY in layer.features and layer.feature_defaults[POLARITY].iloc[0] != word:
        defaults = layer.feature_defaults.copy()
        defaults[POLARITY] = word
        layer.feature_defaults = defaults


def next_positive(layer: Points | Shapes) -> bool:
    """Return the polarity of the prompts that are added next."""
    name = feature_name(layer)
    return name is None or is_positive(layer.feature_defaults[name].iloc[0])


def selected(layer: Points | Shapes) -> set[int]:
    """Return the selected prompts; napari leaves some selected that a script has taken away."""
    return {at for at in layer.selected_data if at < len(layer.data)}


def flip(layer: Points | Shapes) -> int:
    """Flip the selected prompts, or the latest one if none is; returns how many."""
    chosen = selected(layer) or set(range(len(layer.data))[-1:])
    words = read_polarity(layer)
    set_polarity(layer, {at: not is_positive(words[at]) for at in chosen})
    return len(chosen)


def set_polarity(layer: Points | Shapes, positive: Mapping[int, bool]) -> None:
    """Set the polarity of single prompts.

    ``positive``: by prompt, what it becomes.
    """
    if not positive:
        return  # an empty column would be one of numbers, and its colours none that napari finds
    features = layer.features.copy()
    words = [str(word) for word in read_polarity(layer)]
    for at, says in positive.items():
        words[at] = "positive" if says else "negative"
    features[feature_name(layer) or POLARITY] = words
    set_features(layer, features)


def set_features(layer: Points | Shapes, features: Untyped) -> None:
    """Set the features of the prompts that are there, and leave those of the next one.

    napari takes the last prompt's for the next one, and none where there is no prompt.
    """
    defaults = layer.feature_defaults.copy()
    # Of pandas' own texts napari takes NaN for the next prompt where there is none, and has no
    # colour for it.
    texts = features.select_dtypes(exclude="number").columns
    layer.features = features.astype(dict.fromkeys(texts, object))
    for name in features.columns.difference(defaults.columns):
        defaults[name] = layer.feature_defaults[name]
    layer.feature_defaults = defaults[list(features.columns)]


OBJECT_ID = "object_id"


def ensure_ids(layer: Points, next_id: int) -> None:
    """Give a layer the feature, if it has none; the points that it has are on object 1.

    ``next_id``: the object that the next point is on.
    """
    if OBJECT_ID not in layer.features:
        features = layer.features.copy()
        features[OBJECT_ID] = np.ones(len(layer.data), int)
        set_features(layer, features)
    set_next_object(layer, next_id)


def set_next_object(layer: Points, object_id: int) -> None:
    """Choose the object of the points that are added next."""
    if OBJECT_ID in layer.features and next_id(layer) != object_id:
        defaults = layer.feature_defaults.copy()
        defaults[OBJECT_ID] = object_id
        layer.feature_defaults = defaults


def next_id(layer: Points) -> int | None:
    """Return the object of the points that are added next, or None."""
    known = OBJECT_ID in layer.features
    return _parse_id(layer.feature_defaults[OBJECT_ID].iloc[0]) if known else None


def read_ids(layer: Points) -> list[int | None]:
    """Return the object of each point; None where none is given."""
    if OBJECT_ID not in layer.features:
        return [None] * len(layer.data)
    return [_parse_id(value) for value in layer.features[OBJECT_ID]]


def set_ids(layer: Points, objects: Mapping[int, int]) -> None:
    """Put points on other objects.

    ``objects``: by point, the object.
    """
    if not objects:
        return  # as in set_polarity
    features = layer.features.copy()
    ids = [object_id or 1 for object_id in read_ids(layer)]
    for point, object_id in objects.items():
        ids[point] = object_id
    features[OBJECT_ID] = ids
    set_features(layer, features)


def show_numbers(layer: Points, *, shown: bool) -> None:
    """Write beside each point which object it is on, or write nothing."""
    if shown and OBJECT_ID in layer.features:
        layer.text = {
            "string": f"{{{OBJECT_ID}}}",
            "color": "white",
            "size": 12,
            "anchor": "upper_left",
        }
    layer.text.visible = shown


def _parse_id(value: object) -> int | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return int(number) if math.isfinite(number) and number >= 1 else None


def ensure(viewer: ViewerModel, displayed: DisplayedPlane, role: Role) -> Layer:
    """Return the image's prompt layer of a role, made if it is not there, shown, open and armed.

    A layer of the usual name and type that has no role yet is taken over.
    """
    image = key_of(displayed.layer)
    layer = topmost(viewer.layers, role, image)
    if role is Role.MASK:  # one for each slice that is painted on
        painted = [*with_role(viewer.layers, role, image)]
        layer = next((one for one in reversed(painted) if is_on_plane(one, displayed)), None)
    if layer is None:
        layer = _take_spare(viewer, displayed, role)
    if layer is None:
        layer = _make(displayed, role)
        viewer.add_layer(layer)
    layer._reset_editable()  # noqa: SLF001 - napari's own rule of what can be edited, and where
    get_ready(layer, role)
    return layer


def _take_spare(viewer: ViewerModel, displayed: DisplayedPlane, role: Role) -> Layer | None:
    """Return a layer of points or boxes of an image that was closed, for this one."""
    transform = layer_transform(displayed.layer, displayed.axes, displayed.world)
    spare = find_spare(viewer.layers, role, len(transform["scale"]))
    if spare is not None:
        move_to(spare, transform)
        spare.metadata.update(role_metadata(role, key_of(displayed.layer)))
        viewer.layers.selection.active = spare
    return spare


def get_ready(layer: Layer, role: Role) -> None:
    """Let the next click on a layer be a prompt."""
    if not layer.visible:  # else napari draws it anew, which looks as if somebody had written to it
        layer.visible = True
    layer.mode = _MODES[role]


def explain_idle(layer: Layer) -> str:
    """Return why a click on a prompt layer draws nothing, and what to do; empty where it does."""
    if layer.mode not in ("pan_zoom", "transform"):
        return ""
    state = "only moves the view now"
    if not layer.visible:
        state = "is hidden"
    elif not layer.editable:
        state = "is locked"
    return f"“{layer.name}” {state}. {GO_ON}"


def adopt(layer: Layer, image: str) -> None:
    """Give a layer that has the name and type of a prompt layer its role."""
    for role, kind in LAYER_TYPES.items():
        if layer.name == NAMES[role] and isinstance(layer, kind):
            layer.metadata.update(role_metadata(role, image))


def _make(displayed: DisplayedPlane, role: Role) -> Layer:
    transform = layer_transform(displayed.layer, displayed.axes, displayed.world)
    common = {"name": NAMES[role], "metadata": role_metadata(role, key_of(displayed.layer))}
    ndim = len(transform["scale"])
    if role is Role.POINTS:
        return make_points(ndim, {**common, **transform})
    if role is Role.BOXES:
        return make_boxes(ndim, {**common, **transform})
    empty = to_layer_axes(np.zeros(displayed.shape, np.uint8), displayed.axes)
    region = Region.whole(displayed.shape)
    whole = result_transform(
        displayed.layer, displayed.axes, displayed.world, displayed.plane, region
    )
    painted = Labels(empty, **common, **whole)
    _PAINTED[painted] = tuple(slice(0, 0) for _ in empty.shape)
    return painted


def make_points(ndim: int, common: Mapping[str, Any]) -> Points:
    """Return an empty layer for clicks, given its name, metadata and place."""
    points = Points(
        np.empty((0, ndim)),
        ndim=ndim,
        size=_POINT_SIZE,
        canvas_size_limits=(0, _POINT_SIZE),
        symbol="disc",
        features={POLARITY: np.empty(0, object)},
        feature_defaults={POLARITY: "positive"},
        face_color=POLARITY,
        face_color_cycle=COLOURS,
        **common,
    )
    points.events.set_data.connect(_keep_size_on_screen)
    return points


def make_boxes(ndim: int, common: Mapping[str, Any]) -> Shapes:
    """Return an empty layer for boxes, given its name, metadata and place."""
    boxes = Shapes(
        ndim=ndim,
        features={POLARITY: np.empty(0, object)},
        feature_defaults={POLARITY: "positive"},
        edge_color=_EDGES[True],
        face_color=_FACES[True],
        edge_width=2,
        **common,
    )
    # napari's own cycles give shapes the colours by which of the words comes first.
    boxes.events.features.connect(_colour_boxes)
    boxes.events.current_properties.connect(_colour_next_box)
    return boxes


def _colour_boxes(event: Event) -> None:
    boxes = event.source
    signs = [is_positive(word) for word in read_polarity(boxes)]
    if signs:
        boxes.edge_color = [_EDGES[positive] for positive in signs]
        boxes.face_color = [_FACES[positive] for positive in signs]


def _colour_next_box(event: Event) -> None:
    boxes, positive = event.source, next_positive(event.source)
    with boxes.block_update_properties():  # else those that are selected take it, too
        boxes.current_edge_color = _EDGES[positive]
        boxes.current_face_color = _FACES[positive]


def _keep_size_on_screen(event: Event) -> None:
    """Show points as large at any zoom; where there are none napari draws one, of size 0."""
    points = event.source
    on_show = len(points._view_data)  # noqa: SLF001 - an attribute that napari documents
    points.canvas_size_limits = (_POINT_SIZE if on_show else 0, _POINT_SIZE)


def is_on_plane(layer: Layer, displayed: DisplayedPlane) -> bool:
    """Return whether a painted layer lies on the plane on show."""
    data_map = DataMap.between(displayed.layer, layer, displayed.world)
    middle = data_map(plane_position(displayed, displayed.shape[0] / 2, displayed.shape[1] / 2))[0]
    return bool(np.all(np.round(middle) >= 0) and np.all(np.round(middle) < array_of(layer).shape))


State = tuple[Any, ...]


def read_states(layers: Iterable[Layer]) -> dict[str, State]:
    """Return what each prompt layer holds, by layer; equal states compare equal."""
    readers = {Role.POINTS: _points_state, Role.BOXES: _boxes_state, Role.MASK: _mask_state}
    return {
        key_of(layer): readers[role](layer)
        for layer in layers
        if (role := role_of(layer)) in readers
    }


def restore_states(layers: Iterable[Layer], kept: dict[str, State]) -> None:
    """Put prompt layers back as they were; those that had no state are emptied."""
    writers = {Role.POINTS: _put_points, Role.BOXES: _put_boxes, Role.MASK: _put_mask}
    for layer in layers:
        role = role_of(layer)
        if role in writers:
            writers[role](layer, kept.get(key_of(layer), ()))


def state_to_json(state: State) -> Any:  # noqa: ANN401 (JSON)
    """Return what a prompt layer held as JSON."""
    if not state:
        return {}
    if isinstance(state[0][0], slice):
        bounds, kind, pixels = state
        shape = [side.stop - side.start for side in bounds]
        values = np.frombuffer(pixels, kind).reshape(shape)
        return {"first": [int(side.start) for side in bounds], "pixels": write_value(values)}
    if isinstance(state[0][0], str):
        boxes = [[kind, write_value(np.array(rows, float))] for kind, rows, _ in state]
        return {"boxes": boxes, "polarity": [word for *_, word in state]}
    rows, words, ids = zip(*state, strict=True)
    numbers = [None if id_ is None else int(id_) for id_ in ids]
    return {"points": write_value(np.array(rows, float)), "polarity": words, "ids": numbers}


def state_from_json(layer: Layer, value: object) -> State:
    """Return what a prompt layer held.

    Raises ValueError, KeyError, TypeError, IndexError if it is damaged, or of another layer.
    """
    entry, role, ndim = read_value(dict[str, Any], value), role_of(layer), layer.ndim
    if role is Role.MASK and "pixels" in entry:
        pixels = read_value(np.ndarray, entry["pixels"])
        first = read_value(tuple[int, ...], entry["first"])
        if len(first) != ndim:
            raise ValueError("a painted mask is of another layer")
        sides = zip(first, pixels.shape, strict=True)
        bounds = tuple(slice(start, start + side) for start, side in sides)
        return (bounds, str(pixels.dtype), pixels.tobytes())
    if role is Role.BOXES and "boxes" in entry:
        boxes = read_value(tuple[tuple[str, Any], ...], entry["boxes"])
        kinds = [kind for kind, _ in boxes]
        if not set(kinds) <= _OUTLINES:
            raise ValueError("an outline is of an unknown kind")
        outlines = [read_value(np.ndarray, box).reshape(-1, ndim).tolist() for _, box in boxes]
        # Before examples could be negative nothing was said of that.
        words = read_value(tuple[str, ...], entry.get("polarity", ["positive"] * len(boxes)))
        rows = (tuple(map(tuple, outline)) for outline in outlines)
        return tuple(zip(kinds, rows, words, strict=True))
    if role is Role.POINTS and "points" in entry:
        places = read_value(np.ndarray, entry["points"]).reshape(-1, ndim).tolist()
        words = read_value(tuple[str, ...], entry["polarity"])
        ids = read_value(tuple[int | None, ...], entry["ids"])
        return tuple(zip(map(tuple, places), words, ids, strict=True))
    if entry:
        raise ValueError("prompts are those of another layer")
    return ()


def _points_state(layer: Points) -> State:
    words = map(str, read_polarity(layer))
    rows = zip(layer.data.tolist(), words, read_ids(layer), strict=True)
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


def _boxes_state(layer: Shapes) -> State:
    rows = (tuple(map(tuple, outline.tolist())) for outline in layer.data)
    return tuple(zip(map(str, layer.shape_type), rows, map(str, read_polarity(layer)), strict=True))


def _put_boxes(layer: Shapes, state: State) -> None:
    clear_shapes(layer)
    if state:
        kinds, outlines, words = zip(*state, strict=True)
        add_boxes(layer, [np.array(rows) for rows in outlines], kinds)
        set_polarity(layer, {at: is_positive(word) for at, word in enumerate(words)})


def add_boxes(
    layer: Shapes, outlines: Sequence[npt.NDArray[np.floating[Any]]], kinds: Sequence[str]
) -> None:
    """Add outlines of some kinds to a layer of boxes."""
    layer.add(outlines, shape_type=list(kinds))


_PAINTED: WeakKeyDictionary[Labels, Box] = WeakKeyDictionary()
"""Of layers of masks a box outside of which nothing is painted: they may be as large as a slide."""
_ASKER = "prompts"


def painted_box(layer: Labels) -> Box:
    """Return a box outside of which nothing is painted on a layer of masks, empty for none.

    Only what was written since the last time is added to it. That may still be to come: of what a
    script paints napari tells before.
    """
    if not isinstance(layer.data, np.ndarray):
        return bounds_of(np.asarray(layer.data))  # what others write into files is not told
    known = _PAINTED.get(layer)
    watch_written(layer, _ASKER)
    written = take_written(layer, _ASKER)
    if known is None or written is None:
        box = bounds_of(layer.data)
    else:
        box = union_box(part for part in (known, *written) if all(box_shape(part))) or known
    _PAINTED[layer] = box
    return box


def _mask_state(layer: Labels) -> State:
    box = painted_box(layer)
    part = np.asarray(layer.data[box])
    inner = bounds_of(part)
    crop = part[inner]
    bounds = tuple(
        slice(side.start + within.start, side.start + within.stop)
        for side, within in zip(box, inner, strict=True)
    )
    return (bounds, str(crop.dtype), crop.tobytes()) if crop.size else ()


def _put_mask(layer: Labels, state: State) -> None:
    box = painted_box(layer)
    changed = [box] if all(box_shape(box)) else []
    for part in changed:
        layer.data[part] = 0
    if state:
        bounds, dtype, pixels = state
        painted = np.frombuffer(pixels, dtype).reshape(box_shape(bounds))
        crop = layer.data[bounds]
        # The user may have given the layer other pixels, of another type and shape.
        if crop.shape == painted.shape:
            crop[...] = painted
            changed.append(bounds)
    if changed:
        redraw(layer, union_box(changed))
