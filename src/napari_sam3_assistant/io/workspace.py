"""Workspace files of version 4.5, ``*.sam3.json``, read as sessions, as far as they go."""

from __future__ import annotations

import json
import math
import os
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

import numpy as np
import zarr

from napari_sam3_assistant.core.images import map_read_errors
from napari_sam3_assistant.errors import Sam3AssistantError, SessionError
from napari_sam3_assistant.io.session_arrays import check_codecs
from napari_sam3_assistant.io.session_folder import StoredSession
from napari_sam3_assistant.io.typed_json import WRONG, pack_array
from napari_sam3_assistant.io.untrusted import (
    as_dict,
    as_list,
    as_text,
    as_whole,
    is_on_a_share,
    open_regular,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


ENDING = ".sam3.json"
FORMAT = "napari-sam3-workspace"
_MOST_BYTES = 1 << 28
_TYPES = ("image", "labels", "points", "shapes")
_SHOWN = ("visible", "opacity", "blending", "gamma", "contrast_limits")


def is_workspace(path: Path) -> bool:
    """Return whether a file is named as workspaces of version 4.5 are."""
    return path.name.lower().endswith(ENDING)


def read_workspace(path: Path) -> StoredSession:
    """Read a workspace: its layers, sliders and selection; no pixels are read.

    Raises
    ------
    SessionError
        If it is none, damaged, or of a later version.
    """
    try:
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > _MOST_BYTES:
                raise ValueError("it is too large")
            found = as_dict(json.loads(file.read().decode("utf-8-sig")))
        if found.get("format") != FORMAT:
            raise ValueError(f"its format is not “{FORMAT}”")
        if as_whole(found.get("version", 1)) > 2:
            raise SessionError(f"{path} was saved by a later version.", "Update this plugin.")
        return _to_session(found, path)
    except (*WRONG, OSError, MemoryError) as exc:
        raise SessionError(
            f"{path} is not a workspace that can be opened: {exc}.",
            "Open its images and masks one by one.",
        ) from exc


def _to_session(entry: Mapping[str, Any], path: Path) -> StoredSession:
    layers = [as_dict(layer) for layer in as_list(entry["layers"])]
    entries: dict[str, Any] = {}
    keys, unread = [], []
    for number, layer_entry in enumerate(layers):
        key, name = str(number), str(layer_entry.get("name", f"layer {number}"))
        kind = str(_first(layer_entry, "type", "layer_type", "kind")).lower()
        if kind not in _TYPES:
            unread.append(f"“{name}”: layers of type “{kind}” are not read from workspaces.")
            continue
        try:
            entries |= _layer_entries(key, kind, layer_entry, path)
        except WRONG as error:
            unread.append(f"“{name}” can't be read: {error}.")
            continue
        keys.append(key)
    if unread:
        entries["unread"] = unread
    selected = str(_first(entry, "selected_layer", "selected", "active") or "")
    named = {str(layers[int(key)].get("name", key)): key for key in keys}
    dims = entry.get("dims")
    steps = _read_steps(
        _first(dims, "current_step", "step") if isinstance(dims, dict) else entry.get("dims_step")
    )
    entries["view"] = {
        "layers": keys,
        "selected": [named[selected]] if selected in named else [],
        "active": named.get(selected, ""),
        "ndisplay": 2,
        "order": list(range(len(steps))),
        "point": steps,
        "center": [0.0, 0.0, 0.0],
        "zoom": 1.0,
        "angles": [0.0, 0.0, 90.0],
    }
    return StoredSession(path, "", entries, {})


def _first(entry: Mapping[str, Any], *names: str) -> Any:  # noqa: ANN401 (JSON)
    """Return the first of some values that is there: its name is documented nowhere."""
    nested = entry.get("source")
    places = (entry, nested) if isinstance(nested, dict) else (entry,)
    return next((place[name] for name in names for place in places if place.get(name)), None)


def _read_steps(value: object) -> list[float]:
    """Return where the sliders stand; nothing if that can't be read, as they can be moved."""
    try:
        return [float(step) for step in as_list(value)]
    except WRONG:
        return []


def _layer_entries(key: str, kind: str, entry: Mapping[str, Any], path: Path) -> dict[str, Any]:
    transform = entry["transform"] if isinstance(entry.get("transform"), dict) else entry
    data = _first(entry, "data", "points", "shapes", "vertices")
    pixels, ndim = None, 2
    if kind in ("image", "labels"):
        pixels, ndim = _find_pixels(entry, path)
    elif data:
        first = (
            data[0]
            if kind == "points"
            else data[0].get("data", data[0])
            if isinstance(data[0], dict)
            else data[0]
        )
        ndim = len(first) if kind == "points" else len(first[0])
    ndim -= bool(entry.get("rgb"))
    head: dict[str, Any] = {
        "type": kind,
        "role": "",
        "slot": ["", ""],
        "metadata": {},
        "place": _place(transform, ndim),
        "shown": {"name": as_text(entry.get("name", kind))}
        | {name: entry[name] for name in _SHOWN if entry.get(name) is not None},
        "multiscale": False,
        "rgb": bool(entry.get("rgb")),
    }
    if kind == "image":
        colormap = entry.get("colormap")
        head["colormap"] = {"name": colormap if isinstance(colormap, str) else "gray"}
    if kind == "labels":
        head["colormap"] = {"cyclic": []}
    entries: dict[str, Any] = {f"layer/{key}": head}
    if pixels is not None:
        entries[f"pixels/{key}"] = pixels
    elif kind in ("points", "shapes"):
        entries[f"data/{key}"] = _drawn(kind, data or [], entry, ndim)
    features = _first(entry, "features", "properties")
    if kind == "points" and isinstance(features, dict):
        entries[f"features/{key}"] = [[name, list(column)] for name, column in features.items()]
    return entries


def _drawn(kind: str, data: list[Any], entry: Mapping[str, Any], ndim: int) -> dict[str, Any]:
    if kind == "points":
        return {"ndim": ndim, "data": [pack_array(np.asarray(data, float))], "each": {}}
    outlines = [
        outline.get("data", outline.get("vertices")) if isinstance(outline, dict) else outline
        for outline in data
    ]
    kinds = _first(entry, "shape_type", "shape_types") or "rectangle"
    kinds = [kinds] * len(outlines) if isinstance(kinds, str) else [str(kind) for kind in kinds]
    packed = [pack_array(np.asarray(outline, float)) for outline in outlines]
    return {"ndim": ndim, "data": packed, "each": {"shape_type": kinds}}


def _place(entry: Mapping[str, Any], ndim: int) -> dict[str, Any]:
    def numbers(name: str, default: float) -> list[float]:
        value = entry.get(name)
        right = isinstance(value, list) and len(value) == ndim
        return [float(number) for number in value] if right and value else [default] * ndim

    affine: Any = entry.get("affine")
    right = np.shape(affine) == (ndim + 1, ndim + 1)
    rotate: Any = entry.get("rotate")
    return {
        "scale": numbers("scale", 1.0),
        "translate": numbers("translate", 0.0),
        "rotate": rotate if np.shape(rotate) == (ndim, ndim) else np.eye(ndim).tolist(),
        "shear": [0.0] * (ndim * (ndim - 1) // 2),
        "affine": affine if right else np.eye(ndim + 1).tolist(),
        "units": ["pixel"] * ndim,
        "axis_labels": [f"axis {axis - ndim}" for axis in range(ndim)],
    }


def _find_pixels(entry: Mapping[str, Any], path: Path) -> tuple[dict[str, Any], int]:
    named = _first(entry, "path", "source_path", "data_path", "file", "uri", "relative_path")
    inline = entry.get("data")
    if named is None and isinstance(inline, list):
        array = np.asarray(inline)
        if array.dtype.kind not in "biuf":
            raise ValueError("its pixels are not numbers")
        return {"kind": "inline", "array": pack_array(array)}, array.ndim
    if named is None:
        return {"kind": "lost", "why": "The workspace names no file of this layer."}, 2
    text = as_text(named)
    if text.startswith("file:"):
        parts = urlsplit(text)
        host = "" if parts.netloc in ("", "localhost") else f"//{parts.netloc}"
        text = host + url2pathname(parts.path)
    if is_on_a_share(text, path.parent):
        return {"kind": "lost", "why": f"{text} is on another computer: open it first."}, 2
    place = path.parent / text  # an absolute path stays as it is
    if not place.exists():
        beside = path.parent / (PureWindowsPath(text) if "\\" in text else place).name
        place = beside if beside.exists() else place
    try:
        return _look_at(place)
    except (Sam3AssistantError, OSError) as error:
        return {"kind": "lost", "why": str(error)}, 2


def _look_at(place: Path) -> tuple[dict[str, Any], int]:
    """Return how a session refers to the image of a file, and how many axes it has."""
    from napari_sam3_assistant.io.images import read_image
    from napari_sam3_assistant.io.session_pixels import file_reference, zarr_reference

    with map_read_errors(f"{place} can't be read", "Check whether it was moved."):
        if (place / ".zgroup").is_file() or (place / "zarr.json").is_file():
            group: Any = zarr.open(str(place), mode="r")
            first = group if isinstance(group, zarr.Array) else _largest(group)
            inner = place if isinstance(group, zarr.Array) else place / first.path
            check_codecs(inner, f"{place} can't be read")
            reference = zarr_reference([first])
            if reference is not None:
                return reference, first.ndim
        level = read_image(place).data
    return file_reference(str(place), "", level, place), len(level.shape)


def _largest(group: Any) -> Any:  # noqa: ANN401 (zarr has no type)
    arrays = [array for _, array in group.arrays()]
    return max(arrays, key=lambda array: math.prod(array.shape))
