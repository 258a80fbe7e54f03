"""The component tree of a plane: its connected parts at falling grey levels, and the best of them.

What is connected at one grey level lies in something that is connected at the next lower one: the
parts form a tree (Salembier et al., IEEE Trans. Image Process. 7:555, 1998). A phrase takes the
best disjoint ones, rated by :func:`.object_mask.rating`. A plane has thousands of parts, so all of
a level are measured together, and only those chosen are cut out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.builtin.object_mask import Proposal, polygon_areas, rating

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Reporter

    Floats = npt.NDArray[np.float32]
    Bools = npt.NDArray[np.bool_]
    Labels = npt.NDArray[np.int32]

SMALLEST_PART = 9  # pixels of the octave
SIDES = 16
HOLED = 0.8  # parts that fill less of their hull may have holes
GROWN = 1.03  # a part no larger than its only child by this factor is the same part
CHECK_EVERY = 200  # parts


@dataclass(frozen=True, slots=True, eq=False)
class _Parts:
    """The N connected parts of one grey level that are large enough.

    ``seeds`` (shape (N, 2)): row and column of a pixel of each.
    ``boxes`` (shape (N, 4)): ``(y0, x0, y1, x1)``, ends exclusive.
    ``areas``, ``convex`` and ``ratings`` (shape (N,)): pixels, share of the hull that is filled,
    and how much it looks like an object.
    """

    seeds: npt.NDArray[np.intp]
    boxes: npt.NDArray[np.intp]
    areas: npt.NDArray[np.float64]
    convex: npt.NDArray[np.float64]
    ratings: npt.NDArray[np.float64]

    def some(self, which: Bools | npt.NDArray[np.intp]) -> _Parts:
        """Return some of the parts."""
        return _Parts(*(getattr(self, field.name)[which] for field in fields(self)))

    @classmethod
    def join_parts(cls, every: Sequence[_Parts]) -> _Parts:
        """Return the parts of several as one."""
        return cls(
            *(
                np.concatenate([getattr(parts, field.name) for parts in every])
                for field in fields(cls)
            )
        )


NONE = _Parts(
    np.zeros((0, 2), np.intp), np.zeros((0, 4), np.intp), np.zeros(0), np.zeros(0), np.zeros(0)
)


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """One resolution of a plane.

    ``image`` (shape (H, W)): grey values, smooth.
    ``gradient`` (shape (H, W)): in grey levels per pixel of the plane.
    ``octave``: a pixel stands for ``2 ** octave`` squared pixels of the plane.
    ``polarity``: +1 if grey values are as in the plane, -1 if they are reversed.
    """

    image: Floats
    gradient: Floats
    octave: int
    polarity: int


@dataclass(frozen=True, slots=True)
class UsualSize:
    """How large the objects of a plane are.

    ``area``: pixels of the usual one.
    ``known``: how well that is known: 0, if nothing or a single object tells it, up to 1.
    """

    area: float = 1.0
    known: float = 0.0

    def share(self, areas: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Return the shares of their ratings that parts of such areas keep."""
        apart = np.log(areas / self.area) / 2
        shares: npt.NDArray[np.float64] = np.exp(-self.known * apart**2)
        return shares


@dataclass(frozen=True, slots=True, eq=False)
class PartTree:
    """The connected parts of a plane above falling grey levels, and which lies in which.

    ``plane``: what was cut.
    ``parts``: the N parts.
    ``levels`` (shape (N,)): grey level of each.
    ``parents`` (shape (N,)): number of the part that holds each, which comes after it; -1 for none.
    """

    plane: Plane
    parts: _Parts
    levels: npt.NDArray[np.float64]
    parents: npt.NDArray[np.intp]

    def best(self, usual: UsualSize, reporter: Reporter) -> list[Proposal]:
        """Return the best parts; none lies in another.

        ``usual``: parts of other sizes rate less.
        """
        ratings = self.parts.ratings * usual.share(self.parts.areas * 4.0**self.plane.octave)
        found = []
        for turn, node in enumerate(_best(self.parts.areas, ratings, self.parents)):
            if turn % CHECK_EVERY == 0:
                reporter.check()
            found.append(self._cut_out(node, float(ratings[node])))
        return found

    def _cut_out(self, node: int, rated: float) -> Proposal:
        """Return a part as a mask."""
        parts, plane = self.parts, self.plane
        region = Region(*parts.boxes[node].tolist())
        y, x = parts.seeds[node] - parts.boxes[node, :2]
        labels, _ = ndi.label(plane.image[region.slices] >= self.levels[node])
        mask = labels == labels[y, x]
        if parts.areas[node] > np.count_nonzero(mask):
            mask = ndi.binary_fill_holes(mask)
        convex = float(parts.convex[node])
        return Proposal(mask, region, plane.octave, plane.polarity, rated, convex)


def tree_of_parts(plane: Plane, levels: Sequence[float], reporter: Reporter) -> PartTree:
    """Return the parts of a plane.

    ``levels``: grey levels, falling.
    """
    found: list[tuple[_Parts, float]] = []  # what is new at each level
    links: list[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]] = []  # children, parents
    count = 0
    # The trees so far, from the highest level down: the numbers of their roots, and these.
    roots, tops = np.zeros(0, np.intp), NONE
    for level in levels:
        reporter.check()
        parts, home = _cut(plane, level, tops.seeds, reporter)
        # A part with one child that is as large is that child.
        child = np.zeros(len(parts.areas), np.intp)
        child[home] = np.arange(len(roots))
        same = np.bincount(home, minlength=len(parts.areas)) == 1
        same[same] = parts.areas[same] <= GROWN * tops.areas[child[same]]
        new = parts.some(~same)
        names = np.zeros(len(parts.areas), np.intp)
        names[same] = roots[child[same]]
        names[~same] = count + np.arange(len(new.areas))
        grown = ~same[home]
        links.append((roots[grown], names[home[grown]]))
        found.append((new, level))
        count += len(new.areas)
        tops = _Parts.join_parts([tops.some(child[same]), new])
        roots = np.concatenate([names[same], names[~same]])
    parents = np.full(count, -1, np.intp)
    for children, above in links:
        parents[children] = above
    counts = [len(parts.areas) for parts, _ in found]
    return PartTree(
        plane,
        _Parts.join_parts([NONE, *(parts for parts, _ in found)]),
        np.repeat([level for _, level in found], counts),
        parents,
    )


def _cut(
    plane: Plane, level: float, seeds: npt.NDArray[np.intp], reporter: Reporter
) -> tuple[_Parts, npt.NDArray[np.intp]]:
    """Return the parts above a level, and in which of them each of the seeds lies."""
    inside = plane.image >= level
    labels, count = ndi.label(inside)
    reporter.check()
    sizes = np.bincount(labels[inside], minlength=count + 1)
    names = np.flatnonzero(sizes >= SMALLEST_PART)
    if not names.size:
        return NONE, np.zeros(0, np.intp)
    reporter.check()
    rim = _rim(inside)
    reporter.check()
    rows, columns = np.nonzero(rim)
    owners = labels[rows, columns]
    kept = sizes[owners] >= SMALLEST_PART
    order = np.argsort(owners[kept], kind="stable")
    rows, columns, owners = (axis[kept][order] for axis in (rows, columns, owners))
    first = np.flatnonzero(np.diff(owners, prepend=0))
    last = np.append(first[1:], owners.size) - 1
    reporter.check()
    strengths = np.add.reduceat(plane.gradient[rows, columns].astype(np.float64), first)
    strengths /= last - first + 1
    hulls = _hulls(rows, columns, first)
    boxes = _boxes(rows, columns, first, last)
    areas = sizes[names].astype(np.float64)
    convex = np.minimum(1.0, areas / hulls)
    hollow = convex < HOLED
    reporter.check()
    if hollow.any():
        hollow &= _hollow(inside, labels, count)[names]
    for turn, index in enumerate(np.flatnonzero(hollow).tolist()):
        if turn % CHECK_EVERY == 0:
            reporter.check()
        y0, x0, y1, x1 = boxes[index]
        mask = ndi.binary_fill_holes(labels[y0:y1, x0:x1] == names[index])
        areas[index] = np.count_nonzero(mask)
        strengths[index] = plane.gradient[y0:y1, x0:x1][_rim(mask)].mean()
        convex[index] = min(1.0, areas[index] / hulls[index])
    rare = (1 - areas / plane.image.size) ** 2  # what fills most of the plane is its background
    ratings = rating(strengths, convex) * rare
    seeded = np.stack([rows[first], columns[first]], 1)
    parts = _Parts(seeded, boxes, areas, convex, ratings)
    return parts, np.searchsorted(names, labels[seeds[:, 0], seeds[:, 1]])


def _boxes(
    rows: npt.NDArray[np.intp],
    columns: npt.NDArray[np.intp],
    first: npt.NDArray[np.intp],
    last: npt.NDArray[np.intp],
) -> npt.NDArray[np.intp]:
    """Return the bounding boxes of parts, shape (N, 4); see :func:`_hulls`."""
    return np.stack(
        [
            rows[first],
            np.minimum.reduceat(columns, first),
            rows[last] + 1,
            np.maximum.reduceat(columns, first) + 1,
        ],
        1,
    )


def _rim(inside: Bools) -> Bools:
    """Return the pixels with one of their four neighbours outside, or beyond the image."""
    core = np.zeros_like(inside)
    middle = core[1:-1, 1:-1]
    np.logical_and(inside[:-2, 1:-1], inside[2:, 1:-1], out=middle)
    middle &= inside[1:-1, :-2]
    middle &= inside[1:-1, 2:]
    rim: Bools = inside & ~core
    return rim


def _hollow(inside: Bools, labels: Labels, count: int) -> Bools:
    """Return which parts, by label, have a hole below one of their pixels."""
    grounds, ground_count = ndi.label(~inside)
    open_ = np.zeros(ground_count + 1, bool)
    for edge in (grounds[0], grounds[-1], grounds[:, 0], grounds[:, -1]):
        open_[edge] = True
    rows, columns = np.nonzero(inside[:-1] & ~inside[1:])
    enclosed = ~open_[grounds[rows + 1, columns]]
    hollow = np.zeros(count + 1, bool)
    hollow[labels[rows[enclosed], columns[enclosed]]] = True
    return hollow


def _hulls(
    rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp], first: npt.NDArray[np.intp]
) -> npt.NDArray[np.float64]:
    """Return the areas of the polygons of ``SIDES`` sides round parts.

    They are a little larger than the hulls; for all parts at once that is far faster than one
    hull a part.

    ``rows`` and ``columns`` (shape (P,)): outline pixels, part by part.
    ``first`` (shape (N,)): where each part begins among them.
    """
    reach = np.empty((SIDES, first.size))
    for side in range(SIDES):
        angle = side * (2 * math.pi / SIDES)
        along = rows * math.sin(angle) + columns * math.cos(angle)
        # Half a pixel further: the outline runs round the pixels, not through their centres.
        half = (abs(math.sin(angle)) + abs(math.cos(angle))) / 2
        reach[side] = np.maximum.reduceat(along, first) + half
    return polygon_areas(reach)


def _best(
    areas: npt.NDArray[np.float64],
    ratings: npt.NDArray[np.float64],
    parents: npt.NDArray[np.intp],
) -> list[int]:
    """Return the disjoint parts that are worth most together.

    How clear a part is counts more than how large: nuclei are not given up for their cells.

    ``areas`` and ``ratings`` (shape (N,)): of all parts; a child comes before its parent.
    ``parents`` (shape (N,)): number of the part that holds each; -1 for none.
    """
    ratings, areas = ratings**2, np.sqrt(areas)
    worths = [0.0] * len(areas)  # so far, of the children
    parts: list[list[int]] = [[] for _ in worths]
    chosen: list[int] = []
    for node, (area, rated, parent) in enumerate(
        zip(areas.tolist(), ratings.tolist(), parents.tolist(), strict=True)
    ):
        own = parts[node]
        if len(own) == 1 and ratings[own[0]] > rated:
            # The same thing at a better level: its larger outline adds nothing.
            worths[node] = max(worths[node], float(ratings[own[0]]) * area)
        elif rated * area >= worths[node]:
            worths[node], own = rated * area, [node]
        if parent < 0:
            chosen += own
        else:
            worths[parent] += worths[node]
            parts[parent] += own
    return chosen
