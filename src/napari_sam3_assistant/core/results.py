"""What a run gives back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from napari_sam3_assistant.core.regions import Region, bounds_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

    from napari_sam3_assistant.core.soft_masks import SoftMask


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
    """

    id: int
    mask: npt.NDArray[np.bool_]
    region: Region
    score: float | None = None
    text: str = ""
    soft: SoftMask | None = None

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
        """
        crop = Region.around(mask)
        if crop.is_empty:
            return None
        return cls(id_, mask[crop.slices].copy(), crop.shift(*offset), score, text, soft)

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(np.count_nonzero(self.mask))

    @property
    def bbox(self) -> tuple[int, int, int, int]:
        """``(y0, x0, y1, x1)`` in pixels of the plane, ends exclusive."""
        return self.region.box

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
    """

    engine: str
    title: str
    version: str
    device: str
    threshold: float
    weights: str = ""
    phrase: str = ""


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
    """

    labels: npt.NDArray[np.uint32]
    objects: tuple[ObjectRecord, ...]
    region: Region
    engine: Provenance
    notes: tuple[str, ...] = ()


def edited(
    found: Segmentation, shown: npt.NDArray[np.integer[Any]], where: tuple[slice, ...]
) -> Segmentation | None:
    """Return a result of which the user has changed pixels; None where nothing has changed.

    Where a pixel has changed, it belongs to the object that is on show there; elsewhere masks stay
    as they are, also where they lie below others. An object that is not touched stays the same
    record. One whose pixels all came from others has the score and phrase of the one that gave
    most.

    Parameters
    ----------
    found : Segmentation
        The result. Its labels are brought up to date in place, for all that share them.
    shown : ndarray of int, shape (h, w)
        The labels of its region as they are now.
    where : tuple of slice
        Rows and columns of the region in which they may have changed.
    """
    differs = found.labels[where] != shown[where]
    if not differs.any():
        return None
    inner = bounds_of(differs)
    rows, columns = (
        slice(outer.start + side.start, outer.start + side.stop)
        for outer, side in zip(where, inner, strict=True)
    )
    part = Region(rows.start, columns.start, rows.stop, columns.stop).globalise(found.region)
    change = _Change(
        part,
        differs[inner],
        found.labels[rows, columns].copy(),
        shown[rows, columns].astype(np.uint32),
    )
    found.labels[rows, columns] = change.after
    records = {record.id: record for record in found.objects}
    grown = change.regions()
    objects = [
        change.apply(id_, records, grown.get(id_)) for id_ in sorted(records.keys() | grown.keys())
    ]
    kept = tuple(record for record in objects if record is not None)
    return replace(found, objects=kept)


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
        wanted, differs = self.after[local] == id_, self.differs[local]
        if old is not None and np.array_equal(here[differs], wanted[differs]):
            return old
        here[differs] = wanted[differs]
        source = old
        if old is None or not (mask[old.region.localise(region).slices] & old.mask).any():
            givers = self.before[local][differs & wanted]
            ids, counts = np.unique(givers[givers > 0], return_counts=True)
            source = records.get(int(ids[counts.argmax()])) if ids.size else None
        score, text = (None, "") if source is None else (source.score, source.text)
        offset = (region.y0, region.x0)
        return ObjectRecord.from_mask(id_, mask, offset=offset, score=score, text=text)


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
    for record in objects:
        kept = record.region.intersect(region)
        if kept.is_empty:
            continue
        mask = record.mask[kept.localise(record.region).slices]
        labels[kept.localise(region).slices][mask] = record.id
    return labels
