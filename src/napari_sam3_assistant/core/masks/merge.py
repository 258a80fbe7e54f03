"""Labels put together: several made one, and objects as the next labels on empty pixels."""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from skimage.util import map_array

from napari_sam3_assistant.core.masks.components import find_components, join_components
from napari_sam3_assistant.core.masks.edits import Changes, LabelEdit, changes_between
from napari_sam3_assistant.core.masks.labels import (
    Connectivity,
    box_shape,
    check_fits,
    localise_box,
    read,
    split_blocks,
    union_box,
    whole_box,
)
from napari_sam3_assistant.core.masks.objects import ANY_CLASS, Classes
from napari_sam3_assistant.core.progress import NullReporter, Progress
from napari_sam3_assistant.errors import MaskError, NothingNew

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.images import AnyArray
    from napari_sam3_assistant.core.masks.components import Components
    from napari_sam3_assistant.core.masks.labels import Box, LabelArray
    from napari_sam3_assistant.core.progress import Reporter


class MergeMode(StrEnum):
    """What the values of merged labels mean."""

    SEMANTIC = "semantic"
    INSTANCE = "instance"
    BINARY = "binary"


class OverlapRule(StrEnum):
    """Who gets a pixel that several labels claim."""

    PRIORITY = "priority"
    EARLIER = "earlier"
    LARGER = "larger"
    SMALLER = "smaller"
    BACKGROUND = "background"


@dataclass(frozen=True, slots=True, eq=False)
class MergeSource:
    """Labels to merge.

    Parameters
    ----------
    name : str
        For the user.
    labels : array-like of int
        In memory or lazy; all sources have the same shape.
    classes : Classes
        What its values stand for. Where nothing is known, they are classes in a semantic mask,
        and count objects in one of instances.
    """

    name: str
    labels: Any
    classes: Classes = field(default_factory=Classes)


@dataclass(frozen=True, slots=True, eq=False)
class MergeResult:
    """What a merge makes.

    Parameters
    ----------
    labels : ndarray, dtype uint32, or uint8 where binary
        The merged labels.
    classes : dict of int to str
        Names of the classes, by value.
    class_of : dict of int to int
        The class of each object, where the labels are objects.
    overlap : int
        How many pixels several sources claimed.
    """

    labels: npt.NDArray[Any]
    classes: dict[int, str]
    class_of: dict[int, int] = field(default_factory=dict)
    overlap: int = 0


def check_same_shape(sources: Sequence[MergeSource], least: int = 1) -> None:
    """Raise unless there are sources and they have the same shape.

    Raises
    ------
    MaskError
        With the two shapes.
    """
    if len(sources) < least:
        few = "one layer" if least == 1 else f"{least} layers"
        raise MaskError(f"Choose at least {few}.", "Tick the boxes in the list.")
    first = sources[0]
    for source in sources[1:]:
        if source.labels.shape != first.labels.shape:
            raise MaskError(
                f"Layer shape mismatch: “{source.name}” has {tuple(source.labels.shape)}, "
                f"“{first.name}” has {tuple(first.labels.shape)}.",
                "Choose layers of the same size.",
            )


def shared_value(sources: Sequence[MergeSource]) -> tuple[int, list[str]] | None:
    """Return a class value that several classes have, and their names; None if there is none."""
    names: dict[int, dict[str, None]] = defaultdict(dict)
    for source in sources:
        for value, name in source.classes.names.items():
            names[value][name] = None
    return next(((value, list(known)) for value, known in names.items() if len(known) > 1), None)


def _iter_blocks(sources: Sequence[MergeSource], message: str, reporter: Reporter) -> Iterator[Box]:
    """Yield boxes that cover the labels, of as many pixels as are worked on at once."""
    labels = sources[0].labels
    boxes = split_blocks(labels, whole_box(labels.shape))
    for done, box in enumerate(boxes):
        reporter.report(Progress(done, len(boxes), message))
        yield box


def _count_coverage(sources: Sequence[MergeSource], box: Box) -> npt.NDArray[np.uint16]:
    """Return by how many sources each pixel of a box is covered."""
    count = np.zeros(box_shape(box), np.uint16)
    for source in sources:
        count += _pixels(source, box) != 0
    return count


def count_overlap(sources: Sequence[MergeSource], reporter: Reporter | None = None) -> int:
    """Return how many pixels are covered by more than one source.

    Raises
    ------
    MaskError
        If their shapes differ.
    """
    check_same_shape(sources)
    boxes = _iter_blocks(sources, "Counting the overlap", reporter or NullReporter())
    return sum(int(np.count_nonzero(_count_coverage(sources, box) > 1)) for box in boxes)


def overlap_map(
    sources: Sequence[MergeSource], reporter: Reporter | None = None
) -> npt.NDArray[np.uint16]:
    """Return by how many sources each pixel is covered, where more than one, else 0.

    Raises
    ------
    MaskError
        If there are fewer than two sources, their shapes differ, or nothing overlaps.
    """
    check_same_shape(sources, 2)
    result = np.zeros(sources[0].labels.shape, np.uint16)
    overlap = False
    for box in _iter_blocks(sources, "Counting the overlap", reporter or NullReporter()):
        count = _count_coverage(sources, box)
        count[count == 1] = 0
        overlap |= bool(count.any())
        result[box] = count
    if not overlap:
        raise MaskError("No overlap found in the selected label layers.")
    return result


def merge_by_class(sources: Sequence[MergeSource], reporter: Reporter | None = None) -> MergeResult:
    """Return labels in which each source's pixels hold its class value; later ones are on top.

    A source without a class counts as class 1.

    Raises
    ------
    MaskError
        If the shapes differ.
    """
    check_same_shape(sources)
    result = np.zeros(sources[0].labels.shape, np.uint32)
    values = [source.classes.every or 1 for source in sources]
    for value in values:
        check_fits(value, result.dtype)
    overlap = 0
    for box in _iter_blocks(sources, "Merging", reporter or NullReporter()):
        piece = result[box]
        claimed = np.zeros(piece.shape, np.uint16)
        for source, value in zip(sources, values, strict=True):
            mask = _pixels(source, box) != 0
            piece[mask] = value
            claimed += mask
        overlap += int(np.count_nonzero(claimed > 1))
    classes = {
        value: source.classes.names.get(value, source.name)
        for source, value in zip(sources, values, strict=True)
    }
    return MergeResult(result, classes, overlap=overlap)


def merge(
    sources: Sequence[MergeSource],
    mode: MergeMode,
    rule: OverlapRule,
    connectivity: Connectivity = Connectivity.FACES,
    reporter: Reporter | None = None,
    *,
    apart: Sequence[int] = (),
) -> MergeResult:
    """Return the final labels.

    Parameters
    ----------
    sources : sequence of MergeSource
        In the order of their priority.
    mode : MergeMode
        Semantic: class values (a source's own values where it has no class value). Instance:
        each component of each label of each source is an object of its own, numbered from 1,
        also where objects touch; those of which no class is known are of one. Where labels are
        objects, the largest component of a label in each frame is one object with those of the
        other frames, as a track is. Binary: 1.
    rule : OverlapRule
        Who gets a pixel that several sources claim. With LARGER and SMALLER the component with
        more, or fewer, pixels; the earlier source where they are equal.
    connectivity : Connectivity
        Which neighbours belong to the same component.
    reporter : Reporter, optional
        Receives the progress.
    apart : sequence of int
        The axes along which components end with each place, such as time.

    Raises
    ------
    MaskError
        If the shapes differ.
    """
    reporter = reporter or NullReporter()
    check_same_shape(sources)
    if mode is MergeMode.INSTANCE:
        sources = _give_class(sources)
    by_area = rule in (OverlapRule.LARGER, OverlapRule.SMALLER)
    numbered: list[_Numbered] = []
    objects = 0
    for source in sources:
        parts = found = None
        if mode is MergeMode.INSTANCE or by_area:
            parts = find_components(source.labels, connectivity, reporter=reporter, apart=apart)
        if parts is not None and mode is MergeMode.INSTANCE:
            found = parts if source.classes.is_semantic else _join_tracks(parts, apart)
        numbered.append(_Numbered(source, parts, found, objects))
        objects += 0 if found is None else len(found)
    result = np.zeros(sources[0].labels.shape, np.uint8 if mode is MergeMode.BINARY else np.uint32)
    overlap = 0
    for box in _iter_blocks(sources, "Merging", reporter):
        piece, claimed = _merge_block(numbered, box, rule)
        overlap += int(np.count_nonzero(claimed > 1))
        result[box] = piece != 0 if mode is MergeMode.BINARY else piece
    if mode is MergeMode.BINARY:
        return MergeResult(result, {1: "foreground"}, overlap=overlap)
    classes = {value: name for one in numbered for value, name in one.classes.items()}
    if mode is MergeMode.SEMANTIC:
        return MergeResult(result, classes, overlap=overlap)
    class_of = [value for one in numbered for value in one.class_of()]
    kept = _renumber(result, len(class_of))
    renamed = {new: class_of[int(old) - 1] for new, old in enumerate(kept, 1)}
    return MergeResult(result, classes, renamed, overlap)


def _merge_block(
    numbered: Sequence[_Numbered], box: Box, rule: OverlapRule
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint16]]:
    """Return the merged pixels of a box, and how many sources claim each."""
    shape = box_shape(box)
    by_area = rule in (OverlapRule.LARGER, OverlapRule.SMALLER)
    result, claimed = np.zeros(shape, np.uint32), np.zeros(shape, np.uint16)
    best = np.zeros(shape if by_area else (0,), np.int64)
    for one in numbered:
        labels = one.read(box)
        mine = labels != 0
        if by_area:
            areas = one.areas(box)
            better = areas > best if rule is OverlapRule.LARGER else areas < best
            wins = mine & ((claimed == 0) | better)
            best[wins] = areas[wins]
        else:
            wins = mine & (claimed == 0)
        result[wins] = labels[wins]
        claimed += mine
    if rule is OverlapRule.BACKGROUND:
        result[claimed > 1] = 0
    return result, claimed


def _give_class(sources: Sequence[MergeSource]) -> list[MergeSource]:
    """Return the sources, those without a class with one that no other has."""
    taken = {value for source in sources for value in source.classes.names}
    free = next(value for value in itertools.count(1) if value not in taken)
    unknown = Classes({free: ANY_CLASS}, every=free)
    return [
        source if source.classes.names else replace(source, classes=unknown) for source in sources
    ]


def _join_tracks(components: Components, apart: Sequence[int]) -> Components:
    """Return components of which the largest one of a label in each place is one object."""
    label = np.unique(components.values, return_inverse=True)[1]
    places = components.lows[:, list(apart)]
    keys = np.column_stack([label, places])
    order = np.lexsort((-components.areas, *places.T[::-1], label))
    is_largest = np.ones(order.size, bool)
    is_largest[1:] = (keys[order[1:]] != keys[order[:-1]]).any(axis=1)
    largest = order[is_largest]
    same = label[largest[1:]] == label[largest[:-1]]
    return join_components(components, largest[:-1][same], largest[1:][same])


class _Numbered:
    """What the pixels of a source shall hold, block by block.

    Parameters
    ----------
    source : MergeSource
        The source.
    parts : Components or None
        Its components, where they are needed.
    found : Components or None
        Its objects; None where its pixels are to hold classes.
    before : int
        How many objects the sources before it have.
    """

    def __init__(
        self,
        source: MergeSource,
        parts: Components | None,
        found: Components | None,
        before: int,
    ) -> None:
        self.classes: dict[int, str] = {}
        self._source, self._parts, self._found, self._before = source, parts, found, before
        if parts is not None:
            self._look_up(np.unique(parts.values))

    def read(self, box: Box) -> npt.NDArray[Any]:
        """Return what the pixels of a box shall hold."""
        if self._found is not None:
            first = self._before + 1
            ids = np.arange(first, first + len(self._found), dtype=np.uint32)
            return self._found.image(ids, box)
        labels = _pixels(self._source, box)
        values = np.unique(labels[labels != 0])
        mapped: npt.NDArray[Any] = map_array(labels, values, self._look_up(values))
        return mapped

    def areas(self, box: Box) -> npt.NDArray[np.int64]:
        """Return of each pixel of a box how large the component is that it belongs to."""
        assert self._parts is not None
        return self._parts.image(self._parts.areas, box)

    def class_of(self) -> list[int]:
        """Return the class of each object."""
        assert self._found is not None
        return [_class_of(self._source, label) for label in self._found.values.tolist()]

    def _look_up(self, values: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
        """Return the classes of labels, and note their names."""
        found = [_class_of(self._source, value) for value in values.tolist()]
        for value in found:
            check_fits(value, np.uint32)
            self.classes.setdefault(value, self._source.classes.names.get(value, f"class {value}"))
        return np.array(found, np.uint32)


def _class_of(source: MergeSource, label: int) -> int:
    """Return the class of a label: itself where nothing is known."""
    return source.classes.value(label) if source.classes.names else label


def _renumber(labels: npt.NDArray[np.uint32], count: int) -> npt.NDArray[np.intp]:
    """Give the objects that are left numbers without gaps; returns those that they had."""
    boxes = split_blocks(labels, whole_box(labels.shape))
    there = np.zeros(count + 1, bool)
    for box in boxes:
        there[labels[box]] = True
    kept = np.flatnonzero(there[1:]) + 1
    table = np.zeros(count + 1, np.uint32)
    table[kept] = np.arange(1, kept.size + 1)
    for box in boxes:
        labels[box] = table[labels[box]]
    return kept


def _pixels(source: MergeSource, box: Box) -> npt.NDArray[Any]:
    labels = read(source.labels, box)
    return labels.view(np.uint8) if labels.dtype == bool else labels


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
        np.array([[getattr(side, end) for side in box] for box, _ in objects])
        for end in ("start", "stop")
    )
    blocks = split_blocks(labels, union_box(box for box, _ in objects))
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
                box, mask = objects[place]
                both = _intersect(box, block)
                there = localise_box(both, block)
                room = empty[there]
                if place in request.own:
                    mine = there_are[there] == request.own[place]
                    before[there][mine] = place + 1
                    had[place + 1] += np.count_nonzero(mine)
                    room = room | mine
                pixels = mask[localise_box(both, box)] & room
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
    values = (tuple(of[1:][list(places)].tolist()) for of in (ids, areas))
    return AcceptedObjects(edit, tuple(places), *values)


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
    alone, new = len(objects) == 1, []
    for place, (box, mask) in enumerate(objects):
        reporter.report(Progress(place, len(objects), "Looking for what is new"))
        empty = whole = 0
        for block in split_blocks(labels, box):
            pixels = mask[localise_box(block, box)]
            whole += int(np.count_nonzero(pixels))
            empty += int(np.count_nonzero(pixels & (read(labels, block) == 0)))
            if alone and empty:
                break
        if empty and (alone or 2 * empty >= whole):
            new.append(place)
    return new


def _intersect(first: Box, second: Box) -> Box:
    return tuple(
        slice(max(a.start, b.start), min(a.stop, b.stop))
        for a, b in zip(first, second, strict=True)
    )
