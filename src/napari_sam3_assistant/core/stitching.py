"""Objects of overlapping tiles put together in one plane of labels.

What two tiles have in common, both have seen. An object is the same in both where its pixels in
that shared band are the same, up to the engine's doubt; that it touches another one says nothing.
Of the same object seen twice the view is kept that was not cut by its tile's edge, and two cut
views are joined.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, overload

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.core.regions import Region

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import numpy.typing as npt

    from napari_sam3_assistant.core.results import ObjectRecord
    from napari_sam3_assistant.core.tiling import TileGrid


class LabelPlane(Protocol):
    """A plane of labels that is read and written in pieces, such as a NumPy or zarr array."""

    def __getitem__(self, key: tuple[slice, slice], /) -> object:
        """Return the labels of a piece."""

    def __setitem__(self, key: tuple[slice, slice], value: npt.NDArray[np.uint32], /) -> None:
        """Write the labels of a piece."""


@dataclass(frozen=True, slots=True)
class StitchedObject:
    """An object of a whole plane, of a scan or a frame, without its mask: that is in the labels.

    Parameters
    ----------
    id : int
        Its value in the labels.
    area : int
        Number of pixels.
    region : Region
        A box that holds it, in plane coordinates.
    score : float or None
        The highest score of its parts.
    text : str
        The phrase that found it.
    class_name : str
        The class that it is of, by its name in the project's list; empty for none.
    parent : int
        Of an object that was followed through time, the one that divided into it and others; 0 for
        none.
    stability : float or None
        How firm its outline is, 0 to 1, where the engine says so; the highest of its parts.
    """

    id: int
    area: int
    region: Region
    score: float | None = None
    text: str = ""
    class_name: str = ""
    parent: int = 0
    stability: float | None = None


_ROW = np.dtype(
    [
        ("id", np.int64),
        ("area", np.int64),
        ("box", np.int64, 4),
        ("score", np.float64),
        ("stability", np.float64),
        ("phrase", np.int32),
    ]
)
_BLOCK = 4096  # rows that are made into objects at a time


class StitchedObjects(Sequence[StitchedObject]):
    """The objects of a plane in the order of their ids, each made as it is asked for.

    Kept as rows of numbers, of which a multiple fits into the memory that the objects would take.

    Parameters
    ----------
    rows : ndarray, shape (N,), structured
        Id, area, box, score, stability (NaN for none) and phrase of each.
    phrases : sequence of str
        The phrases that the rows name by their place here.
    """

    def __init__(self, rows: npt.NDArray[np.void], phrases: Sequence[str]) -> None:
        self._rows, self._phrases = rows, tuple(phrases)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> StitchedObject: ...

    @overload
    def __getitem__(self, place: slice) -> StitchedObjects: ...

    def __getitem__(self, place: int | slice) -> StitchedObject | StitchedObjects:
        """Return the object at a place, or those of a slice."""
        if isinstance(place, slice):
            return StitchedObjects(self._rows[place], self._phrases)
        return self._make(*self._rows[place].tolist())

    def __iter__(self) -> Iterator[StitchedObject]:
        """Yield the objects."""
        for start in range(0, len(self), _BLOCK):
            for row in self._rows[start : start + _BLOCK].tolist():
                yield self._make(*row)

    def __eq__(self, other: object) -> bool:
        """Return whether others are the same objects in the same order."""
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(map(operator.eq, self, other))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{len(self)} objects>"

    def _make(
        self,
        id_: int,
        area: int,
        box: Iterable[int],
        score: float,
        stability: float,
        phrase: int,
    ) -> StitchedObject:
        known, firm = (None if math.isnan(value) else value for value in (score, stability))
        text = self._phrases[phrase]
        return StitchedObject(id_, area, Region(*map(int, box)), known, text, stability=firm)


@dataclass(slots=True, eq=False)
class _Object:
    """An object as it is known so far."""

    id: int
    score: float | None
    text: str
    area: int  # of its only part, while that is untouched
    stability: float | None
    parts: list[Region] = field(default_factory=list)
    painted: int = 0
    touched: bool = False
    joined: _Object | None = None  # the object that has its pixels now


@dataclass(slots=True, eq=False)
class _Part:
    """What one tile saw of an object."""

    tile: Region
    record: ObjectRecord
    object: _Object
    until: int  # number of the last tile that sees some of it


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """A part and an object of a new tile that share pixels."""

    part: _Part
    overlap: TileOverlap


def _higher(first: float | None, second: float | None) -> float | None:
    """Return the higher of two values, of which there may be none."""
    return max((value for value in (first, second) if value is not None), default=None)


class Stitcher:
    """Puts the objects of tiles into one plane of labels, tile by tile in the grid's order.

    Only the parts that a later tile sees are kept, so memory grows with a row of tiles and not
    with the plane; of an object that no later tile sees a row of numbers. Ids count up from 1;
    those of joined parts leave gaps.

    Parameters
    ----------
    labels : LabelPlane
        Where the labels are written; all 0 at first.
    grid : TileGrid
        The tiles.
    """

    def __init__(self, labels: LabelPlane, grid: TileGrid) -> None:
        self._labels = labels
        self._grid = grid
        self._open: list[_Part] = []
        self._objects: dict[int, _Object] = {}  # that a later tile may still see
        self._closed = bytearray()  # the rows of all others
        self._phrases: dict[str, int] = {}
        self._next_id = 1

    def __len__(self) -> int:
        return len(self._closed) // _ROW.itemsize + len(self._objects)

    def objects(self) -> StitchedObjects:
        """Return the objects so far, in the order of their ids."""
        still_open = self._rows(self._objects.values()).tobytes()
        rows = np.frombuffer(bytes(self._closed) + still_open, _ROW)
        return StitchedObjects(rows[np.argsort(rows["id"])], tuple(self._phrases))

    def _rows(self, objects: Iterable[_Object]) -> npt.NDArray[np.void]:
        """Return what is kept of objects."""
        return np.array(
            [
                (
                    record.id,
                    record.painted if record.touched else record.area,
                    _union_of(record.parts).box,
                    math.nan if record.score is None else record.score,
                    math.nan if record.stability is None else record.stability,
                    self._phrases.setdefault(record.text, len(self._phrases)),
                )
                for record in objects
            ],
            _ROW,
        )

    def _close(self) -> None:
        """Keep a row of each object that no later tile sees."""
        seen = {part.object.id for part in self._open}
        done = [self._objects.pop(id_) for id_ in self._objects.keys() - seen]
        self._closed += self._rows(done).tobytes()

    def end_plane(self) -> int:
        """End the plane; its last id is returned, and those of another one go on from there."""
        self._open = []
        self._close()
        return self._next_id - 1

    def add(self, number: int, records: Sequence[ObjectRecord]) -> None:
        """Put the objects of the next tile into the plane.

        Parameters
        ----------
        number : int
            The tile's number in the grid; each one once, in order.
        records : sequence of ObjectRecord
            Its objects in plane coordinates, in the order in which they are painted.
        """
        tile = self._grid[number]
        near = _overlapping_boxes(records, [part.record for part in self._open])
        pairs = [
            self._pairs(record, tile, np.flatnonzero(places))
            for record, places in zip(records, near, strict=True)
        ]
        pairs = self._erase_fragments(_match_partners(pairs))
        owners = [
            self._find_owner(record, found) for record, found in zip(records, pairs, strict=True)
        ]
        # A later record may have joined the object of an earlier one to its own.
        owners = [None if owner is None else _latest_owner(owner) for owner in owners]
        self._paint(tile, records, pairs, owners)
        self._open = [part for part in self._open if part.until > number]
        for record, owner in zip(records, owners, strict=True):
            until = max(self._grid.find_touching(record.region))
            if owner is not None and until > number:
                self._open.append(_Part(tile, record, owner, until))
        self._close()

    def _pairs(
        self, record: ObjectRecord, tile: Region, places: npt.NDArray[np.intp]
    ) -> list[_Pair]:
        """Compare a record with the open parts at some places."""
        found = []
        for place in places:
            part = self._open[place]
            views = match_across_tiles(part.record, part.tile, record, tile)
            if views is not None:
                found.append(_Pair(part, views))
        return found

    def _erase_fragments(self, pairs: list[list[_Pair]]) -> list[list[_Pair]]:
        """Erase what was a cut piece of a new, whole object, and forget its pairs."""
        known = {id(pair.part) for found in pairs for pair in found if pair.overlap.same}
        gone: dict[int, _Part] = {}
        for pair in (pair for found in pairs for pair in found):
            piece = (
                pair.overlap.old_cut and not pair.overlap.new_cut and pair.overlap.of_old > FRAGMENT
            )
            if piece and id(pair.part) not in known:
                gone[id(pair.part)] = pair.part
        for part in gone.values():
            self._erase(part)
        return [[pair for pair in found if id(pair.part) not in gone] for found in pairs]

    def _find_owner(self, record: ObjectRecord, pairs: list[_Pair]) -> _Object | None:
        """Return the object that a record belongs to; None if it is not to be painted."""
        same = [pair for pair in pairs if pair.overlap.same]
        if not same:
            if any(
                pair.overlap.new_cut and not pair.overlap.old_cut and pair.overlap.of_new > FRAGMENT
                for pair in pairs
            ):
                return None
            owner = _Object(self._next_id, record.score, record.text, record.area, record.stability)
            self._next_id += 1
            self._objects[owner.id] = owner
            return owner
        owners = sorted({pair.part.object.id: pair.part.object for pair in same}.items())
        first = owners[0][1]
        self._objects[first.id] = first
        for _, other in owners[1:]:
            self._join(first, other)
        first.score = _higher(first.score, record.score)
        first.stability = _higher(first.stability, record.stability)
        # Where an earlier tile saw it whole, or both did, this is a second view of the same.
        seen_whole = any(not pair.overlap.old_cut for pair in same)
        return None if seen_whole else first

    def _join(self, first: _Object, other: _Object) -> None:
        """Give one object's pixels to another one."""
        for region in dict.fromkeys(other.parts):
            piece = np.array(self._labels[region.slices])
            piece[piece == other.id] = first.id
            self._labels[region.slices] = piece
        first.parts += other.parts
        first.painted += other.painted
        first.touched = True
        first.score = _higher(first.score, other.score)
        first.stability = _higher(first.stability, other.stability)
        for part in self._open:
            if part.object is other:
                part.object = first
        other.joined = first
        self._objects.pop(other.id, None)

    def _erase(self, part: _Part) -> None:
        """Take a part out of the plane."""
        owner, region = part.object, part.record.region
        piece = np.array(self._labels[region.slices])
        mask = part.record.mask & (piece == owner.id)
        piece[mask] = 0
        self._labels[region.slices] = piece
        owner.painted -= int(np.count_nonzero(mask))
        owner.touched = True
        if owner.painted <= 0:
            self._objects.pop(owner.id, None)
        self._open = [kept for kept in self._open if kept is not part]

    def _paint(
        self,
        tile: Region,
        records: Sequence[ObjectRecord],
        pairs: Sequence[Sequence[_Pair]],
        owners: Sequence[_Object | None],
    ) -> None:
        if not any(owners):
            return
        labels = np.array(self._labels[tile.slices], np.uint32)
        for owner, found in zip(owners, pairs, strict=True):
            for pair in found if owner is not None else ():
                if pair.overlap.same and not pair.overlap.new_cut:
                    _take_over(labels, tile, pair)
        # The last record lies on top, so it takes what is free first.
        for record, owner in zip(reversed(records), reversed(owners), strict=True):
            if owner is None:
                continue
            piece = labels[record.region.localise(tile).slices]
            free = record.mask & (piece == 0)
            piece[free] = owner.id
            owner.painted += int(np.count_nonzero(free))
        for record, owner in zip(records, owners, strict=True):
            if owner is not None:
                owner.touched |= bool(owner.parts)
                owner.parts.append(record.region)
        self._labels[tile.slices] = labels


def _overlapping_boxes(
    records: Sequence[ObjectRecord], others: Sequence[ObjectRecord]
) -> npt.NDArray[np.bool_]:
    """Return which boxes overlap, shape (records, others)."""
    boxes, other = (
        np.array([record.region.box for record in some], np.int64).reshape(-1, 4).T
        for some in (records, others)
    )
    (y0, x0, y1, x1), (top, left, bottom, right) = boxes[:, :, None], other
    meeting: npt.NDArray[np.bool_] = (top < y1) & (bottom > y0) & (left < x1) & (right > x0)
    return meeting


def _match_partners(pairs: list[list[_Pair]]) -> list[list[_Pair]]:
    """Take likely pairs for the same object where neither of the two has a sure partner."""
    taken = {id(pair.part) for found in pairs for pair in found if pair.overlap.same}
    answer = []
    for found in pairs:
        alone = [pair for pair in found if pair.overlap.likely and id(pair.part) not in taken]
        if alone and not any(pair.overlap.same for pair in found):
            best = max(alone, key=lambda pair: pair.overlap.of_old + pair.overlap.of_new)
            taken.add(id(best.part))
            sure = _Pair(best.part, replace(best.overlap, same=True))
            answer.append([sure if pair is best else pair for pair in found])
        else:
            answer.append(found)
    return answer


def _take_over(labels: npt.NDArray[np.uint32], tile: Region, pair: _Pair) -> None:
    """Erase the cut view of an object where the tile has seen the whole of it."""
    record, owner = pair.part.record, pair.part.object
    shared = record.region.intersect(pair.overlap.band)
    piece = labels[shared.localise(tile).slices]
    mask = record.mask[shared.localise(record.region).slices] & (piece == owner.id)
    piece[mask] = 0
    owner.painted -= int(np.count_nonzero(mask))
    owner.touched = True


def _latest_owner(owner: _Object) -> _Object:
    while owner.joined is not None:
        owner = owner.joined
    return owner


def _union_of(regions: Iterable[Region]) -> Region:
    first, *others = regions
    for region in others:
        first = first.union(region)
    return first


SAME = 0.5
"""Objects are the same above this intersection over union in the shared band; disjoint objects
of one tile can then not both be the same as one of the other tile."""
FRAGMENT = 0.5
"""A cut object of which more than this share lies in a whole one is a piece of it."""
LIKELY = 0.75
"""Objects of which one has more than this share of its pixels in the band inside the other may be
two rough views of one; they are, where neither has a better partner."""
EDGE = 2
"""Masks that end this near a tile's edge, in pixels, are taken as cut by it."""


@dataclass(frozen=True, slots=True)
class TileOverlap:
    """How two tiles' objects go together that share pixels.

    Parameters
    ----------
    band : Region
        What both tiles have seen.
    same : bool
        Whether they are one object.
    likely : bool
        Whether they may be one object, if neither has a better partner.
    old_cut, new_cut : bool
        Whether the object ends at an edge of its tile that lies inside the other tile.
    of_old, of_new : float
        The pixels that both share, as a share of the object's own.
    """

    band: Region
    same: bool
    likely: bool
    old_cut: bool
    new_cut: bool
    of_old: float
    of_new: float


def match_across_tiles(
    old_record: ObjectRecord, old_tile: Region, new_record: ObjectRecord, new_tile: Region
) -> TileOverlap | None:
    """Return how an object of one tile and one of another go together.

    Parameters
    ----------
    old_record, new_record : ObjectRecord
        The objects, in plane coordinates.
    old_tile, new_tile : Region
        The tiles that they were found in.

    Returns
    -------
    TileOverlap or None
        None if they share no pixel.
    """
    band = old_tile.intersect(new_tile)
    frame = old_record.region.union(new_record.region).intersect(band)
    if frame.is_empty:
        return None
    old, new = _crop_to(old_record, frame), _crop_to(new_record, frame)
    shared = int(np.count_nonzero(old & new))
    if not shared:
        return None
    of_old, of_new = shared / old_record.area, shared / new_record.area
    old_ends, new_ends = (
        _find_cut_edges(old_tile, new_tile, frame),
        _find_cut_edges(new_tile, old_tile, frame),
    )
    # A few stray pixels at the same place in two masks do not make these one object.
    counts = None if max(of_old, of_new) > SAME else old_ends | new_ends
    at_end = counts is None or bool((counts & (old | new)).any())
    smaller = min(int(np.count_nonzero(old)), int(np.count_nonzero(new)))
    return TileOverlap(
        band,
        same=_is_same(old, new, counts),
        likely=at_end and shared > LIKELY * smaller,
        old_cut=bool((old & old_ends).any()),
        new_cut=bool((new & new_ends).any()),
        of_old=of_old,
        of_new=of_new,
    )


def _crop_to(record: ObjectRecord, frame: Region) -> npt.NDArray[np.bool_]:
    """Return a record's mask, cut and padded to a frame."""
    mask = np.zeros(frame.shape, bool)
    kept = record.region.intersect(frame)
    if not kept.is_empty:
        mask[kept.localise(frame).slices] = record.mask[kept.localise(record.region).slices]
    return mask


def _find_cut_edges(tile: Region, other: Region, frame: Region) -> npt.NDArray[np.bool_]:
    """Return the pixels of a frame that lie at edges of a tile inside another tile."""
    ends = np.zeros(frame.shape, bool)
    rows = np.arange(frame.y0, frame.y1)
    columns = np.arange(frame.x0, frame.x1)
    if other.y0 < tile.y0 < other.y1:
        ends[rows < tile.y0 + EDGE] = True
    if other.y0 < tile.y1 < other.y1:
        ends[rows >= tile.y1 - EDGE] = True
    if other.x0 < tile.x0 < other.x1:
        ends[:, columns < tile.x0 + EDGE] = True
    if other.x0 < tile.x1 < other.x1:
        ends[:, columns >= tile.x1 - EDGE] = True
    return ends


def _is_same(
    old: npt.NDArray[np.bool_], new: npt.NDArray[np.bool_], counts: npt.NDArray[np.bool_] | None
) -> bool:
    """Return whether two masks of a band, or a connected piece of each, are the same.

    Pieces are compared because an object that is one in one tile may reach into the band in
    several places, which the other tile can't know to belong together.

    Parameters
    ----------
    old, new : ndarray, shape (h, w), dtype bool
        The masks.
    counts : ndarray, shape (h, w), dtype bool, or None
        Only pieces with a pixel here are compared; None for all.
    """
    if _is_alike(old, new) and (counts is None or (counts & (old | new)).any()):
        return True
    olds, news = (ndi.label(mask, np.ones((3, 3), bool))[0] for mask in (old, new))
    both = old & new
    for first, second in set(zip(olds[both].tolist(), news[both].tolist(), strict=True)):
        mine, theirs = olds == first, news == second
        if _is_alike(mine, theirs) and (counts is None or (counts & (mine | theirs)).any()):
            return True
    return False


def _is_alike(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> bool:
    """Return whether two masks have more than half of their union in common."""
    return int(np.count_nonzero(first & second)) > SAME * int(np.count_nonzero(first | second))
