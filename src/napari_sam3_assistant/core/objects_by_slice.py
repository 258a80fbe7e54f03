"""The objects of labels by slice, brought up to date as their pixels change."""

from __future__ import annotations

from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from napari_sam3_assistant.core.masks.labels import PlaneOfLabels
from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.core.stitching import StitchedObject

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.core.masks.edits import Changes


class Known(NamedTuple):
    """What is known of an object beside its pixels: see :class:`StitchedObject`."""

    score: float | None = None
    text: str = ""
    class_name: str = ""
    parent: int = 0
    stability: float | None = None


def update_objects(
    objects: Mapping[int, StitchedObject],
    changes: Changes,
    shape: tuple[int, ...],
    plane: tuple[int, int],
) -> dict[int, StitchedObject | None]:
    """Return the objects that an edit of the labels has changed; None for those that are gone.

    A box stays as large as it was where an object has only lost pixels. An object whose pixels all
    came from others has score, phrase and class of the one that gave it most of them.

    Parameters
    ----------
    objects : mapping of int to StitchedObject
        The objects before, by their ids.
    changes : Changes
        What was written.
    shape : tuple of int
        Shape of the labels.
    plane : tuple of int
        Which axes are rows and columns.
    """
    lengths = changes.lengths
    ends = [np.unravel_index(at, shape) for at in (changes.starts, changes.starts + lengths - 1)]
    lost_ids, lost_from = np.unique(changes.before, return_inverse=True)
    lost = np.bincount(lost_from.reshape(-1), weights=lengths)
    ids, to = np.unique(changes.after, return_inverse=True)
    to = to.reshape(-1)
    gained = np.bincount(to, weights=lengths)
    low, high = np.full((len(ids), 2), np.iinfo(np.int64).max), np.full((len(ids), 2), -1)
    for place, axis in enumerate(plane):
        np.minimum.at(low[:, place], to, ends[0][axis])
        np.maximum.at(high[:, place], to, ends[1][axis])
    pairs, pair = np.unique(np.stack([to, lost_from.reshape(-1)]), axis=1, return_inverse=True)
    weight = np.bincount(pair.reshape(-1), weights=lengths)
    # The pair that gave most comes last, and stays.
    order = np.argsort(weight, kind="stable")
    giver = {int(ids[pairs[0, at]]): int(lost_ids[pairs[1, at]]) for at in order.tolist()}
    area = {id_: known.area for id_, known in objects.items()}
    for id_, count in [*zip(lost_ids, -lost, strict=True), *zip(ids, gained, strict=True)]:
        area[int(id_)] = area.get(int(id_), 0) + int(count)
    grown = {
        int(id_): Region(int(y0), int(x0), int(y1) + 1, int(x1) + 1)
        for id_, (y0, x0), (y1, x1) in zip(ids, low, high, strict=True)
    }
    changed: dict[int, StitchedObject | None] = {}
    moved = find_moved(changes, {id_: known.area for id_, known in objects.items()})
    for id_ in {*map(int, lost_ids), *map(int, ids)} - {0}:
        old, new = None if id_ in moved else objects.get(id_), grown.get(id_)
        regions = [region for region in (old.region if old else None, new) if region is not None]
        source = old or objects.get(giver.get(id_, 0))
        if area[id_] <= 0 or not regions:
            changed[id_] = None
        else:
            changed[id_] = StitchedObject(
                id_,
                area[id_],
                reduce(Region.union, regions),
                source.score if source else None,
                source.text if source else "",
                source.class_name if source else "",
                stability=source.stability if source else None,
            )
    return changed


def find_moved(changes: Changes, areas: Mapping[int, int]) -> set[int]:
    """Return the objects that keep no pixel of those that they had: what was known is of others.

    Parameters
    ----------
    changes : Changes
        What was written.
    areas : mapping of int to int
        How many pixels each object had before, by its id.
    """
    ids, of_id = np.unique(changes.before, return_inverse=True)
    lost = np.bincount(of_id.reshape(-1), weights=changes.lengths)
    return {
        id_ for id_, count in zip(ids.tolist(), lost, strict=True) if 0 < areas.get(id_, 0) <= count
    }


class ObjectsBySlice:
    """The objects of labels on each plane of rows and columns, kept in step with edits.

    Parameters
    ----------
    shape : tuple of int
        Shape of the labels.
    plane : tuple of int
        Which axes are rows and columns; the rows come first.

    Attributes
    ----------
    slices : dict
        By the positions on the other axes the objects there, by their ids.
    shape, plane : tuple of int
        As they were given.
    """

    def __init__(self, shape: tuple[int, ...], plane: tuple[int, int]) -> None:
        self.slices: dict[tuple[int, ...], dict[int, StitchedObject]] = {}
        self.shape, self.plane = shape, plane
        self._others = tuple(axis for axis in range(len(shape)) if axis not in plane)

    def areas(self) -> dict[int, int]:
        """Return how many pixels each object has on all slices, by its id, which ascend."""
        found: dict[int, int] = {}
        for objects in self.slices.values():
            for id_, part in objects.items():
                found[id_] = found.get(id_, 0) + part.area
        return dict(sorted(found.items()))

    def at(self, labels: AnyArray, place: tuple[int, ...]) -> PlaneOfLabels:
        """Return the plane of labels at positions on the other axes."""
        return PlaneOfLabels(labels, *self.plane, dict(zip(self._others, place, strict=True)))

    def update(
        self,
        labels: AnyArray,
        changes: Changes,
        objects: Mapping[int, Known],
    ) -> None:
        """Record changes that were written.

        Parameters
        ----------
        labels : array-like of int
            The labels; read in the boxes of objects that have lost pixels.
        changes : Changes
            What was written.
        objects : mapping of int to Known
            What is known of objects, by their ids.
        """
        for place, part in self._split(changes):
            there = self.slices.setdefault(place, {})
            lost = set(np.unique(part.before).tolist())
            plane = self.at(labels, place)
            for id_, changed in update_objects(there, part, self.shape, self.plane).items():
                there.pop(id_, None)
                if changed is not None:
                    as_before = Known(
                        changed.score,
                        changed.text,
                        changed.class_name,
                        changed.parent,
                        changed.stability,
                    )
                    known = objects.get(id_, as_before)
                    region = _tighten(plane, changed) if id_ in lost else changed.region
                    there[id_] = replace(changed, region=region, **known._asdict())
            self.slices[place] = dict(sorted(there.items()))
            if not there:
                del self.slices[place]

    def describe(self, objects: Mapping[int, Known]) -> None:
        """Record classes and parents of objects, by their ids; the others stay as they are."""
        for there in self.slices.values():
            for id_, part in there.items():
                known = objects.get(id_)
                if known is not None and known[2:4] != (part.class_name, part.parent):
                    there[id_] = replace(part, class_name=known.class_name, parent=known.parent)

    def _split(self, changes: Changes) -> Iterator[tuple[tuple[int, ...], Changes]]:
        """Yield the changes of each plane."""
        if len(self.shape) - 1 in self._others:  # a stretch goes through several planes
            changes = changes.split_pixels()
        coordinates = np.unravel_index(changes.starts, self.shape)
        places = np.stack([coordinates[axis] for axis in self._others]) if self._others else None
        if places is None or changes.starts.size == 0:
            if changes.starts.size:
                yield (), changes
            return
        found, of_place = np.unique(places, axis=1, return_inverse=True)
        for number, place in enumerate(found.T):
            yield tuple(int(at) for at in place), changes.take(of_place.reshape(-1) == number)


_MOST_READ = 1 << 24


def _tighten(plane: PlaneOfLabels, object_: StitchedObject) -> Region:
    """Return the box of an object that has lost pixels; as it was, where that is large."""
    if object_.region.area > _MOST_READ:
        return object_.region
    found = Region.around(plane[object_.region.slices] == object_.id)
    return object_.region if found.is_empty else found.globalise(object_.region)
