"""Masks of single objects: their shape, the necks that divide them, ratings and measures."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
from scipy import ndimage as ndi
from scipy.spatial import ConvexHull

from napari_sam3_assistant.core.regions import Region

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Reporter

    Floats = npt.NDArray[np.float64]
    Greys = npt.NDArray[np.float32]
    Bools = npt.NDArray[np.bool_]

Value = TypeVar("Value", float, "npt.NDArray[np.float64]")

# Two cores are two objects if the neck between them is narrower than this share of the
# smaller one.
NECK = 0.86
CONVEX = 0.95  # from here on there is no neck
LARGE = 512  # masks with a longer side are divided at a lower resolution
_SQUARE = np.ones((3, 3), bool)
_CROSS = ndi.generate_binary_structure(2, 1)

GAP = 1  # pixels between an object and its surroundings
RING = 3  # width of the surroundings in pixels
SIDES = 64  # of the polygon that stands for the hull; the error is below 0.1 %
SIZES = 8  # sides of crops are multiples of this
STACK = 1 << 18  # pixels worked on together
SAMPLED = 500  # longest side, in pixels; of what is larger every few pixels do

CONVEX_POWER = 4.0  # power of the solidity in a rating

# Below this solidity an outline is not taken for a blob and keeps its own shape.
BLOB = 0.86


# -- masks ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """A mask of one object in the plane.

    ``mask`` (shape (h, w)): its pixels, cropped to ``region``.
    ``region``: where the crop lies in the plane.
    ``polarity``: +1 if it is brighter than its surroundings, -1 if darker.
    """

    mask: npt.NDArray[np.bool_]
    region: Region
    polarity: int = 1

    @property
    def area(self) -> int:
        """Number of pixels."""
        return int(np.count_nonzero(self.mask))

    def within(self, region: Region) -> npt.NDArray[np.bool_]:
        """Return the mask as seen through a region of the plane."""
        seen = np.zeros(region.shape, bool)
        shared = self.region.intersect(region)
        if not shared.is_empty:
            seen[shared.localise(region).slices] = self.mask[shared.localise(self.region).slices]
        return seen

    def holds(self, y: int, x: int) -> bool:
        """Return whether a pixel of the plane belongs to the object."""
        return self.region.holds(y, x) and bool(self.mask[y - self.region.y0, x - self.region.x0])

    def clip(self, region: Region) -> Patch:
        """Return what of the object lies in a region that it touches."""
        kept = self.region.intersect(region)
        return Patch(self.mask[kept.localise(self.region).slices], kept, self.polarity)

    def crop(self) -> Patch:
        """Return the same object without empty rows and columns at its sides; it has a pixel."""
        kept = Region.around(self.mask)
        return Patch(self.mask[kept.slices], kept.globalise(self.region), self.polarity)

    def coarser(self, octave: int) -> Patch:
        """Return it in pixels of an octave; each is like one of the pixels that it stands for."""
        size = 2**octave
        y0, x0 = -(-self.region.y0 // size), -(-self.region.x0 // size)
        mask = self.mask[y0 * size - self.region.y0 :: size, x0 * size - self.region.x0 :: size]
        return Patch(mask, Region(y0, x0, y0 + mask.shape[0], x0 + mask.shape[1]), self.polarity)

    def union(self, other: Patch) -> Patch:
        """Return both objects as one."""
        region = self.region.union(other.region)
        return Patch(self.within(region) | other.within(region), region, self.polarity)

    def overlap(self, other: Patch) -> float:
        """Return the intersection over the union of the two masks, 0 to 1."""
        shared = self.region.intersect(other.region)
        if shared.is_empty:
            return 0.0
        both = int(np.count_nonzero(self.within(shared) & other.within(shared)))
        return both / max(1, self.area + other.area - both)


def disc(point: tuple[int, int], radius: int, plane: Region) -> Patch:
    """Return a disc round a point, cut to the plane.

    ``point``: row and column of its centre.
    ``radius``: in pixels; 0 gives one pixel.
    ``plane``: where it must stay.
    """
    region = Region(*point, point[0] + 1, point[1] + 1).grow(radius).intersect(plane)
    rows = np.arange(region.y0, region.y1)[:, None] - point[0]
    columns = np.arange(region.x0, region.x1)[None, :] - point[1]
    return Patch(rows**2 + columns**2 <= (radius + 0.5) ** 2, region)


# -- shapes ---------------------------------------------------------------------------------------


def solidity(mask: npt.NDArray[np.bool_]) -> float:
    """Return the share of its convex hull that a mask fills, 0 to 1.

    ``mask`` (shape (h, w)): at least one pixel.
    """
    first = mask.argmax(1)
    last = mask.shape[1] - mask[:, ::-1].argmax(1)
    rows = np.flatnonzero(mask.any(1))
    corners = np.concatenate(
        [np.stack([row, column[rows]], 1) for row in (rows, rows + 1) for column in (first, last)]
    )
    # The corners of pixels: a hull of one pixel has area 1.
    hull = ConvexHull(corners).volume
    return min(1.0, float(np.count_nonzero(mask) / hull))


def largest_part(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the largest connected part of a mask, without holes; the mask has a pixel."""
    labels, _ = ndi.label(mask)
    name = 1 + np.bincount(labels.flat)[1:].argmax()
    largest: npt.NDArray[np.bool_] = ndi.binary_fill_holes(labels == name)
    return largest


def signed_depth(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return how far inside the outline of a mask pixels lie, in pixels; below 0 outside."""
    inside = ndi.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
    outside = ndi.distance_transform_edt(~mask)
    depth: npt.NDArray[np.float64] = np.where(mask, inside - 0.5, 0.5 - outside)
    return depth


def split(mask: npt.NDArray[np.bool_], convex: float = 0.0) -> npt.NDArray[np.int32]:
    """Return the parts of a mask that necks divide, by watershed on its distance transform.

    The watershed and its distance function follow Meyer & Beucher (J. Vis. Commun. Image
    Represent. 1:21, 1990) as in :func:`skimage.segmentation.watershed`.

    ``mask`` (shape (h, w)): one connected object, without holes.
    ``convex``: what its solidity is at least, if that is known.

    Returns
    -------
    ndarray, shape (h, w), dtype int32
        Parts from 1; 0 is outside.
    """
    from skimage.morphology import local_maxima, reconstruction
    from skimage.segmentation import watershed

    # The hull of a small disc's pixels is larger than the disc.
    enough = CONVEX - 0.6 / np.sqrt(np.count_nonzero(mask))
    if convex > enough or solidity(mask) > enough:
        return mask.astype(np.int32)
    if max(mask.shape) > LARGE:
        return _split_coarsely(mask)
    padded = np.pad(mask, 1)
    depth = ndi.gaussian_filter(ndi.distance_transform_edt(padded), 0.7)
    depth[~padded] = 0
    # On a log scale a fixed drop is a fixed ratio of widths.
    height = np.log(np.maximum(depth, 0.3))
    plain = reconstruction(height + np.log(NECK), height)
    peaks = local_maxima(plain, connectivity=2) & (depth > 1)
    markers, count = ndi.label(peaks, _SQUARE)
    if count < 2:
        return mask.astype(np.int32)
    parts: npt.NDArray[np.int32] = watershed(-depth, markers, mask=padded)[1:-1, 1:-1]
    return parts.astype(np.int32)


def _split_coarsely(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int32]:
    """Return the parts of a large mask; what divides does not depend on the resolution."""
    size = -(-max(mask.shape) // LARGE)
    height, width = mask.shape
    blocks: npt.NDArray[np.bool_] = np.pad(mask, ((0, -height % size), (0, -width % size)))
    blocks = blocks.reshape(blocks.shape[0] // size, size, -1, size)
    some: npt.NDArray[np.bool_] = np.logical_or.reduce(blocks, (1, 3))
    coarse = split(some)
    parts: npt.NDArray[np.int32] = np.repeat(np.repeat(coarse, size, 0), size, 1)
    return parts[:height, :width] * mask


# -- how much a mask looks like an object ----------------------------------------------------------


def rating(gradient: Value, convex: Value) -> Value:
    """Return how much something looks like an object: a steep outline round a convex shape.

    Neither its size nor that of the image counts.

    ``gradient``: mean gradient along the outline, in grey levels per pixel of the plane.
    ``convex``: solidity, 0 to 1.
    """
    rated: Value = gradient * convex**CONVEX_POWER
    return rated


def along_outline(gradient: Greys, mask: Bools, region: Region) -> float:
    """Return the mean gradient along the outline of a mask; see :func:`outline_values`."""
    return float(outline_values(gradient, mask, region).mean())


def outline_values(gradient: Greys, mask: Bools, region: Region) -> Greys:
    """Return the gradient along the outline of a mask, shape (P,); 0 if it has no such pixel.

    ``gradient`` (shape (H, W), dtype float32): of an image.
    ``mask`` (shape (h, w), dtype bool): pixels of ``region``, which lies in the image.
    ``region``: where the mask lies.
    """
    # Of the pixels on either side of the outline, so that it runs in the middle of an edge.
    frame = region.grow(1).intersect(Region.whole((gradient.shape[0], gradient.shape[1])))
    inside = np.zeros(frame.shape, bool)
    inside[region.localise(frame).slices] = mask
    beside = inside & ~ndi.binary_erosion(inside, _CROSS, border_value=1)
    beside |= ndi.binary_dilation(inside, _CROSS) & ~inside
    return gradient[frame.slices][beside] if beside.any() else np.zeros(1, np.float32)


def rated(image: Greys, patch: Patch) -> float:
    """Return the rating of any mask, in grey levels per pixel of the image.

    ``image`` (shape (H, W), dtype float32): grey values.
    ``patch``: in pixels of the image; 0 is the answer if it has none.
    """
    if not patch.mask.any():
        return 0.0
    patch = patch.crop()
    window = patch.region.grow(8).intersect(Region.whole((image.shape[0], image.shape[1])))
    gradient = ndi.gaussian_gradient_magnitude(image[window.slices], 1.0, mode="nearest")
    return rating(
        along_outline(gradient, patch.mask, patch.region.localise(window)), solidity(patch.mask)
    )


# -- measures of many masks at once ---------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Measures:
    """What N objects look like, each field of shape (N,) and dtype float64.

    ``area``: pixels.
    ``mean`` and ``deviation``: of the grey values inside; the latter is their standard deviation.
    ``ground`` and ``roughness``: mean and standard deviation of the grey values in a ring round it;
    nan where the object fills the plane.
    ``solidity``: share of the hull that is filled.
    ``elongation``: longer over shorter axis of the ellipse of the same moments.
    """

    area: Floats
    mean: Floats
    deviation: Floats
    ground: Floats
    roughness: Floats
    solidity: Floats
    elongation: Floats


def measure(
    plane: npt.NDArray[np.float32], patches: Sequence[Patch], reporter: Reporter
) -> Measures:
    """Return the measures of objects.

    Parameters
    ----------
    plane : ndarray, shape (H, W), dtype float32
        Grey values.
    patches : sequence of Patch
        The objects, each of at least one pixel.
    reporter : Reporter
        Stops the work.
    """
    result = np.zeros((7, len(patches)))
    huge = [index for index, patch in enumerate(patches) if max(patch.mask.shape) > SAMPLED]
    for index in huge:
        reporter.check()
        result[:, index] = _measure_sample(plane, patches[index], reporter)
    for chosen, side in _stacks(patches):
        reporter.check()
        masks = np.zeros((len(chosen), side, side), bool)
        corners = np.empty((len(chosen), 2), np.intp)
        margin = GAP + RING
        for row, index in enumerate(chosen):
            patch = patches[index]
            height, width = patch.mask.shape
            masks[row, margin : margin + height, margin : margin + width] = patch.mask
            corners[row] = patch.region.y0 - margin, patch.region.x0 - margin
        result[:, chosen] = _measure(plane, masks, corners)
    return Measures(*result)


def _stacks(patches: Sequence[Patch]) -> Iterator[tuple[list[int], int]]:
    """Yield the numbers of objects to work on together, and the side of their crops."""
    by_side: dict[int, list[int]] = defaultdict(list)
    for index, patch in enumerate(patches):
        if max(patch.mask.shape) <= SAMPLED:
            least = max(patch.mask.shape) + 2 * (GAP + RING)
            by_side[-(-least // SIZES) * SIZES].append(index)
    for side, members in sorted(by_side.items()):
        count = max(1, STACK // side**2)
        for first in range(0, len(members), count):
            yield members[first : first + count], side


def _measure_sample(
    plane: npt.NDArray[np.float32], patch: Patch, reporter: Reporter
) -> npt.NDArray[np.float64]:
    """Return the measures of an object of many pixels by some of them, shape (7,)."""
    step = -(-max(patch.mask.shape) // SAMPLED)
    # The rows, and the columns, that hold most of it: thin lines lie between those of any others.
    down = _fullest(patch.mask.sum(1), step)
    across = _fullest(patch.mask[down::step].sum(0), step)
    mask = patch.mask[down::step, across::step]
    y, x = patch.region.y0 + down, patch.region.x0 + across
    region = Region(y // step, x // step, y // step + mask.shape[0], x // step + mask.shape[1])
    sampled = plane[y % step :: step, x % step :: step]
    seen = measure(sampled, [Patch(mask, region, patch.polarity)], reporter)
    values = np.array([getattr(seen, field.name)[0] for field in fields(Measures)])
    values[0] = patch.area
    return values


def _fullest(counts: npt.NDArray[np.intp], step: int) -> int:
    """Return where to begin, so that every ``step``-th of the counts together are the most."""
    return max(range(step), key=lambda start: counts[start::step].sum())


def _measure(plane: npt.NDArray[np.float32], masks: Bools, corners: npt.NDArray[np.intp]) -> Floats:
    """Return the fields of :class:`Measures` of a stack of crops, shape (7, N)."""
    side = masks.shape[1]
    rows = corners[:, :1] + np.arange(side)
    columns = corners[:, 1:] + np.arange(side)
    known = ((rows >= 0) & (rows < plane.shape[0]))[:, :, None]
    known = known & ((columns >= 0) & (columns < plane.shape[1]))[:, None, :]
    values = plane[
        np.clip(rows, 0, plane.shape[0] - 1)[:, :, None],
        np.clip(columns, 0, plane.shape[1] - 1)[:, None, :],
    ]
    near = masks
    for _ in range(GAP):
        near = _dilate(near)
    ring = near
    for _ in range(RING):
        ring = _dilate(ring)
    ring &= ~near & known
    area, mean, deviation = _moments(values, masks)
    _, ground, roughness = _moments(values, ring)
    return np.stack(
        [area, mean, deviation, ground, roughness, _solidity(masks, area), _elongation(masks, area)]
    )


def _dilate(masks: Bools) -> Bools:
    """Return masks grown by their four neighbours."""
    grown = masks.copy()
    grown[:, 1:] |= masks[:, :-1]
    grown[:, :-1] |= masks[:, 1:]
    grown[:, :, 1:] |= masks[:, :, :-1]
    grown[:, :, :-1] |= masks[:, :, 1:]
    return grown


def _moments(values: npt.NDArray[np.float32], chosen: Bools) -> tuple[Floats, Floats, Floats]:
    """Return count, mean and standard deviation of the chosen values; nan where there is none."""
    count = np.count_nonzero(chosen, (1, 2)).astype(np.float64)
    some = np.where(count > 0, count, np.nan)
    mean = np.where(chosen, values, 0).sum((1, 2), dtype=np.float64) / some
    rest = np.where(chosen, values - mean[:, None, None], 0)
    return count, mean, np.sqrt((rest * rest).sum((1, 2)) / some)


def _solidity(masks: Bools, area: Floats) -> Floats:
    """Return the share of its hull that each mask fills."""
    side = masks.shape[1]
    filled = masks.any(2)
    left = masks.argmax(2).astype(np.float64)
    right = side - masks[:, :, ::-1].argmax(2).astype(np.float64)
    rows = np.arange(side, dtype=np.float64)
    reach = np.empty((SIDES, len(masks)))
    for turn in range(SIDES):
        angle = turn * (2 * math.pi / SIDES)
        down, across = math.sin(angle), math.cos(angle)
        # The corners of the pixels: a hull of one pixel has area 1.
        along = np.maximum(rows * down, (rows + 1) * down) + np.maximum(
            left * across, right * across
        )
        reach[turn] = np.where(filled, along, -np.inf).max(1)
    return np.minimum(1.0, area / polygon_areas(reach))


def _elongation(masks: Bools, area: Floats) -> Floats:
    """Return the longer over the shorter axis of each mask's ellipse."""
    place = np.arange(masks.shape[1], dtype=np.float64)
    by_row, by_column = masks.sum(2), masks.sum(1)
    y, x = by_row @ place / area, by_column @ place / area
    # A pixel is a square: along an axis it adds 1 / 12 to the variance.
    yy = by_row @ place**2 / area - y**2 + 1 / 12
    xx = by_column @ place**2 / area - x**2 + 1 / 12
    xy = (masks @ place * place).sum(1) / area - y * x
    half, apart = (yy + xx) / 2, np.hypot((yy - xx) / 2, xy)
    axes: Floats = np.sqrt((half + apart) / np.maximum(half - apart, 1 / 24))
    return axes


def polygon_areas(reach: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the areas of polygons, given how far they reach in directions evenly spread.

    ``reach`` (shape (sides, N)): distances of the sides from the origin (the support function).
    """
    turn = 2 * math.pi / len(reach)
    before, after = np.roll(reach, 1, 0), np.roll(reach, -1, 0)
    lengths = np.maximum((before + after - 2 * reach * math.cos(turn)) / math.sin(turn), 0)
    areas: npt.NDArray[np.float64] = (reach * lengths).sum(0) / 2
    return areas


@dataclass(frozen=True, slots=True, eq=False)
class Proposal:
    """A part of the image that may be an object.

    ``mask`` (shape (h, w), dtype bool): its pixels at the octave, without holes.
    ``region``: where the crop lies, in pixels of the octave.
    ``octave``: a pixel of the mask stands for ``2 ** octave`` squared pixels of the plane.
    ``polarity``: +1 if it is brighter than its surroundings, -1 if darker.
    ``rating``: how much it looks like an object; larger is better.
    ``convex``: what its solidity is at least; 0 if it was not measured.
    """

    mask: Bools
    region: Region
    octave: int
    polarity: int
    rating: float
    convex: float = 0.0

    @property
    def covers(self) -> Region:
        """The part of the plane that its bounding box stands for."""
        return Region(*(value * 2**self.octave for value in self.region.box))

    @property
    def area(self) -> int:
        """Pixels of the plane that it stands for."""
        return int(np.count_nonzero(self.mask)) << 2 * self.octave

    def holds(self, point: tuple[int, int]) -> bool:
        """Return whether a pixel of the plane belongs to it."""
        y, x = (value // 2**self.octave for value in point)
        return self.region.holds(y, x) and bool(self.mask[y - self.region.y0, x - self.region.x0])

    def depth(self, point: tuple[int, int]) -> float:
        """Return how far inside a pixel of the plane lies: 1 in the middle, 0 outside."""
        if not self.holds(point):
            return 0.0
        y, x = (value // 2**self.octave for value in point)
        depth = ndi.distance_transform_edt(np.pad(self.mask, 1))[1:-1, 1:-1]
        return float(depth[y - self.region.y0, x - self.region.x0] / depth.max())


class Meaning(NamedTuple):
    """What a click may mean, and the overlap with the object that is expected of it."""

    worth: float
    item: Proposal


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """An object that was found.

    ``patch``: its mask.
    ``score``: how sure it is, 0 to 1.
    """

    patch: Patch
    score: float
