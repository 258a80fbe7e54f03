"""What may be an object: connected parts of the image above or below a grey level.

The image is cut at several grey levels. What is connected at one level lies in something that is
connected at the next lower one: the parts form a tree (Salembier et al., IEEE Trans. Image Process.
7:555, 1998). Each is rated by one formula, see :func:`rating`. A window round a prompt is walked at
several resolutions, so the answer does not depend on how large the plane round it is; prompts pick
from these proposals as SAM's do from its masks. For a phrase, the best disjoint parts of a whole
plane are taken: it has thousands of them, so all of a level are measured together and only those
chosen are cut out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.builtin.features import bilinear
from napari_sam3_assistant.engines.builtin.object_mask import (
    Patch,
    Proposal,
    polygon_areas,
    solidity,
    split,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Reporter
    from napari_sam3_assistant.engines.builtin.features import PlaneFeatures

    Floats = npt.NDArray[np.float32]
    Bools = npt.NDArray[np.bool_]
    Labels = npt.NDArray[np.int32]

WINDOW = 48  # half the side of the window round a click, in pixels of the octave
BOXED = 72  # longest side at which a box is looked at, in pixels of the octave
MARGIN = 0.25  # of a box's longer side: what is looked at round it
LEVELS = 16
SMOOTHINGS = (0.6, 1.4)  # in pixels of the octave
SMALLEST = 4  # pixels of the first octave; of coarser ones:
SMALLEST_COARSE = 12
LARGEST = 5000
# Least share of the outline that must lie inside the plane; a quarter of a disc in a corner has
# half of it there.
HALF = 0.45
STEEP = 0.4  # share of the grey range in a window from which its uneven light is taken away
LAG = 16  # pixels of the octave between which the uneven light is measured
NECKED = 0.93  # solidity below which the parts between necks are proposed as well
CONVEX = 4.0  # power of the solidity in a rating
_CROSS = ndi.generate_binary_structure(2, 1)


Value = TypeVar("Value", float, "npt.NDArray[np.float64]")

SMALLEST_PART = 9  # pixels of the octave
SIDES = 16
HOLED = 0.8  # parts that fill less of their hull may have holes
GROWN = 1.03  # a part no larger than its only child by this factor is the same part
CHECK_EVERY = 200  # parts


# -- proposals for a prompt -----------------------------------------------------------------------


def rating(gradient: Value, convex: Value) -> Value:
    """Return how much something looks like an object: a steep outline round a convex shape.

    Neither its size nor that of the image counts.

    Parameters
    ----------
    gradient : float or ndarray
        Mean gradient along the outline, in grey levels per pixel of the plane.
    convex : float or ndarray
        Solidity, 0 to 1.
    """
    rated: Value = gradient * convex**CONVEX
    return rated


def at_point(
    features: PlaneFeatures, point: tuple[int, int], reporter: Reporter
) -> Iterator[Proposal]:
    """Yield what may be the object under a point.

    Parameters
    ----------
    features : PlaneFeatures
        The plane.
    point : tuple of int
        Row and column in the plane.
    reporter : Reporter
        Stops the work.
    """
    octave = 0
    while True:
        y, x = point[0] >> octave, point[1] >> octave
        window = _Window.cut_out(features, Region(y, x, y + 1, x + 1).grow(WINDOW), octave)
        seed = (y - window.region.y0, x - window.region.x0)
        reporter.check()
        yield from window.proposals(_Click(seed))
        if not any(window.cut):
            return
        octave += 1


def in_box(
    features: PlaneFeatures, box: Region, least: float, reporter: Reporter
) -> Iterator[Proposal]:
    """Yield what may be the object in a box.

    Parameters
    ----------
    features : PlaneFeatures
        The plane.
    box : Region
        At least one pixel of it lies in the plane.
    least : float
        Least intersection over union of a proposal's bounding box with the box.
    reporter : Reporter
        Stops the work.
    """
    octave = octave_for(box)
    size = 2**octave
    coarse = Region(box.y0 // size, box.x0 // size, -(-box.y1 // size), -(-box.x1 // size))
    margin = max(4, round(MARGIN * max(coarse.shape)))
    window = _Window.cut_out(features, coarse.grow(margin), octave)
    own = coarse.localise(window.region)
    reporter.check()
    yield from window.proposals(_Box(own, least))


def octave_for(box: Region) -> int:
    """Return the octave at which what a box is drawn round is looked at."""
    octave = 0
    while max(box.shape) >> octave > BOXED:
        octave += 1
    return octave


def along_outline(gradient: Floats, mask: Bools, region: Region) -> float:
    """Return the mean gradient along the outline of a mask; see :func:`outline_values`."""
    return float(outline_values(gradient, mask, region).mean())


def outline_values(gradient: Floats, mask: Bools, region: Region) -> Floats:
    """Return the gradient along the outline of a mask, shape (P,); 0 if it has no such pixel.

    Parameters
    ----------
    gradient : ndarray, shape (H, W), dtype float32
        Of an image.
    mask : ndarray, shape (h, w), dtype bool
        Pixels of ``region``, which lies in the image.
    region : Region
        Where the mask lies.
    """
    # Of the pixels on either side of the outline, so that it runs in the middle of an edge.
    frame = region.grow(1).intersect(Region.whole((gradient.shape[0], gradient.shape[1])))
    inside = np.zeros(frame.shape, bool)
    inside[region.localise(frame).slices] = mask
    beside = inside & ~ndi.binary_erosion(inside, _CROSS, border_value=1)
    beside |= ndi.binary_dilation(inside, _CROSS) & ~inside
    return gradient[frame.slices][beside] if beside.any() else np.zeros(1, np.float32)


def rated(image: Floats, patch: Patch) -> float:
    """Return the rating of any mask, in grey levels per pixel of the image.

    Parameters
    ----------
    image : ndarray, shape (H, W), dtype float32
        Grey values.
    patch : Patch
        In pixels of the image; 0 is the answer if it has none.
    """
    if not patch.mask.any():
        return 0.0
    patch = patch.crop()
    window = patch.region.grow(8).intersect(Region.whole((image.shape[0], image.shape[1])))
    gradient = ndi.gaussian_gradient_magnitude(image[window.slices], 1.0, mode="nearest")
    return rating(
        along_outline(gradient, patch.mask, patch.region.localise(window)), solidity(patch.mask)
    )


def agreement(one: Region, other: Region) -> float:
    """Return the intersection over the union of two boxes."""
    shared = one.intersect(other).area
    return shared / (one.area + other.area - shared)


@dataclass(frozen=True, slots=True)
class _Click:
    """Looks for what holds one pixel of a window."""

    seed: tuple[int, int]

    def parts(self, above: Bools) -> Iterator[tuple[Bools, Region]]:
        """Yield the connected part that holds the pixel, itself or in a hole, without holes."""
        labels, _ = ndi.label(above)
        name = labels[self.seed]
        if name == 0:
            below, _ = ndi.label(~above)
            hole = below == below[self.seed]
            if hole[0].any() or hole[-1].any() or hole[:, 0].any() or hole[:, -1].any():
                return
            touching = labels[ndi.binary_dilation(hole, _CROSS) & ~hole]
            name = np.bincount(touching).argmax()
        yield _fill_holes(labels == name, Region.whole((above.shape[0], above.shape[1])))

    def top(self, image: Floats) -> float:
        """Return a grey level above which nothing is of interest."""
        # A click may lie in a dark core, whose rim encloses it at levels above its own.
        y, x = self.seed
        return float(np.median(image[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3]))

    def chosen(self, parts: Labels, region: Region) -> list[int]:
        """Return which parts of what lies in a region are of interest."""
        y, x = self.seed[0] - region.y0, self.seed[1] - region.x0
        inside = 0 <= y < region.height and 0 <= x < region.width
        return [int(parts[y, x])] if inside and parts[y, x] else []

    @property
    def ends(self) -> bool:
        """Whether what lies below a part that is too large can't be of interest."""
        return True


@dataclass(frozen=True, slots=True)
class _Box:
    """Looks for what agrees with a box of a window."""

    box: Region
    least: float

    def parts(self, above: Bools) -> Iterator[tuple[Bools, Region]]:
        """Yield the connected parts whose bounding boxes agree, without holes."""
        labels, _ = ndi.label(above)
        for name, place in enumerate(ndi.find_objects(labels), start=1):
            region = Region(place[0].start, place[1].start, place[0].stop, place[1].stop)
            if agreement(region, self.box) > self.least:
                yield _fill_holes(labels[place] == name, region)

    def top(self, image: Floats) -> float:
        """Return a grey level above which nothing is of interest."""
        return float(image.min())

    def chosen(self, parts: Labels, region: Region) -> list[int]:
        """Return which parts of what lies in a region are of interest."""
        return [
            name
            for name, place in enumerate(ndi.find_objects(parts), start=1)
            if agreement(
                Region(place[0].start, place[1].start, place[0].stop, place[1].stop).globalise(
                    region
                ),
                self.box,
            )
            > self.least
        ]

    @property
    def ends(self) -> bool:
        """Whether what lies below a part that is too large can't be of interest."""
        return False


@dataclass(frozen=True, slots=True, eq=False)
class _Window:
    """A part of one octave of a plane."""

    image: Floats
    region: Region
    octave: int
    cut: tuple[bool, bool, bool, bool]  # behind which edges of the window the plane goes on

    @classmethod
    def cut_out(cls, features: PlaneFeatures, region: Region, octave: int) -> _Window:
        image = features.octave(octave)
        height, width = image.shape
        region = region.intersect(Region.whole((height, width)))
        cut = (region.y0 > 0, region.x0 > 0, region.y1 < height, region.x1 < width)
        return cls(image[region.slices], region, octave, cut)

    def proposals(self, prompt: _Click | _Box) -> Iterator[Proposal]:
        """Yield proposals of either polarity for a prompt."""
        for sigma in SMOOTHINGS:
            smooth = ndi.gaussian_filter(self.image, sigma, mode="nearest")
            gradient = ndi.gaussian_gradient_magnitude(self.image, max(sigma, 1.0), mode="nearest")
            gradient /= 2**self.octave
            lights = [smooth]
            ramp = _ramp(smooth)
            if np.ptp(ramp) > STEEP * np.subtract(*np.percentile(smooth, (99, 1))):
                lights.append(smooth - ramp)
            for light in lights:
                for polarity in (1, -1):
                    yield from self._walk(light * polarity, gradient, polarity, prompt)

    def _walk(
        self, image: Floats, gradient: Floats, polarity: int, prompt: _Click | _Box
    ) -> Iterator[Proposal]:
        """Yield the bright parts that matter, from the brightest grey level down."""
        bottom, top = (float(value) for value in np.percentile(image, (1, 99)))
        top = max(top, prompt.top(image))
        if top - bottom < 1e-3:
            return
        known: set[tuple[int, Region]] = set()
        least = SMALLEST_COARSE if self.octave else SMALLEST
        for level in np.linspace(top, bottom, LEVELS + 2)[1:-1]:
            for mask, region in prompt.parts(image >= level):
                area = int(np.count_nonzero(mask))
                if area >= least and (area, region) not in known:
                    known.add((area, region))
                    yield from self._rated(mask, region, gradient, polarity, prompt)
                if prompt.ends and (area > LARGEST or self._is_cut(region)):
                    return

    def _rated(
        self,
        mask: Bools,
        region: Region,
        gradient: Floats,
        polarity: int,
        prompt: _Click | _Box,
    ) -> Iterator[Proposal]:
        """Yield a part, and what it consists of between its necks."""
        if self._free_share(mask, region) < HALF:
            return
        convex = solidity(mask)
        if self._is_whole(mask, region):
            yield self._proposal(mask, region, gradient, polarity, convex)
        if convex >= NECKED or mask.size < 2 * SMALLEST_COARSE:
            return
        parts = split(mask, convex)
        if parts.max() < 2:
            return
        for name in prompt.chosen(parts, region):
            part, where = _crop(parts == name, region)
            if self._is_whole(part, where):
                yield self._proposal(part, where, gradient, polarity, solidity(part))

    def _is_whole(self, mask: Bools, region: Region) -> bool:
        """Return whether a part is seen whole, at a resolution that suits it."""
        return not self._is_cut(region) and int(np.count_nonzero(mask)) <= LARGEST

    def _proposal(
        self, mask: Bools, region: Region, gradient: Floats, polarity: int, convex: float
    ) -> Proposal:
        # Where the image ends nothing shows that the part ends.
        strength = along_outline(gradient, mask, region) * self._free_share(mask, region)
        return Proposal(
            mask,
            region.globalise(self.region),
            self.octave,
            polarity,
            rating(strength, convex),
            convex,
        )

    def _is_cut(self, region: Region) -> bool:
        """Return whether a part reaches an edge of the window behind which the plane goes on."""
        height, width = self.image.shape
        touches = (region.y0 == 0, region.x0 == 0, region.y1 == height, region.x1 == width)
        return any(here and there for here, there in zip(touches, self.cut, strict=True))

    def _free_share(self, mask: Bools, region: Region) -> float:
        """Return the share of a part's outline that does not lie on the edge of the window."""
        bound = 0
        if region.y0 == 0:
            bound += int(np.count_nonzero(mask[0]))
        if region.x0 == 0:
            bound += int(np.count_nonzero(mask[:, 0]))
        if region.y1 == self.image.shape[0]:
            bound += int(np.count_nonzero(mask[-1]))
        if region.x1 == self.image.shape[1]:
            bound += int(np.count_nonzero(mask[:, -1]))
        return max(0.0, 1 - bound / (2 * (region.height + region.width)))


def _crop(mask: Bools, region: Region) -> tuple[Bools, Region]:
    """Return a mask cropped, and where the crop lies."""
    kept = Region.around(mask)
    return mask[kept.slices], kept.globalise(region)


def _fill_holes(mask: Bools, region: Region) -> tuple[Bools, Region]:
    """Return a mask without holes, cropped, and where the crop lies."""
    crop, where = _crop(mask, region)
    return ndi.binary_fill_holes(crop), where


def _ramp(image: Floats) -> Floats:
    """Return the uneven light of a window: a plane as steep as most of the window."""
    height, width = image.shape
    down = across = 0.0
    if height > LAG:
        down = float(np.median(image[LAG:] - image[:-LAG])) / LAG
    if width > LAG:
        across = float(np.median(image[:, LAG:] - image[:, :-LAG])) / LAG
    rows = np.arange(height, dtype=np.float32)[:, None]
    return rows * np.float32(down) + np.arange(width, dtype=np.float32) * np.float32(across)


# -- the best parts of a whole plane --------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class _Parts:
    """The N connected parts of one grey level that are large enough.

    Parameters
    ----------
    seeds : ndarray, shape (N, 2), dtype intp
        Row and column of a pixel of each.
    boxes : ndarray, shape (N, 4), dtype intp
        ``(y0, x0, y1, x1)``, ends exclusive.
    areas, convex, ratings : ndarray, shape (N,), dtype float64
        Pixels, share of the hull that is filled, and how much it looks like an object.
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

    Parameters
    ----------
    image : ndarray, shape (H, W), dtype float32
        Grey values, smooth.
    gradient : ndarray, shape (H, W), dtype float32
        In grey levels per pixel of the plane.
    octave : int
        A pixel stands for ``2 ** octave`` squared pixels of the plane.
    polarity : int
        +1 if grey values are as in the plane, -1 if they are reversed.
    """

    image: Floats
    gradient: Floats
    octave: int
    polarity: int


@dataclass(frozen=True, slots=True)
class UsualSize:
    """How large the objects of a plane are.

    Parameters
    ----------
    area : float
        Pixels of the usual one.
    known : float
        How well that is known: 0, if nothing or a single object tells it, up to 1.
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

    Parameters
    ----------
    plane : Plane
        What was cut.
    parts : _Parts
        The N parts.
    levels : ndarray, shape (N,), dtype float64
        Grey level of each.
    parents : ndarray, shape (N,), dtype intp
        Number of the part that holds each, which comes after it; -1 for none.
    """

    plane: Plane
    parts: _Parts
    levels: npt.NDArray[np.float64]
    parents: npt.NDArray[np.intp]

    def best(self, usual: UsualSize, reporter: Reporter) -> list[Proposal]:
        """Return the best parts; none lies in another.

        Parameters
        ----------
        usual : UsualSize
            Parts of other sizes rate less.
        reporter : Reporter
            Stops the work.
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

    Parameters
    ----------
    plane : Plane
        What to cut.
    levels : sequence of float
        Grey levels, falling.
    reporter : Reporter
        Stops the work.
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

    Parameters
    ----------
    rows, columns : ndarray, shape (P,), dtype intp
        Outline pixels, part by part.
    first : ndarray, shape (N,), dtype intp
        Where each part begins among them.
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

    Parameters
    ----------
    areas, ratings : ndarray, shape (N,)
        Of all parts; a child comes before its parent.
    parents : ndarray, shape (N,)
        Number of the part that holds each; -1 for none.
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


def upsample_proposal(features: PlaneFeatures, proposal: Proposal) -> Patch:
    """Return a proposal at full resolution."""
    size = 2**proposal.octave
    region = proposal.covers
    if size == 1:
        return Patch(proposal.mask, region, proposal.polarity)
    # Between the centres of coarse pixels the outline runs straight, not along their sides.
    padded = np.pad(proposal.mask, 1).astype(np.float32)
    rows, columns = (
        ((np.arange(count * size) + 0.5) / size - 0.5).clip(0, count - 1).astype(np.float32)
        for count in padded.shape
    )
    mask = bilinear(padded, rows, columns) >= 0.5
    region = region.grow(size)
    return Patch(mask, region, proposal.polarity).clip(features.region)
