"""Objects as the next labels of others, on empty pixels only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from napari_sam3_assistant.core.masks.edits import Changes, LabelEdit, changes_between
from napari_sam3_assistant.core.masks.labels import (
    check_fits,
    localise_box,
    read,
    split_blocks,
    union_box,
)
from napari_sam3_assistant.core.progress import Progress
from napari_sam3_assistant.errors import NothingNew

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.core.masks.labels import Box, LabelArray
    from napari_sam3_assistant.core.progress import Reporter


@dataclass(frozen=True, slots=True, eq=False)
class LabelMask:
    """The pixels of one object of labels in a box; read as they are indexed.

    Parameters
    ----------
    labels : array-like of int
        The labels.
    where : tuple of slice
        The box.
    number : int
        The object.
    """

    labels: AnyArray
    where: Box
    number: int

    def __getitem__(self, part: Box) -> npt.NDArray[np.bool_]:
        """Return the pixels of a part, counted from the first pixel of the box."""
        inside = tuple(
            slice(side.start + outer.start, side.stop + outer.start)
            for side, outer in zip(part, self.where, strict=True)
        )
        part_of: npt.NDArray[np.bool_] = np.asarray(self.labels[inside]) == self.number
        return part_of


ObjectMask: TypeAlias = "npt.NDArray[np.bool_] | LabelMask"
"""The pixels of an object in its box, by a tuple of slices."""


@dataclass(frozen=True, slots=True, eq=False)
class AcceptRequest:
    """Objects, and the labels that they are to be added to.

    Parameters
    ----------
    labels : array-like of int
        The labels, in memory or in a zarr folder.
    smaller : tuple of array-like of int
        Smaller levels of them, which follow.
    objects : tuple
        For each object the slices of the labels that it lies in, and its pixels there as a mask.
    find_highest : callable
        Returns the highest label that there is.
    own : mapping of int to int
        Of objects, by their place in the sequence, that take the place of one in the labels: its
        value, which they get. All of it lies in their slices.
    """

    labels: AnyArray
    smaller: tuple[AnyArray, ...]
    objects: tuple[tuple[Box, ObjectMask], ...]
    find_highest: Callable[[AnyArray], int]
    own: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class AcceptedObjects:
    """What was added to labels.

    Parameters
    ----------
    edit : LabelEdit
        The pixels.
    places : tuple of int
        Which of the objects have any: those that were not accepted already.
    ids : tuple of int
        Their values in the labels.
    areas : tuple of int
        How many pixels they have.
    """

    edit: LabelEdit
    places: tuple[int, ...]
    ids: tuple[int, ...]
    areas: tuple[int, ...]


def find_free(request: AcceptRequest, reporter: Reporter) -> AcceptedObjects:
    """Return which pixels of objects are empty, and the edit that gives them the next labels.

    Raises
    ------
    NothingNew
        If there is no empty pixel under them.
    MaskError
        If the type of the labels has no room for so many.
    """
    labels, objects = request.labels, request.objects
    shape = tuple(int(size) for size in labels.shape)
    starts, stops = (
        np.array([[getattr(side, end) for side in where] for where, _ in objects])
        for end in ("start", "stop")
    )
    blocks = split_blocks(labels, union_box(where for where, _ in objects))
    new = np.zeros(len(objects), bool)
    new[[*find_new(labels, objects, reporter), *request.own]] = True
    free: set[int] = set()
    had = np.zeros(len(objects) + 1, np.int64)

    def parts() -> Iterator[tuple[Box, LabelArray, LabelArray]]:
        for done, block in enumerate(blocks):
            low, high = ([getattr(side, end) for side in block] for end in ("start", "stop"))
            inside = np.flatnonzero(((starts < high) & (stops > low)).all(axis=1) & new)
            if inside.size == 0:
                continue
            reporter.report(Progress(done, len(blocks), "Adding objects"))
            there_are = read(labels, block)
            empty = there_are == 0
            before, added = np.zeros((2, *empty.shape), np.int64)
            for place in inside.tolist():
                where, mask = objects[place]
                both = _intersect(where, block)
                there = localise_box(both, block)
                room = empty[there]
                if place in request.own:
                    mine = there_are[there] == request.own[place]
                    before[there][mine] = place + 1
                    had[place + 1] += np.count_nonzero(mine)
                    room = room | mine
                pixels = mask[localise_box(both, where)] & room
                if pixels.any():
                    free.add(place)
                    added[there][pixels] = place + 1
            yield block, before, added

    changes = changes_between(parts(), shape)
    if not free:
        raise NothingNew(
            "All of these pixels are accepted already; nothing was added.",
            "Erase the accepted object first, or click on another one.",
        )
    return _make_edit(request, sorted(free), changes, had)


def _make_edit(
    request: AcceptRequest, places: Sequence[int], changes: Changes, had: npt.NDArray[np.int64]
) -> AcceptedObjects:
    """Return what is added, given changes that number objects 1 + their place in the request."""
    labels, ids = request.labels, _number(request, places)
    shape = tuple(int(size) for size in labels.shape)
    gained, lost = (
        np.bincount(side, weights=changes.lengths, minlength=ids.size).astype(int)
        for side in (changes.after, changes.before)
    )
    areas = had + gained - lost
    numbered = Changes(changes.starts, changes.lengths, ids[changes.before], ids[changes.after])
    edit = LabelEdit.pack("accept objects", shape, numbered, labels.dtype)
    told = (tuple(of[1:][list(places)].tolist()) for of in (ids, areas))
    return AcceptedObjects(edit, tuple(places), *told)


def _number(request: AcceptRequest, places: Sequence[int]) -> npt.NDArray[np.int64]:
    """Return the labels that objects get, 1 + their place in the request; 0 for the others."""
    without = np.array([place for place in places if place not in request.own], np.intp)
    first = request.find_highest(request.labels) + 1
    check_fits(first + len(without) - 1, request.labels.dtype)
    ids = np.zeros(len(request.objects) + 1, np.int64)
    ids[without + 1] = np.arange(first, first + len(without))
    for place, value in request.own.items():
        ids[place + 1] = value
    return ids


def find_new(
    labels: AnyArray,
    objects: Sequence[tuple[Box, ObjectMask]],
    reporter: Reporter,
) -> list[int]:
    """Return the places of the objects that labels don't hold already.

    One object is as its user made it, and counts wherever it has an empty pixel. Of several, such
    as all that a phrase names, one that lies on labels with more than half of its pixels is an
    object that was accepted before: what looks out of it is no object of its own.
    """
    if len(objects) == 1:
        return [0]
    new = []
    for place, (where, mask) in enumerate(objects):
        reporter.report(Progress(place, len(objects), "Looking for what is new"))
        empty = whole = 0
        for block in split_blocks(labels, where):
            pixels = mask[localise_box(block, where)]
            whole += int(np.count_nonzero(pixels))
            empty += int(np.count_nonzero(pixels & (read(labels, block) == 0)))
        if 2 * empty >= whole:
            new.append(place)
    return new


def _intersect(one: Box, other: Box) -> Box:
    return tuple(
        slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(one, other, strict=True)
    )
