"""Layers and files in napari's own menus: where layers are from, notes as layers, layers saved."""

from __future__ import annotations

import math
import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_sam3_assistant.core.axes import make_axes
from napari_sam3_assistant.errors import ExportError, ImageError, Sam3AssistantError
from napari_sam3_assistant.io.file_axes import without_ones
from napari_sam3_assistant.io.images import image_name, list_series, read_image
from napari_sam3_assistant.io.labels import save_labels
from napari_sam3_assistant.io.ome_zarr_labels import save_ome_zarr
from napari_sam3_assistant.io.outputs import stamp_of
from napari_sam3_assistant.io.provenance import is_provenance, provenance_path, read_provenance
from napari_sam3_assistant.io.untrusted import as_dict, as_number, as_text, as_whole
from napari_sam3_assistant.session.messages import CLASS, NOTHING, PARENT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from napari_sam3_assistant.core.axes import Axes
    from napari_sam3_assistant.core.images import Untyped
    from napari_sam3_assistant.core.objects_by_slice import Known
    from napari_sam3_assistant.io.provenance import ProvenanceRecord

    LayerData = tuple[Any, dict[str, Any], str]

_MOST_AT_ONCE = 1 << 22
"""Notes of more bytes are read only when they are opened: it takes a while."""


def find_origin(path: Path, shape: Sequence[int]) -> Path:
    """Return what an image was opened from: the file, or the folder of a series of files.

    Where a series was opened as one stack, as by ``napari --stack *.tif``, napari names the first
    file only. That is known by what it holds: one frame of the stack.
    """
    stack = tuple(map(int, shape))
    if len(stack) > 2 and stack[0] > 1 and _begins_series(path, stack, stamp_of(path)):
        return path.parent
    return path


@lru_cache(maxsize=256)
def _begins_series(path: Path, stack: tuple[int, ...], state: object) -> bool:
    del state  # it tells one state of the file from another
    try:
        if path.is_dir():
            return False
        with os.scandir(path.parent) as others:
            alike = sum(entry.name.endswith(path.suffix) for entry in others)
        held = [series.shape for series in list_series(path)] if alike >= stack[0] else []
    except (OSError, ImageError):
        return False
    whole, frame = _possible_shapes(stack), _possible_shapes(stack[1:])
    shapes = {without_ones(shape) for shape in held}
    return not shapes.isdisjoint(frame) and shapes.isdisjoint(whole)


def _possible_shapes(shape: tuple[int, ...]) -> set[tuple[int, ...]]:
    """Return a shape as formats may store it: with its colours, or without."""
    coloured = len(shape) > 2 and shape[-1] in (3, 4)
    return {without_ones(shape), without_ones(shape[:-1] if coloured else shape)}


def get_reader(path: str | list[str]) -> Callable[[str], list[LayerData]] | None:
    """Return what reads the labels of a note; None for what is no note of ours.

    ``path``: the note, such as ``cells_labels.tif.json``; a list is a stack for napari.
    """
    return read_note if isinstance(path, str) and is_provenance(Path(path)) else None


def read_note(path: str) -> list[LayerData]:
    """Return the labels that a note lies beside, as a layer with all that the note says of it.

    Returns one labels layer, with the name of the file, place and size in the world, and a row of
    features for each object.
    Raises ExportError if the note is damaged, or beside it are no labels; ImageError if the labels
    can't be read.
    """
    note = Path(path)
    file = note.with_suffix("")
    record = read_provenance(note)
    image = read_image(file)
    if np.dtype(image.data.dtype).kind not in "iu":
        raise ExportError(f"{file} holds no labels.", "Choose the note beside labels.")
    shape = tuple(image.data.shape)
    noted = record.axes or ()
    axes = noted if tuple(axis.length for axis in noted) == shape else image.axes
    many = len(image.levels) > 1
    return [
        (
            list(image.levels) if many else image.data,
            {"name": image_name(file), "features": features_of(record), **placed(axes)}
            | ({"multiscale": True} if many else {}),
            "labels",
        )
    ]


def placed(axes: Axes) -> dict[str, Any]:
    """Return a layer's arguments for its axes: names, units, and where its pixels lie."""
    straight = all(axis.aligned for axis in axes)
    names = tuple(axis.name for axis in axes)
    return {
        **({"axis_labels": names} if all(names) and len(set(names)) == len(names) else {}),
        "units": tuple((axis.unit if straight else "") or "pixel" for axis in axes),
        "scale": tuple(axis.scale if straight else 1.0 for axis in axes),
        "translate": tuple(axis.origin if straight else 0.0 for axis in axes),
    }


def features_of(record: ProvenanceRecord) -> dict[str, list[Any]]:
    """Return what a note says of each object, as features of a labels layer.

    Raises ExportError if the note is damaged.
    """
    try:
        rows = [
            {
                "index": as_whole(entry["id"]),
                "score": math.nan if entry.get("score") is None else as_number(entry["score"]),
                **(
                    {"stability": as_number(entry["stability"])}
                    if entry.get("stability") is not None
                    else {}
                ),
                "area": math.nan if entry.get("area") is None else as_whole(entry["area"]),
                "prompt": as_text(entry.get("text") or "") or NOTHING,
                "engine": as_text(entry.get("engine") or record.engine.title),
                CLASS: as_text(entry.get("class") or "") or NOTHING,
                PARENT: as_whole(entry.get("parent") or 0),
                **{
                    name: _feature(value)
                    for name, value in as_dict(entry.get("features", {})).items()
                },
            }
            for entry in record.objects
        ]
    except (KeyError, TypeError, ValueError) as exc:
        raise ExportError(
            f"The note does not say what the objects are ({exc}).", "Open the labels alone."
        ) from exc
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: [row.get(name, math.nan) for row in rows] for name in names}
    if set(columns.get(CLASS, ())) <= {NOTHING}:
        columns.pop(CLASS, None)
    if not any(columns.get(PARENT, ())):
        columns.pop(PARENT, None)
    return columns


def _feature(value: object) -> str | float:
    """Return what a stranger says of an object besides."""
    if value is None:
        return math.nan
    return value if isinstance(value, str) else as_number(value)


_USUAL = ("index", "score", "stability", "area", "prompt", "engine", CLASS, PARENT)


def entries_of(features: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    """Yield what a note says of each accepted object, given the features of their layer."""
    for row in zip(*features.values(), strict=True):
        entry = dict(zip(features, map(plain_value, row), strict=True))
        id_ = entry.get("index")
        if not isinstance(id_, int | float):
            continue  # the user has changed the table
        more = {name: value for name, value in entry.items() if name not in _USUAL}
        prompt, of = entry.get("prompt"), entry.get(CLASS)
        yield {
            "id": int(id_),
            "score": entry.get("score"),
            **({} if entry.get("stability") is None else {"stability": entry["stability"]}),
            "area": entry.get("area"),
            "text": "" if prompt in (None, NOTHING) else prompt,
            "engine": entry.get("engine") or NOTHING,
            **({} if of in (None, NOTHING) else {"class": of}),
            **({"parent": int(entry[PARENT])} if entry.get(PARENT) else {}),
            **({"features": more} if more else {}),
        }


def plain_value(value: Any) -> Any:  # noqa: ANN401 - whatever a column holds
    """Return a value as JSON holds it; None for what is not known."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def entry_of(id_: int, known: Known, prompt: str, engine: str) -> dict[str, Any]:
    """Return what a note says of an object on show."""
    return {
        "id": id_,
        "score": known.score,
        **({} if known.stability is None else {"stability": known.stability}),
        "text": known.text or prompt,
        "engine": engine or NOTHING,
        **({"class": known.class_name} if known.class_name else {}),
        **({"parent": known.parent} if known.parent else {}),
    }


def saved_features(labels: Path) -> dict[str, list[Any]]:
    """Return what the note beside labels says of each object, for their layer.

    Nothing where there is none, where it is damaged, or where it is long: to read it takes a while.
    """
    note = provenance_path(labels)
    try:
        if not is_provenance(note) or note.stat().st_size > _MOST_AT_ONCE:
            return {}
        return features_of(read_provenance(note))
    except (OSError, Sam3AssistantError):
        return {}


def write_labels(path: str, data: Untyped, attributes: Mapping[str, Any]) -> list[str]:
    """Save a labels layer by napari's menu, with size, unit and place of its pixels.

    ``path``: file that ends in .npy or .png, or a new folder that ends in .zarr (OME-Zarr).
    ``data`` (shape (..., H, W)): the pixels, or the levels of a pyramid.
    ``attributes``: what napari says of the layer.
    Returns the file.
    Raises ExportError if it can't be written.
    """
    labels = data[0] if attributes.get("multiscale") else data
    names = tuple(attributes.get("axis_labels", ()))
    turned = any(
        attributes.get(name) is not None
        and not np.allclose(attributes[name], np.eye(*np.shape(attributes[name])))
        for name in ("rotate", "affine")
    ) or np.any(attributes.get("shear", 0))
    units = [str(unit) for unit in attributes.get("units", ("pixel",) * labels.ndim)]
    axes = make_axes(
        labels.shape,
        names=None
        if any(name.startswith("axis ") or not name for name in names)
        else names or None,
        scale=None if turned else attributes.get("scale"),
        units=["" if turned or unit == "pixel" else unit for unit in units],
        origin=None if turned else attributes.get("translate"),
    )
    if path.lower().endswith(".zarr"):
        save_ome_zarr(labels, Path(path), axes)
    else:
        save_labels(labels, path, axes)
    return [path]
