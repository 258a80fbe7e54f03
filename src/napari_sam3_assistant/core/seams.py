"""Whether two tiles have seen the same object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_sam3_assistant.core.regions import Region
    from napari_sam3_assistant.core.results import ObjectRecord

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
class Views:
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


def compare(
    old_record: ObjectRecord, old_tile: Region, new_record: ObjectRecord, new_tile: Region
) -> Views | None:
    """Return how an object of one tile and one of another go together.

    Parameters
    ----------
    old_record, new_record : ObjectRecord
        The objects, in plane coordinates.
    old_tile, new_tile : Region
        The tiles that they were found in.

    Returns
    -------
    Views or None
        None if they share no pixel.
    """
    band = old_tile.intersect(new_tile)
    frame = old_record.region.union(new_record.region).intersect(band)
    if frame.is_empty:
        return None
    old, new = _within(old_record, frame), _within(new_record, frame)
    shared = int(np.count_nonzero(old & new))
    if not shared:
        return None
    of_old, of_new = shared / old_record.area, shared / new_record.area
    old_ends, new_ends = _ends(old_tile, new_tile, frame), _ends(new_tile, old_tile, frame)
    # A few stray pixels at the same place in two masks do not make these one object.
    counts = None if max(of_old, of_new) > SAME else old_ends | new_ends
    at_end = counts is None or bool((counts & (old | new)).any())
    smaller = min(int(np.count_nonzero(old)), int(np.count_nonzero(new)))
    return Views(
        band,
        same=_same(old, new, counts),
        likely=at_end and shared > LIKELY * smaller,
        old_cut=bool((old & old_ends).any()),
        new_cut=bool((new & new_ends).any()),
        of_old=of_old,
        of_new=of_new,
    )


def _within(record: ObjectRecord, frame: Region) -> npt.NDArray[np.bool_]:
    """Return a record's mask, cut and padded to a frame."""
    mask = np.zeros(frame.shape, bool)
    kept = record.region.intersect(frame)
    if not kept.is_empty:
        mask[kept.localise(frame).slices] = record.mask[kept.localise(record.region).slices]
    return mask


def _ends(tile: Region, other: Region, frame: Region) -> npt.NDArray[np.bool_]:
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


def _same(
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
    if _alike(old, new) and (counts is None or (counts & (old | new)).any()):
        return True
    olds, news = (ndi.label(mask, np.ones((3, 3), bool))[0] for mask in (old, new))
    both = old & new
    for one, other in set(zip(olds[both].tolist(), news[both].tolist(), strict=True)):
        mine, theirs = olds == one, news == other
        if _alike(mine, theirs) and (counts is None or (counts & (mine | theirs)).any()):
            return True
    return False


def _alike(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> bool:
    """Return whether two masks have more than half of their union in common."""
    return int(np.count_nonzero(one & other)) > SAME * int(np.count_nonzero(one | other))
