"""What is known of accepted objects: slice by slice and as features, in step with their pixels."""

from __future__ import annotations

import math
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np

from napari_sam3_assistant.core.masks.edits import changes_between
from napari_sam3_assistant.core.masks.labels import whole_box
from napari_sam3_assistant.core.objects_by_slice import Known, ObjectsBySlice, find_moved
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.session.messages import CLASS, NOTHING, PARENT, is_measured
from napari_sam3_assistant.session.values import KeptPlace
from napari_sam3_assistant.viewer.geometry import array_of, plane_of, result_axes, result_shape
from napari_sam3_assistant.viewer.roles import PARENTS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from napari.layers import Labels, Layer

    from napari_sam3_assistant.core.masks.edits import Changes
    from napari_sam3_assistant.core.stitching import StitchedObject
    from napari_sam3_assistant.session.values import PlaneTarget


# The objects of accepted labels: who closes the dock and opens it again finds them.
_OBJECTS: WeakKeyDictionary[Labels, tuple[PlaneTarget, ObjectsBySlice]] = WeakKeyDictionary()


def begin_list(layer: Labels, target: PlaneTarget) -> None:
    """Take empty labels for accepted ones; ``target`` is a plane of their image."""
    kept = result_axes(target.axes)
    plane = (kept.index(target.axes.y), kept.index(target.axes.x))
    _OBJECTS[layer] = (target, ObjectsBySlice(array_of(layer).shape, plane))


def know_again(layer: Labels, target: PlaneTarget) -> None:
    """Take labels that somebody has replaced by others of more or fewer axes for accepted ones."""
    if layer not in _OBJECTS:
        begin_list(layer, target)
        recount(layer)


def objects_of(
    layer: Layer,
) -> tuple[PlaneTarget, Mapping[tuple[int, ...], Mapping[int, StitchedObject]]] | None:
    """Return of accepted labels a plane of their image, and the objects by slice and id."""
    known = _OBJECTS.get(layer)
    return None if known is None else (known[0], known[1].slices)


def restore_objects(
    layer: Labels,
    target: PlaneTarget,
    slices: Mapping[tuple[int, ...], Mapping[int, StitchedObject]],
) -> None:
    """Take labels for accepted ones with these objects, as :func:`objects_of` returned them.

    Raises ValueError if they do not fit the labels.
    """
    shape, kept = array_of(layer).shape, result_axes(target.axes)
    plane = (kept.index(target.axes.y), kept.index(target.axes.x))
    if result_shape(target.shape, target.axes) != shape:
        raise ValueError("accepted labels have another shape than their image")
    objects = ObjectsBySlice(shape, plane)
    others = [side for axis, side in enumerate(shape) if axis not in plane]
    for place, there in slices.items():
        if len(place) != len(others) or not all(map(_is_within, place, others)):
            raise ValueError("accepted objects lie beside their labels")
        objects.slices[place] = dict(there)
    _OBJECTS[layer] = (target, objects)


def _is_within(at: int, side: int) -> bool:
    return 0 <= at < side


def objects_on(layer: Labels, target: PlaneTarget) -> dict[int, StitchedObject]:
    """Return the objects on a plane by their ids; none of labels that nothing was accepted into."""
    if layer not in _OBJECTS:
        return {}
    first, objects = _OBJECTS[layer]
    if (first.axes.y, first.axes.x) != (target.axes.y, target.axes.x):
        return {}  # the viewer shows another cut through the volume
    fixed = plane_of(array_of(layer), target).fixed
    return objects.slices.get(tuple(at for _, at in sorted(fixed.items())), {})


def regions_on(layer: Labels, target: PlaneTarget) -> dict[int, Region]:
    """Return the objects that may lie on a plane, and where; no pixel is read.

    The plane may be another cut than the one that they were accepted on: then their boxes reach it.
    """
    if layer not in _OBJECTS:
        return {}
    _, objects = _OBJECTS[layer]
    cut = plane_of(array_of(layer), target)
    if (cut.rows, cut.columns) == objects.plane:
        return {id_: part.region for id_, part in objects_on(layer, target).items()}
    others = [axis for axis in range(len(objects.shape)) if axis not in objects.plane]
    found: dict[int, Region] = {}
    for place, there in objects.slices.items():
        leading = {axis: slice(at, at + 1) for axis, at in zip(others, place, strict=True)}
        for id_, part in there.items():
            sides = leading | dict(zip(objects.plane, part.region.slices, strict=True))
            if all(sides[axis].start <= at < sides[axis].stop for axis, at in cut.fixed.items()):
                y, x = sides[cut.rows], sides[cut.columns]
                here = Region(y.start, x.start, y.stop, x.stop)
                found[id_] = here.union(found.get(id_, here))
    return found


def highest_number(layer: Labels) -> int:
    """Return the highest number of an object of accepted labels; 0 for none."""
    known = _OBJECTS[layer][1].areas() if layer in _OBJECTS else {}
    return max(known, default=0)


def list_kept(layer: Labels) -> Iterator[tuple[KeptPlace, StitchedObject]]:
    """Yield the objects of accepted labels, plane by plane, and where each one lies."""
    if layer not in _OBJECTS:
        return
    first, objects = _OBJECTS[layer]
    kept = result_axes(first.axes)
    others = [axis for axis in kept if axis not in (first.axes.y, first.axes.x)]
    for place, there in sorted(objects.slices.items()):
        at = dict(zip(others, place, strict=True))
        leading = tuple(at[axis] for axis in first.axes.leading)
        target = replace(first, plane=replace(first.plane, leading=leading))
        for known in there.values():
            yield KeptPlace(target), known


def follow_changes(layer: Labels, changes: Changes) -> None:
    """Record that somebody has changed pixels of accepted labels."""
    if layer in _OBJECTS:
        described = describe_changed(layer, changes)
        numbers = find_numbers(changes, _OBJECTS[layer][1].areas())
        update_list(layer, changes, described, described["index"], numbers)


def recount(layer: Labels) -> None:
    """Record that somebody has replaced accepted labels; those in files are not looked at."""
    labels = array_of(layer)
    if layer not in _OBJECTS or not isinstance(labels, np.ndarray):
        return
    first, objects = _OBJECTS[layer]
    if labels.ndim != len(objects.shape):
        del _OBJECTS[layer]
        return
    # Of another shape where the user has cropped all layers, the image, too.
    sides = dict(zip(result_axes(first.axes), labels.shape, strict=True))
    shape = tuple(sides.get(axis, side) for axis, side in enumerate(first.shape))
    first = replace(first, shape=shape)
    _OBJECTS[layer] = (first, ObjectsBySlice(labels.shape, objects.plane))
    whole = whole_box(labels.shape)
    follow_changes(layer, changes_between([(whole, np.zeros_like(labels), labels)], labels.shape))


def update_list(
    layer: Labels,
    changes: Changes,
    rows: Mapping[str, list[Any]],
    dropped: Collection[int],
    numbers: Mapping[int, int] = MappingProxyType({}),
) -> None:
    """Bring the objects of accepted labels, and their features, up to date with their pixels.

    ``rows``: what is known of some objects, by column.
    ``dropped``: the objects of which what was known does not hold any more.
    ``numbers``: the new numbers of objects, by which their daughters name them.
    """
    features = layer.features
    others = features[~features["index"].isin(dropped)] if "index" in features else features
    columns: dict[str, list[Any]] = others.to_dict("list")
    _extend(columns, rows)
    if PARENT in columns:
        columns[PARENT] = [numbers.get(as_label(one), one) for one in columns[PARENT]]
    known = dict(zip(columns.get("index", ()), _iter_known(columns), strict=True))
    _, objects = _OBJECTS[layer]
    objects.update(array_of(layer), changes, known)
    objects.describe(known)
    areas = objects.areas()
    # An object that somebody has painted is known by its pixels alone.
    _extend(columns, {"index": [id_ for id_ in areas if id_ not in known]})
    order = {id_: at for at, id_ in enumerate(columns["index"])}
    kept = [order[id_] for id_ in areas]
    columns = {name: [values[at] for at in kept] for name, values in columns.items()}
    layer.features = columns | {"area": list(areas.values())}


def describe_changed(layer: Labels, changes: Changes) -> dict[str, list[Any]]:
    """Return what is known of objects after their pixels have changed, by column."""
    givers = find_givers(changes)
    moved = find_moved(changes, _OBJECTS[layer][1].areas() if layer in _OBJECTS else {})
    rows = {row["index"]: row for row in layer.features.to_dict("records")}
    known = [
        (None if id_ in moved else rows.get(id_)) or rows.get(giver) or {}
        for id_, giver in givers.items()
    ]
    columns = [name for name in layer.features.columns if not is_measured(name)]
    features = {name: [row.get(name, _missing_value(name)) for row in known] for name in columns}
    return features | {"index": list(givers)}


def find_givers(changes: Changes) -> dict[int, int]:
    """Return the labels that changes give or take pixels, and who gave each of them most."""
    pairs, pair = np.unique(
        np.stack([changes.after, changes.before]).astype(np.int64), axis=1, return_inverse=True
    )
    weight = np.bincount(pair.reshape(-1), weights=changes.lengths)
    found = {int(id_): 0 for id_ in np.unique(pairs) if id_}
    for at in np.argsort(weight, kind="stable"):  # the one that gave most comes last, and stays
        after, before = map(int, pairs[:, at])
        if after and before:
            found[after] = before
    return found


def find_numbers(changes: Changes, areas: Mapping[int, int]) -> dict[int, int]:
    """Return which objects have another number now, and which one.

    What became a part of an object that stays has none. ``areas``: of each object before.
    """
    moved = find_moved(changes, areas)
    takers = find_givers(changes.reverse())
    return {
        id_: takers[id_]
        for id_ in moved
        if takers.get(id_, 0) and (takers[id_] not in areas or takers[id_] in moved)
    }


def renumber_features(layer: Labels, changes: Changes) -> None:
    """Let what the features of labels say of each object go with its new number.

    What was said of a number that no object has any more stays: to find that out takes all pixels.
    """
    features = layer.features
    if "index" not in features:
        return
    rows = {as_label(row["index"]): row for row in features.to_dict("records")}
    givers = {id_: giver for id_, giver in find_givers(changes).items() if giver}
    stay = [row for id_, row in rows.items() if id_ not in givers]
    come = [{**rows[giver], "index": id_} for id_, giver in givers.items() if giver in rows]
    kept = sorted([*stay, *come], key=lambda row: as_label(row["index"]))
    columns = {name: [row[name] for row in kept] for name in features.columns}
    if PARENT in columns:
        number = {giver: id_ for id_, giver in givers.items()}
        columns[PARENT] = [number.get(as_label(one), one) for one in columns[PARENT]]
    layer.features = columns


def rows_of(layer: Labels, ids: Iterable[int]) -> dict[str, list[Any]]:
    """Return what a layer's features say of some objects, by column."""
    rows, asked = layer.features, list(ids)
    columns: dict[str, list[Any]] = (
        rows[rows["index"].isin(asked)].to_dict("list") if asked and "index" in rows else {}
    )
    return columns


def read_parents(layer: Labels) -> dict[int, int]:
    """Return which label of a layer came of which one's division, where that is known."""
    features = layer.features
    if PARENT not in features or "index" not in features:
        return dict(layer.metadata.get(PARENTS, {}))
    pairs = zip(map(as_label, features["index"]), map(as_label, features[PARENT]), strict=True)
    known = dict(pairs)
    return {id_: parent for id_, parent in known.items() if parent in known and parent != id_}


def _extend(columns: dict[str, list[Any]], more: Mapping[str, list[Any]]) -> None:
    """Add rows to columns, of which either may lack some."""
    before, count = len(columns.get("index", ())), len(more.get("index", ()))
    for name in {**columns, **more}:
        nothing = _missing_value(name)
        come = more.get(name, [nothing] * count)
        columns[name] = [*columns.get(name, [nothing] * before), *come]


def _missing_value(column: str) -> str | float:
    """Return what stands in a column of features where nothing is known."""
    if column == PARENT:
        return 0
    return NOTHING if column in ("prompt", "engine", CLASS) else math.nan


def _iter_known(columns: Mapping[str, list[Any]]) -> Iterator[Known]:
    """Yield what columns of features say of each object."""
    count = len(columns.get("index", ()))
    names = ("score", "stability", PARENT, "prompt", CLASS)
    values = (columns.get(name, [None] * count) for name in names)
    for score, stability, parent, *words in zip(*values, strict=True):
        prompt, class_name = ("" if word in (None, NOTHING) else str(word) for word in words)
        yield Known(
            as_number(score), prompt, class_name, as_label(parent), stability=as_number(stability)
        )


def as_number(value: object) -> float | None:
    """Return a number of a column of features; None for whatever else stands there."""
    numbers = (int, float, np.integer, np.floating)
    return float(value) if isinstance(value, numbers) and math.isfinite(value) else None


def as_label(value: object) -> int:
    """Return the number of an object; 0 for whatever else somebody wrote there."""
    return int(value) if isinstance(value, int | np.integer) else int(as_number(value) or 0)
