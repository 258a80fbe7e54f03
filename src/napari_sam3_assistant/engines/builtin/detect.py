"""All objects of a plane that are brighter, or darker, than their surroundings.

The flattened plane is cut at several grey levels and resolutions. The connected parts of one
resolution form a tree; of each branch the parts are kept whose outlines are strongest and most
convex, weighed by area. What touches is divided, and every outline is fitted.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage as ndi

from napari_sam3_assistant.core.regions import Region
from napari_sam3_assistant.engines.builtin import background, contours
from napari_sam3_assistant.engines.builtin.candidates import (
    RATING_LENGTH,
    RATING_SOLIDITY,
    Candidate,
)
from napari_sam3_assistant.engines.builtin.clicks import SAME, enlarged
from napari_sam3_assistant.engines.builtin.embedding import PlaneFeatures
from napari_sam3_assistant.engines.builtin.outlines import BLOB
from napari_sam3_assistant.engines.builtin.patches import Patch
from napari_sam3_assistant.engines.builtin.shapes import solidity, split
from napari_sam3_assistant.engines.builtin.sharpen import sharpened

if TYPE_CHECKING:
    import numpy.typing as npt

    from napari_sam3_assistant.core.progress import Reporter

    Floats = npt.NDArray[np.float32]

LEVELS = 9
FLOOR = 2.5  # lowest grey level, in standard deviations of the background
SCALES = ((0, 1.0), (0, 2.0), (1, 1.5), (2, 1.5), (3, 1.5), (4, 1.5), (5, 1.5))
SMALLEST = 9  # pixels of the octave
TAKEN = 0.3  # share of a part that better ones may have taken already
LEAST = 1.5  # grey levels: nothing in the plane stands out by more
FAINT = 0.2  # share of the usual grey step at which an object is doubtful
HOLED = 0.8  # parts that fill less of their hull may have holes
SIDES = 16
EDGE = 1.0  # blur of the plane's own edges, in pixels
BATCH = 256


@dataclass(frozen=True, slots=True, eq=False)
class Detection:
    """An object that was found.

    Parameters
    ----------
    patch : Patch
        Its mask.
    score : float
        How sure it is, 0 to 1.
    """

    patch: Patch
    score: float


@dataclass(slots=True, eq=False)
class _Node:
    """A connected part at one level of one resolution."""

    mask: npt.NDArray[np.bool_]
    region: Region
    octave: int
    area: int
    rating: float
    children: list[_Node]


def detect(features: PlaneFeatures, polarity: int, reporter: Reporter) -> tuple[Detection, ...]:
    """Return all objects of one polarity, the surest first.

    Parameters
    ----------
    features : PlaneFeatures
        The plane; keeps the answer.
    polarity : int
        +1 for bright objects, -1 for dark ones.
    reporter : Reporter
        Stops the work.
    """
    if polarity not in features.detections:
        features.detections[polarity] = _detect(features, polarity, reporter)
    return features.detections[polarity]


def _detect(features: PlaneFeatures, polarity: int, reporter: Reporter) -> tuple[Detection, ...]:
    flat = background.flattened(features, polarity)
    ground = PlaneFeatures(flat)
    nodes: list[_Node] = []
    for octave, sigma in SCALES:
        image = ground.octave(octave)
        if octave and min(image.shape) < 24:
            break
        reporter.check()
        nodes += _chosen(image, octave, sigma, reporter)
    owner = _partition(features, nodes, polarity, reporter)
    return _outlined(features, flat, owner, polarity, reporter)


def _chosen(plane: Floats, octave: int, sigma: float, reporter: Reporter) -> list[_Node]:
    """Return the best parts of one resolution; none lies in another."""
    image = ndi.gaussian_filter(plane, sigma, mode="nearest")
    spread = background.noise(image)
    top = float(np.percentile(image, 99.9))
    # Where the ground varies more than what lies on it, the noise says nothing about levels.
    low = min(FLOOR * spread, 0.3 * top)
    if top < LEAST:
        return []
    # Times its width, the gradient of a smoothed step is the height of the step.
    gradient = ndi.gaussian_gradient_magnitude(image, 0.7, mode="nearest")
    gradient *= np.hypot(np.hypot(sigma, 0.7), EDGE / 2**octave)
    above: list[_Node] = []  # roots of the trees so far, from the highest level down
    for level in np.geomspace(low, top * 0.9, LEVELS)[::-1]:
        reporter.check()
        above = _level(image, gradient, float(level), octave, above)
    best: list[_Node] = []
    for node in above:
        best += _best(node)
    return best


def _level(
    image: Floats, gradient: Floats, level: float, octave: int, above: list[_Node]
) -> list[_Node]:
    """Return the parts above a level, each with the parts of the level before that lie in it."""
    inside = image >= level
    labels, count = ndi.label(inside)
    if not count:
        return []
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    strengths, hulls = _outlines(inside, labels, gradient, count)
    children: dict[int, list[_Node]] = {}
    for node in above:
        row = node.region.y0
        column = node.region.x0 + int(node.mask[0].argmax())
        children.setdefault(int(labels[row, column]), []).append(node)
    places = ndi.find_objects(labels)
    nodes: list[_Node] = []
    for name in (np.flatnonzero(sizes[1:] >= SMALLEST) + 1).tolist():
        rows, columns = places[name - 1]
        region = Region(rows.start, columns.start, rows.stop, columns.stop)
        below = children.get(name, [])
        area = int(sizes[name])
        if len(below) == 1 and area <= 1.03 * below[0].area:
            nodes.append(below[0])
            continue
        mask = labels[rows, columns] == name
        strength, convex = float(strengths[name]), min(1.0, area / float(hulls[name]))
        if convex < HOLED:
            mask = ndi.binary_fill_holes(mask)
            area = int(np.count_nonzero(mask))
            rim = mask & ~ndi.binary_erosion(mask)
            strength = float(gradient[rows, columns][rim].mean())
            convex = min(1.0, area / float(hulls[name]))
        length = math.sqrt(area) * 2**octave
        rare = (1 - area / image.size) ** 2  # what fills most of the plane is its background
        rating = strength * length**RATING_LENGTH * convex**RATING_SOLIDITY * rare
        nodes.append(_Node(mask, region, octave, area, rating, below))
    return nodes


def _outlines(
    inside: npt.NDArray[np.bool_], labels: npt.NDArray[np.int32], gradient: Floats, count: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the mean gradient along the outline of each part, and the area of its hull.

    The hull is the polygon of :data:`SIDES` sides round the part, which is a little larger;
    for all parts at once that is far faster than one hull a part.

    Returns
    -------
    strengths, hulls : ndarray, shape (count + 1,), dtype float64
        By label; entry 0 means nothing.
    """
    rows, columns = np.nonzero(inside & ~ndi.binary_erosion(inside, border_value=0))
    names = labels[rows, columns]
    order = np.argsort(names, kind="stable")
    rows, columns, names = rows[order], columns[order], names[order]
    first = np.flatnonzero(np.diff(names, prepend=0))
    present = names[first]
    strengths = np.zeros(count + 1)
    lengths = np.bincount(names, minlength=count + 1)
    total = np.bincount(names, gradient[rows, columns], minlength=count + 1)
    np.divide(total, lengths, out=strengths, where=lengths > 0)
    angles = np.arange(SIDES) * (2 * np.pi / SIDES)
    reach = np.empty((SIDES, present.size))
    for side, angle in enumerate(angles):
        along = rows * math.sin(angle) + columns * math.cos(angle)
        # Half a pixel further: the outline runs round the pixels, not through their centres.
        half = (abs(math.sin(angle)) + abs(math.cos(angle))) / 2
        reach[side] = np.maximum.reduceat(along, first) + half
    # Area of a polygon from the distances of its sides (its support function).
    turn = 2 * math.pi / SIDES
    before, after = np.roll(reach, 1, 0), np.roll(reach, -1, 0)
    side_lengths = np.maximum((before + after - 2 * reach * math.cos(turn)) / math.sin(turn), 0)
    hulls = np.ones(count + 1)
    hulls[present] = (reach * side_lengths).sum(0) / 2
    return strengths, hulls


def _best(root: _Node) -> list[_Node]:
    """Return the disjoint parts of a tree that are worth most together."""
    order: list[_Node] = []
    stack = [root]
    while stack:
        node = stack.pop()
        order.append(node)
        stack += node.children
    kept: dict[int, tuple[float, list[_Node]]] = {}
    for node in reversed(order):
        worth = sum(kept[id(child)][0] for child in node.children)
        parts = [part for child in node.children for part in kept[id(child)][1]]
        if len(parts) == 1 and parts[0].rating > node.rating:
            # The same thing at a better level: its larger outline adds nothing.
            worth = max(worth, parts[0].rating * node.area)
            kept[id(node)] = (worth, parts)
        elif node.rating * node.area >= worth:
            kept[id(node)] = (node.rating * node.area, [node])
        else:
            kept[id(node)] = (worth, parts)
    return kept[id(root)][1]


def _partition(
    features: PlaneFeatures, nodes: list[_Node], polarity: int, reporter: Reporter
) -> npt.NDArray[np.int32]:
    """Return the plane divided among the best parts of all resolutions, what touches apart."""
    # A coarse part is looked at closely only when its turn comes: that can but lower its rating.
    waiting = [
        (-node.rating, index, node.octave > 0,
         Candidate(node.mask, node.region, node.octave, polarity, node.rating))
        for index, node in enumerate(nodes)
    ]  # fmt: skip
    heapq.heapify(waiting)
    owner = np.zeros(features.shape, np.int32)
    count = 0
    while waiting:
        reporter.check()
        _, index, coarse, candidate = heapq.heappop(waiting)
        whole = enlarged(features, candidate.mask, candidate)
        seen = owner[whole.region.slices]
        if np.count_nonzero(seen[whole.mask]) > TAKEN * whole.area:
            continue
        if coarse:
            sharp, coverage = sharpened(features, candidate)
            rating = candidate.rating * coverage**2
            heapq.heappush(waiting, (-rating, index, False, sharp))
            continue
        parts = split(candidate.mask)
        for name in range(1, int(parts.max()) + 1):
            part = enlarged(features, parts == name, candidate)
            count += 1
            target = owner[part.region.slices]
            target[part.mask & (target == 0)] = count
    return owner


def _outlined(
    features: PlaneFeatures,
    flat: Floats,
    owner: npt.NDArray[np.int32],
    polarity: int,
    reporter: Reporter,
) -> tuple[Detection, ...]:
    """Return the parts of the plane with their outlines fitted and scored."""
    spread = background.noise(flat)
    rough: dict[int, Patch] = {}
    blobs: list[tuple[int, Floats, Floats]] = []
    found: list[Patch] = []
    for name, place in enumerate(ndi.find_objects(owner), start=1):
        if place is None:
            continue
        mask = owner[place] == name
        region = Region(place[0].start, place[1].start, place[0].stop, place[1].stop)
        rough[name] = Patch(mask, region, polarity)
        if np.count_nonzero(mask) >= SMALLEST and solidity(mask) >= BLOB:
            blobs.append((name, *contours.from_mask(mask, region.y0, region.x0)))
        else:
            found.append(rough[name])
    blobs.sort(key=lambda blob: float(np.median(blob[2])))
    for first in range(0, len(blobs), BATCH):
        reporter.check()
        chunk = blobs[first : first + BATCH]
        fitted = contours.Contours(
            np.stack([blob[1] for blob in chunk]), np.stack([blob[2] for blob in chunk])
        )
        names = np.array([blob[0] for blob in chunk], np.int32)
        signs = np.ones(len(chunk), np.float32)
        for range_ in ((0.75, 1.25), (0.85, 1.15)):
            fitted = contours.fit(
                flat, fitted, signs, owner=owner, names=names, range_=range_
            ).recentred()
        for index, name in enumerate(names.tolist()):
            mask, y0, x0 = fitted.mask(index, features.shape)
            patch = Patch(mask, Region(y0, x0, y0 + mask.shape[0], x0 + mask.shape[1]), polarity)
            found.append(patch if patch.overlap(rough[name]) >= SAME else rough[name])
    return _scored(flat, found, spread)


def _scored(flat: Floats, found: list[Patch], spread: float) -> tuple[Detection, ...]:
    """Return objects with their scores, the surest first.

    Parameters
    ----------
    flat : ndarray, shape (H, W), dtype float32
        Grey values above the background.
    found : list of Patch
        The objects.
    spread : float
        Standard deviation of the background.
    """
    if not found:
        return ()
    steps = np.empty(len(found))
    scores = np.empty(len(found))
    for index, patch in enumerate(found):
        steps[index], scores[index] = _score(flat, patch, spread)
    # What stands out by far less than most of what was found is less sure.
    order = np.argsort(steps, kind="stable")
    areas = np.cumsum(np.array([patch.area for patch in found])[order])
    usual = max(1e-3, float(steps[order][np.searchsorted(areas, areas[-1] / 2)]))
    scores *= 1 - np.exp(-((np.maximum(steps, 0) / (FAINT * usual)) ** 2))
    ranks = np.argsort(-scores, kind="stable")
    return tuple(Detection(found[rank], float(scores[rank])) for rank in ranks)


def _score(flat: Floats, patch: Patch, spread: float) -> tuple[float, float]:
    """Return by how many grey levels an object stands out, and how sure it is, 0 to 1."""
    frame = patch.region.grow(4).intersect(Region.whole((flat.shape[0], flat.shape[1])))
    inside = patch.within(frame)
    near = ndi.binary_dilation(inside)
    outer = ndi.binary_dilation(near, iterations=3) & ~near
    if not (outer.any() and inside.any()):
        return 0.0, 0.0
    values = flat[frame.slices]
    step = float(values[inside].mean() - values[outer].mean())
    # Uneven ground: what counts is how rough it is round the object.
    spread = min(spread, 1.5 * float(values[outer].std()) + 0.3)
    noise = spread / math.sqrt(min(100, int(np.count_nonzero(inside))))
    # Both the noise and a grey step that is barely seen count as doubt.
    clear = max(0.0, step) / (6 * noise + 4)
    return step, (1 - math.exp(-(clear**2) / 1.3)) * solidity(inside)
