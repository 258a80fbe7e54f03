"""What a run gives back: objects, labels, and the probabilities of objects."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_sam3_assistant.core.plurals import pluralize
from napari_sam3_assistant.core.regions import Region, bounds_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    import numpy.typing as npt


@dataclass(frozen=True, slots=True, eq=False)
class ObjectRecord:
    """One object, with its own mask, so that overlaps are not lost.

    Parameters
    ----------
    id : int
        The object's value in the labels, from 1.
    mask : ndarray, shape (h, w), dtype bool
        The object's pixels, cropped to ``region``.
    region : Region
        The object's bounding box in the plane.
    score : float or None
        Confidence, 0 to 1, where the engine gives one.
    text : str
        The phrase that found it; empty for other prompts.
    soft : SoftMask or None
        How likely each pixel belongs to it, where the engine says.
    stability : float or None
        Share of its pixels that stay when the cutoff of its logits is moved, 0 to 1, where
        everything was looked for.
    class_name : str
        The class that it is of, by its name in the project's list; empty for none.
    """

    id: int
    mask: npt.NDArray[np.bool_] = field(repr=False)
    region: Region
    score: float | None = None
    text: str = ""
    soft: SoftMask | None = field(default=None, repr=False)
    stability: float | None = None
    class_name: str = ""

    @classmethod
    def from_mask(
        cls,
        id_: int,
        mask: npt.NDArray[np.bool_],
        *,
        offset: tuple[int, int] = (0, 0),
        score: float | None = None,
        text: str = "",
        soft: SoftMask | None = None,
        stability: float | None = None,
        class_name: str = "",
    ) -> ObjectRecord | None:
        """Return a record of a mask, cropped to its bounding box, or None if it is empty.

        Parameters
        ----------
        id_ : int
            Object id, from 1.
        mask : ndarray, shape (h, w), dtype bool
            The object's pixels.
        offset : tuple of int
            Row and column of the mask's first pixel in the plane.
        score : float or None
            Confidence, 0 to 1.
        text : str
            The phrase that found it.
        soft : SoftMask or None
            How likely each pixel belongs to it.
        stability : float or None
            Share of its pixels that stay when its cutoff is moved, 0 to 1.
        class_name : str
            The class that it is of; empty for none.
        """
        crop = Region.around(mask)
        if crop.is_empty:
            return None
        place = crop.shift(*offset)
        return cls(id_, mask[crop.slices].copy(), place, score, text, soft, stability, class_name)

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(np.count_nonzero(self.mask))

    @property
    def centroid(self) -> tuple[float, float]:
        """``(y, x)`` in pixels of the plane; the centre of its first pixel is 0."""
        rows, columns = self.mask.sum(axis=1), self.mask.sum(axis=0)
        y = float(rows @ np.arange(rows.size)) / int(rows.sum())
        x = float(columns @ np.arange(columns.size)) / int(rows.sum())
        return self.region.y0 + y, self.region.x0 + x

    @property
    def bbox(self) -> tuple[int, int, int, int]:
        """``(y0, x0, y1, x1)`` in pixels of the plane, ends exclusive."""
        return self.region.box

    def covers_the_same(self, other: ObjectRecord) -> bool:
        """Return whether it has the pixels of another one, and no others."""
        return self.region == other.region and np.array_equal(self.mask, other.mask)

    def iou(self, other: ObjectRecord) -> float:
        """Return the intersection over the union of its pixels and another one's."""
        both = self.region.intersect(other.region)
        if both.is_empty:
            return 0.0
        shared = np.count_nonzero(
            self.mask[both.localise(self.region).slices]
            & other.mask[both.localise(other.region).slices]
        )
        return float(shared / (self.area + other.area - shared))

    def shift(self, dy: int, dx: int) -> ObjectRecord:
        """Return the object moved by whole pixels."""
        soft = None if self.soft is None else self.soft.shift(dy, dx)
        return replace(self, region=self.region.shift(dy, dx), soft=soft)


@dataclass(frozen=True, slots=True)
class Provenance:
    """What made a result.

    Parameters
    ----------
    engine : str
        The engine's name, such as ``builtin``.
    title : str
        The engine's name for the user.
    version : str
        Version of the package that did the work.
    device : str
        Where it ran: ``cpu``, ``cuda:0``, ``mps``.
    threshold : float
        The detection threshold that was used in the end.
    weights : str
        File name of the weights; empty where there are none.
    phrase : str
        The phrase that was used in the end; empty where there was none.
    precision : str
        The number format of the image encoder, such as ``float32``; empty where it is not known.
    """

    engine: str
    title: str
    version: str
    device: str
    threshold: float
    weights: str = ""
    phrase: str = ""
    precision: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Segmentation:
    """The result of one run on one plane.

    Parameters
    ----------
    labels : ndarray, shape (h, w), dtype uint32
        Object ids of the pixels of ``region``; 0 is background.
    objects : tuple of ObjectRecord
        The objects, in plane coordinates, in the order of their ids.
    region : Region
        The part of the plane that was worked on.
    engine : Provenance
        What made the result.
    notes : tuple of str
        What the user should know about how it came about.
    candidates : tuple of ObjectRecord
        What a single click may mean, a part, the object or a group, from the smallest to the
        largest; in plane coordinates. Empty for other prompts, and where the engine gives none.
    """

    labels: npt.NDArray[np.uint32]
    objects: tuple[ObjectRecord, ...]
    region: Region
    engine: Provenance
    notes: tuple[str, ...] = ()
    candidates: tuple[ObjectRecord, ...] = ()

    def __repr__(self) -> str:
        """Return one line: a notebook shows what a cell ends with."""
        found = pluralize(len(self.objects), "object")
        return f"<Segmentation: {found} in {self.region.box}, by {self.engine.title}>"


def list_candidates(segmentation: Segmentation, id_: int) -> tuple[list[ObjectRecord], int]:
    """Return what an object could be by its click, from the smallest on, and which of them it is.

    The object is one of them, also where it was changed since. There are none for a result without
    candidates, and for an object that is not in it.
    """
    current = next((record for record in segmentation.objects if record.id == id_), None)
    if current is None or not segmentation.candidates:
        return [], -1
    others = [
        candidate for candidate in segmentation.candidates if not candidate.covers_the_same(current)
    ]
    ordered = sorted([*others, current], key=lambda record: record.area)
    return ordered, ordered.index(current)


def replace_object(segmentation: Segmentation, id_: int, chosen: ObjectRecord) -> Segmentation:
    """Return a result with one of its candidates in the place of an object, which becomes one."""
    ordered, _ = list_candidates(segmentation, id_)
    chosen_as = [
        replace(chosen, id=id_, text=record.text, class_name=record.class_name)
        if record.id == id_
        else record
        for record in segmentation.objects
    ]
    labels = paint_labels(chosen_as, segmentation.region)
    return replace(segmentation, objects=tuple(chosen_as), labels=labels, candidates=tuple(ordered))


def apply_edit(
    segmentation: Segmentation, shown: npt.NDArray[np.integer[Any]], edited: tuple[slice, ...]
) -> Segmentation | None:
    """Return a result of which the user has changed pixels; None where nothing has changed.

    Where a pixel has changed, it belongs to the object that is on show there; elsewhere masks stay
    as they are, also where they lie below others. An object that is not touched stays the same
    record. One whose pixels all came from others has the score and phrase of the one that gave
    most.

    Parameters
    ----------
    segmentation : Segmentation
        The result. Its labels are brought up to date in place, for all that share them.
    shown : ndarray of int, shape (h, w)
        The labels of its region as they are now.
    edited : tuple of slice
        Rows and columns of the region in which they may have changed.
    """
    differs = segmentation.labels[edited] != shown[edited]
    if not differs.any():
        return None
    inner = bounds_of(differs)
    rows, columns = (
        slice(outer.start + side.start, outer.start + side.stop)
        for outer, side in zip(edited, inner, strict=True)
    )
    part = Region(rows.start, columns.start, rows.stop, columns.stop).globalise(segmentation.region)
    change = _Change(
        part,
        differs[inner],
        segmentation.labels[rows, columns].copy(),
        shown[rows, columns].astype(np.uint32),
    )
    segmentation.labels[rows, columns] = change.after
    records = {record.id: record for record in segmentation.objects}
    grown = change.regions()
    objects = [
        change.apply(id_, records, grown.get(id_)) for id_ in sorted(records.keys() | grown.keys())
    ]
    kept = tuple(record for record in objects if record is not None)
    return replace(segmentation, objects=kept)


@dataclass(frozen=True, slots=True, eq=False)
class _Change:
    """Pixels of a part of a plane that have changed, and the labels before and after."""

    part: Region
    differs: npt.NDArray[np.bool_]
    before: npt.NDArray[np.uint32]
    after: npt.NDArray[np.uint32]

    def regions(self) -> dict[int, Region]:
        """Return by object the region of the pixels that it has got."""
        ids, places = np.unique(self.after[self.differs], return_inverse=True)
        numbers = np.zeros(self.differs.shape, np.int32)
        numbers[self.differs] = places.reshape(-1) + 1
        return {
            int(id_): Region(y.start, x.start, y.stop, x.stop).globalise(self.part)
            for id_, (y, x) in zip(ids, ndimage.find_objects(numbers), strict=True)
            if id_
        }

    def apply(
        self, id_: int, records: Mapping[int, ObjectRecord], grown: Region | None
    ) -> ObjectRecord | None:
        """Return an object as it is now; None if nothing is left of it."""
        old = records.get(id_)
        regions = [] if old is None else [old.region]
        regions += [] if grown is None else [grown]
        region = regions[0].union(regions[-1])
        touched = region.intersect(self.part)
        if touched.is_empty:
            return old
        mask = np.zeros(region.shape, bool)
        if old is not None:
            mask[old.region.localise(region).slices] = old.mask
        here, local = mask[touched.localise(region).slices], touched.localise(self.part).slices
        belongs, differs = self.after[local] == id_, self.differs[local]
        if old is not None and np.array_equal(here[differs], belongs[differs]):
            return old
        here[differs] = belongs[differs]
        source = old
        if old is None or not (mask[old.region.localise(region).slices] & old.mask).any():
            givers = self.before[local][differs & belongs]
            ids, counts = np.unique(givers[givers > 0], return_counts=True)
            source = records.get(int(ids[counts.argmax()])) if ids.size else None
        return _copy_known(source, id_, mask, region)


def _copy_known(
    source: ObjectRecord | None, id_: int, mask: npt.NDArray[np.bool_], region: Region
) -> ObjectRecord | None:
    """Return an object of a mask of which the same is known as of another one; None if empty."""
    record = ObjectRecord.from_mask(id_, mask, offset=(region.y0, region.x0))
    if record is None or source is None:
        return record
    return replace(
        record,
        score=source.score,
        text=source.text,
        stability=source.stability,
        class_name=source.class_name,
    )


def set_class(
    segmentation: Segmentation, class_name: str, ids: Collection[int] | None = None
) -> Segmentation:
    """Return a result with objects of another class: those of some ids, or all that have none.

    Pixels and masks are shared, so what was measured of the objects still holds.
    """
    objects = tuple(
        replace(record, class_name=class_name)
        if (not record.class_name if ids is None else record.id in ids)
        else record
        for record in segmentation.objects
    )
    return replace(segmentation, objects=objects)


def drop_objects(segmentation: Segmentation, ids: Collection[int]) -> Segmentation:
    """Return a result without some of its objects; what lay below them is seen again."""
    return put_objects(segmentation, _take(segmentation, *ids), ())


def merge_objects(segmentation: Segmentation, id_: int, other: ObjectRecord) -> Segmentation:
    """Return a result in which an object has the pixels of another one, too.

    Score, phrase and soft mask stay those of the object. The other one may be of another result of
    the plane; where it lies beyond this one, its region grows.
    """
    (found,) = _take(segmentation, id_)
    region = found.region.union(other.region)
    mask = np.zeros(region.shape, bool)
    for record in (found, other):
        mask[record.region.localise(region).slices] |= record.mask
    if not segmentation.region.covers(other.region):
        whole = segmentation.region.union(other.region)
        segmentation = replace(
            segmentation, region=whole, labels=paint_labels(segmentation.objects, whole)
        )
    return put_objects(segmentation, (found, other), (replace(found, mask=mask, region=region),))


def split_object(
    segmentation: Segmentation, id_: int, labels: npt.NDArray[np.integer[Any]]
) -> Segmentation:
    """Return a result in which an object is several, given the labels of its pixels.

    Parameters
    ----------
    segmentation : Segmentation
        The result.
    id_ : int
        The object.
    labels : ndarray of int, shape (h, w)
        The number of the part that each pixel of the object's region is of; 0 beside it.
    """
    (whole,) = _take(segmentation, id_)
    parts = (
        _copy_known(whole, int(part), labels == part, whole.region)
        for part in np.unique(labels[labels > 0])
    )
    return put_objects(segmentation, (whole,), [part for part in parts if part is not None])


def _take(segmentation: Segmentation, *ids: int) -> list[ObjectRecord]:
    there = {record.id: record for record in segmentation.objects}
    return [there[id_] for id_ in ids]


def put_objects(
    segmentation: Segmentation, removed: Sequence[ObjectRecord], added: Sequence[ObjectRecord]
) -> Segmentation:
    """Return a result with other objects in the place of some; only where they lie is painted."""
    gone = set(removed)
    kept = [record for record in segmentation.objects if record not in gone]
    objects = tuple(sorted((*kept, *added), key=lambda record: record.id))
    labels = segmentation.labels.copy()
    for record in (*removed, *added):
        part = record.region.intersect(segmentation.region)
        if not part.is_empty:
            labels[part.localise(segmentation.region).slices] = paint_labels(objects, part)
    return replace(segmentation, objects=objects, labels=labels)


def paint_labels(objects: Iterable[ObjectRecord], region: Region) -> npt.NDArray[np.uint32]:
    """Return the labels of a region; where objects overlap, the later one is on top.

    Parameters
    ----------
    objects : iterable of ObjectRecord
        Objects in plane coordinates.
    region : Region
        The part of the plane to paint.

    Returns
    -------
    ndarray, shape (h, w), dtype uint32
        Object ids; 0 is background.
    """
    labels = np.zeros(region.shape, np.uint32)
    top, left = region.y0, region.x0
    for record in objects:
        box, mask = record.region, record.mask
        # Of ten thousand objects that lie within, a cut of each would take longer than the paint.
        if box.y0 < top or box.x0 < left or box.y1 > region.y1 or box.x1 > region.x1:
            box = box.intersect(region)
            mask = mask[box.localise(record.region).slices]
        labels[box.y0 - top : box.y1 - top, box.x0 - left : box.x1 - left][mask] = record.id
    return labels


FLOOR = 1 / 512
"""Probabilities below it are kept as 0."""
_LOWEST_LOGIT = float(np.log(FLOOR / (1 - FLOOR)))
_BAND_PIXELS = 1 << 22


@dataclass(frozen=True, slots=True, eq=False)
class SoftMask:
    """How likely each pixel belongs to one object, in the model's low resolution.

    A mask of 288 x 288 values takes at most 166 kB; made large for a plane of 2048 x 2048 pixels
    it takes 50 times as much. So it is kept small, and cut to where it is not 0.

    Parameters
    ----------
    values : ndarray, shape (h, w), dtype float16
        Logits or probabilities: a part of the model's grid.
    first : tuple of int
        Row and column of the part's first value in the grid.
    grid : tuple of int
        Rows and columns of the whole grid.
    area : Region
        The pixels of the plane that the whole grid covers.
    clip : Region
        The pixels that the object may cover.
    logits : bool
        Whether the values are logits. They are enlarged as they are, as the model does, and made
        probabilities then.
    """

    values: npt.NDArray[np.float16]
    first: tuple[int, int]
    grid: tuple[int, int]
    area: Region
    clip: Region
    logits: bool

    @classmethod
    def crop(
        cls,
        values: npt.NDArray[np.floating[Any]],
        area: Region,
        *,
        logits: bool,
        clip: Region | None = None,
    ) -> SoftMask | None:
        """Return a mask cut to where it is not 0, or None where it is 0 everywhere.

        Parameters
        ----------
        values : ndarray, shape (h, w), dtype float
            Logits or probabilities.
        area : Region
            The pixels of the plane that they cover.
        logits : bool
            Whether they are logits.
        clip : Region, optional
            The pixels that the object may cover.
        """
        seen = Region.around(values > (_LOWEST_LOGIT if logits else FLOOR))
        if seen.is_empty:
            return None
        # One more on each side: the values between two that are kept are their mean.
        part = seen.grow(1).intersect(Region.whole((values.shape[0], values.shape[1])))
        return cls(
            values[part.slices].astype(np.float16),
            (part.y0, part.x0),
            (values.shape[0], values.shape[1]),
            area,
            area if clip is None else clip,
            logits,
        )

    def shift(self, dy: int, dx: int) -> SoftMask:
        """Return the mask moved by whole pixels."""
        return replace(self, area=self.area.shift(dy, dx), clip=self.clip.shift(dy, dx))

    @property
    def extent(self) -> Region:
        """The pixels of the plane outside which the mask is 0."""
        ends = []
        for axis, (start, size) in enumerate(
            ((self.area.y0, self.area.height), (self.area.x0, self.area.width))
        ):
            length = self.grid[axis]
            first, last = self.first[axis], self.first[axis] + self.values.shape[axis]
            ends.append((start + first * size // length, start - (-last * size // length)))
        (y0, y1), (x0, x1) = ends
        return Region(y0, x0, y1, x1).intersect(self.clip)

    def upsample(self, region: Region) -> npt.NDArray[np.float32]:
        """Return the probabilities of pixels within :attr:`extent`.

        As ``interpolate(..., mode="bilinear", align_corners=False)`` of PyTorch, without PyTorch.

        Parameters
        ----------
        region : Region
            The pixels, in the plane.

        Returns
        -------
        ndarray, shape of the region, dtype float32
            0 to 1.
        """
        upper, lower, down = self._neighbours(0, region.y0, region.y1)
        left, right, across = self._neighbours(1, region.x0, region.x1)
        low = self.values.astype(np.float32)
        wide = low[:, left] * (1 - across) + low[:, right] * across
        large = wide[upper] * (1 - down[:, None])
        large += wide[lower] * down[:, None]
        if self.logits:
            # Beyond these float32 has no exponential, and no difference is left.
            np.clip(large, -80, 80, out=large)
            np.negative(large, out=large)
            np.exp(large, out=large)
            large += 1
            np.reciprocal(large, out=large)
        return large

    def _neighbours(
        self, axis: int, start: int, stop: int
    ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float32]]:
        """Return the two values beside each pixel along an axis, and the weight of the second."""
        begin = (self.area.y0, self.area.x0)[axis]
        pixels = np.arange(start - begin, stop - begin)
        source = (pixels + 0.5) * (self.grid[axis] / self.area.shape[axis]) - 0.5
        last = self.values.shape[axis] - 1
        source = (source - self.first[axis]).clip(0, last)
        before = source.astype(np.intp)
        return before, np.minimum(before + 1, last), (source - before).astype(np.float32)


def has_soft_masks(objects: Sequence[ObjectRecord]) -> bool:
    """Return whether the engine gave a soft mask of an object."""
    return any(record.soft is not None for record in objects)


def max_probability(
    objects: Sequence[ObjectRecord], region: Region, check: Callable[[], None] = lambda: None
) -> npt.NDArray[np.float32]:
    """Return the highest probability of the objects at each pixel of a region.

    Parameters
    ----------
    objects : sequence of ObjectRecord
        Objects in plane coordinates; those without a soft mask count as 0.
    region : Region
        The part of the plane.
    check : callable
        Called between pieces of the work; what it raises stops it.

    Returns
    -------
    ndarray, shape of the region, dtype float32
        0 to 1.
    """
    highest = np.zeros(region.shape, np.float32)
    for record in objects:
        if record.soft is None:
            continue
        part = record.soft.extent.intersect(region)
        # In bands, so that one large object takes no ten planes of memory.
        rows = max(1, _BAND_PIXELS // max(1, part.width))
        for top in range(part.y0, part.y1, rows):
            check()
            band = Region(top, part.x0, min(top + rows, part.y1), part.x1)
            view = highest[band.localise(region).slices]
            np.maximum(view, record.soft.upsample(band), out=view)
    return highest
