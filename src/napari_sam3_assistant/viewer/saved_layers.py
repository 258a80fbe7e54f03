"""Layers as entries of a session, and made again from them: place, display, features, prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Points, Shapes, Tracks, Vectors
from napari.utils.colormaps import (
    AVAILABLE_COLORMAPS,
    Colormap,
    CyclicLabelColormap,
    DirectLabelColormap,
)

from napari_sam3_assistant.session.saved import Entry, LayerPixels, read_value, write_value
from napari_sam3_assistant.viewer.geometry import PLACE, transform_of
from napari_sam3_assistant.viewer.images import file_of
from napari_sam3_assistant.viewer.label_pixels import count_written, default_colours, kept_colours
from napari_sam3_assistant.viewer.prompt_layers import (
    OBJECT_ID,
    POLARITY,
    add_boxes,
    ensure_ids,
    make_boxes,
    make_points,
    set_features,
)
from napari_sam3_assistant.viewer.roles import (
    DERIVED,
    IMAGE,
    LABEL,
    PROMPT_ROLES,
    ROLE,
    Role,
    is_put_away,
    key_of,
    role_of,
    slot_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_sam3_assistant.core.images import AnyArray


_TYPES: dict[str, type[Layer]] = {
    "image": Image,
    "labels": Labels,
    "points": Points,
    "shapes": Shapes,
    "tracks": Tracks,
    "vectors": Vectors,
}
_SHOWN = {
    "": ("name", "visible", "opacity", "blending", "projection_mode"),
    "image": (
        "contrast_limits_range", "contrast_limits", "gamma", "interpolation2d", "interpolation3d",
        "rendering", "depiction", "iso_threshold", "attenuation",
    ),
    "labels": (
        "contour", "selected_label", "brush_size", "n_edit_dimensions", "contiguous",
        "preserve_labels",
    ),
    "points": ("shading",),
    "shapes": (),
    "tracks": ("tail_length", "tail_width", "head_length"),
    "vectors": ("edge_width", "length", "vector_style"),
}  # fmt: skip
"""Properties of layers by their type; those of all first. In napari 0.5.6 to 0.9.2 alike."""
_EACH = {
    "points": ("size", "symbol", "face_color", "border_color", "border_width", "shown"),
    "shapes": ("shape_type", "edge_width", "edge_color", "face_color", "z_index"),
    "vectors": (),
    "tracks": (),
}
"""Properties of each point or shape."""
_ROLE_COLOURS: dict[Role, Callable[[], CyclicLabelColormap]] = {Role.ACCEPTED: kept_colours}
# What foreign values of properties raise in napari, in NumPy and in pydantic.
_NOT_TAKEN = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError)


def type_of(layer: Layer) -> str:
    """Return the type of a layer as napari calls it; empty for one that no session holds."""
    return next((name for name, kind in _TYPES.items() if isinstance(layer, kind)), "")


def layer_entries(layer: Layer) -> dict[str, Entry]:
    """Return what is known of a layer, but for its pixels; nothing of a type that is not kept.

    What was emptied to be used again is made anew when it is.
    """
    kind, key = type_of(layer), key_of(layer)
    if not kind or is_put_away(layer):
        return {}
    head: dict[str, Any] = {
        "type": kind,
        "role": str(role_of(layer) or ""),
        "slot": list(slot_of(layer)),
        "metadata": _keepable(layer.metadata),
        "place": _place_of(layer),
        "shown": _read_properties(layer, (*_SHOWN[""], *_SHOWN[kind])),
    }
    if isinstance(layer, Image):
        head |= {"rgb": bool(layer.rgb), "colormap": _colormap_to_json(layer.colormap)}
    if isinstance(layer, Image | Labels):
        head["multiscale"] = bool(layer.multiscale)
    if isinstance(layer, Labels) and role_of(layer) is None:
        head["colormap"] = _label_colours_to_json(layer.colormap)
    entries = {f"layer/{key}": Entry.of(head)}
    derived = role_of(layer) in DERIVED
    # What was measured is in them; boxes are told anew.
    has_measured = isinstance(layer, Labels) or not derived
    features = getattr(layer, "features", None) if has_measured else None
    if features is not None and len(features.columns):
        entries[f"features/{key}"] = Entry(
            _Same(features, len(features)), lambda: _features_to_json(features)
        )
    if kind in _EACH and not derived:
        entries[f"data/{key}"] = _data_entry(layer, kind)
    return entries


class _Same:
    """A token of a value that napari puts another one in the place of, when it changes."""

    def __init__(self, value: object, size: int) -> None:
        self._value, self._size = value, size

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Same):
            return NotImplemented
        return other._value is self._value and other._size == self._size

    __hash__ = None  # type: ignore[assignment]


def _keepable(metadata: Mapping[str, Any]) -> dict[str, Any]:
    kept = {}
    for name, value in metadata.items():
        if name in (ROLE, IMAGE, LABEL) or not isinstance(name, str):
            continue
        try:
            kept[name] = write_value(value)
        except (TypeError, RecursionError):  # what others keep there may be anything
            continue
    return kept


def _place_of(layer: Layer) -> dict[str, Any]:
    placed = transform_of(layer)
    place = {name: np.asarray(placed[name], float).tolist() for name in PLACE}
    return {
        **place,
        "units": [str(unit) for unit in placed["units"]],
        "axis_labels": [str(label) for label in placed["axis_labels"]],
    }


def _read_properties(layer: Layer, names: Sequence[str]) -> dict[str, Any]:
    found = {}
    for name in names:
        value = getattr(layer, name, None)
        if isinstance(value, str) or hasattr(value, "value"):
            value = str(value)
        if isinstance(value, tuple | list | np.ndarray):
            value = np.asarray(value, float).tolist()
        if value is not None:
            found[name] = write_value(value)
    return found


def _colormap_to_json(colormap: Colormap) -> dict[str, Any]:
    name = str(colormap.name)
    known = AVAILABLE_COLORMAPS.get(name)
    if known is not None and np.array_equal(known.colors, colormap.colors):
        return {"name": name}
    return {
        "name": name,
        "colors": np.asarray(colormap.colors, float).tolist(),
        "controls": np.asarray(colormap.controls, float).tolist(),
        "interpolation": str(colormap.interpolation),
    }


def _label_colours_to_json(colormap: Any) -> dict[str, Any]:  # noqa: ANN401 (napari has no type)
    if isinstance(colormap, DirectLabelColormap):
        pairs = colormap.color_dict.items()
        return {"direct": [[key, np.asarray(colour, float).tolist()] for key, colour in pairs]}
    colours = np.asarray(colormap.colors, float)
    return {"cyclic": colours.tolist(), "seed": float(colormap.seed)}


def _features_to_json(features: Any) -> list[list[Any]]:  # noqa: ANN401 (pandas)
    return [[str(name), _column_to_json(features[name])] for name in features.columns]


def _column_to_json(column: Any) -> Any:  # noqa: ANN401 (pandas)
    values = column.to_numpy()
    if getattr(values, "dtype", None) is not None and values.dtype.kind in "biuf":
        return write_value(values)
    return [
        None
        if value is None or value != value
        else write_value(value)
        if isinstance(value, str | int | float | bool | np.generic)
        else str(value)
        for value in column.tolist()
    ]


def _column_from_json(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        return read_value(np.ndarray, value)
    found = [item for item in value if item is None or isinstance(item, str | int | float | bool)]
    return found or np.empty(0, object)  # which pandas takes for words, and none for numbers


def _data_entry(layer: Layer, kind: str) -> Entry:
    arrays = layer.data if kind == "shapes" else [layer.data]
    by_shape = {name: getattr(layer, name) for name in _EACH[kind] if hasattr(layer, name)}
    if role_of(layer) in PROMPT_ROLES:
        by_shape = {name: values for name, values in by_shape.items() if name == "shape_type"}
    entry = {name: _each_to_json(value) for name, value in by_shape.items()}
    if isinstance(layer, Tracks):
        entry["graph"] = [[int(track), list(map(int, of))] for track, of in layer.graph.items()]
    bytes_ = tuple((array.shape, np.asarray(array).tobytes()) for array in map(np.asarray, arrays))

    def make() -> dict[str, Any]:
        data = [write_value(np.asarray(array, float)) for array in arrays]
        return {"ndim": layer.ndim, "data": data, "each": entry}

    return Entry((bytes_, str(entry)), make)


def _each_to_json(value: Any) -> Any:  # noqa: ANN401
    array = np.asarray(value)
    if array.dtype.kind in "biuf":
        return write_value(array)
    return [str(value) for value in array.reshape(-1).tolist()]


def layer_pixels(layer: Layer) -> LayerPixels | None:
    """Return the pixels of an image or of labels, not copied; None for what has none."""
    if not isinstance(layer, Image | Labels) or role_of(layer) in DERIVED:
        return None
    levels: tuple[AnyArray, ...] = tuple(layer.data) if layer.multiscale else (layer.data,)
    levels = tuple(getattr(level, "stored", level) for level in levels)
    labels = isinstance(layer, Labels)
    # Labels in memory may have been painted on before anybody listened; they take little room.
    painted = labels and isinstance(levels[0], np.ndarray)
    path = str(file_of(layer) or "")
    plugin = str(layer.source.reader_plugin or "")
    return LayerPixels(
        levels,
        path,
        plugin,
        held=painted or count_written(layer) > 0,
        labels=labels,
        revision=count_written(layer),
    )


# -- made again -----------------------------------------------------------------------------------


def make_layer(
    head: Mapping[str, Any],
    data: Mapping[str, Any] | None,
    features: Sequence[Any] | None,
    levels: Sequence[AnyArray],
    image: str,
) -> Layer:
    """Return a layer as a session describes it.

    ``head``, ``data``, ``features``: its entries; None for those that it does not have.
    ``levels``: its pixels, the largest size first.
    ``image``: key of the image that it is for; empty for none.
    Raises ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError if they are
    damaged, or napari does not take them.
    """
    kind = str(head["type"])
    role = Role(head["role"]) if head["role"] else None
    metadata = dict(head["metadata"])
    if role is not None:
        metadata |= {ROLE: str(role), IMAGE: image, LABEL: str(head["slot"][1])}
    common = {
        "name": str(head["shown"]["name"]),
        "metadata": metadata,
        **_place_from(head["place"]),
    }
    if kind in ("image", "labels"):
        layer = _make_pixels(kind, role, head, levels, common)
    else:
        layer = _make_vectors(kind, role, data or {}, common)
    if features:
        _put_features(layer, {str(name): _column_from_json(feature) for name, feature in features})
    _show_as(layer, head["shown"])
    return layer


def _place_from(place: Mapping[str, Any]) -> dict[str, Any]:
    values = {name: np.asarray(place[name], float) for name in PLACE}
    if not all(np.isfinite(entry).all() for entry in values.values()):
        raise ValueError("a layer lies nowhere")
    return {
        **values,
        "units": tuple(map(str, place["units"])),
        "axis_labels": tuple(map(str, place["axis_labels"])),
    }


def _make_pixels(
    kind: str,
    role: Role | None,
    head: Mapping[str, Any],
    levels: Sequence[AnyArray],
    common: dict[str, Any],
) -> Layer:
    multiscale = bool(head["multiscale"]) and len(levels) > 1
    pixels = list(levels) if multiscale else levels[0]
    if kind == "labels":
        colours = _ROLE_COLOURS.get(role, default_colours)() if role else _label_colours(head)
        return Labels(pixels, multiscale=multiscale, colormap=colours, **common)
    limits = head["shown"].get("contrast_limits")
    return Image(
        pixels,
        multiscale=multiscale,
        rgb=bool(head["rgb"]),
        colormap=_colormap_from(head["colormap"]),
        contrast_limits=None if head["rgb"] else limits,
        **common,
    )


def _colormap_from(entry: Mapping[str, Any]) -> Colormap | str:
    if "colors" not in entry:
        return str(entry["name"])
    return Colormap(
        np.asarray(entry["colors"], float),
        name=str(entry["name"]),
        controls=np.asarray(entry["controls"], float),
        interpolation=str(entry["interpolation"]),
    )


def _label_colours(head: Mapping[str, Any]) -> CyclicLabelColormap | DirectLabelColormap:
    entry = head["colormap"]
    if "direct" in entry:
        pairs = {None if key is None else int(key): colour for key, colour in entry["direct"]}
        return DirectLabelColormap(
            color_dict={key: np.asarray(colour, float) for key, colour in pairs.items()}
        )
    colours = np.asarray(entry["cyclic"], np.float32)
    usual = default_colours()
    if not colours.size:  # nobody has chosen any
        return usual
    if colours.shape == usual.colors.shape and np.allclose(colours, usual.colors):
        return usual
    return CyclicLabelColormap(colors=colours, seed=float(entry["seed"]), background_value=0)


def _make_vectors(
    kind: str, role: Role | None, entry: Mapping[str, Any], common: dict[str, Any]
) -> Layer:
    data = [read_value(np.ndarray, packed) for packed in entry["data"]]
    by_shape = {
        name: _each_from_json(values) for name, values in entry["each"].items() if name != "graph"
    }
    ndim = int(entry["ndim"])
    if role is Role.POINTS:
        points = make_points(ndim, common)
        points.data = data[0].reshape(-1, ndim)
        return points
    if role is Role.BOXES:
        shapes = make_boxes(ndim, common)
        if data:
            add_boxes(shapes, data, by_shape["shape_type"])
        return shapes
    if kind == "points":
        rows = data[0].reshape(-1, ndim)
        return Points(
            rows, ndim=ndim, **(_shape_arguments(by_shape, "points") if len(rows) else {}), **common
        )
    if kind == "shapes":
        return Shapes(
            data or None,
            ndim=ndim,
            **(_shape_arguments(by_shape, "shapes") if data else {}),
            **common,
        )
    if kind == "tracks":
        graph = {int(track): list(map(int, of)) for track, of in entry["each"].get("graph", ())}
        return Tracks(data[0], graph=graph, **common)
    return Vectors(data[0], ndim=ndim, **common)


def _shape_arguments(by_shape: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {name: by_shape[name] for name in _EACH[kind] if name in by_shape}


def _each_from_json(value: Any) -> Any:  # noqa: ANN401
    return (
        read_value(np.ndarray, value) if isinstance(value, dict) else [str(item) for item in value]
    )


def _put_features(layer: Layer, columns: dict[str, Any]) -> None:
    if role_of(layer) is Role.POINTS and not len(layer.data):
        # Without a point napari has no polarity for the next one.
        if OBJECT_ID in columns:
            ensure_ids(layer, 1)
    elif role_of(layer) is Role.POINTS and POLARITY in columns:
        features = layer.features.copy()
        for name, values in columns.items():
            features[name] = values
        set_features(layer, features)
    elif hasattr(layer, "features"):
        layer.features = columns


def _show_as(layer: Layer, shown: Mapping[str, Any]) -> None:
    """Show a layer as it was, as far as this version of napari takes it."""
    for name, value in shown.items():
        if name not in (*_SHOWN[""], *_SHOWN[type_of(layer)]) or not hasattr(layer, name):
            continue
        if name.startswith("contrast_limits") and getattr(layer, "rgb", False):
            continue
        try:
            setattr(layer, name, tuple(value) if isinstance(value, list) else value)
        except _NOT_TAKEN:
            continue


def show_again(
    layers: Sequence[Layer],
    head: Mapping[str, Any],
    features: Sequence[Any] | None,
    image: str,
) -> Layer | None:
    """Show the layer that was made again of a role and a slot as it was; None if it was not."""
    role, label = Role(head["role"]), str(head["slot"][1])
    for layer in layers:
        if role_of(layer) is role and slot_of(layer) == (image, label):
            if features and isinstance(layer, Labels):
                columns = {str(name): _column_from_json(feature) for name, feature in features}
                count = len(next(iter(columns.values()), ()))
                if len(layer.features) in (0, count):
                    layer.features = columns
            _show_as(layer, head["shown"])
            return layer
    return None


# -- the view -------------------------------------------------------------------------------------


def view_entry(viewer: ViewerModel) -> Entry:
    """Return what is on show: the order of the layers, the sliders, the camera."""
    dims, camera = viewer.dims, getattr(viewer, "scene", viewer).camera  # moved in napari 0.9
    active = viewer.layers.selection.active
    return Entry.of(
        {
            "layers": [key_of(layer) for layer in viewer.layers],
            "selected": sorted(key_of(layer) for layer in viewer.layers.selection),
            "active": "" if active is None else key_of(active),
            "ndisplay": int(dims.ndisplay),
            "order": [int(axis) for axis in dims.order],
            "point": [float(at) for at in dims.point],
            "center": [float(at) for at in camera.center],
            "zoom": float(camera.zoom),
            "angles": [float(at) for at in camera.angles],
        }
    )


def order_layers(viewer: ViewerModel, entry: Mapping[str, Any], keys: Mapping[str, str]) -> None:
    """Put layers into the order in which they were."""
    ordered = [keys[key] for key in entry["layers"] if key in keys]
    by_key = {key_of(layer): layer for layer in viewer.layers}
    for place, key in enumerate(key for key in ordered if key in by_key):
        now = viewer.layers.index(by_key[key])
        if now != place:
            viewer.layers.move(now, place)


def show_view(viewer: ViewerModel, entry: Mapping[str, Any], keys: Mapping[str, str]) -> None:
    """Bring back which layers were selected, the sliders and the camera.

    Raises ValueError, TypeError, KeyError if they are damaged.
    """
    dims, camera = viewer.dims, getattr(viewer, "scene", viewer).camera  # moved in napari 0.9
    if int(entry["ndisplay"]) in (2, 3):
        dims.ndisplay = int(entry["ndisplay"])
    order, point = tuple(map(int, entry["order"])), tuple(map(float, entry["point"]))
    if sorted(order) == list(range(dims.ndim)):
        dims.order = order
    if len(point) == dims.ndim and np.isfinite(point).all():
        dims.set_point(range(len(point)), point)
    camera.center = tuple(map(float, entry["center"]))
    camera.zoom = float(entry["zoom"])
    camera.angles = tuple(map(float, entry["angles"]))
    by_key = {key_of(layer): layer for layer in viewer.layers}
    selected = [by_key[keys[key]] for key in entry["selected"] if keys.get(key) in by_key]
    viewer.layers.selection.clear()
    viewer.layers.selection.update(selected)
    active = by_key.get(keys.get(str(entry["active"]), ""))
    if active is not None:
        viewer.layers.selection.active = active
