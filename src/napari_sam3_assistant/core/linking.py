"""Which objects of neighbouring slices or times are one, and which of them have divided.

Slices of a volume are joined by the overlap of the masks. In time objects also move, so that their
distance counts as well, and one may become two. As Jaqaman et al. (Nature Methods 2008) do it: the
cheapest one-to-one assignment first, then what is left over as second daughters.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np
from scipy import ndimage as ndi
from scipy.sparse import coo_array
from scipy.sparse.csgraph import min_weight_full_bipartite_matching
from scipy.spatial import KDTree
from skimage.registration import phase_cross_correlation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.results import ObjectRecord

    Indices = npt.NDArray[np.intp]
    Numbers = npt.NDArray[np.float64]


_UNLINKED = 2.0
"""What it costs to leave an object without a partner: more than any link."""
_ALIKE = 1 / 3
"""Objects that do not overlap are linked if the smaller has so much of the area of the larger."""
DAUGHTERS = 0.4
"""The smaller daughter has so much of the area of the larger one at least."""
_LARGEST_DAUGHTER = (0.85, 1.1)
"""No daughter has more of the area of its mother; or where she clearly lay between both."""
_TOGETHER = (0.5, 2.1)
"""The area of both daughters as a share of that of their mother, who may be condensed."""
_APART = 1.5
"""No daughter is further from where her mother was, in sides of a square as large."""
_BETWEEN = (0.7, 0.45)
"""So far from where the mother was lies the middle of both; or where she clearly lay between."""
_ALIKE_APART = 0.35
"""She clearly lay between if the nearer daughter is so much of the distance of the other away."""
_NECK = 0.9
"""Two objects of a volume lie one behind the other where less than this is left of the thinner."""
_ASIDE = 0.4
"""... and their thickest slices overlap by less (IoU)."""
_DEEP = 0.5
"""Where less than this is left, they may lie right behind each other."""
_BESIDE = 0.25
"""The thinner one has so much of the area of the other; what has less is a part of it."""
_REGISTERED = 512
"""So many rows and columns at most are looked at for a drift."""
_DRIFTED = 1.15
"""A drift is one if so many times as many pixels of objects overlap without it."""


@dataclass(frozen=True, slots=True, eq=False)
class LinkedFrame:
    """The objects of a slice or a time, to be compared with those of the next.

    Parameters
    ----------
    labels : ndarray, shape (H, W), dtype uint32
        Object ids.
    ids : ndarray of int, shape (N,)
        The ids in it.
    areas : ndarray of float, shape (N,)
        The number of pixels of each, also of those that others cover.
    centres : ndarray of float, shape (N, 2)
        Their centroids (y, x).
    """

    labels: npt.NDArray[np.uint32]
    ids: npt.NDArray[np.uint32]
    areas: Numbers
    centres: Numbers

    @classmethod
    def of(
        cls, labels: npt.NDArray[np.uint32], objects: Sequence[ObjectRecord], ids: Sequence[int]
    ) -> Self:
        """Return the frame of objects and their ids, given their labels."""
        middles = [record.centroid for record in objects]
        return cls(
            labels,
            np.array(ids, np.uint32),
            np.array([record.area for record in objects], np.float64),
            np.array(middles, np.float64).reshape(-1, 2),
        )

    def shift(self, by: tuple[int, int]) -> LinkedFrame:
        """Return it moved by whole pixels; what leaves the labels is gone from them."""
        if not any(by):
            return self
        labels = np.zeros_like(self.labels)
        there = tuple(slice(max(0, step), step if step < 0 else None) for step in by)
        from_ = tuple(slice(max(0, -step), -step if step > 0 else None) for step in by)
        labels[there] = self.labels[from_]
        return replace(self, labels=labels, centres=self.centres + np.array(by))

    def rename(self, old: int, new: int) -> LinkedFrame:
        """Return it with another id of an object that it may have."""
        if old not in self.ids:
            return self
        labels = np.where(self.labels == old, np.uint32(new), self.labels)
        return replace(self, labels=labels, ids=np.where(self.ids == old, np.uint32(new), self.ids))

    def add_missed(self, before: LinkedFrame, missed: Sequence[int]) -> LinkedFrame:
        """Return it with objects of the frame before that were missed, where nothing lies."""
        chosen = np.isin(before.ids, np.array(missed, np.uint32))
        gap = (self.labels == 0) & np.isin(before.labels, before.ids[chosen])
        labels = np.where(gap, before.labels, self.labels)
        return LinkedFrame(
            labels,
            np.concatenate([self.ids, before.ids[chosen]]),
            np.concatenate([self.areas, before.areas[chosen]]),
            np.concatenate([self.centres, before.centres[chosen]]),
        )


@dataclass(slots=True)
class Followed:
    """What is known of an object that is followed through slices.

    Attributes
    ----------
    thickest : ObjectRecord or None
        It on the slice where it is largest.
    neck : float
        Its smallest area since, in pixels.
    sure : bool
        Whether it was sure on any of them.
    """

    thickest: ObjectRecord | None = None
    neck: float = np.inf
    sure: bool = False

    def add(self, record: ObjectRecord, *, sure: bool) -> None:
        """Take it on the next slice."""
        if self.thickest is None or record.area > self.thickest.area:
            self.thickest, self.neck = record, np.inf
        else:
            self.neck = min(self.neck, record.area)
        self.sure |= sure

    def has_ended(self, ahead: Sequence[ObjectRecord]) -> bool:
        """Return whether what comes next is another object, behind a neck of the two.

        Parameters
        ----------
        ahead : sequence of ObjectRecord
            What overlaps it, on the next slice and those behind it.
        """
        if self.thickest is None:
            return False
        areas = [record.area for record in ahead]
        largest = int(np.argmax(areas))
        thinner, thicker = sorted((self.thickest.area, areas[largest]))
        neck = min(areas[0], self.neck)
        # Where it gets thinner yet, the neck is still to come.
        if min(areas[: largest + 1]) < neck or neck >= _NECK * thinner:
            return False
        if thinner < _BESIDE * thicker:
            return False
        return neck < _DEEP * thinner or self.thickest.iou(ahead[largest]) < _ASIDE


def join_slices(before: LinkedFrame, after: LinkedFrame, least: float) -> dict[int, int]:
    """Return for objects of a slice those of the slice before that go on in them, one for one.

    Parameters
    ----------
    before, after : LinkedFrame
        The slices.
    least : float
        The least overlap (IoU).
    """
    rows, columns, shared = _overlaps(before, after)
    ious = shared / (before.areas[rows] + after.areas[columns] - shared)
    kept = ious >= least
    chosen = _assign(rows[kept], columns[kept], 1 - ious[kept], (len(before.ids), len(after.ids)))
    return {int(after.ids[column]): int(before.ids[row]) for row, column in chosen}


def link_times(
    earlier: LinkedFrame, later: LinkedFrame, least: float
) -> tuple[dict[int, int], dict[int, tuple[int, int]]]:
    """Return which objects of a time go on in which of the next, and which divide.

    Parameters
    ----------
    earlier, later : LinkedFrame
        The times.
    least : float
        The least overlap, as a share of the smaller object, of what is linked by its overlap.

    Returns
    -------
    partner : dict of int to int
        For objects of the later time those that go on in them.
    divisions : dict of int to (int, int)
        For objects of the earlier time the two that they divide into; these have no partner.
    """
    found = _link(earlier, later, least)
    drift = _find_drift(earlier.labels > 0, later.labels > 0)
    if not any(drift):
        return found
    # More may overlap by chance. It is a drift if it is that of several and finds more partners.
    drifted = _link(earlier.shift(drift), later, least)
    several = len(drifted[0]) + len(drifted[1]) > 1
    return drifted if several and _count_linked(drifted) > _count_linked(found) else found


def _count_linked(links: tuple[dict[int, int], dict[int, tuple[int, int]]]) -> int:
    """Return how many objects of both times together have a partner."""
    partner, divisions = links
    return 2 * len(partner) + 3 * len(divisions)


def _link(
    earlier: LinkedFrame, later: LinkedFrame, least: float
) -> tuple[dict[int, int], dict[int, tuple[int, int]]]:
    """Return what :func:`link_times` does, of objects that have not drifted."""
    rows, columns, shared = _candidates(earlier, later)
    overlap = shared / np.minimum(earlier.areas[rows], later.areas[columns])
    far = _distances(earlier, later, rows, columns)
    sizes = np.stack([earlier.areas[rows], later.areas[columns]])
    alike = sizes.min(0) >= _ALIKE * sizes.max(0)
    kept = (overlap >= least) | ((far <= 1) & alike)
    cost = np.minimum(far, 1) / 2 + 1 - np.minimum(overlap, 1)
    chosen = _assign(rows[kept], columns[kept], cost[kept], (len(earlier.ids), len(later.ids)))
    first = dict(chosen)
    second = _second_daughters(earlier, later, first, (rows, columns, overlap >= least, far))
    old, new = earlier.ids.tolist(), later.ids.tolist()
    divisions = {old[row]: (new[first[row]], new[column]) for row, column in second}
    partner = {new[column]: old[row] for row, column in chosen if old[row] not in divisions}
    return partner, divisions


def _find_drift(earlier: npt.NDArray[np.bool_], later: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Return by how many rows and columns all has moved together, such as with the stage.

    (0, 0) unless much more of the objects overlap then.
    """
    step = -(-max(earlier.shape) // _REGISTERED)
    small = [mask[::step, ::step].astype(np.float32) for mask in (earlier, later)]
    if not (small[0].any() and small[1].any()):
        return (0, 0)
    before = float((small[0] * small[1]).sum())
    found, _, _ = phase_cross_correlation(small[1], small[0], normalization=None)
    dy, dx = (round(float(shift)) for shift in found)
    moved = ndi.shift(small[0], (dy, dx), order=0)
    after = float((moved * small[1]).sum())
    return (dy * step, dx * step) if after > _DRIFTED * before else (0, 0)


def _second_daughters(
    earlier: LinkedFrame,
    later: LinkedFrame,
    first: Mapping[int, int],
    pairs: tuple[Indices, Indices, npt.NDArray[np.bool_], Numbers],
) -> list[tuple[int, int]]:
    """Return mothers, by their place, and the objects left over that are second daughters."""
    rows, columns, overlaps, far = pairs
    free = np.ones(len(later.ids), bool)
    free[list(first.values())] = False
    sister = np.full(len(earlier.ids), -1)
    sister[list(first)] = list(first.values())
    open_ = free[columns] & (sister[rows] >= 0) & (overlaps | (far <= _APART))
    rows, columns = rows[open_], columns[open_]
    sisters = sister[rows]
    mother, daughter, sister_area = earlier.areas[rows], later.areas[sisters], later.areas[columns]
    together = (daughter + sister_area) / mother
    sizes = np.stack([daughter, sister_area])
    away = np.stack(
        [
            np.hypot(*(later.centres[place] - earlier.centres[rows]).T)
            for place in (sisters, columns)
        ]
    )
    # Where the mother was, between her daughters.
    weights = daughter / (daughter + sister_area)
    middle = (
        weights[:, None] * later.centres[sisters] + (1 - weights)[:, None] * later.centres[columns]
    )
    off = np.hypot(*(middle - earlier.centres[rows]).T) / np.sqrt(mother)
    between = away.min(0) >= _ALIKE_APART * away.max(0)
    small = (sizes.max(0) <= _LARGEST_DAUGHTER[0] * mother) & (off <= _BETWEEN[0])
    alike = (sizes.max(0) <= _LARGEST_DAUGHTER[1] * mother) & (off <= _BETWEEN[1]) & between
    fits = (
        (sizes.min(0) >= DAUGHTERS * sizes.max(0))
        & (together >= _TOGETHER[0])
        & (together <= _TOGETHER[1])
        & (small | alike)
    )
    cost = off + np.abs(np.log(together))
    return _assign(rows[fits], columns[fits], cost[fits] / 2, (len(earlier.ids), len(later.ids)))


def _overlaps(before: LinkedFrame, after: LinkedFrame) -> tuple[Indices, Indices, Numbers]:
    """Return the pairs, by their places, that share pixels, and how many."""
    both = (before.labels > 0) & (after.labels > 0)
    stride = int(after.labels.max(initial=0)) + 1
    keys = before.labels[both].astype(np.int64) * stride + after.labels[both]
    pairs, shared = np.unique(keys, return_counts=True)
    old, new = pairs // stride, pairs % stride
    rows, columns = _place_of(before.ids, old), _place_of(after.ids, new)
    return rows, columns, shared.astype(np.float64)


def _place_of(ids: npt.NDArray[np.uint32], searched: npt.NDArray[np.int64]) -> Indices:
    order = np.argsort(ids)
    return order[np.searchsorted(ids, searched, sorter=order)]


def _candidates(earlier: LinkedFrame, later: LinkedFrame) -> tuple[Indices, Indices, Numbers]:
    """Return the pairs that share pixels or lie near each other, and the pixels that they share."""
    rows, columns, shared = _overlaps(earlier, later)
    if len(earlier.ids) and len(later.ids):
        reach = _APART * float(np.sqrt(max(earlier.areas.max(), later.areas.max())))
        trees = KDTree(earlier.centres), KDTree(later.centres)
        near = trees[0].sparse_distance_matrix(trees[1], reach, output_type="coo_matrix")
        rows = np.concatenate([rows, near.row])
        columns = np.concatenate([columns, near.col])
        shared = np.concatenate([shared, np.zeros(near.nnz)])
    keys, first = np.unique(rows * (len(later.ids) + 1) + columns, return_index=True)
    del keys  # what shares pixels comes first, and stays
    return rows[first].astype(np.intp), columns[first].astype(np.intp), shared[first]


def _distances(
    earlier: LinkedFrame, later: LinkedFrame, rows: Indices, columns: Indices
) -> Numbers:
    """Return the distances of pairs, in sides of a square as large as the larger object."""
    apart: Numbers = np.hypot(*(earlier.centres[rows] - later.centres[columns]).T)
    sides: Numbers = np.sqrt(np.maximum(earlier.areas[rows], later.areas[columns]))
    return apart / sides


def _assign(
    rows: Indices, columns: Indices, costs: Numbers, shape: tuple[int, int]
) -> list[tuple[int, int]]:
    """Return the pairs that together cost least, each row and column in one of them at most."""
    there, place = np.unique(rows, return_inverse=True)
    if there.size == 0:
        return []
    # A column of its own for each row: to have no partner. Costs of 0 would be no entries.
    alone = np.arange(there.size)
    # Older versions of SciPy match with indices of 32 bits only.
    lines = np.concatenate([place, alone]).astype(np.int32)
    places = np.concatenate([columns, shape[1] + alone]).astype(np.int32)
    matrix = coo_array(
        (np.concatenate([costs + 1e-6, np.full(there.size, _UNLINKED)]), (lines, places)),
        (there.size, shape[1] + there.size),
    )
    found, partner = min_weight_full_bipartite_matching(matrix.tocsr())
    return [
        (int(there[row]), int(column))
        for row, column in zip(found, partner, strict=True)
        if column < shape[1]
    ]
